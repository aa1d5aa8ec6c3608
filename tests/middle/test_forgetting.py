"""What a client proved is used no more once the client is forgotten, whatever of it is kept or under way."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support_http import ISSUER, TOKEN, CannedIdp, json_reply, turns, until
from support_pipeline import Kitchen, app, basic

from validator.caching import Caches
from validator.core.introspection import IntrospectionOptions
from validator.model import ClientCredentials, HttpReply, HttpRequest, Method, Proof, Revocation
from validator.testing import ManualClock

INTROSPECTION = f"{ISSUER}/introspect"
OLD, NEW = basic("orders", "s3cret"), basic("orders", "n3w")
BILLING = basic("billing", "b1lling")


def forget(kitchen: Kitchen, client_id: str = "orders") -> None:
    kitchen.caches.forget_client("plain", client_id)


async def warm(kitchen: Kitchen, *authorizations: bytes) -> None:
    for authorization in authorizations:
        for _ in range(2):
            assert (await kitchen.ask(authorization)).status == 200


# A pair


async def test_a_former_secret_is_refused_on_the_next_request_though_it_was_cached(
    kitchen: Kitchen, idp: CannedIdp
) -> None:
    await warm(kitchen, OLD)
    idp.clients["orders"] = "n3w"
    assert (await kitchen.ask(OLD)).status == 200  # kept, as it is to be
    forget(kitchen)
    assert (await kitchen.ask(OLD)).said == (401, "credentials_rejected")
    assert (await kitchen.ask(OLD, service="more")).status == 401
    assert (await kitchen.ask(NEW)).status == 200


async def test_a_proof_is_forgotten_for_services_that_were_never_asked_for(
    kitchen: Kitchen, idp: CannedIdp
) -> None:
    await warm(kitchen, OLD)
    idp.clients["orders"] = "n3w"
    forget(kitchen)
    assert (await kitchen.ask(OLD, service="more")).said == (401, "credentials_rejected")


async def test_a_refusal_of_before_does_not_answer_for_a_secret_that_is_right_now(
    kitchen: Kitchen, idp: CannedIdp
) -> None:
    assert (await kitchen.ask(NEW)).said == (401, "credentials_rejected")
    idp.clients["orders"] = "n3w"
    assert (await kitchen.ask(NEW)).status == 401  # kept, as it is to be
    assert (await kitchen.ask(NEW, service="more")).status == 401
    forget(kitchen)
    assert (await kitchen.ask(NEW)).status == 200
    assert (await kitchen.ask(NEW, service="more")).status == 200


async def test_others_keep_what_they_proved(kitchen: Kitchen, idp: CannedIdp) -> None:
    await warm(kitchen, OLD, BILLING)
    judged = kitchen.judged
    forget(kitchen)
    assert (await kitchen.ask(BILLING)).status == 200
    assert kitchen.judged == judged
    assert idp.calls[TOKEN] == 2


async def test_under_another_strategy_nothing_is_forgotten(clock: ManualClock, idp: CannedIdp) -> None:
    kitchen = Kitchen(
        clock, idp, applications=[app(), app(strategy="other")], strategies={"plain": {}, "other": {}}
    )
    for _ in range(2):
        for strategy in ("plain", "other"):
            assert (await kitchen.ask(OLD, strategy=strategy)).status == 200
    idp.clients["orders"] = "n3w"
    forget(kitchen)
    assert (await kitchen.ask(OLD, strategy="other")).status == 200
    assert (await kitchen.ask(OLD)).status == 401


# Under way


async def test_a_grant_begun_before_is_answered_and_neither_kept_nor_joined(
    kitchen: Kitchen, idp: CannedIdp
) -> None:
    await kitchen.issuer.tend()
    gate = idp.gates[TOKEN] = asyncio.Event()
    right = idp.table[TOKEN]
    before = asyncio.create_task(kitchen.ask(OLD))
    await until(lambda: idp.calls[TOKEN] == 1)
    forget(kitchen)
    after = asyncio.create_task(kitchen.ask(OLD))
    await until(lambda: idp.calls[TOKEN] == 2)  # not joined
    await turns()  # both wait at the gate, in this order

    def ended(request: HttpRequest) -> HttpReply:  # the first answer was on its way when the secret ended
        idp.table[TOKEN] = right
        reply = right(request) if callable(right) else right
        assert isinstance(reply, HttpReply)
        idp.clients["orders"] = "n3w"
        return reply

    idp.table[TOKEN] = ended
    gate.set()
    first, second = await asyncio.gather(before, after)
    assert first.status == 200
    assert "set-cookie" not in first.headers  # a session would outlive the secret
    assert second.said == (401, "credentials_rejected")
    assert (await kitchen.ask(OLD)).status == 401  # not kept


async def test_a_refusal_begun_before_is_answered_and_not_kept(kitchen: Kitchen, idp: CannedIdp) -> None:
    await kitchen.issuer.tend()
    gate = idp.gates[TOKEN] = asyncio.Event()
    call = asyncio.create_task(kitchen.ask(NEW))
    await until(lambda: idp.calls[TOKEN] == 1)
    forget(kitchen)
    gate.set()
    assert (await call).status == 401
    idp.clients["orders"] = "n3w"
    assert (await kitchen.ask(NEW)).status == 200


async def test_another_clients_grant_under_way_is_answered_and_proved_again(
    kitchen: Kitchen, idp: CannedIdp
) -> None:
    await kitchen.issuer.tend()
    gate = idp.gates[TOKEN] = asyncio.Event()
    call = asyncio.create_task(kitchen.ask(BILLING))
    await until(lambda: idp.calls[TOKEN] == 1)
    forget(kitchen)
    gate.set()
    assert (await call).status == 200
    assert (await kitchen.ask(BILLING)).status == 200
    assert (await kitchen.ask(BILLING)).status == 200
    assert idp.calls[TOKEN] == 2  # whose it would be was not known


# Tokens


async def test_a_token_is_verified_again(kitchen: Kitchen, idp: CannedIdp) -> None:
    token = idp.mint.mint({"client_id": "orders"})
    for _ in range(2):
        assert (await kitchen.ask(token)).status == 200
    assert kitchen.verifications == {"plain": 1}
    forget(kitchen)
    for _ in range(2):
        assert (await kitchen.ask(token)).status == 200
    assert kitchen.verifications == {"plain": 2}


async def test_a_token_that_only_the_issuer_reads_is_asked_about_again(clock: ManualClock, idp: CannedIdp) -> None:
    active = True
    asked = 0

    def say(_: HttpRequest) -> HttpReply:
        nonlocal asked
        asked += 1
        about: dict[str, Any] = {"active": active}
        if active:
            about |= {"client_id": "orders", "aud": "api://default", "exp": clock.now() + 3600}
        return json_reply(about, content_type="application/json")

    idp.metadata["introspection_endpoint"] = INTROSPECTION
    idp.table[INTROSPECTION] = say
    options = IntrospectionOptions(ClientCredentials("gateway", "g4teway"))
    kitchen = Kitchen(clock, idp, strategies={"plain": {"introspection": options}})
    for _ in range(2):
        assert (await kitchen.ask("opaque")).status == 200
    active = False
    assert (await kitchen.ask("opaque")).status == 200  # believed, as it is to be
    assert asked == 1
    forget(kitchen)
    assert (await kitchen.ask("opaque")).said == (401, "token_inactive")


# Sessions


async def test_sessions_opened_before_are_refused_and_those_after_are_not(
    kitchen: Kitchen, idp: CannedIdp, clock: ManualClock
) -> None:
    before = (await kitchen.ask(OLD)).cookie
    others = (await kitchen.ask(BILLING)).cookie
    assert (await kitchen.ask(cookie=before)).status == 200
    idp.clients["orders"] = "n3w"
    clock.advance(1)
    forget(kitchen)
    kitchen.registry.revoke(Revocation("sessions_of", "orders", "plain", clock.now(), clock.now() + 86400))
    assert (await kitchen.ask(cookie=before)).said == (401, "revoked")
    assert (await kitchen.ask(cookie=others)).status == 200
    clock.advance(1)
    renewed = await kitchen.ask(NEW)
    assert renewed.status == 200
    assert (await kitchen.ask(cookie=renewed.cookie)).status == 200
    assert (await kitchen.ask(cookie=before)).status == 401


async def test_a_session_renewed_after_counts_from_when_it_was_opened(
    kitchen: Kitchen, clock: ManualClock
) -> None:
    opened = (await kitchen.ask(OLD)).cookie
    clock.advance(500)
    renewed = (await kitchen.ask(cookie=opened)).cookie
    kitchen.registry.revoke(Revocation("sessions_of", "orders", "plain", clock.now() - 1, clock.now() + 86400))
    assert (await kitchen.ask(cookie=renewed)).said == (401, "revoked")


async def test_a_block_of_the_client_ends_all_at_once(
    kitchen: Kitchen, idp: CannedIdp, clock: ManualClock
) -> None:
    cookie = (await kitchen.ask(OLD)).cookie
    token = idp.mint.mint({"client_id": "orders"})
    assert (await kitchen.ask(token)).status == 200
    kitchen.registry.revoke(Revocation("client_id", "orders", "plain", clock.now(), clock.now() + 1000))
    forget(kitchen)
    for seen in (await kitchen.ask(OLD), await kitchen.ask(token), await kitchen.ask(cookie=cookie)):
        assert seen.said == (401, "revoked")


# The table itself


@pytest.mark.parametrize(
    ("strategy", "spelling", "known"),
    [
        ("plain", str, False),
        ("other", str, True),
        ("plain", str.upper, True),
        ("plain", "another-{}".format, True),
    ],
    ids=["itself", "another strategy", "another case", "another client"],
)
def test_no_more_is_forgotten_than_was_named_but_for_its_shard(
    strategy: str, spelling: Callable[[str], str], known: bool
) -> None:
    caches = Caches(b"0123456789abcdef", max_entries=1000)
    shard = caches.proof_epoch.client_shard
    # One in some thousand clients shares a shard with the named one, another at each start: not that one.
    client_id = next(
        name
        for name in (f"orders{n}" for n in range(100))
        if (shard(strategy, spelling(name)) == shard("plain", name)) is not known
    )
    proof = Proof("plain", Method.BEARER, client_id, 9e9, 9e9)
    caches.keep_proof(b"key", proof, caches.moment)
    caches.forget_client(strategy, spelling(client_id))
    assert (caches.known_proof(b"key") is not None) is known
    caches.keep_proof(b"key", proof, caches.moment)
    assert caches.known_proof(b"key") is not None  # proved since
