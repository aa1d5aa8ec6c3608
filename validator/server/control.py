"""The control plane: the registry, revocations, health and metrics over HTTP.

Law of this file: every route stands in ``_operations``, from which both the router and ``/openapi.json`` are
made, so that nothing is served that is not described.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence

from aiohttp import web

from validator import __version__
from validator.ports import Clock, RegistryAdmin
from validator.server.guard import Token, guard
from validator.server.handlers import DEFAULT_PAGE, MOST_A_PAGE, Handlers
from validator.server.openapi import Operation, Reply, document
from validator.server.problems import COMMON_HEADERS, json_response, problems
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
    ready: Callable[[], Awaitable[Sequence[str]]],
    metrics: Callable[[], tuple[bytes, str]],
    clear_cache: Callable[[], None],
    token: Token,
) -> web.Application:
    """The whole control plane; serve it with ``ControlRunner``.

    Args:
        registry: applications and revocations.
        clock: what ``expires_at`` of a new revocation is compared with.
        strategies: the names configured now.
        ready: what is missing before requests can be judged; empty when nothing is.
        metrics: the exposition and its content type.
        clear_cache: forgets everything cached.
        token: the control token configured now, or ``None``: then the listener must be on loopback or a Unix
            socket, and what looks like a browser is refused.
    """
    operations = _operations(Handlers(registry, clock, strategies, ready, metrics, clear_cache))
    open_paths = frozenset(operation.path for operation in operations if operation.open)
    application = web.Application(middlewares=[problems, guard(token, open_paths)])
    for operation in operations:
        if operation.method == "GET":
            application.router.add_get(operation.path, operation.handler)  # and HEAD, RFC 9110 section 9.1
        else:
            application.router.add_route(operation.method, operation.path, operation.handler)
    application.on_response_prepare.append(_finish)
    return application


async def _finish(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(COMMON_HEADERS)


def _operations(handlers: Handlers) -> list[Operation]:
    """Everything that is served."""

    async def openapi(_: web.Request) -> web.Response:
        return json_response(described)

    operations = [
        *_process(handlers),
        *_applications(handlers),
        *_revocations(handlers),
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
            "Block a client, an application, a session or a token",
            {201: Reply("In force for the next request", RevocationView)},
            handlers.revoke,
            body=RevocationBody,
            problems=(404, 503),
        ),
        Operation(
            "DELETE",
            path,
            "unrevoke",
            "Lift the revocation of the same client, application, session or token",
            {204: Reply("Lifted")},
            handlers.unrevoke,
            body=RevocationBody,
            problems=(404, 503),
        ),
    ]
