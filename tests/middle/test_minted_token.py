"""A minted token goes to the upstream where the strategy says so: for no longer than it lasts, kept by no gateway,
and shown nowhere else."""

import asyncio
import marshal
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs
from support_http import TOKEN, CannedIdp
from support_pipeline import RULES, Kitchen, Seen, basic

from validator.authn.basic import BasicRules
from validator.caching.proofs import packed, unpacked
from validator.model import BearerToken, ClientCredentials, Method, Proof, Session
from validator.testing import ABSENT, ManualClock

PAIR = ClientCredentials("orders", "s3cret")
ORDERS = basic("orders", "s3cret")
FORWARDING = BasicRules(300.0, 5.0, forward_minted_token=True)
STATELESS = frozenset({Method.BEARER, Method.CLIENT_CREDENTIALS})
OPAQUE = "opaque-token"


@pytest.fixture
def forwarding(kitchen: Kitchen) -> Kitchen:
    kitchen.basic = FORWARDING
    kitchen.reload({"plain": {}})
    return kitchen


async def prove(kitchen: Kitchen, **options: Any) -> Proof:
    return await kitchen.strategy("plain", **options).authenticators[Method.CLIENT_CREDENTIALS].prove(PAIR)


def stores_nothing(seen: Seen, left_s: float = 30) -> bool:
    return b"\r\nCache-Control: no-store\r\n\r\n" in seen.reply.rendered.wire(left_s)


async def test_it_is_off_unless_switched_on(kitchen: Kitchen) -> None:
    seen = await kitchen.ask(ORDERS)
    assert "x-access-token" not in seen.headers
    assert not stores_nothing(seen)


@pytest.mark.parametrize("sessions", [True, False], ids=["sessions", "stateless"])
@pytest.mark.parametrize("opaque", [True, False], ids=["opaque", "readable"])
async def test_a_pair_brings_its_token_also_replayed_and_confirmed(
    forwarding: Kitchen, idp: CannedIdp, sessions: bool, opaque: bool
) -> None:
    idp.opaque = opaque
    forwarding.reload({"plain": {"methods": frozenset(Method) if sessions else STATELESS}})
    first = await forwarding.ask(ORDERS)
    token = first.headers["x-access-token"]
    assert (token == OPAQUE) is opaque
    assert stores_nothing(first)
    replayed = await forwarding.ask(ORDERS)
    forwarding.caches.epoch.touch_all()
    confirmed = await forwarding.ask(ORDERS)
    assert (forwarding.judged, forwarding.replayed) == (1, 2)
    elsewhere = await forwarding.ask(ORDERS, service="more")
    for seen in (replayed, confirmed, elsewhere):
        assert seen.headers["x-access-token"] == token
        assert stores_nothing(seen)
    route = forwarding.pipeline.route("plain", "svc")
    assert route is not None
    wire = forwarding.pipeline.replay(route, route.key(ORDERS, None), forwarding.clock.now())
    assert wire is not None
    assert b"X-Access-Token: " + token.encode() + b"\r\n" in wire
    assert b"\r\nCache-Control: no-store\r\n\r\n" in wire
    assert b"max-age" not in wire
    assert idp.calls[TOKEN] == 1


async def test_bearer_tokens_and_sessions_bring_none_and_may_be_kept(forwarding: Kitchen, idp: CannedIdp) -> None:
    cookie = (await forwarding.ask(ORDERS)).cookie
    for seen in (
        await forwarding.ask(cookie=cookie),
        await forwarding.ask(idp.mint.mint({"client_id": "orders"})),
        await forwarding.ask(basic("billing", "wrong")),
    ):
        assert "x-access-token" not in seen.headers
        assert not stores_nothing(seen)


@pytest.mark.parametrize("sessions", [True, False], ids=["sessions", "stateless"])
async def test_kept_answers_with_and_without_a_token_do_not_mix(
    forwarding: Kitchen, idp: CannedIdp, sessions: bool
) -> None:
    """The same application, method and tally: one whose token is too long, and one whose is not."""
    forwarding.reload({"plain": {"methods": frozenset(Method) if sessions else STATELESS}})
    idp.claims = {"pad": "x" * 9000}
    idp.clients["orders"] = "other"
    without = basic("orders", "other")
    assert "x-access-token" not in (await forwarding.ask(without)).headers
    idp.claims = {}
    idp.clients["orders"] = "s3cret"
    assert "x-access-token" in (await forwarding.ask(ORDERS)).headers
    for _ in range(2):
        assert not stores_nothing(await forwarding.ask(without))
        assert stores_nothing(await forwarding.ask(ORDERS))
    assert forwarding.judged == 2


@pytest.mark.parametrize("opaque", [False, True], ids=["readable", "opaque"])
@pytest.mark.parametrize("expires_in", [60, 3600, 7200, 0, "soon", ABSENT], ids=repr)
@pytest.mark.parametrize("lasts_s", [10.0, 100.0, 3600.0])
@pytest.mark.parametrize("leeway_s", [0.0, 30.0])
async def test_a_forwarded_token_never_outlives_itself(
    forwarding: Kitchen, idp: CannedIdp, *, opaque: bool, expires_in: object, lasts_s: float, leeway_s: float
) -> None:
    """By its own word, which knows no leeway of ours, and by that of the reply that brought it; a tenth of its
    life, at most 10 s, is left for its way."""
    now = forwarding.clock.now()
    idp.opaque = opaque
    idp.grant = {"expires_in": expires_in}
    idp.claims = {"exp": now + lasts_s}
    forwarding.basic = replace(FORWARDING, leeway_s=leeway_s)
    proof = await prove(forwarding, rules=replace(RULES, leeway_s=leeway_s))
    assert proof.minted is not None
    lives = [] if opaque else [lasts_s]
    if expires_in is not ABSENT:
        lives.append(expires_in if isinstance(expires_in, int) else 0)
    life = min(lives, default=300)
    assert proof.good_until - now == pytest.approx(min(300, life - min(10, life / 10)))


async def test_when_it_ends_another_is_minted(forwarding: Kitchen, idp: CannedIdp, clock: ManualClock) -> None:
    idp.grant = {"expires_in": 10}
    first = (await forwarding.ask(ORDERS)).headers["x-access-token"]
    clock.advance(8.999)
    assert (await forwarding.ask(ORDERS)).headers["x-access-token"] == first
    clock.advance(0.001)
    idp.claims = {"jti": "another"}
    assert (await forwarding.ask(ORDERS)).headers["x-access-token"] != first
    assert idp.calls[TOKEN] == 2


async def test_what_is_forgotten_is_not_forwarded(forwarding: Kitchen, idp: CannedIdp) -> None:
    first = (await forwarding.ask(ORDERS)).headers["x-access-token"]
    idp.claims = {"jti": "another"}
    forwarding.caches.forget_client("plain", "orders")
    assert (await forwarding.ask(ORDERS)).headers["x-access-token"] != first


async def test_a_reload_without_it_forwards_none(forwarding: Kitchen) -> None:
    assert "x-access-token" in (await forwarding.ask(ORDERS)).headers
    forwarding.basic = BasicRules(300.0, 5.0)
    forwarding.reload({"plain": {"fingerprint": b"without"}})
    forwarding.caches.begin_anew()
    assert "x-access-token" not in (await forwarding.ask(ORDERS)).headers


@pytest.mark.parametrize(
    "token",
    [
        "CanaryMinted" + "x" * 8181,
        "CanaryMinted x",
        "CanaryMinted\r\nX-Evil: 1",
        "CanaryMintedé",
        "CanaryMinted\x00",
    ],
    ids=["too long", "a space", "line break", "not ASCII", "control"],
)
async def test_one_that_no_header_can_hold_stays_here_and_the_log_says_so(
    forwarding: Kitchen, idp: CannedIdp, token: str
) -> None:
    idp.grant = {"access_token": token}
    with capture_logs() as logs:
        for _ in range(2):
            seen = await forwarding.ask(ORDERS)
            assert seen.status == 200
            assert not {"x-access-token", "x-evil"} & set(seen.headers)
    lines = [line for line in logs if line["event"] == "minted token not forwarded"]
    assert [(line["strategy"], line["client_id"]) for line in lines] == [("plain", "orders")]
    assert "8192" in lines[0]["detail"]
    assert "CanaryMinted" not in str(logs)


async def test_it_is_shown_nowhere(forwarding: Kitchen, idp: CannedIdp) -> None:
    idp.grant = {"access_token": "CanaryMinted"}
    with capture_logs() as logs:
        seen = await forwarding.ask(ORDERS)
        await forwarding.ask(ORDERS, service="none")
    assert seen.headers["x-access-token"] == "CanaryMinted"
    proof = await prove(forwarding)
    shown = [repr(proof), str(proof), repr(seen.reply), repr(forwarding.tallies), str(logs)]
    shown += [repr(error) for error in (ValueError(proof), KeyError(seen.reply.rendered))]
    assert not [text for text in shown if "Canary" in text]


async def test_many_at_once_get_the_same_one(forwarding: Kitchen, idp: CannedIdp) -> None:
    answers = await asyncio.gather(*(forwarding.ask(ORDERS) for _ in range(10)))
    assert len({seen.headers["x-access-token"] for seen in answers}) == 1
    assert all(stores_nothing(seen) for seen in answers)
    assert idp.calls[TOKEN] == 1


# What is kept


def test_a_proof_comes_out_with_all_that_is_told() -> None:
    headers = (("X-Claim-Tenant", "Zürich"), ("X-Claim-Roles", "a,b"))
    session = Session("s-1", "plain", "orders", 1.5, 2.5, 9e9, None, headers)
    plain = Proof("plain", Method.CLIENT_CREDENTIALS, "orders", 9e9, 9e9)
    for proof in (
        plain._replace(upstream_headers=headers),
        plain._replace(minted=BearerToken(b"minted")),
        plain._replace(upstream_headers=headers, minted=BearerToken(b"minted"), opens=session),
        plain._replace(session=session, upstream_headers=headers),
        plain._replace(opens=session),
    ):
        assert unpacked(packed(proof, 17)) == (proof, 17)


def test_a_proof_that_tells_nothing_takes_no_byte_more() -> None:
    session = Session("s-1", "plain", "orders", 1.5, 2.5, 9e9, None)
    kept = packed(Proof("plain", Method.BEARER, "orders", 9e9, 9e9, opens=session), 17)
    *parts, opens = marshal.loads(kept)  # noqa: S302 - packed just now
    assert parts == [17, "plain", "bearer", "orders", 9e9, 9e9, None, None, None]
    assert opens == ("s-1", "plain", "orders", 1.5, 2.5, 9e9, None)
