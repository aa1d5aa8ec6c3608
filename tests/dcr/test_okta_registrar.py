"""Clients by Okta's own API: what it does otherwise than RFC 7591 says."""

from collections.abc import AsyncIterator

import pytest
from dcr_support import House, event
from imitations import OktaImitation
from yarl import URL

from validator.adapters.breaker import CircuitBreaker
from validator.adapters.idp import IdpClient
from validator.core.registration import NewClient, RegistrationRefused
from validator.dcr.okta import OktaRegistrar
from validator.dcr.registrar import Changes, UnusableClient
from validator.errors import Unavailable
from validator.model import Endpoint, HttpReply, HttpRequest
from validator.testing import Fault, ManualClock

TOKEN = "00-okta-api-token"
MACHINE = NewClient("Orders", ("client_credentials",), (), ("read",), "client_secret_basic")
REDIRECT = ("https://a.test/cb",)
WEB = NewClient("Orders", ("client_credentials", "authorization_code"), REDIRECT, (), "client_secret_post")
CHANGES = Changes("Orders 2", ("https://b.test/cb",))


@pytest.fixture
async def okta(clock: ManualClock) -> AsyncIterator[OktaImitation]:
    async with OktaImitation(clock=clock, ssws_tokens=(TOKEN,)) as running:
        yield running


@pytest.fixture
async def http(clock: ManualClock) -> AsyncIterator[IdpClient]:
    client = IdpClient(clock=clock, breaker=CircuitBreaker(clock, threshold=100, reset_s=1.0))
    yield client
    await client.close()


@pytest.fixture
def registrar(okta: OktaImitation, http: IdpClient) -> OktaRegistrar:
    return OktaRegistrar(http, clients=f"{okta.origin}/oauth2/v1/clients/", api_token=TOKEN)


async def keep(_management: str) -> None:
    raise AssertionError("Okta replaces no token")


async def test_a_service_and_a_web_client_are_registered_as_such(
    okta: OktaImitation, registrar: OktaRegistrar
) -> None:
    service, web = await registrar.create(MACHINE), await registrar.create(WEB)
    metadata = okta.client_api.metadata
    assert metadata[service.client_id]["application_type"] == "service"
    assert metadata[service.client_id]["response_types"] == ["token"]
    assert "scope" not in metadata[service.client_id]
    assert metadata[web.client_id]["application_type"] == "web"
    assert metadata[web.client_id]["response_types"] == ["code"]
    assert metadata[web.client_id]["token_endpoint_auth_method"] == "client_secret_post"
    assert okta.clients[service.client_id].secret == service.client_secret
    assert TOKEN not in service.management


async def test_an_update_changes_name_and_redirects_alone(okta: OktaImitation, registrar: OktaRegistrar) -> None:
    client = await registrar.create(WEB)
    before = dict(okta.client_api.metadata[client.client_id])
    assert await registrar.update(client.client_id, client.management, CHANGES, keep) is True
    after = okta.client_api.metadata[client.client_id]
    assert after == before | {"client_name": "Orders 2", "redirect_uris": ["https://b.test/cb"]}
    assert okta.clients[client.client_id].secret == client.client_secret


async def test_a_new_secret_ends_the_former(okta: OktaImitation, registrar: OktaRegistrar) -> None:
    client = await registrar.create(MACHINE)
    rotated = await registrar.rotate_secret(client.client_id, client.management, keep)
    assert rotated.client_id == client.client_id
    assert okta.clients[client.client_id].secret == rotated.client_secret != client.client_secret


async def test_deleted_once_and_gone_after(okta: OktaImitation, registrar: OktaRegistrar) -> None:
    client = await registrar.create(MACHINE)
    assert await registrar.delete(client.client_id, client.management) is True
    assert await registrar.delete(client.client_id, client.management) is False
    assert okta.clients == {}


async def test_a_wrong_api_token_says_nothing_about_a_client(okta: OktaImitation, http: IdpClient) -> None:
    right = OktaRegistrar(http, clients=f"{okta.origin}/oauth2/v1/clients", api_token=TOKEN)
    wrong = OktaRegistrar(http, clients=f"{okta.origin}/oauth2/v1/clients", api_token="wrong")
    client = await right.create(MACHINE)
    for call in (
        wrong.create(MACHINE),
        wrong.update(client.client_id, "", CHANGES, keep),
        wrong.rotate_secret(client.client_id, "", keep),
        wrong.delete(client.client_id, ""),
    ):
        with pytest.raises(RegistrationRefused) as caught:
            await call
        assert "401 (E0000011)" in caught.value.description
    assert client.client_id in okta.clients


async def test_what_okta_does_not_take_names_its_code(okta: OktaImitation, registrar: OktaRegistrar) -> None:
    with pytest.raises(RegistrationRefused) as caught:
        await registrar.create(NewClient("", ("client_credentials",), (), (), "client_secret_basic"))
    assert caught.value.error == "E0000001"
    assert okta.client_api.metadata == {}


@pytest.mark.parametrize("client_id", ["../../api/v1/users", "a/b", "a?b=c", "a#b", "a%2fb"], ids=repr)
async def test_a_client_id_stays_within_its_address(client_id: str) -> None:
    class Written:
        async def send(self, request: HttpRequest) -> HttpReply:
            self.url = URL(request.url)
            return HttpReply(204, {}, b"")

    http = Written()
    await OktaRegistrar(http, clients="https://org.test/oauth2/v1/clients", api_token=TOKEN).delete(client_id, "")
    assert (http.url.query_string, http.url.fragment) == ("", "")
    assert http.url.raw_path.startswith("/oauth2/v1/clients/")
    assert http.url.raw_path.count("/") == 4


async def test_an_outage_is_nobodys_no(okta: OktaImitation, registrar: OktaRegistrar) -> None:
    okta.fail(Fault.reply_lost())
    with pytest.raises(Unavailable):
        await registrar.create(MACHINE)
    assert len(okta.client_api.metadata) == 1
    okta.heal()
    okta.fail(Fault.rate_limited({"X-Rate-Limit-Reset": "1800000007"}))
    with pytest.raises(Unavailable) as caught:
        await registrar.create(MACHINE)
    assert caught.value.retry_after_s == 7


async def test_a_client_without_a_secret_is_deleted_again(okta: OktaImitation, registrar: OktaRegistrar) -> None:
    client = await registrar.create(MACHINE)
    okta.fail(Fault.json_reply({"client_id": client.client_id}, status=201), "/oauth2/v1/clients")
    with pytest.raises(RegistrationRefused) as caught:
        await registrar.create(MACHINE)
    assert "client_secret" in caught.value.description
    assert okta.clients == {}


async def test_where_that_fails_it_is_named(okta: OktaImitation, registrar: OktaRegistrar) -> None:
    client = await registrar.create(MACHINE)
    okta.fail(Fault.json_reply({"client_id": client.client_id}, status=201), "/oauth2/v1/clients")
    okta.fail(Fault.server_error(), f"/oauth2/v1/clients/{client.client_id}")
    with pytest.raises(UnusableClient) as caught:
        await registrar.create(MACHINE)
    assert caught.value.client_id == client.client_id


@pytest.mark.parametrize("body", [b"", b'{"client_secret": "s"}'], ids=["nothing", "no id"])
async def test_a_client_of_unknown_id_is_an_orphan(
    okta: OktaImitation, registrar: OktaRegistrar, body: bytes
) -> None:
    okta.fail(Fault(201, body, {"Content-Type": "application/json"}).after_the_effect())
    with pytest.raises(UnusableClient) as caught:
        await registrar.create(MACHINE)
    assert caught.value.client_id is None


async def test_the_life_of_an_application(home: House, okta: OktaImitation, registrar: OktaRegistrar) -> None:
    home.serve(registrar)
    made = await home.adopted()
    await home.bridge.event(event("update_application", made.client_id, application_name="New"))
    renewed = await home.bridge.new_secret(made.client_id)
    assert okta.clients[made.client_id].secret == renewed.client_secret
    await home.bridge.delete(made.client_id)
    assert okta.clients == {}
    assert [kind for kind, _ in okta.client_api.events] == ["created", "updated", "newSecret", "deleted"]
    assert okta.calls[Endpoint.REGISTRATION] == len(okta.requests)
