"""Headers -> exactly one credential.

Law of this file: everything that decides which part of a request is its credential lives here, and nothing
that decides whether it is any good. Only ``Authorization`` and our own cookie are looked at; tokens in a query
or a body are not (RFC 9700 section 4.3.2 forbids the first).
"""

import binascii
import re

from validator.errors import Denied
from validator.model import BearerToken, ClientCredentials, Credential, Reason, SessionCookie

MAX_CLIENT_ID_CHARS = 256
# What browsers keep for one cookie (RFC 6265 section 6.1); ours are an order of magnitude smaller.
MAX_COOKIE_BYTES = 4096

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def session_cookie(cookie_header: bytes, name: bytes) -> bytes | None:
    """The value of the cookie ``name`` (RFC 6265 section 5.4), or ``None``; all other cookies are ignored.

    Raises:
        Denied: ``multiple_credentials``, the name occurs twice.
    """
    start = name + b"="
    if b";" not in cookie_header:  # the common case: no other cookie
        value = cookie_header.strip(b" \t")
        return value[len(start) :] if value.startswith(start) else None
    found: bytes | None = None
    for part in cookie_header.split(b";"):
        pair = part.strip(b" \t")
        if pair.startswith(start):
            if found is not None:
                raise Denied(Reason.MULTIPLE_CREDENTIALS, "the session cookie occurs twice")
            found = pair[len(start) :]
    return found


def extract(authorization: bytes | None, session: bytes | None, *, max_token_bytes: int) -> Credential:
    """The one credential of a request: the ``Authorization`` header's where there is one, else the session's.

    Args:
        authorization: value of the only ``Authorization`` header.
        session: value of the session cookie.
        max_token_bytes: bound on what follows the scheme.

    Raises:
        Denied: ``no_credential``, ``malformed_credential``, ``token_malformed`` or ``method_not_enabled`` (a
            scheme that no strategy can speak).
    """
    if authorization is None:
        if not session:
            raise Denied(Reason.NO_CREDENTIAL, "neither Authorization nor a session cookie")
        if len(session) > MAX_COOKIE_BYTES:
            raise Denied(Reason.SESSION_INVALID, f"the cookie is longer than {MAX_COOKIE_BYTES} bytes")
        return SessionCookie(session)
    if authorization.startswith(b"Bearer "):  # as nearly every client spells it
        value = authorization[len(b"Bearer ") :]
        if 0 < len(value) <= max_token_bytes and b" " not in value and b"\t" not in value:
            return BearerToken(value)
    scheme, _, value = authorization.strip(b" \t").partition(b" ")
    value = value.lstrip(b" ")
    kind = scheme.lower()
    if kind == b"bearer":
        return _bearer(value, max_token_bytes)
    if kind == b"basic":
        return _basic(value, max_token_bytes)
    if not scheme:
        raise Denied(Reason.MALFORMED_CREDENTIAL, "the Authorization header is empty")
    raise Denied(Reason.METHOD_NOT_ENABLED, "the Authorization scheme is neither Bearer nor Basic")


def _bearer(value: bytes, max_token_bytes: int) -> BearerToken:
    if not value:
        raise Denied(Reason.MALFORMED_CREDENTIAL, "nothing follows Bearer")
    if len(value) > max_token_bytes:
        raise Denied(Reason.TOKEN_MALFORMED, f"the token is longer than {max_token_bytes} bytes")
    if b" " in value or b"\t" in value:
        raise Denied(Reason.MALFORMED_CREDENTIAL, "more than one word follows Bearer (RFC 6750 section 2.1)")
    return BearerToken(value)


def _basic(value: bytes, max_bytes: int) -> ClientCredentials:
    """RFC 7617: base64 of ``id:secret``; or the same un-encoded, as Konnect's documents print it. A colon never
    occurs in base64, so the two cannot be confused."""
    if not value:
        raise Denied(Reason.MALFORMED_CREDENTIAL, "nothing follows Basic")
    if len(value) > max_bytes:
        raise Denied(Reason.MALFORMED_CREDENTIAL, f"the Basic credential is longer than {max_bytes} bytes")
    pair = value
    if b":" not in value:
        try:
            pair = binascii.a2b_base64(value, strict_mode=True)
        except (binascii.Error, ValueError):
            raise Denied(
                Reason.MALFORMED_CREDENTIAL, "what follows Basic is neither base64 nor id:secret"
            ) from None
    try:
        client_id, colon, client_secret = pair.decode("utf-8").partition(":")
    except UnicodeDecodeError:
        raise Denied(Reason.MALFORMED_CREDENTIAL, "the Basic credential is not UTF-8") from None
    if not colon:
        raise Denied(Reason.MALFORMED_CREDENTIAL, "the Basic credential holds no colon")
    if not client_id or not client_secret:
        raise Denied(Reason.MALFORMED_CREDENTIAL, "the client id or the secret is empty")
    if len(client_id) > MAX_CLIENT_ID_CHARS:
        raise Denied(Reason.MALFORMED_CREDENTIAL, f"the client id is longer than {MAX_CLIENT_ID_CHARS} characters")
    if not client_id.isprintable() or _CONTROL.search(client_secret):
        raise Denied(
            Reason.MALFORMED_CREDENTIAL, "the Basic credential holds control characters (RFC 7617 section 2)"
        )
    return ClientCredentials(client_id, client_secret)
