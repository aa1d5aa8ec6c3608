"""What the settings about upstream headers and minted tokens say about each other.

Law of this file: as in ``checks``.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from validator.settings.mistakes import Caution, Path, Problem, shown


def upstream_findings(
    path: Path, strategy: Mapping[str, Any], methods: Collection[str]
) -> Iterator[Problem | Caution]:
    """Names that are one name to HTTP; a token to forward that is never minted."""
    headers = strategy.get("upstream_headers")
    seen: dict[str, str] = {}
    for name in headers if isinstance(headers, Mapping) else ():
        if isinstance(name, str) and (first := seen.setdefault(name.lower(), name)) != name:
            at = (*path, "upstream_headers", name)
            yield Problem(at, shown(at, name), f"each header once: {first} is the same name in other letters")
    if strategy.get("forward_minted_token") is True and methods and "client_credentials" not in methods:
        yield Caution(
            (*path, "forward_minted_token"),
            "no token is minted without client_credentials among auth_methods, so none is forwarded",
        )
