"""Request target -> route.

Law of this file: ``/v1/authorize/{strategy}/{service}`` is found here and nothing else. What follows the service
is ignored, since Envoy's ext_authz appends the path of the request that it asks about; so is a query.
"""

from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from validator.pipeline import Pipeline, Route

_PREFIX: Final = b"/v1/authorize/"
_MAX_KNOWN: Final = 10_000  # targets; a gateway that appends paths has any number of them
_MAX_KNOWN_BYTES: Final = 512  # of one; longer ones are appended paths, not names, and a query may hold a secret
_MAX_NAME_CHARS: Final = 256


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
        """The strategy that a target names, configured or not."""
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
    strategy, _, rest = path[len(_PREFIX) :].partition(b"/")
    try:
        names = tuple(unquote_to_bytes(part).decode() for part in (strategy, rest.partition(b"/")[0]))
    except UnicodeDecodeError:
        return None
    if not all(0 < len(name) <= _MAX_NAME_CHARS and name.isprintable() for name in names):
        return None
    return names[0], names[1]
