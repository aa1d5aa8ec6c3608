"""The development provider registers and manages clients by RFC 7591 and RFC 7592, and loses replies as told."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

import aiohttp
import pytest
from imitation_support import Http, Reply, basic_header

from validator.model import Endpoint
from validator.testing import FakeIdp, Fault, ManualClock

MACHINE = {"client_name": "Orders", "grant_types": ["client_credentials"], "scope": "read"}


@pytest.fixture
async def idp() -> AsyncIterator[FakeIdp]:
    async with FakeIdp({"gateway": "s3cret"}, clock=ManualClock(), path="/tenant") as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield Http(session)


async def created(idp: FakeIdp, http: Http, **changes: object) -> dict[str, Any]:
    status, document = await http.post(idp.registration_endpoint, json={**MACHINE, **changes})
    assert status == 201, document
    return document


async def manage(http: Http, client: dict[str, Any], method: str, **options: Any) -> Reply:
    headers = {"Authorization": f"Bearer {client['registration_access_token']}"}
    return await http.call(method, client["registration_client_uri"], headers=headers, **options)


async def granted(idp: FakeIdp, http: Http, client: dict[str, Any], **form: str) -> int:
    client_id, secret = client["client_id"], client["client_secret"]
    return (await http.grant(idp.token_endpoint, client_id, secret, basic=True, **form))[0]


# -- RFC 7591 ------------------------------------------------------------------------------------------------


async def test_a_registered_client_gets_tokens(idp: FakeIdp, http: Http) -> None:
    client = await created(idp, http)
    assert http.headers["Cache-Control"] == "no-store"
    assert (await http.get(idp.discovery_url))["registration_endpoint"] == idp.registration_endpoint
    assert client["registration_client_uri"] == f"{idp.registration_endpoint}/{client['client_id']}"
    assert (client["client_id_issued_at"], client["client_secret_expires_at"]) == (1_800_000_000, 0)
    assert (client["client_name"], client["token_endpoint_auth_method"]) == ("Orders", "client_secret_basic")
    assert await granted(idp, http, client) == 200
    assert await granted(idp, http, client, scope="write") == 400
    status, _ = await http.grant(idp.token_endpoint, client["client_id"], client["client_secret"])
    assert status == 401  # registered for Basic
    assert idp.calls[Endpoint.REGISTRATION] == 1


async def test_the_grant_types_hold(idp: FakeIdp, http: Http) -> None:
    client = await created(idp, http, grant_types=["authorization_code"], redirect_uris=["https://app.example/cb"])
    form = {"grant_type": "client_credentials"}
    headers = basic_header(client["client_id"], client["client_secret"])
    status, document = await http.post(idp.token_endpoint, data=form, headers=headers)
    assert (status, document["error"]) == (400, "unauthorized_client")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"grant_types": ["authorization_code"]}, "invalid_redirect_uri"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
        ({"grant_types": "client_credentials"}, "invalid_client_metadata"),
        ({"scope": ["read"]}, "invalid_client_metadata"),
    ],
)
async def test_bad_metadata_is_refused(idp: FakeIdp, http: Http, change: dict[str, object], error: str) -> None:
    status, document = await http.post(idp.registration_endpoint, json={**MACHINE, **change})
    assert (status, document["error"]) == (400, error)
    assert idp.clients.keys() == {"gateway"}


async def test_a_form_is_no_registration(idp: FakeIdp, http: Http) -> None:
    status, document = await http.post(idp.registration_endpoint, data={"client_name": "x"})
    assert (status, document["error"]) == (400, "invalid_client_metadata")


async def test_an_initial_access_token_can_be_demanded(idp: FakeIdp, http: Http) -> None:
    idp.registration.initial_access_token = "let-me-in"
    for sent in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic let-me-in"}):
        status, document = await http.post(idp.registration_endpoint, json=MACHINE, headers=sent)
        assert (status, document["error"]) == (401, "invalid_token")
        assert http.headers["WWW-Authenticate"].startswith("Bearer ")
    headers = {"Authorization": "Bearer let-me-in"}
    assert (await http.post(idp.registration_endpoint, json=MACHINE, headers=headers))[0] == 201
    assert "let-me-in" not in repr(idp.requests)


# -- RFC 7592 ------------------------------------------------------------------------------------------------


async def test_reading_and_replacing(idp: FakeIdp, http: Http) -> None:
    client = await created(idp, http)
    assert await manage(http, client, "GET") == (200, client)
    new = {**MACHINE, "client_id": client["client_id"], "client_name": "Renamed"}
    status, updated = await manage(http, client, "PUT", json=new)
    assert (status, updated) == (200, {**client, "client_name": "Renamed"})
    assert await granted(idp, http, client) == 200
    kinds = [(event.kind, event.client_id) for event in idp.registration.events]
    assert kinds == [(kind, client["client_id"]) for kind in ("created", "read", "updated")]
    assert idp.registration.events[-1].metadata["client_name"] == "Renamed"


async def test_an_update_may_bring_a_new_secret_and_a_new_token(idp: FakeIdp, http: Http) -> None:
    idp.registration.rotates_secret_on_update = idp.registration.rotates_registration_token = True
    client = await created(idp, http)
    new = {**MACHINE, "client_id": client["client_id"], "client_secret": client["client_secret"]}
    _, updated = await manage(http, client, "PUT", json=new)
    assert updated["client_secret"] != client["client_secret"]
    assert (await granted(idp, http, client), await granted(idp, http, updated)) == (401, 200)
    assert (await manage(http, client, "GET"))[0] == 401
    assert (await manage(http, updated, "GET"))[0] == 200


@pytest.mark.parametrize(
    "change",
    [{"client_id": "another"}, {"client_secret": "chosen"}, {"registration_access_token": "x"}],
)
async def test_an_update_must_not_choose_what_is_the_servers(
    idp: FakeIdp, http: Http, change: dict[str, str]
) -> None:
    client = await created(idp, http)
    status, document = await manage(
        http, client, "PUT", json={**MACHINE, "client_id": client["client_id"], **change}
    )
    assert (status, document["error"]) == (400, "invalid_request")
    assert await granted(idp, http, client) == 200


async def test_a_deleted_client_is_gone_and_its_tokens_with_it(idp: FakeIdp, http: Http) -> None:
    client = await created(idp, http)
    token = idp.token(client["client_id"])
    ask = {"data": {"token": token}, "headers": basic_header("gateway")}
    assert (await http.post(idp.introspection_endpoint, **ask))[1]["active"] is True
    assert (await manage(http, client, "DELETE"))[0] == 204
    assert await granted(idp, http, client) == 401
    assert (await http.post(idp.introspection_endpoint, **ask))[1] == {"active": False}
    for method in ("GET", "DELETE"):
        status, document = await manage(http, client, method)
        assert (status, document["error"]) == (401, "invalid_token")  # section 2: not 404


async def test_one_clients_token_manages_no_other(idp: FakeIdp, http: Http) -> None:
    one, other = await created(idp, http), await created(idp, http)
    stolen = {**other, "registration_access_token": one["registration_access_token"]}
    for method in ("GET", "PUT", "DELETE"):
        assert (await manage(http, stolen, method, json=MACHINE))[0] == 401
    assert set(idp.registration.registered) == {one["client_id"], other["client_id"]}


# -- faults --------------------------------------------------------------------------------------------------


async def test_a_fault_comes_before_the_effect(idp: FakeIdp, http: Http) -> None:
    idp.fail(Fault.server_error(), Endpoint.REGISTRATION)
    assert (await http.post(idp.registration_endpoint, json=MACHINE))[0] == 500
    assert not idp.registration.registered


@pytest.mark.parametrize("fault", [Fault.server_error(502), Fault.garbage(b"{")])
async def test_or_after_it_when_told_so(idp: FakeIdp, http: Http, fault: Fault) -> None:
    idp.fail(fault.after_the_effect(), Endpoint.REGISTRATION)
    async with aiohttp.request("POST", idp.registration_endpoint, json=MACHINE) as reply:
        assert (reply.status, await reply.read()) == (fault.status, fault.body)
    assert len(idp.registration.registered) == 1


async def test_a_reply_can_be_lost(idp: FakeIdp, http: Http) -> None:
    idp.fail(Fault.reply_lost(), Endpoint.REGISTRATION)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await http.post(idp.registration_endpoint, json=MACHINE)
    assert [event.kind for event in idp.registration.events] == ["created"]
    idp.heal(Endpoint.REGISTRATION)
    assert (await http.post(idp.registration_endpoint, json=MACHINE))[0] == 201


class ReportingGate(asyncio.Event):
    """Says when somebody stands before it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()

    async def wait(self) -> Literal[True]:
        self.reached.set()
        return await super().wait()


async def test_an_answer_can_stall_after_the_effect(idp: FakeIdp, http: Http) -> None:
    gate = ReportingGate()
    idp.fail(Fault.slow(gate).after_the_effect(), Endpoint.REGISTRATION)
    asking = asyncio.create_task(http.post(idp.registration_endpoint, json=MACHINE))
    async with asyncio.timeout(5):
        await gate.reached.wait()
    assert len(idp.registration.registered) == 1
    assert not asking.done()
    gate.set()
    assert (await asking)[0] == 201
    assert len(idp.registration.registered) == 1
