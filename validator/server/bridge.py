"""Konnect's HTTP DCR bridge over HTTP.

Law of this file: everything between a request below ``/dcr`` and the bridge lives here: the key is asked for
before anything else is said, and every refusal is ``{error, error_description}``, which Konnect shows to its
admin. What the calls do stands in ``validator.dcr``; no line of the log holds a key or a secret.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware
from pydantic import TypeAdapter

from validator.adapters.clock import SystemClock
from validator.core.registration import RegistrationRefused
from validator.core.registry import canonical_client_id
from validator.dcr.bridge import Bridge
from validator.dcr.plan import BridgeRefused, Busy
from validator.errors import Unavailable
from validator.model import Reason
from validator.ports import Clock, NotFound, RegistryError
from validator.server.bodies import judged, mistaken, path_value, read_body, read_json
from validator.server.bridge_bodies import ApplicationPayload, BridgeError, ClientCredentials, EventHook, NewSecret
from validator.server.guard import has_api_key, remote
from validator.server.openapi import Operation, Reply, add_routes
from validator.server.problems import (
    COMMON_HEADERS,
    RENDERING,
    Handler,
    ProblemError,
    Rendering,
    finish,
    json_response,
)
from validator.server.resources import ClientId

ApiKeys = Callable[[], Sequence[str]]

_ROOT = "/dcr"
_CLIENT: TypeAdapter[str] = TypeAdapter(ClientId)
_DENIALS_EVERY_S = 10.0  # whoever tries keys writes this many lines and no more
_MAX_PATH_CHARS = 300  # of a log line

_SENTENCES = {
    404: "There is nothing at this path; Konnect's base URL of the handler is this host's and ends in /dcr.",
    405: "This path does not take this method; the Allow header lists those it takes.",
    417: "The only expectation that can be met is 100-continue.",
}
_AWAY = {
    Reason.IDP_UNAVAILABLE: "The identity provider could not be reached, or could not answer",
    Reason.STORE_UNAVAILABLE: "The sidecar's store could not be read or written",
}

_log = structlog.get_logger(__name__)


def bridge_application(bridge: Bridge, api_keys: ApiKeys, *, clock: Clock | None = None) -> web.Application:
    """The bridge alone, for a listener that Konnect reaches and nothing else is exposed by; serve it with
    ``ControlRunner``.

    Args:
        api_keys: those that count now, asked on every request (so a reload counts at once).
        clock: bounds the lines about wrong keys, and dates a client whose provider does not; the system's.
    """
    clock = clock or SystemClock()
    edge = BridgeEdge(api_keys, clock)
    application = web.Application(middlewares=[edge.middleware(lambda _: True)])
    add_routes(application, bridge_operations(bridge, clock))
    application.on_response_prepare.append(finish)
    application[RENDERING] = Rendering(edge.answer, _refusal_of_status)
    return application


def below_bridge(request: web.Request) -> bool:
    """Whether a path is the bridge's, known or not; read as the router reads it."""
    path = request.rel_url.path_safe
    return path == _ROOT or path.startswith(f"{_ROOT}/")


def bridge_operations(bridge: Bridge, clock: Clock | None = None) -> list[Operation]:
    """Everything that the bridge serves; who serves it puts a ``BridgeEdge`` before it."""
    calls = _Calls(bridge, clock or SystemClock())
    made = {201: Reply("Registered at the identity provider, and written down here", ClientCredentials)}
    one = f"{_ROOT}/{{clientId}}"
    return [
        _operation(
            "POST", f"{_ROOT}/", "createClient", "Register an application's client", made, calls.create,
            body=ApplicationPayload,
        ),
        _operation(
            "POST", _ROOT, "createClientWithoutSlash", "The same as with the slash", made, calls.create,
            body=ApplicationPayload,
        ),
        _operation(
            "DELETE", one, "deleteClient", "Delete a client: its next request is refused",
            {204: Reply("Gone, here and at the identity provider")}, calls.delete,
        ),
        _operation(
            "POST", f"{one}/new-secret", "replaceSecret", "Another secret; the one before is refused from now on",
            {200: Reply("The new secret", NewSecret)}, calls.new_secret,
        ),
        _operation(
            "POST", f"{one}/event-hook", "handleEvent", "What happened to the application in Konnect",
            {200: Reply("In force for the next request")}, calls.event,
            body=EventHook,
        ),
    ]  # fmt: skip


class BridgeEdge:
    """What every request below ``/dcr`` passes, and what every refusal there looks like."""

    def __init__(self, api_keys: ApiKeys, clock: Clock) -> None:
        self._api_keys = api_keys
        self._clock = clock
        self._told_at = -math.inf
        self._untold = 0

    def middleware(self, belongs: Callable[[web.Request], bool]) -> Middleware:
        """For the requests that belong to the bridge; others pass."""

        @web.middleware
        async def apply(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await (self.answer(handler, request) if belongs(request) else handler(request))

        return apply

    async def answer(self, handler: Handler, request: web.Request) -> web.StreamResponse:
        """The handler's response, or the refusal that a wrong key or its exception stands for. Applied twice:
        around the middlewares, since aiohttp judges Expect before them, and as one of them, whoever serves it."""
        if not has_api_key(request, self._api_keys()):
            self._tell_denial(request)
            return refusal(401, "Wrong API-Key", "wrong x-api-key header")
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - the outermost edge: a bug is a log line and a bare 500
            return _refused(request, error)

    def _tell_denial(self, request: web.Request) -> None:
        now = self._clock.monotonic()
        if now < self._told_at + _DENIALS_EVERY_S:
            self._untold += 1
            return
        _log.warning(
            "dcr_denied", remote=remote(request), method=request.method, path=_path(request), untold=self._untold
        )
        self._told_at, self._untold = now, 0


def refusal(status: int, error: str, description: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """RFC 7591 section 3.2.2's shape, which Konnect's contract shares."""
    body = {"error": error, "error_description": description}
    return json_response(body, status, headers={**COMMON_HEADERS, **(headers or {})})


def _refusal_of_status(status: int, detail: str) -> web.Response:
    return refusal(status, HTTPStatus(status).phrase, detail)


def _refused(request: web.Request, error: Exception) -> web.Response:
    headers: dict[str, str] = {}
    match error:
        case BridgeRefused():
            status, code, description = error.status, error.error, error.description
        case RegistrationRefused():
            status, code, description = 400, error.error, error.description
        case Unavailable():
            wait_s = max(1, math.ceil(error.retry_after_s or 1))
            status, code, description = 503, "temporarily_unavailable", _unavailable(error, wait_s)
            headers["Retry-After"] = str(wait_s)
        case RegistryError():
            status = 404 if isinstance(error, NotFound) else 409
            code, description = HTTPStatus(status).phrase, str(error)
        case ProblemError():
            status, code, description = error.status, HTTPStatus(error.status).phrase, _sentence(error)
            headers.update(error.headers)
        case web.HTTPException():
            status, code = error.status, HTTPStatus(error.status).phrase
            description = _SENTENCES.get(status, "The request was refused.")
            headers.update({"Allow": error.headers["Allow"]} if "Allow" in error.headers else {})
        case _:
            status, code = 500, HTTPStatus.INTERNAL_SERVER_ERROR.phrase
            description = "The sidecar made a mistake; its log says more. Nothing is lost by calling again."
            _log.error("dcr_error", method=request.method, path=_path(request), exc_info=error)
    _tell(request, status, code, detail=description)
    return refusal(status, code, description, headers)


def _unavailable(error: Unavailable, wait_s: int) -> str:
    ours = "The sidecar cannot answer now"
    what = ours if isinstance(error, Busy) else _AWAY.get(error.reason, ours)
    why = f" ({error.detail})" if error.detail else ""
    return f"{what}{why}. Try again in {wait_s} s: the same call again completes what was begun, or begins anew."


def _sentence(problem: ProblemError) -> str:
    """Every mistake in one sentence: Konnect shows its admin one text."""
    if not problem.errors:
        return problem.detail
    found = (f"{e.get('pointer', e.get('parameter')) or 'the body'}: {e['detail']}" for e in problem.errors)
    return f"The request has mistakes: {'; '.join(found)}."


class _Calls:
    """One method for each operation."""

    def __init__(self, bridge: Bridge, clock: Clock) -> None:
        self._bridge = bridge
        self._clock = clock

    async def create(self, request: web.Request) -> web.Response:
        payload = await read_body(request, ApplicationPayload, ())
        made = await self._bridge.create(payload.application())
        _tell(request, 201, "created", client_id=made.client_id)
        # RFC 7591 leaves the moment to the provider; Konnect's reference handler always tells one.
        issued_at = int(self._clock.now()) if made.issued_at is None else made.issued_at
        view = ClientCredentials(
            client_id=made.client_id,
            client_secret=made.client_secret,
            client_id_issued_at=issued_at,
            client_secret_expires_at=made.expires_at,
        )
        return json_response(view.model_dump(), 201)

    async def delete(self, request: web.Request) -> web.Response:
        client_id = path_value(request, "clientId", _CLIENT)
        await self._bridge.delete(client_id)
        _tell(request, 204, "deleted", client_id=client_id)
        return web.Response(status=204)

    async def new_secret(self, request: web.Request) -> web.Response:
        client_id = path_value(request, "clientId", _CLIENT)
        made = await self._bridge.new_secret(client_id)
        _tell(request, 200, "secret_replaced", client_id=client_id)
        view = NewSecret(
            client_id=made.client_id,
            client_secret=made.client_secret,
            client_id_issued_at=made.issued_at,
            client_secret_expires_at=made.expires_at,
        )
        return json_response(view.model_dump(exclude_none=True))

    async def event(self, request: web.Request) -> web.Response:
        client_id = path_value(request, "clientId", _CLIENT)
        raw = await read_json(request)
        hook, found = judged(raw, EventHook, ())
        named = raw.get("client_id") if isinstance(raw, dict) else None
        if isinstance(named, str) and canonical_client_id(named) != canonical_client_id(client_id):
            found.append({"pointer": "/client_id", "detail": "must be the client id of the path"})
        if hook is None or found:
            raise mistaken(found)
        await self._bridge.event(hook.event(client_id))
        _tell(request, 200, hook.event_type, client_id=client_id)
        return web.Response(status=200)


def _operation(
    method: str,
    path: str,
    name: str,
    summary: str,
    replies: Mapping[int, Reply],
    handler: Handler,
    body: type[ApplicationPayload] | type[EventHook] | None = None,
) -> Operation:
    # A create names no client, so there is none that it could not find.
    known = (400, 503) if "{" not in path else (400, 404, 503)
    return Operation(
        method, path, name, summary, replies, handler, body=body, problems=known, api_key=True, error=BridgeError
    )


def _tell(request: web.Request, status: int, outcome: str, **more: str) -> None:
    tell = _log.info if status < HTTPStatus.BAD_REQUEST else _log.warning
    what = {"remote": remote(request), "method": request.method, "path": _path(request)}
    tell("dcr_call", **what, status=status, outcome=outcome, **more)


def _path(request: web.Request) -> str:
    return request.path[:_MAX_PATH_CHARS]
