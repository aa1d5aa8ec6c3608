"""The way to one identity provider.

Law of this file: it carries requests and replies within bounds (time, bytes, parallel calls, a circuit
breaker, the provider's own rate limit) and judges no content. Foreign exceptions end here; what leaves is
``Unavailable`` whose detail names the endpoint, the host and the kind of failure, never a body or a header.
"""

import asyncio
import email.utils
import ipaddress
import re
import ssl
from collections.abc import Callable
from datetime import UTC
from types import SimpleNamespace
from typing import Final

import aiohttp
from yarl import URL

from validator import __version__
from validator.adapters.breaker import BreakerState, CircuitBreaker
from validator.errors import Unavailable
from validator.model import Endpoint, HttpReply, HttpRequest, Reason
from validator.ports import Clock

Observe = Callable[[Endpoint, str, float], None]

_CHUNK_BYTES: Final = 16 * 1024
_WAITING_PER_SLOT: Final = 16  # a longer queue could not be served within the timeout anyway
_RETRY_DEFAULT_S: Final = 5.0
_RATE_LIMIT_DEFAULT_S: Final = 1.0  # a 429 that names no time (RFC 6585 section 4 makes Retry-After optional)
_RATE_LIMIT_MAX_S: Final = 300.0  # a provider's mistake, or a forged date, must not shut us out for a day
_SECONDS: Final = re.compile(r"[0-9]{1,10}")  # RFC 9110 section 10.2.3 delay-seconds, or epoch seconds
_RESET_HEADERS: Final = ("x-rate-limit-reset", "x-ratelimit-reset")  # Okta, Auth0: seconds since the epoch

_MULTIPLE_CHOICES, _TOO_MANY_REQUESTS, _INTERNAL_SERVER_ERROR = 300, 429, 500


class _NoReply(Exception):
    """Why a call brought nothing that may be handed back; ``sent``: it may have arrived."""

    def __init__(
        self, outcome: str, kind: str, retry_after_s: float = _RETRY_DEFAULT_S, *, sent: bool = False
    ) -> None:
        super().__init__(kind)
        self.sent = sent
        self.outcome = outcome
        self.kind = kind
        self.retry_after_s = retry_after_s


class IdpClient:
    """``ports.HttpClient`` for one identity provider, over one pool of connections.

    Redirects are handed back as they are, cookies and proxies from the environment are ignored, and a
    compressed reply, which was not asked for, is not unpacked. Bound to the event loop of its first ``send``.

    The rate limit is kept per endpoint, as providers count it: a token endpoint that is exhausted by guesses
    must not keep the keys from being fetched.

    Args:
        clock: times the observations and the rate limit.
        breaker: counts as failures: no complete reply, and status 500 and above.
        observe: told of every finished ``send``: endpoint, outcome (``ok``, ``error_status`` for 3xx and 4xx,
            ``server_error``, ``rate_limited``, ``timeout``, ``unreachable``, ``too_large``,
            ``refused_by_breaker``, ``refused_by_bound``) and seconds. A cancelled call is not told.
        total_timeout_s: seconds for one exchange; as long again may be spent waiting for a free slot.
        connect_timeout_s: seconds for name, connection and TLS together.
        max_reply_bytes: a longer body is not read to its end.
        max_concurrent: calls in flight; sixteen times as many may wait, more are refused at once.
        ca_file: PEM certificates to trust *instead of* the system's; read here, so construct it off the loop.
        allow_insecure_http: plain http to a host that is not loopback.

    Raises:
        ValueError: a bound out of range, or ``ca_file`` cannot be used.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        breaker: CircuitBreaker,
        observe: Observe = lambda _endpoint, _outcome, _seconds: None,
        total_timeout_s: float = 5.0,
        connect_timeout_s: float = 2.0,
        max_reply_bytes: int = 1024 * 1024,
        max_concurrent: int = 16,
        ca_file: str | None = None,
        allow_insecure_http: bool = False,
    ) -> None:
        if min(total_timeout_s, connect_timeout_s) <= 0 or min(max_reply_bytes, max_concurrent) < 1:
            raise ValueError("timeouts must be above 0 seconds; max_reply_bytes and max_concurrent at least 1")
        self._clock = clock
        self._breaker = breaker
        self._observe = observe
        self._total_timeout_s = total_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._max_reply_bytes = max_reply_bytes
        self._max_concurrent = max_concurrent
        self._allow_insecure_http = allow_insecure_http
        self._ssl: ssl.SSLContext | bool = _trust_only(ca_file) if ca_file else True
        self._slots = asyncio.Semaphore(max_concurrent)
        self._waiting = 0
        self._limited_until: dict[Endpoint, float] = {}  # by clock.monotonic()
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def breaker_state(self) -> BreakerState:
        """For a metric."""
        return self._breaker.state

    async def send(self, request: HttpRequest) -> HttpReply:
        """The reply, whatever its status below 500, except 429.

        Raises:
            Unavailable: (``idp_unavailable``) no complete reply within the bounds, 429, 5xx, an address that
                may not be called, or refused here without a call; ``retry_after_s`` says when to ask again.
        """
        started = self._clock.monotonic()
        host = "?"
        try:
            url = _parsed(request.url)
            host = url.host or host
            self._check_scheme(url)
            reply = await self._in_turn(request, url)
        except _NoReply as caught:
            failure = caught
        else:
            outcome = "ok" if reply.status < _MULTIPLE_CHOICES else "error_status"
            self._observe(request.endpoint, outcome, self._clock.monotonic() - started)
            return reply
        self._observe(request.endpoint, failure.outcome, self._clock.monotonic() - started)
        # Outside the except clause: a foreign exception, whose repr may hold our headers, must not become the
        # __context__ of what leaves.
        raise Unavailable(
            Reason.IDP_UNAVAILABLE,
            f"{request.endpoint.value} endpoint at {host}: {failure.kind}",
            retry_after_s=failure.retry_after_s,
            sent=failure.sent,
        )

    async def close(self) -> None:
        """Closes the connections; calls in flight and later ones end in ``Unavailable``. May be repeated."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _check_scheme(self, url: URL) -> None:
        """For every request: token endpoint and key set come out of a document that was fetched."""
        if url.scheme == "http" and not self._allow_insecure_http and not _is_loopback(url.host or ""):
            advice = "plain http is spoken to loopback only; use https, or set allow_insecure_http"
            raise _NoReply("unreachable", advice)

    async def _in_turn(self, request: HttpRequest, url: URL) -> HttpReply:
        """One guarded exchange in a slot of its own."""
        self._refuse_early(request.endpoint)
        if self._slots.locked() and self._waiting >= _WAITING_PER_SLOT * self._max_concurrent:
            raise _NoReply("refused_by_bound", "too many calls are waiting for a free slot")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._total_timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            raise _NoReply("refused_by_bound", "no slot became free in time") from None
        finally:
            self._waiting -= 1
        try:
            self._refuse_early(request.endpoint)  # again: much may have happened while it waited
            return await self._guarded(request, url)
        finally:
            self._slots.release()

    def _refuse_early(self, endpoint: Endpoint) -> None:
        limited_s = self._limited_until.get(endpoint, 0.0) - self._clock.monotonic()
        if limited_s > 0:
            raise _NoReply("rate_limited", "the provider's rate limit still holds", limited_s)
        if self._breaker.retry_after_s > 0:
            raise _NoReply("refused_by_breaker", "the circuit breaker is open", self._breaker.retry_after_s)

    async def _guarded(self, request: HttpRequest, url: URL) -> HttpReply:
        """One exchange, reported to the breaker whatever becomes of it."""
        permit = self._breaker.admit()
        if permit is None:
            raise _NoReply("refused_by_breaker", "the circuit breaker is open", self._breaker.retry_after_s)
        try:
            reply = await self._exchange(request, url)
        except _NoReply as failure:
            permit.failed()
            failure.retry_after_s = self._breaker.retry_after_s or failure.retry_after_s
            raise
        except BaseException:  # cancelled above all: it says nothing about the provider
            permit.abandoned()
            raise
        permit.succeeded()
        if reply.status == _TOO_MANY_REQUESTS:
            wait_s = self._wait_asked_for(reply)
            self._limited_until[request.endpoint] = self._clock.monotonic() + wait_s
            raise _NoReply("rate_limited", "status 429", max(wait_s, _RATE_LIMIT_DEFAULT_S))
        return reply

    async def _exchange(self, request: HttpRequest, url: URL) -> HttpReply:
        """Bounded in time; every foreign exception translated, and 5xx with them."""
        try:
            async with asyncio.timeout(self._total_timeout_s):
                reply = await self._repeated_once_if_stale(request, url)
        except aiohttp.ConnectionTimeoutError:
            raise _NoReply("timeout", f"no connection within {self._connect_timeout_s:g} s") from None
        except TimeoutError:
            kind = f"no complete reply within {self._total_timeout_s:g} s"
            raise _NoReply("timeout", kind, sent=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            sent = not isinstance(error, aiohttp.ClientConnectorError)
            raise _NoReply("unreachable", _kind_of(error), sent=sent) from None
        if reply.status >= _INTERNAL_SERVER_ERROR:
            raise _NoReply("server_error", f"status {reply.status}", sent=True)
        return reply

    async def _repeated_once_if_stale(self, request: HttpRequest, url: URL) -> HttpReply:
        """A pooled connection may be closed by the provider in the moment in which it is used again.

        What is repeated may be (RFC 9110 section 9.2.2): documents are read, and a second client_credentials
        grant only mints another token. A second registration would make a second client.
        """
        trace = SimpleNamespace(reused=False)
        try:
            return await self._once(request, url, trace)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError):
            if not trace.reused or request.endpoint is Endpoint.REGISTRATION:
                raise
        return await self._once(request, url, trace)

    async def _once(self, request: HttpRequest, url: URL, trace: SimpleNamespace) -> HttpReply:
        async with self._open().request(
            request.method,
            url,
            headers=request.headers,
            data=request.body or None,
            allow_redirects=False,
            trace_request_ctx=trace,
        ) as response:
            if (response.content_length or 0) > self._max_reply_bytes:
                raise self._too_large(response)
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                body += chunk
                if len(body) > self._max_reply_bytes:
                    raise self._too_large(response)
            headers: dict[str, str] = {}
            for name, value in response.headers.items():  # repeated fields join (RFC 9110 section 5.3)
                name = name.lower()  # noqa: PLW2901  the received spelling is of no use
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            return HttpReply(response.status, headers, bytes(body))

    def _too_large(self, response: aiohttp.ClientResponse) -> _NoReply:
        response.close()  # the rest is not read, so the connection cannot be used again
        return _NoReply("too_large", f"the reply is longer than {self._max_reply_bytes} bytes", sent=True)

    def _open(self) -> aiohttp.ClientSession:
        """The session, made inside the running loop and only when first needed."""
        if self._closed:
            raise _NoReply("unreachable", "this client is closed")
        if self._session is None:
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_reuseconn.append(_mark_reused)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._ssl, limit=self._max_concurrent),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={
                    "User-Agent": f"kong-credential-validator/{__version__}",
                    "Accept-Encoding": "identity",
                },
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout_s),
                auto_decompress=False,
                trust_env=False,
                trace_configs=[tracing],
            )
        return self._session

    def _wait_asked_for(self, reply: HttpReply) -> float:
        """Seconds until the provider wants to be asked again, 0 to 300."""
        asked = reply.headers.get("retry-after", "").strip()
        if _SECONDS.fullmatch(asked):
            return min(float(asked), _RATE_LIMIT_MAX_S)
        until = _http_date(asked)
        if until is None:
            for name in _RESET_HEADERS:
                value = reply.headers.get(name, "").strip()
                if _SECONDS.fullmatch(value):
                    until = float(value)
                    break
        wait_s = 0.0 if until is None else until - self._clock.now()
        return min(wait_s, _RATE_LIMIT_MAX_S) if wait_s > 0 else _RATE_LIMIT_DEFAULT_S


async def _mark_reused(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.reused = True


def _trust_only(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        message = f"ca_file {ca_file}: cannot be read as PEM certificates ({error.strerror or error})"
        raise ValueError(message) from error


def _parsed(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in {"https", "http"} or not url.host:
        raise _NoReply("unreachable", "its address is not an absolute https URL")
    if url.user is not None or url.password is not None:  # aiohttp would send them as a credential
        raise _NoReply("unreachable", "its address holds a user name; remove it")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _http_date(value: str) -> float | None:
    """RFC 9110 section 5.6.7, as seconds since the epoch; ``None`` when it is none."""
    try:
        parsed = email.utils.parsedate_to_datetime(value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _kind_of(error: Exception) -> str:
    """What an operator can act on, without the exception's own words, which may quote what was sent."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return "its TLS certificate is not trusted"
        case aiohttp.ClientSSLError():
            return "the TLS handshake failed"
        case aiohttp.ClientConnectorDNSError():
            return "its name could not be resolved"
        case aiohttp.ClientConnectorError():
            return "the connection was refused or is not possible"
        case aiohttp.ClientPayloadError():
            return "the reply broke off"
        case aiohttp.ClientResponseError():
            return "the reply is not valid HTTP"
        case aiohttp.ClientConnectionError():
            return "the connection was closed without a reply"
        case _:
            return f"the request failed ({type(error).__name__})"
