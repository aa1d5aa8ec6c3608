"""The bridge over a provider that speaks RFC 7591: a whole life, lost replies, and no secret in any words."""

from collections.abc import AsyncIterator

import pytest
from dcr_support import House, event
from structlog.testing import capture_logs

from validator.adapters.breaker import CircuitBreaker
from validator.adapters.idp import IdpClient
from validator.core.registration import (
    RegistrationRefused,
)
from validator.dcr.plan import BridgeRefused
from validator.dcr.rfc7591 import Rfc7591Registrar
from validator.errors import Unavailable
from validator.model import Endpoint
from validator.ports import HttpClient
from validator.testing import FakeIdp, Fault, ManualClock


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


async def test_the_life_of_an_application(home: House, idp: FakeIdp, registrar: Rfc7591Registrar) -> None:
    idp.registration.rotates_secret_on_update = idp.registration.rotates_registration_token = True
    home.serve(registrar)
    made = await home.adopted()
    renewed = await home.bridge.new_secret(made.client_id)
    assert idp.clients[made.client_id].secret == renewed.client_secret
    with pytest.raises(BridgeRefused) as caught:  # this one replaces the secret whatever it is asked
        await home.bridge.event(event("update_application", made.client_id, application_name="New"))
    assert caught.value.error == "secret_replaced"
    again = await home.bridge.new_secret(made.client_id)
    assert idp.clients[made.client_id].secret == again.client_secret
    await home.bridge.delete(made.client_id)
    assert idp.clients == {}
    assert home.application(made.client_id) is None


@pytest.mark.parametrize("rotates", [False, True], ids=["the same token", "another token"])
async def test_a_lost_reply_to_a_deletion_is_completed_by_the_next(
    home: House, idp: FakeIdp, registrar: Rfc7591Registrar, rotates: bool
) -> None:
    idp.registration.rotates_registration_token = rotates
    home.serve(registrar)
    made = await home.adopted()
    idp.fail(Fault.reply_lost(), Endpoint.REGISTRATION)
    with pytest.raises(Unavailable):
        await home.bridge.delete(made.client_id)
    idp.heal()
    await home.bridge.delete(made.client_id)
    assert home.application(made.client_id) is None
    assert home.blocked(made.client_id)


async def test_a_token_lost_with_its_reply_is_a_refusal_that_says_so(
    home: House, idp: FakeIdp, registrar: Rfc7591Registrar
) -> None:
    idp.registration.rotates_registration_token = True
    home.serve(registrar)
    made = await home.adopted()
    known = idp.registration.registered[made.client_id]
    known.registration_token = "replaced-and-lost"
    with pytest.raises(RegistrationRefused) as caught:
        await home.bridge.new_secret(made.client_id)
    assert "its own token was replaced" in caught.value.description


async def test_no_secret_is_in_a_log_or_an_error(home: House, idp: FakeIdp, http: IdpClient) -> None:
    idp.registration.initial_access_token = "initial-canary"
    registrar = at(idp, http, "initial-canary")
    home.serve(registrar)
    said: list[object] = []
    with capture_logs() as lines:
        made = await home.adopted()
        known = idp.registration.registered[made.client_id]
        for fault in (
            Fault.oauth_error(known.registration_token, made.client_secret),
            Fault.oauth_error("invalid_request", known.registration_token),
            Fault.json_reply({"client_secret": made.client_secret}, status=201),
            Fault.garbage(f'{{"client_secret": "{made.client_secret}'.encode()),
        ):
            idp.fail(fault, Endpoint.REGISTRATION)
            for call in (
                home.create(client_name=f"Another {len(said)}"),
                home.bridge.new_secret(made.client_id),
                home.bridge.event(event("update_application", made.client_id, application_name="New")),
                home.bridge.delete(made.client_id),
            ):
                try:
                    await call
                except (RegistrationRefused, BridgeRefused, Unavailable) as error:
                    said.append((error, error.__context__ if not error.__suppress_context__ else None))
    assert len(said) > 10
    words = repr((lines, said, registrar, made, home.plan))
    for secret in (made.client_secret, known.registration_token, "initial-canary"):
        assert secret not in words
    for file in home.store.file._opened.path.parent.iterdir():  # type: ignore[union-attr]
        for secret in (made.client_secret, known.registration_token):
            assert secret.encode() not in file.read_bytes()
