"""What each operation of the control plane does.

Law of this file: it translates between HTTP and the ports, and decides nothing about applications. Every
write leaves one log line: who, what, which; never the token.
"""

import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from urllib.parse import quote

import structlog
from aiohttp import web
from pydantic import TypeAdapter

from validator.model import Application, RegistrationStatus, Revocation
from validator.ports import Clock, Conflict, NotFound, RegistryAdmin
from validator.server.bodies import limit, mistaken, path_value, query, read_body
from validator.server.guard import remote
from validator.server.problems import json_response
from validator.server.resources import (
    ApplicationBody,
    Id,
    RegistrationStatusBody,
    RevocationBody,
    Service,
    application_json,
    revocation_json,
)

DEFAULT_PAGE = 100
MOST_A_PAGE = 1000
EXCLUDABLE = frozenset({"redis"})  # what readiness may be asked without

_MAX_EXCLUDED = 16  # characters
_MAX_PUT_TRIES = 5  # a PUT that keeps losing against other writes of the same id is a conflict
_ID: TypeAdapter[str] = TypeAdapter(Id)
_SERVICE: TypeAdapter[str] = TypeAdapter(Service)

_log = structlog.get_logger(__name__)


class Handlers:
    """One method for each operation."""

    def __init__(
        self,
        registry: RegistryAdmin,
        clock: Clock,
        strategies: Callable[[], Collection[str]],
        ready: Callable[[Collection[str]], Awaitable[Sequence[str]]],
        metrics: Callable[[], Awaitable[tuple[bytes, str]]],
        clear_cache: Callable[[], Awaitable[None]],
        session_ttl_s: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._strategies = strategies
        self._ready = ready
        self._metrics = metrics
        self._clear_cache = clear_cache
        self._session_ttl_s = session_ttl_s

    async def healthz(self, _: web.Request) -> web.Response:
        return json_response({"status": "ok"})

    async def readyz(self, request: web.Request) -> web.Response:
        excluded = set(query(request, {"exclude": _MAX_EXCLUDED}).values())
        if not excluded <= EXCLUDABLE:
            raise mistaken([{"parameter": "exclude", "detail": f"must be {' or '.join(sorted(EXCLUDABLE))}"}])
        missing = list(await self._ready(excluded))
        if missing:
            return json_response({"status": "unready", "missing": missing}, 503)
        return json_response({"status": "ready"})

    async def scrape(self, _: web.Request) -> web.Response:
        body, content_type = await self._metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def list_applications(self, request: web.Request) -> web.Response:
        values = query(request, {"strategy": 128, "client_id": 256, "after": 128, "limit": 4})
        size = limit(values, default=DEFAULT_PAGE, most=MOST_A_PAGE)
        found = self._registry.list(
            strategy=values.get("strategy"),
            client_id=values.get("client_id"),
            after=values.get("after", ""),
            limit=size + 1,  # one more tells whether there is a next page
        )
        page = found[:size]
        following = page[-1].id if len(found) > size else None
        return json_response({"applications": [application_json(a) for a in page], "next": following})

    async def create_application(self, request: web.Request) -> web.Response:
        body = await read_body(request, ApplicationBody, self._strategies())
        application = body.application(body.id or str(uuid.uuid4()))
        await self._registry.create(application)
        _written(request, "create_application", application_id=application.id)
        return _created(application)

    async def get_application(self, request: web.Request) -> web.Response:
        application_id = request.match_info["id"]
        application = self._registry.get(application_id)
        if application is None:
            raise NotFound(f"there is no application {application_id!r}")
        return json_response(application_json(application))

    async def put_application(self, request: web.Request) -> web.Response:
        application_id = path_value(request, "id", _ID)
        body = await read_body(request, ApplicationBody, self._strategies())
        if body.id not in {None, application_id}:
            raise mistaken([{"pointer": "/id", "detail": "must be the id of the path, or be left out"}])
        application = body.application(application_id)
        for _ in range(_MAX_PUT_TRIES):
            try:
                await self._registry.replace(application)
            except NotFound:
                try:
                    await self._registry.create(application)
                except Conflict:
                    if self._registry.get(application_id) is None:
                        raise
                    continue  # somebody else created it in between: replace theirs
                _written(request, "create_application", application_id=application_id)
                return _created(application)
            _written(request, "replace_application", application_id=application_id)
            return json_response(application_json(application))
        raise Conflict(f"application {application_id!r} is being written by others: try again")

    async def delete_application(self, request: web.Request) -> web.Response:
        application_id = request.match_info["id"]
        await self._registry.delete(application_id)
        _written(request, "delete_application", application_id=application_id)
        return web.Response(status=204)

    async def put_registration(self, request: web.Request) -> web.Response:
        path_value(request, "service", _SERVICE)
        status = await read_body(request, RegistrationStatusBody, self._strategies())
        return await self._set_registration(request, RegistrationStatus(status.status))

    async def delete_registration(self, request: web.Request) -> web.Response:
        await self._set_registration(request, None)
        return web.Response(status=204)

    async def _set_registration(self, request: web.Request, status: RegistrationStatus | None) -> web.Response:
        application_id, service = request.match_info["id"], request.match_info["service"]
        application = await self._registry.set_registration(application_id, service, status)
        what = {"application_id": application_id, "service": service}
        if status is None:
            _written(request, "delete_registration", **what)
        else:
            _written(request, "set_registration", **what, status=status.value)
        return json_response(application_json(application))

    async def list_revocations(self, request: web.Request) -> web.Response:
        values = query(request, {"limit": 4})
        size = limit(values, default=MOST_A_PAGE, most=MOST_A_PAGE)
        found = self._registry.revocations(limit=size)
        return json_response({"revocations": [revocation_json(r) for r in found]})

    async def revoke(self, request: web.Request) -> web.Response:
        revocation = await self._revocation(request)
        if revocation.expires_at is not None and revocation.expires_at <= revocation.created_at:
            raise mistaken(
                [{"pointer": "/expires_at", "detail": "must be in the future, in seconds since the epoch"}]
            )
        if revocation.kind == "application_id" and self._registry.get(revocation.value) is None:
            raise NotFound(f"there is no application {revocation.value!r}")
        await self._registry.revoke(revocation)
        _written(request, "revoke", **revocation_json(revocation))
        return json_response(revocation_json(revocation), 201)

    async def unrevoke(self, request: web.Request) -> web.Response:
        revocation = await self._revocation(request)
        if not await self._registry.unrevoke(revocation):
            raise NotFound("there is no such revocation")
        _written(request, "unrevoke", **revocation_json(revocation))
        return web.Response(status=204)

    async def _revocation(self, request: web.Request) -> Revocation:
        body = await read_body(request, RevocationBody, self._strategies())
        return body.revocation(self._clock.now(), self._session_ttl_s())

    async def clear_cache(self, request: web.Request) -> web.Response:
        await self._clear_cache()
        _written(request, "clear_cache")
        return web.Response(status=204)


def _created(application: Application) -> web.Response:
    location = f"/v1/applications/{quote(application.id, safe='')}"
    return json_response(application_json(application), 201, headers={"Location": location})


def _written(request: web.Request, action: str, **what: object) -> None:
    _log.info("control_write", remote=remote(request), action=action, **what)
