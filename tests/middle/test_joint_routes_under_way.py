"""Whatever changes while answers are under way: what is kept is what a judgement from the ground up says."""

import asyncio
from collections.abc import Awaitable
from inspect import isawaitable
from random import Random
from typing import Any

from joint_support import NAMES, SECRET, Joint
from structlog.testing import capture_logs
from support_pipeline import ALL_METHODS, app, basic

from validator.model import Method, Revocation
from validator.testing import ManualClock

ROUTES = ("plain,other", "other,plain", "plain,other,third", "third,plain", "plain", "other")
CLIENTS = ("orders", "gold")
# A session is another one each time it is opened; without any, answers can be compared.
OPTIONS: dict[str, dict[str, Any]] = {name: {"methods": ALL_METHODS - {Method.SESSION}} for name in NAMES}
HISTORIES, STEPS = 150, 40


class History:
    """Random requests, each begun at once, later or much later, and random changes between."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clock = ManualClock()
        self.joint = Joint(self.clock, options=OPTIONS)
        self.kitchen = self.joint.kitchen
        self.under_way: list[Awaitable[Any]] = []
        pairs = [basic("orders", SECRET), basic("gold", SECRET), basic("orders", "wrong")]
        self.credentials = [*pairs, *(self.joint.idps[name].token(jti=name) for name in NAMES)]
        self.late = 0

    async def step(self) -> None:
        match self.random.choices(
            ["ask", "register", "revoke", "turn", "wait", "forget", "settle"], [40, 20, 6, 9, 5, 3, 17]
        )[0]:
            case "ask":
                self.ask()
            case "register":
                self.register()
            case "revoke":
                self.revoke()
            case "turn":
                await asyncio.sleep(0)
            case "wait":
                self.clock.advance(self.random.choice([1, 6]))
            case "forget":
                self.kitchen.caches.forget_client(self.random.choice(NAMES), "orders")
            case "settle" if self.under_way:
                await self.under_way.pop(self.random.randrange(len(self.under_way)))

    def ask(self) -> None:
        route = self.kitchen.pipeline.route(self.random.choice(ROUTES), "svc")
        assert route is not None
        answer = self.kitchen.pipeline.answer(route, self.random.choice(self.credentials), None, self.clock.now())
        if isawaitable(answer):
            self.late += 1
            self.under_way.append(answer if self.random.random() < 0.5 else asyncio.ensure_future(answer))

    def register(self) -> None:
        strategy, client_id = self.random.choice(NAMES), self.random.choice(CLIENTS)
        made = app(client_id, self.random.choice(["svc", "svc", "another"]), strategy=strategy)
        if self.random.random() < 0.6:
            self.kitchen.registry.apply(made)
        elif self.kitchen.registry.get(made.id) is not None:
            self.kitchen.registry.remove(made.id)

    def revoke(self) -> None:
        kind, value, strategy = self.random.choice(
            [("client_id", "orders", "plain"), ("client_id", "gold", None), ("jti", "other", None)]
        )
        change = self.random.choice([self.kitchen.registry.revoke, self.kitchen.registry.unrevoke])
        change(Revocation(kind, value, strategy, created_at=self.clock.now()))

    async def said(self) -> dict[tuple[str, int], tuple[int, str | None]]:
        return {
            (route, index): (await self.kitchen.ask(credential, strategy=route)).said
            for route in ROUTES
            for index, credential in enumerate(self.credentials)
        }

    async def outcome(self) -> list[str]:
        """What is said otherwise once everything is forgotten."""
        await self.joint.ready()
        for _ in range(STEPS):
            await self.step()
        for answer in self.under_way:
            await answer
        kept = await self.said()
        self.kitchen.caches.forget()
        fresh = await self.said()
        await self.joint.close()
        return [
            f"{route}, credential {index}: {kept[route, index]}, and afresh {fresh[route, index]}"
            for route, index in kept
            # Which of too many wrong secrets is turned away unasked follows from the ones before it.
            if kept[route, index] != fresh[route, index]
            and "too_many_attempts" not in (kept[route, index][1], fresh[route, index][1])
        ]


def test_what_is_kept_is_what_a_fresh_judgement_says() -> None:
    late = 0
    with asyncio.Runner() as runner, capture_logs():
        for seed in range(HISTORIES):
            history = History(seed)
            different = runner.run(history.outcome())
            assert different == [], f"history {seed}"
            late += history.late
    assert late > 3 * HISTORIES
