"""Clients by RFC 7591 and RFC 7592 at a provider over HTTP, its quirks and its failures."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from validator.adapters.breaker import CircuitBreaker
from validator.adapters.idp import IdpClient
from validator.core.registration import (
    Management,
    NewClient,
    RegisteredClient,
    RegistrationRefused,
    at_home,
    registration_request,
)
from validator.dcr.registrar import Changes, UnusableClient
from validator.dcr.rfc7591 import Rfc7591Registrar
from validator.errors import Unavailable
from validator.model import Endpoint, HttpReply, HttpRequest, Reason
from validator.ports import HttpClient
from validator.testing import FakeIdp, Fault, ManualClock

MACHINE = NewClient("Orders", ("client_credentials",), (), ("read",), "client_secret_basic")
CHANGES = Changes("Orders 2", ("https://a.test/cb",))


@pytest.fixture
async def idp(clock: ManualClock) -> AsyncIterator[FakeIdp]:
    async with FakeIdp({}, clock=clock, path="/tenant") as running:
        yield running


@pytest.fixture
async def http(clock: ManualClock) -> AsyncIterator[IdpClient]:
    client = IdpClient(clock=clock, breaker=CircuitBreaker(clock, threshold=100, reset_s=1.0))
    yield client
    await client.close()


@pytest.fixture
def registrar(idp: FakeIdp, http: IdpClient) -> Rfc7591Registrar:
    return at(idp, http)


def at(idp: FakeIdp, http: HttpClient, token: str | None = None) -> Rfc7591Registrar:
    async def endpoint() -> str:
        return idp.registration_endpoint

    return Rfc7591Registrar(http, endpoint=endpoint, initial_access_token=token)


class Kept:
    """Remembers what it is told to keep."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def __call__(self, management: str) -> None:
        self.told.append(management)


def kinds(idp: FakeIdp) -> list[str]:
    return [happened.kind for happened in idp.registration.events]


def stored(idp: FakeIdp, client: RegisteredClient) -> dict[str, Any]:
    return idp.registration.registered[client.client_id].metadata


# What goes right


async def test_a_client_is_registered_and_can_be_managed(idp: FakeIdp, registrar: Rfc7591Registrar) -> None:
    client = await registrar.create(MACHINE)
    assert idp.clients[client.client_id].secret == client.client_secret
    assert (client.issued_at, client.expires_at) == (1_800_000_000, 0)
    metadata = stored(idp, client)
    assert metadata["grant_types"] == ["client_credentials"]
    assert (metadata["response_types"], metadata["redirect_uris"]) == ([], [])
    assert (metadata["client_name"], metadata["scope"]) == ("Orders", "read")
    assert await registrar.delete(client.client_id, client.management) is True
    assert await registrar.delete(client.client_id, client.management) is False


@pytest.mark.parametrize("takes", [True, False], ids=["takes fewer", "takes none"])
async def test_where_there_are_no_refresh_tokens_none_are_asked_for(
    idp: FakeIdp, http: IdpClient, takes: bool
) -> None:
    asked: list[list[str]] = []

    class WithoutRefreshTokens:
        async def send(self, request: HttpRequest) -> HttpReply:
            if request.method == "POST":
                asked.append(json.loads(request.body)["grant_types"])
                if "refresh_token" in asked[-1] or not takes:
                    return HttpReply(400, {}, b'{"error": "invalid_client_metadata"}')
            return await http.send(request)

    registrar = at(idp, WithoutRefreshTokens())
    grants = ("client_credentials", "authorization_code", "refresh_token")
    web = replace(MACHINE, grant_types=grants, redirect_uris=("https://a.test/cb",))
    if takes:
        assert stored(idp, await registrar.create(web))["grant_types"] == list(grants[:2])
    else:
        with pytest.raises(RegistrationRefused):
            await registrar.create(web)
    assert asked == [list(grants), list(grants[:2])]


async def test_an_initial_access_token_is_shown_to_who_demands_it(idp: FakeIdp, http: IdpClient) -> None:
    idp.registration.initial_access_token = "may-register"
    assert (await at(idp, http, "may-register").create(MACHINE)).client_id in idp.clients
    for token in (None, "wrong"):
        with pytest.raises(RegistrationRefused) as caught:
            await at(idp, http, token).create(MACHINE)
        assert caught.value.error == "invalid_token"
        assert "initial_access_token_file" in caught.value.description


@pytest.mark.parametrize("renews", [False, True])
async def test_an_update_keeps_the_secret_and_all_else(
    idp: FakeIdp, registrar: Rfc7591Registrar, renews: bool
) -> None:
    idp.registration.rotates_registration_token = renews
    client, kept = await registrar.create(MACHINE), Kept()
    assert await registrar.update(client.client_id, client.management, CHANGES, kept) is True
    metadata = stored(idp, client)
    assert (metadata["client_name"], metadata["redirect_uris"]) == ("Orders 2", ["https://a.test/cb"])
    assert (metadata["scope"], metadata["grant_types"]) == ("read", ["client_credentials"])
    assert idp.clients[client.client_id].secret == client.client_secret
    assert len(kept.told) == renews
    assert await registrar.delete(client.client_id, kept.told[-1] if renews else client.management)


async def test_an_update_told_again_asks_for_none(idp: FakeIdp, registrar: Rfc7591Registrar) -> None:
    idp.registration.rotates_secret_on_update = True
    client = await registrar.create(MACHINE)
    assert await registrar.update(client.client_id, client.management, CHANGES, Kept()) is False
    assert await registrar.update(client.client_id, client.management, CHANGES, Kept()) is True
    assert kinds(idp) == ["created", "read", "updated", "read"]


async def test_a_provider_that_rotates_gives_another_secret(idp: FakeIdp, registrar: Rfc7591Registrar) -> None:
    idp.registration.rotates_secret_on_update = True
    idp.registration.rotates_registration_token = True
    client, kept = await registrar.create(MACHINE), Kept()
    rotated = await registrar.rotate_secret(client.client_id, client.management, kept)
    assert rotated.client_id == client.client_id
    assert rotated.client_secret == idp.clients[client.client_id].secret != client.client_secret
    assert kept.told == [rotated.management]
    assert stored(idp, client)["scope"] == "read"


async def test_the_secret_is_named_where_it_is_to_stay_and_left_out_where_it_is_not(
    idp: FakeIdp, http: IdpClient
) -> None:
    class Written:
        def __init__(self) -> None:
            self.puts: list[dict[str, Any]] = []

        async def send(self, request: HttpRequest) -> HttpReply:
            if request.method == "PUT":
                self.puts.append(json.loads(request.body))
            return await http.send(request)

    idp.registration.rotates_secret_on_update = True
    written = Written()
    registrar = at(idp, written)
    client = await registrar.create(MACHINE)
    await registrar.rotate_secret(client.client_id, client.management, Kept())
    await registrar.update(client.client_id, client.management, CHANGES, Kept())
    assert ["client_secret" in put for put in written.puts] == [False, True]


async def test_a_provider_that_keeps_the_secret_is_told_from_one_that_does_not(
    idp: FakeIdp, registrar: Rfc7591Registrar
) -> None:
    client = await registrar.create(MACHINE)
    with pytest.raises(RegistrationRefused) as caught:
        await registrar.rotate_secret(client.client_id, client.management, Kept())
    assert caught.value.error == "secret_not_rotated"
    assert idp.clients[client.client_id].secret == client.client_secret


@pytest.mark.parametrize("rotates", [True, False])
async def test_a_provider_that_shows_no_secret_is_asked_once_more(
    idp: FakeIdp, http: IdpClient, rotates: bool
) -> None:
    class Hiding:
        async def send(self, request: HttpRequest) -> HttpReply:
            reply = await http.send(request)
            if request.method != "GET":
                return reply
            document = json.loads(reply.body)
            del document["client_secret"]
            return replace(reply, body=json.dumps(document).encode())

    idp.registration.rotates_secret_on_update = rotates
    idp.registration.rotates_registration_token = True
    registrar, kept = at(idp, Hiding()), Kept()
    client = await registrar.create(MACHINE)
    if rotates:
        rotated = await registrar.rotate_secret(client.client_id, client.management, kept)
        assert rotated.client_secret == idp.clients[client.client_id].secret != client.client_secret
    else:
        with pytest.raises(RegistrationRefused) as caught:
            await registrar.rotate_secret(client.client_id, client.management, kept)
        assert caught.value.error == "secret_not_rotated"
    assert len(kept.told) == 2
    assert await registrar.delete(client.client_id, kept.told[-1]) is True


# What goes wrong


@pytest.mark.parametrize(
    "fault",
    [Fault.server_error(503), Fault.rate_limited(), Fault.reply_lost(), Fault.server_error().after_the_effect()],
    ids=["down", "rate limited", "reply lost", "broken after the effect"],
)
async def test_an_outage_is_nobodys_no(idp: FakeIdp, registrar: Rfc7591Registrar, fault: Fault) -> None:
    idp.fail(fault, Endpoint.REGISTRATION)
    with pytest.raises(Unavailable) as caught:
        await registrar.create(MACHINE)
    assert caught.value.reason is Reason.IDP_UNAVAILABLE
    assert idp.calls[Endpoint.REGISTRATION] == 1  # never twice: it could have had its effect
    assert len(idp.registration.registered) == fault.late


async def test_a_lost_reply_on_a_used_connection_makes_no_second_client(
    idp: FakeIdp, registrar: Rfc7591Registrar
) -> None:
    await registrar.create(MACHINE)
    idp.fail(Fault.reply_lost(), Endpoint.REGISTRATION)
    with pytest.raises(Unavailable):
        await registrar.create(MACHINE)
    assert len(idp.registration.registered) == 2


async def test_not_even_where_a_connection_is_used_again(idp: FakeIdp, http: IdpClient) -> None:
    """What the adapter asks for, ``Connection: close``, is not all that keeps a second client away."""
    await http.send(HttpRequest(Endpoint.JWKS, "GET", idp.jwks_uri))
    idp.fail(Fault.reply_lost(), Endpoint.REGISTRATION)
    asked = registration_request(idp.registration_endpoint, MACHINE, None)
    headers = {name: value for name, value in asked.headers.items() if name != "Connection"}
    with pytest.raises(Unavailable):
        await http.send(replace(asked, headers=headers))
    assert idp.calls[Endpoint.REGISTRATION] == 1


@pytest.mark.parametrize("fault", [Fault.garbage(), Fault(201)], ids=["garbage", "empty"])
async def test_a_success_that_nobody_can_read_may_have_made_a_client(
    idp: FakeIdp, registrar: Rfc7591Registrar, fault: Fault
) -> None:
    idp.fail(fault.after_the_effect(), Endpoint.REGISTRATION)
    with pytest.raises(UnusableClient) as caught:
        await registrar.create(MACHINE)
    assert caught.value.client_id is None
    assert "without a JSON object" in caught.value.description


@pytest.mark.parametrize(
    "missing",
    ["client_secret", "client_id", "registration_access_token", "registration_client_uri"],
)
async def test_what_cannot_be_used_is_deleted_again_where_that_is_possible(
    idp: FakeIdp, registrar: Rfc7591Registrar, missing: str
) -> None:
    made = await registrar.create(MACHINE)
    uri, token = Management.unpacked(made.management).uri, Management.unpacked(made.management).token
    document = {
        "client_id": made.client_id,
        "client_secret": made.client_secret,
        "registration_client_uri": uri,
        "registration_access_token": token,
    }
    del document[missing]
    endpoint = idp.registration_endpoint.removeprefix(idp.origin)
    idp.fail(Fault.json_reply(document, status=201), endpoint)
    deletable = missing in {"client_secret", "client_id"}
    with pytest.raises(RegistrationRefused if deletable else UnusableClient) as caught:
        await registrar.create(MACHINE)
    assert missing in str(caught.value)
    assert (made.client_id in idp.clients) == (not deletable)


async def test_what_cannot_be_used_and_not_be_deleted_is_named(idp: FakeIdp, registrar: Rfc7591Registrar) -> None:
    made = await registrar.create(MACHINE)
    known = Management.unpacked(made.management)
    document = {
        "client_id": made.client_id,
        "registration_client_uri": known.uri,
        "registration_access_token": known.token,
    }
    idp.fail(Fault.json_reply(document, status=201), idp.registration_endpoint.removeprefix(idp.origin))
    idp.fail(Fault.server_error(), known.uri.removeprefix(idp.origin))
    with pytest.raises(UnusableClient) as caught:
        await registrar.create(MACHINE)
    assert caught.value.client_id == made.client_id


@pytest.mark.parametrize("status", [400, 403, 405, 302], ids=str)
async def test_a_deletion_that_is_refused_leaves_the_client(
    idp: FakeIdp, registrar: Rfc7591Registrar, status: int
) -> None:
    client = await registrar.create(MACHINE)
    idp.fail(Fault.json_reply({}, status=status), Endpoint.REGISTRATION)
    with pytest.raises(RegistrationRefused) as caught:
        await registrar.delete(client.client_id, client.management)
    assert str(status) in caught.value.description


# Where a client is managed


class Canned:
    """Answers with these documents in turn, and remembers what was asked."""

    def __init__(self, *documents: dict[str, Any]) -> None:
        self._documents = list(documents)
        self.asked: list[tuple[str, str]] = []

    async def send(self, request: HttpRequest) -> HttpReply:
        self.asked.append((request.method, request.url))
        return HttpReply(200, {}, json.dumps(self._documents.pop(0)).encode())


HOME = "https://idp.example:8443/reg"
MADE = {"client_id": "c", "client_secret": "s", "registration_access_token": "t"}


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:8101/v1/applications/victim",
        "https://idp.example/reg/c",
        "http://idp.example:8443/reg/c",
        "https://user@idp.example:8443/reg/c",
        "https://idp.example:8443.attacker.example/reg/c",
        "/reg/c",
        "file:///etc/passwd",
        "https://[idp/reg",
    ],
)
async def test_a_reply_sends_us_nowhere_else(uri: str) -> None:
    async def endpoint() -> str:
        return HOME

    http = Canned(MADE | {"registration_client_uri": uri})
    registrar = Rfc7591Registrar(http, endpoint=endpoint, initial_access_token=None)
    with pytest.raises((UnusableClient, RegistrationRefused)):
        await registrar.create(MACHINE)
    assert http.asked == [("POST", HOME)]


async def test_nor_does_a_later_one_whose_token_is_the_one_that_holds(idp: FakeIdp) -> None:
    async def endpoint() -> str:
        return HOME

    known = MADE | {"registration_client_uri": f"{HOME}/c"}
    elsewhere = "http://127.0.0.1:8101/v1/applications/victim"
    moved = MADE | {"registration_client_uri": elsewhere, "registration_access_token": "t2"}
    changed = moved | {"client_secret": "s2"}
    http = Canned(known, moved, changed)
    registrar = Rfc7591Registrar(http, endpoint=endpoint, initial_access_token=None)
    made = await registrar.create(MACHINE)
    kept = Kept()
    assert (await registrar.rotate_secret("c", made.management, kept)).client_secret == "s2"
    assert http.asked == [("POST", HOME), ("GET", f"{HOME}/c"), ("PUT", f"{HOME}/c")]
    assert [Management.unpacked(text) for text in kept.told] == [Management(f"{HOME}/c", "t2")]


def test_a_port_that_goes_without_saying_may_be_said() -> None:
    assert at_home("https://a.example:443/r/1", "https://a.example/r")
    assert at_home("https://A.example/r/1", "https://a.example/r")
    assert not at_home("https://a.example:80/r/1", "https://a.example/r")
