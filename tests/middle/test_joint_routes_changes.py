"""A route under several strategies while things change: a request that waits for its turn is judged by those whose
own its credential is then, and nothing that rests on what was before is kept."""

import asyncio
from collections.abc import AsyncIterator, Callable
from inspect import isawaitable
from typing import Any

import pytest
from joint_support import NAMES, SECRET, Joint
from support_http import TOKEN, CannedIdp, turns, until
from support_pipeline import COOKIE, Kitchen, Seen, app, basic, read

from validator.server.dataplane import Bounds, Plane
from validator.testing import ManualClock

BOTH = "plain,other"
OWN = {name: app("orders", strategy=name) for name in NAMES}
PAIR = basic("orders", SECRET)
Made = Callable[..., Any]
Change = Callable[[Any], None]


def added(registry: Any) -> None:
    registry.apply(OWN["plain"])


def added_without_the_service(registry: Any) -> None:
    registry.apply(app("orders", "another", strategy="plain"))


def removed(registry: Any) -> None:
    registry.remove(OWN["other"].id)


def moved(registry: Any) -> None:
    removed(registry)
    added(registry)


CHANGES: list[tuple[Change, tuple[int, str | None], list[str]]] = [
    (added, (200, None), ["plain"]),
    (added_without_the_service, (403, "not_registered"), ["plain"]),
    (removed, (401, "credentials_rejected"), []),
    (moved, (200, None), ["plain"]),
]


@pytest.fixture
async def made(clock: ManualClock) -> AsyncIterator[Made]:
    joints: list[Joint] = []

    async def make(*, ready: bool = True, **options: Any) -> Joint:
        joints.append(Joint(clock, **{"applications": [OWN["other"]], **options}))
        return await joints[-1].ready() if ready else joints[-1]

    yield make
    for joint in joints:
        await joint.close()


def waiting(kitchen: Kitchen, authorization: bytes, strategy: str) -> Callable[[], Any]:
    """A request that has arrived, and whose turn has not come; the call is its turn."""
    route = kitchen.pipeline.route(strategy, "svc")
    assert route is not None
    answer = kitchen.pipeline.answer(route, authorization, None, kitchen.clock.now())
    assert isawaitable(answer)

    async def turn() -> Seen:
        return read(await answer)

    return turn


class Line(asyncio.Transport):
    """A connection of the data plane without a network."""

    def __init__(self, kitchen: Kitchen) -> None:
        super().__init__()
        self.written = b""
        plane = Plane(kitchen.pipeline, COOKIE, bounds=Bounds(), clock=kitchen.clock)
        self._connection = plane.connection()
        self._connection.connection_made(self)

    def send(self, *authorizations: bytes) -> None:
        """All in one piece."""
        head = f"GET /v1/authorize/{BOTH}/svc HTTP/1.1\r\nHost: s\r\nAuthorization: ".encode()
        self._connection.data_received(b"".join(head + each + b"\r\n\r\n" for each in authorizations))

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def answers(self) -> list[bytes]:
        """Their statuses."""
        return [part[1:4] for part in self.written.split(b"HTTP/1.1")[1:]]


class TestWhoseItIsWhenItsTurnComes:
    @pytest.mark.parametrize(("change", "said", "shown"), CHANGES)
    async def test_it_is_theirs_who_have_it_then(
        self, made: Made, change: Change, said: tuple[int, str | None], shown: list[str]
    ) -> None:
        joint = await made()
        turn = waiting(joint.kitchen, PAIR, BOTH)
        change(joint.kitchen.registry)
        assert (await turn()).said == said
        assert joint.shown(SECRET.encode()) == shown
        assert (await joint.kitchen.ask(PAIR, strategy=BOTH)).said == said

    @pytest.mark.parametrize(("change", "said", "shown"), CHANGES)
    async def test_behind_a_slow_one_on_its_connection(
        self, made: Made, change: Change, said: tuple[int, str | None], shown: list[str]
    ) -> None:
        joint = await made(applications=[OWN["other"], app("slow", strategy="third")])
        joint.kitchen.registry.apply(app("slow", strategy="other"))
        idp = joint.idps["other"]
        gate = idp.gates["https://other.test/token"] = asyncio.Event()
        line = Line(joint.kitchen)
        line.send(basic("slow", SECRET + "-of-another"), PAIR)
        await until(lambda: idp.asked() == 1)
        change(joint.kitchen.registry)
        gate.set()
        await until(lambda: len(line.answers()) == 2)
        assert line.answers() == [b"200", str(said[0]).encode()]
        seen = {
            name for name in NAMES if any(r.body.count(b"client_id=orders") for r in joint.idps[name].requests)
        }
        assert sorted(seen) == shown
        joint.clock.advance(29)
        assert (await joint.kitchen.ask(PAIR, strategy=BOTH)).said == said

    async def test_a_change_elsewhere_changes_nothing(self, made: Made) -> None:
        joint = await made()
        turn = waiting(joint.kitchen, PAIR, BOTH)
        joint.kitchen.registry.apply(app("billing", strategy="plain"))
        assert (await turn()).status == 200
        assert joint.shown(SECRET.encode()) == ["other"]
        assert (await joint.kitchen.ask(PAIR, strategy=BOTH)).status == 200
        assert (joint.kitchen.judged, joint.kitchen.replayed) == (1, 1)

    async def test_also_where_the_change_comes_while_somebody_is_asked(self, made: Made) -> None:
        joint = await made()
        idp = joint.idps["other"]
        gate = idp.gates["https://other.test/token"] = asyncio.Event()
        asking = asyncio.ensure_future(joint.kitchen.ask(PAIR, strategy=BOTH))
        await until(lambda: idp.asked() == 1)
        joint.kitchen.registry.apply(app("billing", strategy="plain"))
        gate.set()
        assert (await asking).status == 200
        await joint.kitchen.ask(PAIR, strategy=BOTH)
        assert joint.kitchen.replayed == 1


class TestWhatWasForgotten:
    """Before the turn of a request that had arrived: it is answered, and nothing of it is kept."""

    async def forgotten(self, kitchen: Kitchen, strategy: str) -> Seen:
        turn = waiting(kitchen, PAIR, strategy)
        kitchen.caches.begin_anew()
        return await turn()

    async def test_on_a_route_of_one(self, kitchen: Kitchen, idp: CannedIdp) -> None:
        await kitchen.issuer.tend()
        kitchen.reload({"plain": {}})
        seen = await self.forgotten(kitchen, "plain")
        assert (seen.status, seen.reply.deadline) == (200, 0.0)
        assert "x-session-id" not in seen.headers
        assert (await kitchen.ask(PAIR)).status == 200
        assert (idp.calls[TOKEN], kitchen.replayed) == (2, 0)

    async def test_on_one_of_several(self, made: Made) -> None:
        joint = await made()
        seen = await self.forgotten(joint.kitchen, BOTH)
        assert (seen.status, seen.reply.deadline) == (200, 0.0)
        assert (await joint.kitchen.ask(PAIR, strategy=BOTH)).status == 200
        assert (joint.idps["other"].asked(), joint.kitchen.replayed) == (2, 0)

    async def test_where_it_need_not_be_asked_any_more(self, made: Made) -> None:
        """What another has proved meanwhile is as good, but what is told of it may be told otherwise by now."""
        joint = await made()
        turn = waiting(joint.kitchen, PAIR, BOTH)
        await joint.kitchen.ask(PAIR, strategy="other")
        joint.kitchen.caches.begin_anew()
        assert (await turn()).reply.deadline == 0.0
        assert joint.idps["other"].asked() == 1

    async def test_also_where_keys_have_come_meanwhile(self, made: Made) -> None:
        joint = await made(ready=False)
        token = joint.idps["other"].token()
        turn = waiting(joint.kitchen, token, BOTH)
        await joint.ready()
        joint.kitchen.caches.begin_anew()
        assert (await turn()).reply.deadline == 0.0
        assert (await joint.kitchen.ask(token, strategy=BOTH)).reply.deadline > 0.0
        assert joint.kitchen.verifications == {"other": 2}

    async def test_who_asks_afterwards_does_not_wait_for_it(self, made: Made) -> None:
        joint = await made()
        idp = joint.idps["other"]
        gate = idp.gates["https://other.test/token"] = asyncio.Event()
        turn = waiting(joint.kitchen, PAIR, "other")
        joint.kitchen.caches.begin_anew()
        asking = [asyncio.ensure_future(turn())]
        await until(lambda: idp.asked() == 1)
        asking.append(asyncio.ensure_future(joint.kitchen.ask(PAIR, strategy="other")))
        await until(lambda: idp.asked() == 2)
        gate.set()
        before, after = await asyncio.gather(*asking)
        assert (before.reply.deadline, after.reply.deadline) == (0.0, joint.clock.now() + 30)

    async def test_while_an_issuers_name_is_asked_for(self, made: Made) -> None:
        joint = await made(ready=False, called={"other": "https://elsewhere.test"})
        gate = joint.idps["other"].gates["https://other.test/.well-known/openid-configuration"] = asyncio.Event()
        token = joint.idps["other"].token()
        asking = asyncio.ensure_future(joint.kitchen.ask(token, strategy=BOTH))
        await turns()
        joint.kitchen.caches.begin_anew()
        gate.set()
        seen = await asking
        assert (seen.status, seen.reply.deadline) == (200, 0.0)
        assert (await joint.kitchen.ask(token, strategy=BOTH)).status == 200
        assert joint.kitchen.replayed == 0
