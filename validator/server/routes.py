"""Request target -> route.

Law of this file: ``/v1/authorize/{strategy}/{service}`` is found here and nothing else; ``{strategy}`` may name
several with commas between. What follows the service is ignored, since Envoy's ext_authz appends the path of the
request that it asks about; so is a query.
"""

from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from validator.pipeline import MAX_JOINED, Pipeline, Route

_PREFIX: Final = b"/v1/authorize/"
_MAX_KNOWN: Final = 10_000  # targets; a gateway that appends paths has any number of them
_MAX_KNOWN_BYTES: Final = 1024  # of one; longer ones are appended paths, not names, and a query may hold a secret
_MAX_NAME_CHARS: Final = 256  # of a service, and of each strategy
_MAX_STRATEGY_CHARS: Final = MAX_JOINED * (_MAX_NAME_CHARS + 1) - 1


class Routes:
    """Remembers the routes of the targets it has seen, since gateways ask for the same few again and again."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._known: dict[bytes, Route] = {}

    def find(self, target: bytes) -> Route | None:
        """The route, or ``None`` where the target names no configured strategy."""
        route = self._known.get(target)
        if route is None:
            names = _names(target)
            route = self._pipeline.route(*names) if names else None
            if (
                route is not None
                and b"?" not in target
                and len(target) <= _MAX_KNOWN_BYTES
                and len(self._known) < _MAX_KNOWN
            ):
                self._known[target] = route
        return route

    @staticmethod
    def strategy(target: bytes) -> str | None:
        """The strategy that a target names, or the several, configured or not."""
        names = _names(target)
        return names[0] if names else None


def _names(target: bytes) -> tuple[str, str] | None:
    if not target.startswith(b"/"):  # absolute-form, RFC 9112 section 3.2.2
        try:
            target = urlsplit(target).path
        except ValueError:
            return None
    path = target.partition(b"?")[0]
    if not path.startswith(_PREFIX):
        return None
    first, _, rest = path[len(_PREFIX) :].partition(b"/")
    try:
        strategy = unquote_to_bytes(first).decode()
        service = unquote_to_bytes(rest.partition(b"/")[0]).decode()
    except UnicodeDecodeError:
        return None
    if not (0 < len(strategy) <= _MAX_STRATEGY_CHARS and 0 < len(service) <= _MAX_NAME_CHARS):
        return None
    return (strategy, service) if strategy.isprintable() and service.isprintable() else None
