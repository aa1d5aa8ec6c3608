"""Each kind of request that must not pass gets its own answer over HTTP, and each that must pass, passes."""

import base64
import time

import pytest
from sidecar_support import CLIENTS, SECRET, assembled, basic, bearer, settings_for

from validator.model import Endpoint
from validator.testing import ABSENT, FakeIdp
from validator.testing.mint import b64url


@pytest.fixture
async def running():
    async with assembled() as sidecar:
        yield sidecar


async def test_no_credential_is_challenged_for_the_methods_that_are_on(running):
    answer = await running.ask()
    assert answer.verdict == (401, "no_credential")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="plain", Basic realm="plain", charset="UTF-8"'
    assert answer.headers["Content-Type"] == "application/problem+json"


def header(idp, more=""):
    return f'{{"alg":"RS256","kid":"{idp.mint.current.kid}","typ":"at+jwt"{more}}}'.encode()


TOKENS = [
    pytest.param(lambda idp: idp.mint.mint_alg_none({"client_id": "orders"}), "algorithm_not_allowed", id="none"),
    pytest.param(
        lambda idp: idp.mint.mint_key_confused({"client_id": "orders"}), "algorithm_not_allowed", id="HS256"
    ),
    pytest.param(
        lambda idp: idp.token("orders", header={"crit": ["exp"], "exp": 1}), "token_malformed", id="crit unknown"
    ),
    pytest.param(
        lambda idp: idp.mint.mint_raw(header(idp), b'{"client_id":"billing","client_id":"orders"}'),
        "token_malformed",
        id="claims twice",
    ),
    pytest.param(
        lambda idp: idp.mint.mint_raw(header(idp, ',"kid":"other"'), b"{}"), "token_malformed", id="header twice"
    ),
    pytest.param(lambda idp: idp.token("orders", exp="1900000000"), "token_malformed", id="exp a string"),
    pytest.param(lambda idp: idp.token("orders", exp=ABSENT), "claim_missing", id="no exp"),
    pytest.param(lambda idp: idp.token("orders", exp=1_700_000_000), "token_expired", id="expired"),
    pytest.param(lambda idp: idp.token("orders", nbf=1_900_000_000), "token_not_yet_valid", id="not yet"),
    pytest.param(lambda idp: idp.token("orders", aud="other"), "audience_mismatch", id="audience"),
    pytest.param(lambda idp: idp.token("orders", iss="https://other"), "issuer_mismatch", id="issuer"),
    pytest.param(lambda idp: idp.token("orders", header={"typ": "logout+jwt"}), "token_type_wrong", id="typ"),
    pytest.param(lambda idp: idp.token("orders") + ".a.b", "token_encrypted", id="five parts"),
    pytest.param(lambda _: "A" * 1_000_000, "token_malformed", id="1 MB"),
    pytest.param(lambda idp: idp.token("orders") + "." + "A" * 20_000, "token_malformed", id="20 kB"),
    pytest.param(lambda idp: idp.mint.mint_raw(b"\xff\xfe", b"{}"), "token_malformed", id="header not UTF-8"),
    pytest.param(lambda idp: idp.mint.mint_raw(header(idp), b'{"a":"\xff"}'), "token_malformed", id="not UTF-8"),
    pytest.param(lambda idp: idp.mint.mint_raw(header(idp), b"{} x"), "token_malformed", id="trailing octets"),
    pytest.param(lambda idp: idp.token("orders") + "=", "token_malformed", id="padding"),
    pytest.param(lambda idp: idp.token("orders") + "!", "token_malformed", id="another alphabet"),
    pytest.param(lambda idp: idp.token("orders").replace(".", "\t.", 1), "malformed_credential", id="white space"),
    pytest.param(lambda _: b64url(b"{}"), "token_malformed", id="one part"),
    pytest.param(
        lambda idp: idp.token("orders").rsplit(".", 1)[0] + "." + b64url(b"\1" * 256),
        "signature_invalid",
        id="forged",
    ),
    pytest.param(
        lambda idp: idp.token("orders", client_id=ABSENT, azp=ABSENT), "claim_missing", id="claim missing"
    ),
    pytest.param(lambda idp: idp.token("orders", client_id="", azp=""), "claim_missing", id="claim empty"),
    pytest.param(
        lambda idp: idp.token("orders", client_id=["orders"], azp=["orders"]), "claim_missing", id="a list"
    ),
    pytest.param(lambda idp: idp.token("orders", client_id=7, azp=7), "claim_missing", id="a number"),
]


@pytest.mark.parametrize(("make", "reason"), TOKENS)
async def test_a_token_that_is_none_is_401_with_its_own_reason(running, make, reason):
    answer = await running.ask(bearer(make(running.idp)))
    assert answer.verdict == (401, reason)
    assert running.idp.calls[Endpoint.JWKS] == 1  # nothing of this was worth a fetch


@pytest.mark.parametrize(("make", "reason"), [row for row in TOKENS if row.id not in {"forged", "1 MB"}])
async def test_a_broken_token_costs_little(running, make, reason):
    """Under a millisecond of CPU each for the whole request, client included, by the best of many."""
    token = f"Bearer {make(running.idp)}"
    best = 1.0
    for _ in range(3):
        begun = time.process_time()
        assert set(await running.burst([token] * 50, connections=1)) <= {401}
        best = min(best, (time.process_time() - begun) / 50)
        await running.control("DELETE", "/v1/cache")
    assert best < 0.001


async def test_keys_are_bound_to_their_issuer(running):
    """A token that another issuer signed, also where it claims this one's name, opens nothing here."""
    async with FakeIdp({"orders": "x"}, clock=running.clock, keyring="other") as other:
        assert (await running.ask(bearer(other.token("orders")))).verdict == (401, "issuer_mismatch")
        forged = other.token("orders", iss=running.idp.issuer)
        assert (await running.ask(bearer(forged))).verdict == (401, "key_unknown")
        kid = {"kid": running.idp.mint.current.kid}
        forged = other.token("orders", iss=running.idp.issuer, header=kid)
        assert (await running.ask(bearer(forged))).verdict == (401, "signature_invalid")


@pytest.mark.parametrize(
    ("client_id", "service", "reason"),
    [
        ("stranger", "orders", "application_unknown"),
        ("pending", "orders", "not_registered"),
        ("rejected", "orders", "not_registered"),
        ("orders", "billing", "not_registered"),
        ("ORDERS", "orders", "application_unknown"),
    ],
)
@pytest.mark.parametrize("kind", ["bearer", "basic"])
async def test_a_valid_credential_without_an_approved_registration_is_403(
    running, client_id, service, reason, kind
):
    running.idp.clients.setdefault("ORDERS", running.idp.clients["orders"])
    by_token = bearer(running.idp.token(client_id))
    headers = by_token if kind == "bearer" else basic(client_id, CLIENTS.get(client_id, SECRET))
    assert (await running.ask(headers, service=service)).verdict == (403, reason)


@pytest.mark.parametrize("plain", [False, True], ids=["base64", "as it is"])
@pytest.mark.parametrize("secret", [SECRET, "a:b:c", "100%25", "a+b c", "пароль", '"\\'])
async def test_a_secret_of_any_characters_works_when_right_and_is_401_when_wrong(running, secret, plain):
    running.idp.clients["orders"].secret = secret

    def pair(value):
        encoded = base64.b64encode(f"orders:{value}".encode()).decode()
        return {"Authorization": f"Basic orders:{value}" if plain else f"Basic {encoded}"}

    assert (await running.ask(pair(secret))).status == 200
    for wrong in (secret + "x", secret[:-1], secret.upper() + "1"):
        answer = await running.ask(pair(wrong))
        assert answer.verdict == (401, "credentials_rejected")
        assert "Basic" in answer.headers["WWW-Authenticate"]


async def test_a_cookie_with_any_bit_flipped_is_401(running):
    name, _, value = (await running.ask(bearer(running.idp.token("orders")))).cookie["Cookie"].partition("=")
    sealed = bytearray(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    assert (await running.ask({"Cookie": f"{name}={value}"})).status == 200
    for position in range(len(sealed)):
        sealed[position] ^= 1 << position % 8
        answer = await running.ask({"Cookie": f"{name}={b64url(bytes(sealed))}"})
        assert answer.verdict == (401, "session_invalid"), position
        sealed[position] ^= 1 << position % 8
    for shape in (value + "A", value[:-1], value + "=", value.upper(), "a"):
        assert (await running.ask({"Cookie": f"{name}={shape}"})).verdict == (401, "session_invalid")


@pytest.mark.parametrize(
    ("after", "expected"), [(899.99, (200, "")), (900, (401, "session_expired"))], ids=["in time", "too late"]
)
async def test_a_session_ends_unused_at_idle_ttl_s(running, after, expected):
    cookie = (await running.ask(bearer(running.idp.token("orders")))).cookie
    running.clock.advance(after)
    assert (await running.ask(cookie)).verdict == expected


async def test_a_session_in_use_ends_with_the_token_that_opened_it(running):
    cookie = (await running.ask(bearer(running.idp.token("orders")))).cookie
    for _ in range(7):
        running.clock.advance(500)
        answer = await running.ask(cookie)
        assert answer.status == 200
        cookie = answer.cookie
    running.clock.advance(99.99)
    assert (await running.ask(cookie)).status == 200
    running.clock.advance(0.01)
    assert (await running.ask(cookie)).verdict == (401, "session_expired")


KEYS = [base64.b64encode(bytes([n]) * 32).decode() for n in range(3)]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param([KEYS[1], KEYS[0]], (200, ""), id="rotated: nobody is logged out"),
        pytest.param([KEYS[1]], (401, "session_invalid"), id="retired"),
    ],
)
async def test_a_cookie_lasts_as_long_as_its_key_is_in_the_ring(keys, expected):
    async with assembled(session={"keys": [KEYS[0]]}) as running:
        cookie = (await running.ask(bearer(running.idp.token("orders")))).cookie
        assert (await running.ask(cookie)).status == 200
        await running.sidecar.reload(settings_for(running.idp.issuer, session={"keys": keys}))
        assert (await running.ask(cookie)).verdict == expected


async def test_a_cookie_of_another_strategy_is_401(running):
    one = {"idp": "generic", "issuer": running.idp.issuer, "audience": ["api://default"]}
    await running.sidecar.reload(settings_for(running.idp.issuer, strategies={"plain": one, "other": one}))
    cookie = (await running.ask(bearer(running.idp.token("orders")))).cookie
    assert (await running.ask(cookie)).status == 200
    assert (await running.ask(cookie, strategy="other")).verdict == (401, "session_invalid")


async def test_a_flood_of_bad_credentials_evicts_no_good_one_and_fills_no_memory():
    async with assembled(cache={"max_entries": 1000}) as running:
        good = bearer(running.idp.token("orders"))
        assert (await running.ask(good)).status == 200
        await running.burst([f"Bearer {n}.a.b" for n in range(5000)])
        assert (await running.ask(good)).status == 200
        assert await running.metric("validator_signature_verifications_total") == 1
        assert await running.metric("validator_cache_entries", cache="denials") <= 1000
        assert await running.metric("validator_cache_entries", cache="proofs") == 1


async def test_guessing_secrets_ends_in_429_before_the_provider_is_asked(running):
    for n in range(10):
        assert (await running.ask(basic("orders", f"guess-{n}"))).verdict == (401, "credentials_rejected")
    answer = await running.ask(basic("orders", "guess-10"))
    assert answer.verdict == (429, "too_many_attempts")
    assert int(answer.headers["Retry-After"]) == 60
    assert running.idp.calls[Endpoint.TOKEN] == 10
    running.clock.advance(60)
    assert (await running.ask(basic("orders", SECRET))).status == 200
