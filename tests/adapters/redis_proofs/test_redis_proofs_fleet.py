"""What a fleet shares through a real Redis: one question for all, and nothing to be learned from a dump."""

import asyncio
import contextlib

import pytest
import redis_servers
from canary import Canary, leaks
from redis.crc import key_slot
from redis_proofs_support import RIGHT, WRONG, Make
from redis_servers import RedisServer
from support_fleet import NEGATIVE_S, Member, ask_all, close_all, fleet
from support_http import TOKEN, CannedIdp
from support_pipeline import app, basic

from validator.authn.basic import BasicRules
from validator.testing import ManualClock

pytestmark = pytest.mark.programs

SECRET = Canary("secret", "zq8Secretzq8")
CLIENT = Canary("client id", "zq8Clientzq8")

# The fleet


async def test_a_thousand_first_requests_are_two_calls_at_most(members: list[Member], idp: CannedIdp) -> None:
    assert {one.said for one in await ask_all(members, RIGHT, 1000)} == {(200, None)}
    assert idp.calls[TOKEN] <= 2


async def test_so_are_a_thousand_wrong_ones(members: list[Member], idp: CannedIdp) -> None:
    assert {one.said for one in await ask_all(members, WRONG, 1000)} == {(401, "credentials_rejected")}
    assert idp.calls[TOKEN] <= 2


async def test_so_are_a_thousand_in_an_outage(members: list[Member], idp: CannedIdp) -> None:
    idp.fail(TOKEN)
    assert {one.said for one in await ask_all(members, RIGHT, 1000)} == {(503, "idp_unavailable")}
    assert idp.calls[TOKEN] <= 2


async def test_guesses_at_three_members_are_bounded_as_at_one(members: list[Member], idp: CannedIdp) -> None:
    seen = [await members[n % 3].ask(basic("orders", f"guess-{n}")) for n in range(15)]
    assert [one.status for one in seen] == [401] * 10 + [429] * 5
    assert 50 <= int(seen[-1].headers["retry-after"]) <= 60
    assert idp.calls[TOKEN] == 10


async def test_so_are_guesses_at_once(members: list[Member], idp: CannedIdp) -> None:
    seen = await asyncio.gather(*(members[n % 3].ask(basic("orders", f"guess-{n}")) for n in range(100)))
    assert sorted(one.status for one in seen) == [401] * 10 + [429] * 90
    assert idp.calls[TOKEN] == 10


async def test_what_one_found_out_ends_elsewhere_when_it_ends_there(
    members: list[Member], idp: CannedIdp, clock: ManualClock
) -> None:
    await members[0].ask(RIGHT)
    clock.advance(299)
    await members[1].ask(RIGHT)
    assert idp.calls[TOKEN] == 1
    clock.advance(1)  # by our own clock, whatever Redis still holds
    await members[2].ask(RIGHT)
    assert idp.calls[TOKEN] == 2


# What a thief of it has


def dump(server: RedisServer) -> dict[bytes, list[bytes]]:
    """Everything that is there, as text."""
    with contextlib.closing(server.client()) as client:
        held = {}
        for name in client.keys("*"):
            if client.type(name) == b"hash":
                held[name] = [part for pair in client.hgetall(name).items() for part in pair]
            else:
                held[name] = [client.get(name), client.dump(name)]
        return held


async def test_a_dump_tells_neither_secrets_nor_clients_nor_tokens(
    server: RedisServer, make: Make, clock: ManualClock, idp: CannedIdp
) -> None:
    idp.clients[CLIENT.plain] = SECRET.plain
    rules = BasicRules(300.0, NEGATIVE_S, forward_minted_token=True)
    one = fleet(1, clock, idp, lambda: make(server), [app(CLIENT.plain)], basic=rules)[0]
    allowed = await one.ask(basic(CLIENT.plain, SECRET.plain))
    assert allowed.status == 200
    await one.ask(basic(CLIENT.plain, SECRET.plain + "-wrong"))
    await one.ask(basic("nobody-" + CLIENT.plain, SECRET.plain))
    idp.fail(TOKEN)
    await one.ask(basic(CLIENT.plain, SECRET.plain + "-other"))
    token = allowed.headers["x-access-token"]
    held = await asyncio.to_thread(dump, server)
    kinds = {name.rpartition(b":")[2] for name in held}
    assert kinds - {b"outage"} == {b"answer", b"proven", b"tries"}  # that one lasts a second
    everything = b"\n".join(part for name, values in held.items() for part in (name, *values))
    cores = (SECRET.core, CLIENT.core, *token.split("."), "credentials_rejected", "plain")
    assert leaks(everything, cores) == []
    await one.close()


async def test_under_another_secret_the_same_pair_has_another_name(
    server: RedisServer, make: Make, clock: ManualClock, idp: CannedIdp
) -> None:
    names = []
    for key in (b"1" * 32, b"2" * 32):
        member = fleet(1, clock, idp, lambda: make(server), [app()], keys=(key,))[0]
        await member.ask(RIGHT)
        names.append(set(await asyncio.to_thread(dump, server)))
        await asyncio.to_thread(server.flush)
        await member.close()
    assert all(names)
    assert not names[0] & names[1]


async def test_a_proof_that_was_put_under_another_secret_of_the_client_opens_nothing(
    server: RedisServer, members: list[Member], idp: CannedIdp
) -> None:
    def answers() -> set[bytes]:
        return set(server.ask("KEYS", "*:answer"))  # type: ignore[call-overload]

    await members[0].ask(RIGHT)
    (right,) = await asyncio.to_thread(answers)
    await members[0].ask(WRONG)
    (wrong,) = await asyncio.to_thread(answers) - {right}
    await asyncio.to_thread(server.ask, "RENAME", right, wrong)
    assert (await members[1].ask(WRONG)).said == (401, "credentials_rejected")
    assert idp.calls[TOKEN] == 3


async def test_everything_of_one_pair_is_in_one_slot_of_a_cluster(
    members: list[Member], server: RedisServer
) -> None:
    await members[0].ask(RIGHT)
    await members[0].ask(basic("orders", "guess"))
    held = await asyncio.to_thread(dump, server)
    assert len(held) > 3
    assert len({key_slot(name) for name in held}) == 1


async def test_a_fleet_shares_through_a_cluster(make: Make, clock: ManualClock, idp: CannedIdp) -> None:
    idp.clients |= {f"client-{n}": "s3cret" for n in range(9)}
    applications = [app(f"client-{n}") for n in range(9)]
    with redis_servers.cluster() as nodes:
        members = fleet(2, clock, idp, lambda: make(nodes.endpoint), applications)
        for n in range(9):  # at all three masters, very likely
            seen = await ask_all(members, basic(f"client-{n}", "s3cret"), 4)
            assert {one.status for one in seen} == {200}
            assert (await members[n % 2].ask(basic(f"invented-{n}", "guess"))).status == 401
        assert idp.calls[TOKEN] == 18
        await close_all(members)
