"""Claims and minted tokens -> what an upstream is told in headers.

Law of this file: everything that decides which claim may stand in which header, and in what form, lives here. A
claim that cannot stand there as it is stays away: a header that is absent says less than one that says something
else (RFC 9110 section 5.5). Nothing is written from here.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from validator.model import BearerToken, UpstreamHeaders

MAX_HEADERS: Final = 16
MAX_NAME_BYTES: Final = 64
MAX_VALUE_BYTES: Final = 1024
MAX_FORWARDED_BYTES: Final = 8192  # of a minted token

Wanted = Sequence[tuple[str, tuple[str, ...]]]
"""Names of headers, and the path of the claim that goes into each."""

# What means something else in an answer or upstream: our own facts, Kong's, and what HTTP itself goes by.
_RESERVED: Final = frozenset(
    {
        "x-application-id", "x-application-name", "x-credential-identifier", "x-auth-method",
        "x-session-id", "x-application-groups", "x-access-token",
        "x-anonymous-consumer", "x-authenticated-groups",
        "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings", "expect",
        "host", "date", "authorization", "cookie", "set-cookie", "cache-control", "www-authenticate",
        "retry-after",
    }
)  # fmt: skip
_RESERVED_BEGINNINGS: Final = ("x-consumer-", "content-", "proxy-")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_VISIBLE_ASCII: Final = re.compile(r"[\x21-\x7e]+")


def is_reserved(name: str) -> bool:
    """Whether a header of this name is not a claim's to fill."""
    lowered = name.lower()
    return lowered in _RESERVED or lowered.startswith(_RESERVED_BEGINNINGS)


def picked(payload: Mapping[str, Any], wanted: Wanted) -> UpstreamHeaders:
    """The headers for which the claims of a token hold a value, in the order wanted.

    Args:
        payload: of a token that is known to be genuine.
    """
    found = ((name, _value(_claim(payload, path))) for name, path in wanted)
    return tuple((name, value) for name, value in found if value is not None)


def forwarded(access_token: str) -> BearerToken | None:
    """A minted token, if a header can hold it: visible ASCII, and not beyond what upstreams take in one."""
    if len(access_token) > MAX_FORWARDED_BYTES or _VISIBLE_ASCII.fullmatch(access_token) is None:
        return None
    return BearerToken(access_token.encode())


def _claim(payload: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = payload
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _value(claim: Any) -> str | None:
    if isinstance(claim, list):
        texts = [_text(item) for item in claim]
        if any(text is None or "," in text for text in texts):
            return None
        value = ",".join(text for text in texts if text is not None)
    else:
        value = _text(claim) or ""
    # A space at an end would be lost on the way, and the value be another one.
    if not value or value != value.strip(" ") or _CONTROL.search(value):
        return None
    try:
        size = len(value.encode())
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        return None
    return value if size <= MAX_VALUE_BYTES else None


def _text(item: Any) -> str | None:
    if isinstance(item, str):
        return item
    if isinstance(item, bool | int) or (isinstance(item, float) and math.isfinite(item)):
        return json.dumps(item)
    return None
