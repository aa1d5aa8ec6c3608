"""Who may speak to the control plane.

Law of this file: everything that refuses a request before it is understood lives here. With a token, the
token alone decides. Without one the listener is on loopback or a Unix socket, and what remains to be kept out
is a browser: a page from anywhere can send requests to loopback (CSRF), or point its own name there (DNS
rebinding), so requests with an ``Origin`` or a foreign ``Host`` are refused. Konnect's bridge has keys of its own.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from validator.server.problems import Handler, ProblemError

Token = Callable[[], str | None]

_log = structlog.get_logger(__name__)
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="control"'}


def guard(token: Token, open_paths: frozenset[str]) -> Middleware:
    """Refuses with 401 or 403 before routing says anything about what exists.

    Args:
        token: the control token as configured now (asked on every request, so a reload counts at once).
        open_paths: what takes no token: health and readiness.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        expected = token()
        if expected is None:
            _refuse_browsers(request)
        elif request.path not in open_paths:
            _check_token(request, expected)
        return await handler(request)

    return check


def has_api_key(request: web.Request, keys: Iterable[str]) -> bool:
    """Whether the one ``X-API-KEY`` of a request is one of ``keys``. Each is compared, as digests of one length:
    how long it takes tells neither which one came close nor how long they are. An empty key matches nothing."""
    values = request.headers.getall("X-API-KEY", [])
    presented = _digest(values[0] if len(values) == 1 else "")
    found = False
    for key in keys:
        found |= hmac.compare_digest(presented, _digest(key)) and key != ""
    return found


def _check_token(request: web.Request, expected: str) -> None:
    """RFC 6750 section 2.1. An empty configured token matches nothing."""
    values = request.headers.getall("Authorization", [])
    scheme, _, presented = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    matches = hmac.compare_digest(_octets(presented.strip(" ")), _octets(expected))
    if not (matches and expected and scheme.lower() == "bearer"):
        _log.warning("control_denied", remote=remote(request), method=request.method, path=request.path)
        detail = "Send the control token: Authorization: Bearer <the content of control.token_file>."
        raise ProblemError(401, detail, headers=_CHALLENGE)


def _refuse_browsers(request: web.Request) -> None:
    if "Origin" in request.headers:
        raise ProblemError(403, "Requests with an Origin header come from browsers: configure control.token_file.")
    if not over_unix(request) and not _is_loopback(request.headers.get("Host", "")):
        detail = "The Host header does not name loopback: call 127.0.0.1, or configure control.token_file."
        raise ProblemError(403, detail)


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name.rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def over_unix(request: web.Request) -> bool:
    """Whether the request came over a Unix socket, which no browser reaches."""
    address = request.transport.get_extra_info("sockname") if request.transport else None
    return isinstance(address, (str, bytes))


def remote(request: web.Request) -> str:
    """Who asks, for the log."""
    return "unix" if over_unix(request) else str(request.remote)


def _digest(text: str) -> bytes:
    return hashlib.sha256(_octets(text)).digest()


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
