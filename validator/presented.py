"""What a person hands to ``validator explain`` on standard input -> the credential that it stands for.

Law of this file: it is read as the data plane would read it, and where a header's name or a scheme is wanting, as
what it can only be.
"""

from typing import Literal

from validator.core.extract import extract, session_cookie
from validator.model import Credential
from validator.settings import Settings


def credential(raw: bytes, settings: Settings) -> Credential:
    """An ``Authorization`` value, with or without the header's name, a bare token, or our cookie."""
    bound = settings.limits.max_token_bytes
    name, value = _header(raw)
    if name != b"authorization" and not _starts_with_scheme(value):
        cookie = session_cookie(value, settings.session.cookie_name.encode())
        if cookie is not None or name == b"cookie":
            return extract(None, cookie, max_token_bytes=bound)
    if not name and _unmarked(value) == "Bearer" and not _starts_with_scheme(value):
        value = b"Bearer " + value
    return extract(value if name or value else None, None, max_token_bytes=bound)


def missing_scheme(raw: bytes) -> Literal["", "Basic", "Bearer"]:
    """The scheme that was probably forgotten in what is no credential as it stands."""
    return _unmarked(_header(raw)[1])


def _header(raw: bytes) -> tuple[bytes, bytes]:
    """The header's name in lower case, "" where it is not there, and the value."""
    name, colon, value = raw.partition(b":")
    if colon and name.lower() in (b"authorization", b"cookie"):
        return name.lower(), value.strip()
    return b"", raw


def _starts_with_scheme(value: bytes) -> bool:
    return value.partition(b" ")[0].lower() in (b"bearer", b"basic")


def _unmarked(value: bytes) -> Literal["", "Basic", "Bearer"]:
    """The scheme that is wanting. A colon occurs in no token (RFC 6750 section 2.1) and in no scheme."""
    first, *more = value.split() or [b""]
    if b":" in first:
        return "Basic"
    return "" if more or not first else "Bearer"
