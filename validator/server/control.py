"""The control plane: the registry, revocations, health and metrics over HTTP.

Law of this file: every route stands in ``_operations``, from which both the router and ``/openapi.json`` are
made, so that nothing is served that is not described.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from validator import __version__
from validator.dcr.bridge import Bridge
from validator.ports import Clock, RegistryAdmin
from validator.server.bridge import ApiKeys, BridgeEdge, below_bridge, bridge_operations
from validator.server.guard import Token, guard
from validator.server.handlers import DEFAULT_PAGE, EXCLUDABLE, MOST_A_PAGE, Handlers
from validator.server.openapi import Operation, Reply, add_routes, document
from validator.server.problems import (
    PROBLEMS,
    RENDERING,
    Handler,
    Rendering,
    finish,
    json_response,
    problem_response,
    problems,
)
from validator.server.resources import (
    ApplicationBody,
    ApplicationList,
    ApplicationView,
    Health,
    OpenApiDocument,
    Readiness,
    RegistrationStatusBody,
    RevocationBody,
    RevocationList,
    RevocationView,
)

_PAGE = {"type": "integer", "minimum": 1, "maximum": MOST_A_PAGE}


def control_application(
    *,
    registry: RegistryAdmin,
    clock: Clock,
    strategies: Callable[[], Collection[str]],
    ready: Callable[[Collection[str]], Awaitable[Sequence[str]]],
    metrics: Callable[[], Awaitable[tuple[bytes, str]]],
    clear_cache: Callable[[], Awaitable[None]],
    token: Token,
    session_ttl_s: Callable[[], float],
    bridge: tuple[Bridge, ApiKeys] | None = None,
) -> web.Application:
    """The whole control plane; serve it with ``ControlRunner``.

    Args:
        registry: applications and revocations.
        clock: what ``expires_at`` of a new revocation is compared with.
        strategies: the names configured now.
        ready: what is missing before requests can be judged; empty when nothing is. It is told what is to be left
            out, of ``EXCLUDABLE``.
        metrics: the exposition and its content type.
        clear_cache: forgets everything cached.
        token: the control token configured now, or ``None``: then the listener must be on loopback or a Unix
            socket, and what looks like a browser is refused.
        session_ttl_s: seconds that no session lasts longer than, as configured now.
        bridge: Konnect's bridge and its keys of now, where it has no listener of its own. Its paths ask for a key
            instead of the token, and refuse in its own words.
    """
    handlers = Handlers(registry, clock, strategies, ready, metrics, clear_cache, session_ttl_s)
    operations = _operations(handlers, [] if bridge is None else bridge_operations(bridge[0], clock))
    open_paths = frozenset(operation.path for operation in operations if operation.open)
    own: list[Middleware] = [problems, guard(token, open_paths)]
    if bridge is None:
        application = web.Application(middlewares=own)
    else:
        edge = BridgeEdge(bridge[1], clock)
        application = web.Application(
            middlewares=[edge.middleware(below_bridge), *(_outside_bridge(each) for each in own)]
        )
        application[RENDERING] = Rendering(_either(edge), problem_response)
    add_routes(application, operations)
    application.on_response_prepare.append(finish)
    return application


def _outside_bridge(middleware: Middleware) -> Middleware:
    @web.middleware
    async def apply(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await (handler(request) if below_bridge(request) else middleware(request, handler))

    return apply


def _either(edge: BridgeEdge) -> Callable[[Handler, web.Request], Awaitable[web.StreamResponse]]:
    async def answer(handler: Handler, request: web.Request) -> web.StreamResponse:
        return await (edge.answer if below_bridge(request) else PROBLEMS.answer)(handler, request)

    return answer


def _operations(handlers: Handlers, bridge: Sequence[Operation]) -> list[Operation]:
    """Everything that is served."""

    async def openapi(_: web.Request) -> web.Response:
        return json_response(described)

    operations = [
        *_process(handlers),
        *_applications(handlers),
        *_revocations(handlers),
        *bridge,
        Operation(
            "GET",
            "/openapi.json",
            "getOpenApi",
            "This document",
            {200: Reply("OpenAPI 3.1", OpenApiDocument)},
            openapi,
        ),
    ]
    described = document(operations, __version__)
    return operations


def _process(handlers: Handlers) -> list[Operation]:
    return [
        Operation(
            "GET",
            "/healthz",
            "getHealth",
            "Whether the process lives",
            {200: Reply("It lives", Health)},
            handlers.healthz,
            open=True,
        ),
        Operation(
            "GET",
            "/readyz",
            "getReadiness",
            "Whether requests can be judged",
            {
                200: Reply("Every strategy has keys and the store answers", Readiness),
                503: Reply("Not yet, or not now; missing lists why", Readiness),
            },
            handlers.readyz,
            query={"exclude": ("leave this out", {"type": "string", "enum": sorted(EXCLUDABLE)})},
            open=True,
        ),
        Operation(
            "GET",
            "/metrics",
            "getMetrics",
            "Prometheus metrics",
            {200: Reply("The exposition", media_type="text/plain")},
            handlers.scrape,
        ),
        Operation(
            "DELETE",
            "/v1/cache",
            "clearCache",
            "Forget everything cached",
            {204: Reply("Forgotten")},
            handlers.clear_cache,
            problems=(503,),
        ),
    ]


def _applications(handlers: Handlers) -> list[Operation]:
    one, registration = "/v1/applications/{id}", "/v1/applications/{id}/registrations/{service}"
    return [
        Operation(
            "GET",
            "/v1/applications",
            "listApplications",
            "Applications in force, in order of id",
            {200: Reply("One page", ApplicationList)},
            handlers.list_applications,
            query={
                "strategy": ("of this strategy alone", {"type": "string", "maxLength": 128}),
                "client_id": ("with this client id alone", {"type": "string", "maxLength": 256}),
                "after": ("beyond this id", {"type": "string", "maxLength": 128}),
                "limit": ("at most so many", {**_PAGE, "default": DEFAULT_PAGE}),
            },
        ),
        Operation(
            "POST",
            "/v1/applications",
            "createApplication",
            "Write a new application down",
            {201: Reply("In force for the next request", ApplicationView, location=True)},
            handlers.create_application,
            body=ApplicationBody,
            problems=(409, 503),
        ),
        Operation(
            "GET",
            one,
            "getApplication",
            "One application",
            {200: Reply("The application", ApplicationView)},
            handlers.get_application,
            problems=(404,),
        ),
        Operation(
            "PUT",
            one,
            "putApplication",
            "Replace an application whole, or create it under this id",
            {
                200: Reply("Replaced; in force for the next request", ApplicationView),
                201: Reply("Created; in force for the next request", ApplicationView, location=True),
            },
            handlers.put_application,
            body=ApplicationBody,
            problems=(409, 503),
        ),
        Operation(
            "DELETE",
            one,
            "deleteApplication",
            "Forget an application",
            {204: Reply("Its next request is refused")},
            handlers.delete_application,
            problems=(404, 409, 503),
        ),
        Operation(
            "PUT",
            registration,
            "putRegistration",
            "Set the status of an application's right to call a service",
            {200: Reply("In force for the next request", ApplicationView)},
            handlers.put_registration,
            body=RegistrationStatusBody,
            problems=(404, 409, 503),
        ),
        Operation(
            "DELETE",
            registration,
            "deleteRegistration",
            "Remove an application's right to call a service",
            {204: Reply("In force for the next request")},
            handlers.delete_registration,
            problems=(404, 409, 503),
        ),
    ]


def _revocations(handlers: Handlers) -> list[Operation]:
    path = "/v1/revocations"
    return [
        Operation(
            "GET",
            path,
            "listRevocations",
            "Revocations that count now, the newest first",
            {200: Reply("At most limit of them", RevocationList)},
            handlers.list_revocations,
            query={"limit": ("at most so many", {**_PAGE, "default": MOST_A_PAGE})},
        ),
        Operation(
            "POST",
            path,
            "revoke",
            "Block a client, an application, a session, a token, or what sessions a client has",
            {201: Reply("In force for the next request", RevocationView)},
            handlers.revoke,
            body=RevocationBody,
            problems=(404, 503),
        ),
        Operation(
            "DELETE",
            path,
            "unrevoke",
            "Lift the revocation of the same client, application, session, token or sessions",
            {204: Reply("Lifted")},
            handlers.unrevoke,
            body=RevocationBody,
            problems=(404, 503),
        ),
    ]
