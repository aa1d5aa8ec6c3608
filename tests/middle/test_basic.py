"""A pair is believed as long as the grant that proved it, refused for a short time, and judged by nothing while
the identity provider cannot say."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from support_http import DISCOVERY, OAUTH_DISCOVERY, TOKEN, Answer, CannedIdp, down, json_reply, oauth_error, until
from support_pipeline import Kitchen, app, basic

from validator.authn.basic import BasicRules
from validator.authn.throttle import Throttle
from validator.core.oauth import GrantOptions
from validator.errors import Denied, Unavailable
from validator.model import ClientCredentials, HttpReply, Method, Proof, Reason
from validator.pipeline import Lifetimes
from validator.testing import ABSENT, ManualClock

PAIR = ClientCredentials("orders", "s3cret")
NEGATIVE_S = 5.0
PROOF_S = 300.0
TOKEN_S = 3600.0


async def prove(kitchen: Kitchen, pair: ClientCredentials = PAIR, **options: Any) -> Proof:
    """As the pipeline does."""
    authenticator = kitchen.strategy("plain", **options).authenticators[Method.CLIENT_CREDENTIALS]
    return authenticator.prove_now(pair, kitchen.clock.now()) or await authenticator.prove(pair)


# How long a proof lasts


@pytest.mark.parametrize("opaque", [False, True], ids=["readable", "opaque"])
@pytest.mark.parametrize(
    ("expires_in", "believed_s", "ends_s"),
    [
        (60, 60, 60),
        (60.5, 60.5, 60.5),
        ("60", 60, 60),
        (TOKEN_S, PROOF_S, TOKEN_S),
        (0, 0, 0),
        ("0", 0, 0),
        (-5, 0, 0),
        ("-5", 0, 0),
        ("soon", 0, 0),
        (True, 0, 0),
        ([60], 0, 0),
    ],
    ids=repr,
)
async def test_a_pair_is_believed_for_the_life_of_the_token_or_the_bound(
    kitchen: Kitchen, idp: CannedIdp, opaque: bool, expires_in: object, believed_s: float, ends_s: float
) -> None:
    idp.opaque = opaque
    idp.grant = {"expires_in": expires_in}
    proof = await prove(kitchen)
    now = kitchen.clock.now()
    assert (proof.good_until - now, proof.ends_at - now) == pytest.approx((believed_s, ends_s))


async def test_without_expires_in_a_readable_token_says_itself(kitchen: Kitchen, idp: CannedIdp) -> None:
    idp.grant = {"expires_in": ABSENT}
    idp.claims = {"exp": kitchen.clock.now() + 120}
    proof = await prove(kitchen)
    assert (proof.good_until, proof.ends_at) == (kitchen.clock.now() + 120, kitchen.clock.now() + 120)


async def test_without_expires_in_an_opaque_token_counts_for_the_bound(kitchen: Kitchen, idp: CannedIdp) -> None:
    idp.grant = {"expires_in": ABSENT}
    idp.opaque = True
    proof = await prove(kitchen)
    assert (proof.good_until, proof.ends_at) == (kitchen.clock.now() + PROOF_S,) * 2


async def test_a_token_that_ends_before_its_expires_in_ends_then(kitchen: Kitchen, idp: CannedIdp) -> None:
    idp.grant = {"expires_in": 3600}
    idp.claims = {"exp": kitchen.clock.now() + 10}
    assert (await prove(kitchen)).good_until == kitchen.clock.now() + 10


async def test_a_proof_names_the_pairs_client_and_the_tokens_id(kitchen: Kitchen, idp: CannedIdp) -> None:
    idp.claims = {"jti": "minted-1"}
    proof = await prove(kitchen)
    assert (proof.strategy, proof.method) == ("plain", Method.CLIENT_CREDENTIALS)
    assert (proof.client_id, proof.token_id, proof.key_id) == ("orders", "minted-1", None)


# What was minted


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"client_id": "billing"}, Reason.CREDENTIALS_REJECTED),
        ({"client_id": "Orders"}, Reason.CREDENTIALS_REJECTED),
        ({"client_id": ABSENT}, Reason.CLAIM_MISSING),
        ({"aud": "api://other"}, Reason.AUDIENCE_MISMATCH),
        ({"iss": "https://other.test"}, Reason.ISSUER_MISMATCH),
        ({"exp": ABSENT}, Reason.CLAIM_MISSING),
    ],
    ids=["another client", "another case", "no client", "audience", "issuer", "no end"],
)
async def test_a_minted_token_that_says_otherwise_proves_nothing(
    kitchen: Kitchen, idp: CannedIdp, claims: Mapping[str, Any], reason: Reason
) -> None:
    idp.claims = dict(claims)
    with pytest.raises(Denied) as caught:
        await prove(kitchen)
    assert caught.value.reason is reason


async def test_the_case_of_a_guid_in_the_minted_token_does_not_matter(kitchen: Kitchen, idp: CannedIdp) -> None:
    guid = "3F0C1C9E-AAAA-4000-8000-00000000000B"
    idp.clients[guid] = "s3cret"
    idp.claims = {"client_id": guid.lower()}
    assert (await prove(kitchen, ClientCredentials(guid, "s3cret"))).client_id == guid


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("ey.not.jwt", Reason.TOKEN_MALFORMED),
    ],
)
async def test_a_minted_token_that_is_meant_to_be_read_and_cannot_be_proves_nothing(
    kitchen: Kitchen, idp: CannedIdp, token: str, reason: Reason
) -> None:
    idp.grant = {"access_token": token}
    with pytest.raises(Denied) as caught:
        await prove(kitchen)
    assert caught.value.reason is reason


async def test_an_encrypted_minted_token_is_not_readable_and_so_no_obstacle(
    kitchen: Kitchen, idp: CannedIdp
) -> None:
    idp.grant = {"access_token": "eyJ.a.b.c.d"}
    assert (await prove(kitchen)).client_id == "orders"


@pytest.mark.parametrize("claims", [{"exp": 1}, {"nbf": 4e9}], ids=["expired", "not yet valid"])
async def test_a_minted_token_of_another_clock_says_nothing_about_the_pair(
    kitchen: Kitchen, idp: CannedIdp, claims: Mapping[str, Any]
) -> None:
    idp.claims = dict(claims)
    with pytest.raises(Unavailable):
        await prove(kitchen)


async def test_a_minted_token_of_a_foreign_key_proves_nothing(kitchen: Kitchen, idp: CannedIdp) -> None:
    stranger = CannedIdp(kitchen.clock, keyring="stranger").mint
    forged = stranger.mint({"client_id": "orders"}, header={"kid": idp.mint.current.kid})
    idp.grant = {"access_token": forged}
    with pytest.raises(Denied) as caught:
        await prove(kitchen)
    assert caught.value.reason is Reason.SIGNATURE_INVALID


async def test_a_minted_token_whose_keys_cannot_be_had_is_an_outage(kitchen: Kitchen, idp: CannedIdp) -> None:
    jwks = idp.metadata["jwks_uri"]
    await kitchen.issuer.known()
    idp.mint.rotate()
    idp.fail(jwks)
    with pytest.raises(Unavailable):
        await prove(kitchen)


# What the token endpoint says

REJECTED, OUTAGE = Reason.CREDENTIALS_REJECTED, Reason.IDP_UNAVAILABLE
REPLIES: dict[str, tuple[Answer, Reason]] = {
    "invalid_client 401": (oauth_error("invalid_client", 401), REJECTED),
    "invalid_client 400": (oauth_error("invalid_client", 400), REJECTED),
    "unauthorized_client": (oauth_error("unauthorized_client"), REJECTED),
    "invalid_grant": (oauth_error("invalid_grant"), REJECTED),
    "access_denied 403": (oauth_error("access_denied", 403), REJECTED),
    "401 without a code": (HttpReply(401, {}, b""), REJECTED),
    "invalid_scope": (oauth_error("invalid_scope"), Reason.SCOPE_MISSING),
    "invalid_request": (oauth_error("invalid_request"), OUTAGE),
    "unsupported_grant_type": (oauth_error("unsupported_grant_type"), OUTAGE),
    "server_error": (oauth_error("server_error", 500), OUTAGE),
    "temporarily_unavailable 401": (oauth_error("temporarily_unavailable", 401), OUTAGE),
    "400 without a code": (HttpReply(400, {}, b"<html>"), OUTAGE),
    "403 without a code": (HttpReply(403, {}, b""), OUTAGE),
    "404": (HttpReply(404, {}, b""), OUTAGE),
    "429": (HttpReply(429, {}, b"{}"), OUTAGE),
    "500": (HttpReply(500, {}, b""), OUTAGE),
    "200 and nothing": (HttpReply(200, {}, b""), OUTAGE),
    "200 without a token": (json_reply({"token_type": "Bearer"}), OUTAGE),
    "200 and an empty token": (json_reply({"access_token": ""}), OUTAGE),
    "200 and an error": (json_reply({"access_token": "x", "error": "invalid_client"}), REJECTED),
    "nobody": (down(), OUTAGE),
}


@pytest.mark.parametrize(("answer", "reason"), REPLIES.values(), ids=REPLIES.keys())
async def test_a_refusal_is_kept_for_a_short_time_and_an_outage_never(
    kitchen: Kitchen, idp: CannedIdp, clock: ManualClock, answer: Answer, reason: Reason
) -> None:
    idp.table[TOKEN] = answer
    assert (await kitchen.ask(basic("orders", "s3cret"))).said == (reason.status, reason.value)
    kept = reason is not OUTAGE
    clock.advance(NEGATIVE_S - 0.001)
    await kitchen.ask(basic("orders", "s3cret"))
    assert idp.calls[TOKEN] == (1 if kept else 2)
    idp.well()
    clock.advance(0.001)
    assert (await kitchen.ask(basic("orders", "s3cret"))).status == 200
    assert idp.calls[TOKEN] == (2 if kept else 3)


@pytest.mark.parametrize("at_s", [0, 3, 4.9], ids="after {} s".format)
async def test_a_refusal_ends_after_its_time_for_every_service_and_spelling(
    kitchen: Kitchen, idp: CannedIdp, clock: ManualClock, at_s: float
) -> None:
    """Also for those that first met it when it was nearly over."""
    idp.table[TOKEN] = oauth_error("invalid_client")
    await kitchen.ask(basic("orders", "s3cret"))
    clock.advance(at_s)
    assert (await kitchen.ask(basic("orders", "s3cret"), service="late")).reason == "credentials_rejected"
    assert (await kitchen.ask(b"BASIC orders:s3cret")).reason == "credentials_rejected"
    assert idp.calls[TOKEN] == 1
    idp.well()
    clock.advance(NEGATIVE_S - at_s)
    assert (await kitchen.ask(b"BASIC orders:s3cret")).status == 200
    assert (await kitchen.ask(basic("orders", "s3cret"), service="late")).reason == "not_registered"


async def test_without_a_negative_ttl_every_refusal_is_asked_for(clock: ManualClock, idp: CannedIdp) -> None:
    kitchen = Kitchen(clock, idp, lifetimes=Lifetimes(negative_ttl_s=0), basic=BasicRules(PROOF_S, 0))
    for count in (1, 2, 3):
        assert (await kitchen.ask(basic("orders", "wrong"))).status == 401
        assert idp.calls[TOKEN] == count


async def test_another_secret_is_another_question(kitchen: Kitchen, idp: CannedIdp) -> None:
    assert (await kitchen.ask(basic("orders", "wrong"))).status == 401
    assert (await kitchen.ask(basic("orders", "s3cret"))).status == 200
    assert (await kitchen.ask(basic("orders", "s3cret "))).status == 401
    assert (await kitchen.ask(basic("orders", "wrong"))).status == 401


async def test_guesses_are_bounded_before_the_provider_is_asked(
    kitchen: Kitchen, idp: CannedIdp, clock: ManualClock
) -> None:
    for number in range(10):
        assert (await kitchen.ask(basic("orders", f"guess-{number}"))).status == 401
    seen = await kitchen.ask(basic("orders", "s3cret"))
    assert seen.said == (429, "too_many_attempts")
    assert seen.headers["retry-after"] == "60"
    assert idp.calls[TOKEN] == 10
    clock.advance(59.9)
    assert (await kitchen.ask(basic("orders", "s3cret"))).headers["retry-after"] == "1"
    clock.advance(0.1)
    assert (await kitchen.ask(basic("orders", "s3cret"))).status == 200


async def test_a_proved_pair_passes_while_somebody_guesses(kitchen: Kitchen) -> None:
    await kitchen.ask(basic("orders", "s3cret"))
    for number in range(12):
        await kitchen.ask(basic("orders", f"guess-{number}"))
    assert (await kitchen.ask(basic("orders", "s3cret"))).status == 200
    assert (await kitchen.ask(basic("orders", "s3cret"), service="other")).reason == "not_registered"


async def test_who_joins_the_last_try_is_not_turned_away(clock: ManualClock, idp: CannedIdp) -> None:
    """A thousand first requests with the right pair are one try, also where only one is left."""
    kitchen = Kitchen(clock, idp)
    kitchen.throttle = Throttle(clock, max_failures=1, max_unregistered_failures=1, window_s=60)
    kitchen.reload({"plain": {}})
    gate = idp.gates[TOKEN] = asyncio.Event()
    first = asyncio.ensure_future(kitchen.ask(basic("orders", "s3cret")))
    await until(lambda: idp.calls[TOKEN] == 1)
    others = [asyncio.ensure_future(kitchen.ask(basic("orders", "s3cret"))) for _ in range(50)]
    guess = await kitchen.ask(basic("orders", "guess"))
    assert guess.reason == "too_many_attempts", "another pair would be a try of its own"
    gate.set()
    assert {seen.status for seen in await asyncio.gather(first, *others)} == {200}
    assert idp.calls[TOKEN] == 1


@pytest.mark.parametrize("application", [True, False], ids=["registered", "not registered"])
async def test_a_client_without_an_application_is_proved_and_then_refused(
    clock: ManualClock, idp: CannedIdp, application: bool
) -> None:
    kitchen = Kitchen(clock, idp, applications=[app("billing")] if application else [])
    seen = await kitchen.ask(basic("billing", "b1lling"))
    assert seen.said == ((200, None) if application else (403, "application_unknown"))


# What is sent


@pytest.mark.parametrize(
    ("options", "form"),
    [
        (GrantOptions("client_secret_post"), {}),
        (GrantOptions("client_secret_post", ("a", "b/.default")), {"scope": "a b/.default"}),
        (GrantOptions("client_secret_post", (), {"audience": "api://x"}), {"audience": "api://x"}),
    ],
    ids=["nothing more", "scopes", "audience"],
)
async def test_scopes_and_parameters_are_sent(
    kitchen: Kitchen, idp: CannedIdp, options: GrantOptions, form: dict[str, str]
) -> None:
    await prove(kitchen, options=options)
    sent = {"grant_type": "client_credentials", "client_id": "orders", "client_secret": "s3cret"}
    assert idp.form() == sent | form


async def test_a_discovery_document_without_a_token_endpoint_is_an_outage(
    kitchen: Kitchen, idp: CannedIdp
) -> None:
    del idp.metadata["token_endpoint"]
    with pytest.raises(Unavailable, match="token_endpoint"):
        await prove(kitchen)


async def test_an_unreachable_issuer_is_an_outage_and_costs_no_try(kitchen: Kitchen, idp: CannedIdp) -> None:
    idp.fail(DISCOVERY, OAUTH_DISCOVERY)
    for _ in range(20):
        assert (await kitchen.ask(basic("orders", "guess"))).said == (503, "idp_unavailable")
    idp.well()
    kitchen.clock.advance(1)
    assert (await kitchen.ask(basic("orders", "s3cret"))).status == 200


async def test_an_outage_is_nobodys_failed_try(kitchen: Kitchen, idp: CannedIdp) -> None:
    """Also not of a client id that no application has: it may be registered by the time the provider is back."""
    idp.fail(TOKEN)
    for _ in range(50):
        with pytest.raises(Unavailable):
            await prove(kitchen, ClientCredentials("stranger", "s3cret"))


async def test_errors_that_a_stranger_provokes_count(kitchen: Kitchen, idp: CannedIdp) -> None:
    """Whoever invents client ids is not to spend the provider's rate limit, whatever it answers."""
    idp.table[TOKEN] = oauth_error("invalid_request")
    for _ in range(10):
        with pytest.raises(Unavailable):
            await prove(kitchen, ClientCredentials("stranger", "s3cret"))
    with pytest.raises(Denied) as caught:
        await prove(kitchen, ClientCredentials("stranger", "s3cret"))
    assert caught.value.reason is Reason.TOO_MANY_ATTEMPTS
