"""What others may have written in between: what is known is gone by, what is absent is not denied, and where the
operator wants it so, nothing is decided at all."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from joint_support import NAMES, SECRET, Joint
from support_http import TOKEN, CannedIdp, until
from support_pipeline import Kitchen, app, basic

from validator.model import Application, Knowledge, Origin, RegistrationStatus, Revocation
from validator.testing import ManualClock

ORDERS = basic("orders", "s3cret")
BILLING = basic("billing", "b1lling")
PENDING = replace(app(), registrations={"svc": RegistrationStatus.PENDING})
OUT_OF_REACH = (503, "store_unavailable")


def in_the_file(application: Application) -> Application:
    return replace(application, origin=Origin.FILE)


class TestBehind:
    @pytest.fixture
    def behind(self, kitchen: Kitchen) -> Kitchen:
        kitchen.registry.set_knowledge(Knowledge.BEHIND)
        return kitchen

    async def test_what_is_known_goes_on(self, behind: Kitchen) -> None:
        assert (await behind.ask(ORDERS)).status == 200
        behind.registry.revoke(Revocation("client_id", "orders"))
        assert (await behind.ask(ORDERS)).said == (401, "revoked")

    @pytest.mark.parametrize(
        ("known", "said"),
        [
            (replace(app(), active=False), (403, "application_inactive")),
            (PENDING, (403, "not_registered")),
            (app("orders", "another"), OUT_OF_REACH),
        ],
        ids=["inactive", "pending", "for another service"],
    )
    async def test_of_a_stored_application(self, behind: Kitchen, known: Application, said: Any) -> None:
        behind.registry.apply(known)
        assert (await behind.ask(ORDERS)).said == said

    async def test_an_application_that_is_absent_may_be_written_elsewhere(self, behind: Kitchen) -> None:
        behind.registry.remove("app-plain-billing")
        seen = await behind.ask(BILLING)
        assert seen.said == OUT_OF_REACH
        assert "retry-after" in seen.headers

    async def test_an_application_of_the_file_stands_nowhere_else(self, behind: Kitchen) -> None:
        behind.registry.remove("app-plain-orders")
        behind.registry.load_file([in_the_file(app("orders", "another"))])
        assert (await behind.ask(ORDERS)).said == (403, "not_registered")

    async def test_it_is_not_kept(self, behind: Kitchen, idp: CannedIdp) -> None:
        behind.registry.remove("app-plain-billing")
        assert (await behind.ask(BILLING)).said == OUT_OF_REACH
        behind.registry.apply(app("billing"))
        assert (await behind.ask(BILLING)).status == 200
        behind.registry.remove("app-plain-billing")
        assert (await behind.ask(BILLING)).said == OUT_OF_REACH
        behind.registry.set_knowledge(Knowledge.CURRENT)
        assert (await behind.ask(BILLING)).said == (403, "application_unknown")
        assert idp.calls[TOKEN] == 1

    async def test_replays_stay_replays(self, kitchen: Kitchen) -> None:
        assert (await kitchen.ask(ORDERS)).status == 200
        judged = kitchen.judged
        for knowledge in (Knowledge.BEHIND, Knowledge.CURRENT):
            kitchen.registry.set_knowledge(knowledge)
            assert (await kitchen.ask(ORDERS)).status == 200
        assert kitchen.judged == judged


class TestRefused:
    async def test_nothing_is_decided_not_even_what_was_decided_before(
        self, kitchen: Kitchen, idp: CannedIdp
    ) -> None:
        kitchen.registry.load_file([in_the_file(app("filed"))])
        kitchen.registry.remove("app-plain-billing")
        opened = await kitchen.ask(ORDERS)
        asked: list[dict[str, Any]] = [
            {"authorization": ORDERS},
            {"cookie": opened.cookie},
            {"authorization": BILLING},
            {"authorization": idp.mint.mint({"client_id": "filed"})},
            {"authorization": b"Bearer nonsense"},
            {},
        ]
        before = [(await kitchen.ask(**one)).said for one in asked]
        assert [status for status, _ in before] == [200, 200, 403, 200, 401, 401]
        calls = dict(idp.calls)
        kitchen.registry.set_knowledge(Knowledge.REFUSED)
        for _ in range(2):
            assert {(await kitchen.ask(**one)).said for one in asked} == {OUT_OF_REACH}
        for knowledge in (Knowledge.BEHIND, Knowledge.CURRENT):
            kitchen.registry.set_knowledge(knowledge)
            assert (await kitchen.ask(ORDERS)).status == 200
        assert [(await kitchen.ask(**one)).said for one in asked] == before
        assert dict(idp.calls) == calls, "nobody was asked for it"

    async def test_it_reaches_what_is_under_way(self, kitchen: Kitchen, idp: CannedIdp) -> None:
        gate = idp.gates[TOKEN] = asyncio.Event()
        asking = asyncio.ensure_future(kitchen.ask(ORDERS))
        await until(lambda: idp.calls[TOKEN] == 1)
        kitchen.registry.revoke(Revocation("client_id", "orders"))
        kitchen.registry.set_knowledge(Knowledge.REFUSED)
        gate.set()
        assert (await asking).said == OUT_OF_REACH

    async def test_only_its_beginning_and_its_end_put_answers_in_doubt(self, kitchen: Kitchen) -> None:
        epoch = kitchen.caches.epoch
        for knowledge, moved in (
            (Knowledge.BEHIND, 0),
            (Knowledge.REFUSED, 1),
            (Knowledge.REFUSED, 0),
            (Knowledge.CURRENT, 1),
            (Knowledge.BEHIND, 0),
            (Knowledge.CURRENT, 0),
        ):
            before = epoch.value
            kitchen.registry.set_knowledge(knowledge)
            assert epoch.value - before == moved
            assert kitchen.registry.knowledge is knowledge


class TestJointly:
    @pytest.fixture
    async def joint(self, clock: ManualClock) -> AsyncIterator[Joint]:
        made = Joint(clock, applications=[app("orders", strategy="other")])
        yield await made.ready()
        await made.close()

    async def test_whose_a_client_id_is_may_be_written_elsewhere(self, joint: Joint) -> None:
        strategy = ",".join(NAMES)
        stranger = basic("stranger", SECRET)
        joint.kitchen.registry.set_knowledge(Knowledge.BEHIND)
        assert (await joint.kitchen.ask(stranger, strategy=strategy)).said == OUT_OF_REACH
        assert (await joint.kitchen.ask(basic("orders", SECRET), strategy=strategy)).status == 200
        assert (await joint.kitchen.ask("not.a.token", strategy=strategy)).status == 401
        joint.kitchen.registry.set_knowledge(Knowledge.CURRENT)
        assert (await joint.kitchen.ask(stranger, strategy=strategy)).said == (401, "credentials_rejected")
