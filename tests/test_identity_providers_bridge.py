"""An application's whole life as Konnect drives it through the bridge, at a provider that nobody here wrote:
created, registered, let in by every method, given another secret, closed out, deleted."""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from identity_providers.rows import METHODS, granted
from oidc_provider.provider import OidcProvider
from sidecar_process import SidecarProcess
from sidecar_support import Answer, basic, bearer

pytestmark = [pytest.mark.programs, pytest.mark.asyncio(loop_scope="module")]

API_KEY = "konnect_key_0123456789"
OTHER_KEY = "konnect_key_next_one_1"
VERSION_ID = "5f9fd312-a987-4628-b4c5-bb4f4fddd5f7"  # of the API product that the service `orders` is
UNMAPPED_ID = "11111111-2222-4333-8444-555555555555"
SHOWN = "any other, through the HTTP DCR bridge (oidc-provider)"
WRONG_KEY = {"error": "Wrong API-Key", "error_description": "wrong x-api-key header"}


def ids(*names: str) -> dict[str, str]:
    return {name: str(uuid.uuid4()) for name in names}


@dataclass
class Application:
    """What Konnect knows of one: its own ids, and what the bridge answered."""

    payload: dict[str, Any]
    client_id: str = ""
    secret: str = field(default="", repr=False)
    application_id: str = field(default_factory=lambda: str(uuid.uuid4()))


class Konnect:
    """Konnect's side, and a client's."""

    def __init__(self, provider: OidcProvider, sidecar: SidecarProcess, http: aiohttp.ClientSession) -> None:
        self.provider = provider
        self.sidecar = sidecar
        self._http = http

    async def call(
        self, method: str, path: str, body: object = None, *, key: str | None = API_KEY
    ) -> tuple[int, Any]:
        headers = {"X-API-KEY": key} if key is not None else {}
        url = f"http://{self.sidecar.dcr}{path}"
        async with self._http.request(method, url, json=body, headers=headers) as reply:
            text = await reply.text()
            return reply.status, json.loads(text) if text else None

    async def create(self, name: str = "Orders mobile") -> Application:
        application = Application(
            {
                "client_name": name,
                "redirect_uris": [],
                "grant_types": ["client_credentials", "bearer"],
                "scopes": ["read"],
                "token_endpoint_auth_method": "client_secret_post",
                "application_description": "",
                **ids("portal_id", "organization_id", "developer_id", "auth_strategy_id", "dcr_provider_id"),
            }
        )
        status, answer = await self.call("POST", "/dcr/", application.payload)
        assert status == 201, answer
        application.client_id, application.secret = answer["client_id"], answer["client_secret"]
        return application

    async def event(self, application: Application, event_type: str, **more: Any) -> int:
        common = {name: value for name, value in application.payload.items() if name.endswith("_id")}
        body = {
            "event_type": event_type,
            "client_id": application.client_id,
            "application_id": application.application_id,
            "application_name": application.payload["client_name"],
            "application_description": "",
            **common,
            **more,
        }
        status, answer = await self.call("POST", f"/dcr/{application.client_id}/event-hook", body)
        assert (status, answer) == (200, None), answer
        return status

    async def registered(self) -> Application:
        application = await self.create()
        await self.event(application, "add_registration", api_product_version_id=VERSION_ID)
        return application

    async def new_secret(self, application: Application) -> None:
        status, answer = await self.call("POST", f"/dcr/{application.client_id}/new-secret")
        assert (status, answer["client_id"]) == (200, application.client_id)
        application.secret = answer["client_secret"]

    async def delete(self, application: Application) -> int:
        return (await self.call("DELETE", f"/dcr/{application.client_id}"))[0]

    async def ask(self, headers: dict[str, str], service: str = "orders") -> Answer:
        url = f"http://{self.sidecar.data}/v1/authorize/plain/{service}"
        async with self._http.get(url, headers=headers) as reply:
            return Answer(reply.status, dict(reply.headers), await reply.read())

    async def token(self, application: Application) -> dict[str, str]:
        form = {"client_id": application.client_id, "client_secret": application.secret}
        return bearer(await granted(self.provider.token_endpoint, form))

    async def credential(self, application: Application, method: str) -> dict[str, str]:
        if method == "bearer":
            return await self.token(application)
        pair = basic(application.client_id, application.secret)
        if method == "client_credentials":
            return pair
        opened = await self.ask(pair)
        assert opened.status == 200, opened
        return opened.cookie

    async def control(self, path: str) -> int:
        async with self._http.get(f"http://{self.sidecar.control}{path}") as reply:
            return reply.status


def _config(provider: OidcProvider, directory: Path) -> dict[str, Any]:
    (directory / "keys").write_text(f"{API_KEY}\n{OTHER_KEY}  # the next one\n")
    (directory / "iat").write_text(provider.initial_access_token or "")
    (directory / "session").write_text(base64.b64encode(bytes(range(32))).decode())
    for name in ("keys", "iat", "session"):
        (directory / name).chmod(0o600)
    strategy = {
        "idp": "generic",
        "issuer": provider.issuer,
        "audience": ["api://default"],
        "registration": {"initial_access_token_file": "iat"},
    }
    return {
        "listen": {"data": "127.0.0.1:0", "control": "127.0.0.1:0", "dcr": "127.0.0.1:0"},
        "strategies": {"plain": strategy},
        "dcr": {"api_keys_file": "keys", "services": {VERSION_ID: "orders"}},
        "session": {"keys_file": "session"},
        "store": {"path": str(directory / "state.db")},
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def konnect(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Konnect]:
    directory = tmp_path_factory.mktemp("bridge")
    provider = OidcProvider(rotates_secrets=True)
    await asyncio.to_thread(provider.start)
    try:
        sidecar = SidecarProcess(_config(provider, directory), directory)
        await asyncio.to_thread(sidecar.start)
        try:
            jar = aiohttp.DummyCookieJar()
            async with aiohttp.ClientSession(cookie_jar=jar) as http:
                yield Konnect(provider, sidecar, http)
        finally:
            await asyncio.to_thread(sidecar.stop)
    finally:
        await asyncio.to_thread(provider.stop)


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=pytest.mark.provider_cell(SHOWN, "generic", m)) for m in METHODS]
)
async def test_an_application_of_the_portal_is_let_in(konnect: Konnect, method: str) -> None:
    application = await konnect.create()
    pair = basic(application.client_id, application.secret)
    assert (await konnect.ask(pair)).verdict == (403, "not_registered")
    await konnect.event(application, "add_registration", api_product_version_id=VERSION_ID)
    for _ in range(2):
        answer = await konnect.ask(await konnect.credential(application, method))
        assert answer.verdict == (200, ""), answer
        assert answer.headers["X-Auth-Method"] == method
        assert answer.headers["X-Application-Id"] == application.application_id
        assert answer.headers["X-Credential-Identifier"] == application.client_id


async def test_a_version_that_is_not_mapped_is_itself_the_service(konnect: Konnect) -> None:
    application = await konnect.create()
    await konnect.event(application, "add_registration", api_product_version_id=UNMAPPED_ID)
    pair = basic(application.client_id, application.secret)
    assert (await konnect.ask(pair, UNMAPPED_ID)).status == 200
    assert (await konnect.ask(pair)).verdict == (403, "not_registered")


async def test_a_former_secret_is_refused_on_the_next_request_though_it_was_cached(konnect: Konnect) -> None:
    application = await konnect.registered()
    former = basic(application.client_id, application.secret)
    for _ in range(3):
        answer = await konnect.ask(former)
        assert answer.status == 200
    session = answer.cookie
    assert (await konnect.ask(session)).status == 200
    await konnect.new_secret(application)
    assert (await konnect.ask(former)).verdict == (401, "credentials_rejected")
    assert (await konnect.ask(session)).verdict == (401, "revoked")
    for method in METHODS:
        assert (await konnect.ask(await konnect.credential(application, method))).verdict == (200, "")


async def test_who_still_tries_the_former_secret_does_not_lock_the_new_one_out(konnect: Konnect) -> None:
    application = await konnect.registered()
    former = basic(application.client_id, application.secret)
    await konnect.new_secret(application)
    verdicts = []
    for n in range(12):  # each another wrong one, as the answer to one is kept for a moment
        wrong = basic(application.client_id, f"{application.secret}{n}")
        verdicts.append((await konnect.ask(wrong)).status)
    assert verdicts == [401] * 10 + [429] * 2
    assert (await konnect.ask(former)).status == 429
    assert (await konnect.ask(basic(application.client_id, application.secret))).verdict == (200, "")


async def test_a_registration_that_was_removed_closes_the_door_and_only_that_one(konnect: Konnect) -> None:
    application = await konnect.registered()
    await konnect.event(application, "add_registration", api_product_version_id=UNMAPPED_ID)
    credentials = [await konnect.credential(application, method) for method in METHODS]
    for headers in credentials:
        assert (await konnect.ask(headers)).status == 200
    await konnect.event(application, "remove_registration", api_product_version_id=VERSION_ID)
    for headers in credentials:
        assert (await konnect.ask(headers)).verdict == (403, "not_registered")
        assert (await konnect.ask(headers, UNMAPPED_ID)).status == 200
    await konnect.event(application, "remove_registration", api_product_version_id=VERSION_ID)


async def test_a_deleted_application_is_refused_by_every_method_at_once(konnect: Konnect) -> None:
    application = await konnect.registered()
    credentials = {method: await konnect.credential(application, method) for method in METHODS}
    for headers in credentials.values():
        assert (await konnect.ask(headers)).status == 200
    assert await konnect.delete(application) == 204
    for method, headers in credentials.items():
        answer = await konnect.ask(headers)
        assert answer.status == 401, (method, answer)
    assert await konnect.delete(application) == 204
    status, answer = await konnect.call("POST", f"/dcr/{application.client_id}/new-secret")
    assert (status, answer["error"]) == (404, "client_not_found")


async def test_a_changed_name_is_the_upstreams_next(konnect: Konnect) -> None:
    application = await konnect.registered()
    pair = basic(application.client_id, application.secret)
    assert (await konnect.ask(pair)).headers["X-Application-Name"] == "Orders mobile"
    application.payload["client_name"] = "Orders on the phone"
    await konnect.event(application, "update_application", redirect_uris=["https://app.example.com/cb"])
    answer = await konnect.ask(pair)
    assert (answer.status, answer.headers["X-Application-Name"]) == (200, "Orders on the phone")


async def test_a_repeated_creation_is_one_client(konnect: Konnect) -> None:
    application = await konnect.create("Twice")
    answers = await asyncio.gather(*(konnect.call("POST", "/dcr/", application.payload) for _ in range(3)))
    assert {status for status, _ in answers} == {201}
    assert {(a["client_id"], a["client_secret"]) for _, a in answers} == {
        (application.client_id, application.secret)
    }


@pytest.mark.parametrize("key", [None, "", "wrong_key_0123456789", API_KEY + "x"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/dcr/"), ("DELETE", "/dcr/x"), ("POST", "/dcr/x/new-secret")]
)
async def test_without_a_key_nothing_is_said(konnect: Konnect, method: str, path: str, key: str | None) -> None:
    assert await konnect.call(method, path, {}, key=key) == (401, WRONG_KEY)


async def test_either_key_opens(konnect: Konnect) -> None:
    status, answer = await konnect.call("DELETE", "/dcr/nobody", key=OTHER_KEY)
    assert (status, answer["error"]) == (404, "client_not_found")


async def test_the_bridge_is_where_it_was_put_and_nothing_else_is(konnect: Konnect) -> None:
    assert await konnect.control("/dcr/") == 404
    status, answer = await konnect.call("GET", "/v1/applications")
    assert status == 404
    assert set(answer) == {"error", "error_description"}


async def test_what_was_registered_is_managed_after_a_restart(konnect: Konnect) -> None:
    application = await konnect.registered()
    await asyncio.to_thread(konnect.sidecar.stop)
    await asyncio.to_thread(konnect.sidecar.start)
    pair = basic(application.client_id, application.secret)
    assert (await konnect.ask(pair)).status == 200
    await konnect.new_secret(application)
    assert (await konnect.ask(pair)).status == 401
    assert await konnect.delete(application) == 204
    store = await asyncio.to_thread((konnect.sidecar.config_file.parent / "state.db").read_bytes)
    said = "\n".join(konnect.sidecar.lines).encode()
    for secret in (application.secret, API_KEY, konnect.provider.initial_access_token or "none"):
        assert secret.encode() not in store + said
