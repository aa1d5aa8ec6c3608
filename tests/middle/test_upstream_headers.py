"""What the upstream is told of a token goes with the credential: into its answer, its session, and no other's."""

import dataclasses
from typing import Any

import pytest
from structlog.testing import capture_logs
from support_http import ISSUER, CannedIdp, json_reply
from support_pipeline import RULES, Kitchen, Seen, app, basic

from validator.core.introspection import IntrospectionOptions
from validator.core.sessions import KeyRing
from validator.model import Application, BearerToken, ClientCredentials, HttpReply, Method, Proof
from validator.testing import ManualClock

TENANT = (("X-Claim-Tenant", ("ctx", "tenant")), ("X-Claim-Roles", ("roles",)))
TOLD = dataclasses.replace(RULES, upstream_headers=TENANT)
ORDERS = basic("orders", "s3cret")
STATELESS = frozenset({Method.BEARER, Method.CLIENT_CREDENTIALS})
INTROSPECTION = f"{ISSUER}/introspect"


def claims_of(seen: Seen) -> dict[str, str]:
    assert seen.status == 200
    return {name: value for name, value in seen.headers.items() if name.startswith("x-claim-")}


def serve(kitchen: Kitchen, **options: Any) -> None:
    kitchen.reload({"plain": {"rules": TOLD, "fingerprint": b"told", **options}})


@pytest.fixture
def told(kitchen: Kitchen) -> Kitchen:
    serve(kitchen)
    return kitchen


def token(idp: CannedIdp, tenant: object = "acme", **claims: Any) -> str:
    return idp.mint.mint({"client_id": "orders", "ctx": {"tenant": tenant}, **claims})


async def test_a_bearer_token_speaks_for_itself(told: Kitchen, idp: CannedIdp) -> None:
    presented = token(idp, roles=["a", "b"])
    for _ in range(2):  # the second is a replay
        assert claims_of(await told.ask(presented)) == {"x-claim-tenant": "acme", "x-claim-roles": "a,b"}
    assert claims_of(await told.ask(presented, service="more")) == {
        "x-claim-tenant": "acme",
        "x-claim-roles": "a,b",
    }
    assert (told.judged, told.replayed) == (2, 1)


@pytest.mark.parametrize("sessions", [True, False], ids=["sessions", "stateless"])
async def test_two_tokens_of_one_application_are_told_apart(
    kitchen: Kitchen, idp: CannedIdp, sessions: bool
) -> None:
    serve(kitchen, methods=frozenset(Method) if sessions else STATELESS)
    tokens = {tenant: token(idp, tenant) for tenant in ("acme", "other")}
    for _ in range(2):
        for tenant, presented in tokens.items():
            assert claims_of(await kitchen.ask(presented)) == {"x-claim-tenant": tenant}
    assert claims_of(await kitchen.ask(token(idp, None))) == {}


async def test_a_claim_never_begins_a_line(told: Kitchen, idp: CannedIdp) -> None:
    for evil in ("acme\r\nX-Application-Id: evil", "acme\nSet-Cookie: x=y", "acme\r\n\r\nHTTP/1.1 200 OK"):
        seen = await told.ask(token(idp, evil))
        assert claims_of(seen) == {}
        assert seen.headers["x-application-id"] == "app-plain-orders"
        assert b"evil" not in seen.reply.rendered.wire(1)


@pytest.mark.parametrize("sessions", [True, False], ids=["sessions", "stateless"])
async def test_an_answer_in_doubt_is_confirmed_with_what_it_told(
    kitchen: Kitchen, idp: CannedIdp, sessions: bool
) -> None:
    serve(kitchen, methods=frozenset(Method) if sessions else STATELESS)
    presented = token(idp)
    first = await kitchen.ask(presented)
    kitchen.caches.epoch.touch_all()
    again = await kitchen.ask(presented)
    assert claims_of(again) == claims_of(first) == {"x-claim-tenant": "acme"}
    assert (kitchen.judged, kitchen.replayed) == (1, 1)


async def test_an_answer_is_not_as_told_when_the_claims_differ(told: Kitchen, clock: ManualClock) -> None:
    """Nothing but the proof says so: what is kept of another proof under this key is judged anew."""
    answers = told.pipeline._answers
    route = told.pipeline.route("plain", "svc")
    assert route is not None
    end = clock.now() + 60
    plain = Proof("plain", Method.BEARER, "orders", end, end)
    acme = plain._replace(upstream_headers=(("X-Claim-Tenant", "acme"),))
    proofs = [
        plain,
        acme,
        plain._replace(upstream_headers=(("X-Claim-Tenant", "acme2"),)),
        acme._replace(minted=BearerToken(b"one")),
        acme._replace(minted=BearerToken(b"two")),
    ]
    for kept in proofs:
        head = answers.allowed(route, None, kept, app(), None, None, clock.now(), 0).rendered.head
        assert [answers.is_as_told(head, each, app()) for each in proofs] == [each is kept for each in proofs]


async def test_a_session_carries_what_its_credential_told(
    told: Kitchen, idp: CannedIdp, clock: ManualClock
) -> None:
    cookie = (await told.ask(token(idp, roles="admin"))).cookie
    idp.fail()
    for _ in range(2):
        seen = await told.ask(cookie=cookie)
        assert claims_of(seen) == {"x-claim-tenant": "acme", "x-claim-roles": "admin"}
        assert seen.headers["x-auth-method"] == "session"
    clock.advance(100)
    renewed = await told.ask(cookie=cookie)
    assert claims_of(await told.ask(cookie=renewed.cookie)) == {"x-claim-tenant": "acme", "x-claim-roles": "admin"}


async def test_where_the_cookie_has_no_room_no_session_is_opened(told: Kitchen, idp: CannedIdp) -> None:
    full = {"tenant": "t" * 1000, "roles": "r" * 500}
    seen = await told.ask(token(idp, **full))
    assert "set-cookie" in seen.headers
    with capture_logs() as logs:
        presented = token(idp, tenant="t" * 1000, roles="secret-role" + "r" * 490)
        seen = await told.ask(presented)
        assert len(claims_of(seen)) == 2
        assert not {"set-cookie", "x-session-id"} & set(seen.headers)
        await told.ask(presented, service="more")
    lines = [line for line in logs if line["event"] == "no session opened"]
    assert [(line["strategy"], line["client_id"]) for line in lines] == [("plain", "orders")], "once a proof"
    assert "secret-role" not in str(logs)


async def test_a_reload_with_other_headers_meets_no_old_proof(told: Kitchen, idp: CannedIdp) -> None:
    presented = token(idp, roles="admin")
    assert len(claims_of(await told.ask(presented))) == 2
    serve(told, rules=RULES, fingerprint=b"other")
    assert claims_of(await told.ask(presented)) == {}


async def test_a_ring_of_other_headers_opens_no_cookie_of_before(told: Kitchen, idp: CannedIdp) -> None:
    cookie = (await told.ask(token(idp))).cookie
    serve(told, ring=KeyRing([bytes(range(32))], bound_to="other headers"), fingerprint=b"other")
    assert (await told.ask(cookie=cookie)).reason == "session_invalid"


async def test_a_minted_token_that_is_read_speaks_for_the_pair(told: Kitchen, idp: CannedIdp) -> None:
    idp.claims = {"ctx": {"tenant": "minted"}}
    seen = await told.ask(ORDERS)
    assert claims_of(seen) == {"x-claim-tenant": "minted"}
    assert "x-access-token" not in seen.headers
    assert claims_of(await told.ask(cookie=seen.cookie)) == {"x-claim-tenant": "minted"}


async def test_one_that_is_opaque_says_nothing(told: Kitchen, idp: CannedIdp) -> None:
    idp.opaque = True
    assert claims_of(await told.ask(ORDERS)) == {}


@pytest.mark.parametrize("credential", ["opaque-token", ORDERS], ids=["bearer", "minted"])
async def test_an_introspected_token_is_told_by_the_answer(
    kitchen: Kitchen, idp: CannedIdp, clock: ManualClock, credential: str | bytes
) -> None:
    idp.opaque = True
    idp.metadata["introspection_endpoint"] = INTROSPECTION
    members = {"active": True, "client_id": "orders", "aud": "api://default", "exp": clock.now() + 60}
    answer = json_reply({**members, "ctx": {"tenant": "asked"}, "roles": None})
    idp.table[INTROSPECTION] = HttpReply(200, {"content-type": "application/json"}, answer.body)
    serve(kitchen, introspection=IntrospectionOptions(ClientCredentials("gateway", "g4teway")))
    seen = await kitchen.ask(credential)
    assert claims_of(seen) == {"x-claim-tenant": "asked"}
    assert claims_of(await kitchen.ask(cookie=seen.cookie)) == {"x-claim-tenant": "asked"}


async def test_answers_with_claims_share_what_is_said_of_the_application(kitchen: Kitchen, idp: CannedIdp) -> None:
    serve(kitchen, methods=STATELESS)
    for number in range(5):
        await kitchen.ask(token(idp, f"tenant-{number}"))
    replies = kitchen.caches.replies._young
    assert (len(replies.entries), len(replies.kinds)) == (5, 1)
    assert not any(b"X-Application-Id" in entry for entry in replies.entries.values())


# Groups


def grouped(*groups: str) -> Application:
    return dataclasses.replace(app("orders", "svc", "more"), groups=groups)


@pytest.mark.parametrize("sessions", [True, False], ids=["sessions", "stateless"])
async def test_a_change_of_groups_is_told_at_once(kitchen: Kitchen, idp: CannedIdp, sessions: bool) -> None:
    kitchen.reload({"plain": {"methods": frozenset(Method) if sessions else STATELESS}})
    presented = idp.mint.mint({"client_id": "orders"})
    for groups in ((), ("gold",), ("gold", "internal"), ("internal", "gold"), ("gold",), ("golden",), ()):
        kitchen.registry.apply(grouped(*groups))
        for service in ("svc", "more"):
            for _ in range(2):
                seen = await kitchen.ask(presented, service=service)
                assert seen.status == 200
                assert seen.headers.get("x-application-groups", "") == ", ".join(groups)
    assert kitchen.verifications == {"plain": 1}


async def test_a_session_is_told_the_groups_of_now(kitchen: Kitchen) -> None:
    kitchen.registry.apply(grouped("gold"))
    cookie = (await kitchen.ask(ORDERS)).cookie
    assert (await kitchen.ask(cookie=cookie)).headers["x-application-groups"] == "gold"
    kitchen.registry.apply(grouped("silver"))
    assert (await kitchen.ask(cookie=cookie)).headers["x-application-groups"] == "silver"


async def test_answers_without_a_session_share_their_head_with_groups_too(
    kitchen: Kitchen, idp: CannedIdp
) -> None:
    kitchen.registry.apply(grouped("gold", "internal"))
    kitchen.reload({"plain": {"methods": STATELESS}})
    for number in range(5):
        await kitchen.ask(idp.mint.mint({"client_id": "orders", "jti": f"{number}"}))
    replies = kitchen.caches.replies._young
    assert (len(replies.entries), len(replies.kinds)) == (5, 1)
    assert len({len(entry) for entry in replies.entries.values()}) == 1
    assert not any(b"X-" in entry for entry in replies.entries.values())
