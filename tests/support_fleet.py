"""Several sidecars in one process: a pipeline each, one identity provider, and something between them to share by.

Law of this file: it wires as the program does and judges nothing.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from support_http import CannedHttp
from support_pipeline import Kitchen, Seen

from validator.authn.shared_answers import FleetSecret
from validator.authn.sharing import Sharing
from validator.core.registry import canonical_client_id
from validator.errors import Unavailable
from validator.model import Application, Reason
from validator.pipeline import Strategy
from validator.ports import (
    Answered,
    Exhausted,
    Leave,
    OutOfReach,
    Settled,
    SharedProofs,
    Slot,
    Standing,
    Taken,
)
from validator.testing import ManualClock

KEYS = (b"1" * 32,)
LEASE_S = 6.0
NEGATIVE_S = 5.0
DAY_S = 86_000.0


async def turn(_seconds: float) -> None:
    """A sleep that lets others go on, and takes no time."""
    await asyncio.sleep(0)


class FakeShared:
    """``ports.SharedProofs`` in memory.

    Attributes:
        down: every call fails.
        calls: by name, those that failed among them.
        held: all that is there, by name: what it is, and until when by the clock.
    """

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.down = False
        self.calls: Counter[str] = Counter()
        self.held: dict[str, tuple[Any, float]] = {}

    def known(self, name: str) -> Any:
        value, until = self.held.get(name, (None, 0.0))
        return value if self.clock.monotonic() < until else None

    def put(self, name: str, value: Any, seconds: float) -> None:
        self.held[name] = (value, self.clock.monotonic() + seconds)

    async def _called(self, name: str) -> None:
        self.calls[name] += 1
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "down")

    async def begin(self, slot: Slot, owner: str, *, lease_s: float, guess: bool, since: int | None) -> Standing:
        await self._called("begin")
        own = slot.tag + slot.name
        if (text := self.known(own + "answer")) is not None:
            return Answered(text)
        at, retry_s = self.known(own + "outage") or (0, 0.0)
        if since is not None and at >= since:
            return OutOfReach(retry_s)
        self.calls["looks"] += 1
        if self.known(own + "asking") is not None:
            return Taken(sum(self.calls.values()))
        proven = self.known(own + "proven") is not None
        for counter, bound in slot.counters:
            tries = self.known(slot.tag + counter) or {}
            if guess and not proven and len(tries) >= bound:
                return Exhausted(self.held[slot.tag + counter][1] - self.clock.monotonic())
        self.put(own + "asking", owner, lease_s)
        for counter, _ in slot.counters:
            self._tries(slot, counter)[owner] = True
        return Leave(proven, ["window" for _ in slot.counters])

    async def settle(self, slot: Slot, owner: str, windows: Sequence[str], outcome: Settled) -> None:
        await self._called("settle")
        own = slot.tag + slot.name
        if outcome.text:
            self.put(own + "answer", outcome.text, outcome.text_s)
        if self.known(own + "asking") == owner:
            del self.held[own + "asking"]
            if outcome.retry_after_s is not None:
                self.put(own + "outage", (sum(self.calls.values()), outcome.retry_after_s), 1.0)
        if outcome.right is not None:
            self.put(own + "proven", True if outcome.right else None, DAY_S)
        for counter, _ in slot.counters:
            tries = self._tries(slot, counter)
            if outcome.failed:
                tries[owner] = True
            elif windows:
                tries.pop(owner, None)
            if not tries:
                del self.held[slot.tag + counter]

    async def vouch(self, slot: Slot) -> None:
        await self._called("vouch")
        self.put(slot.tag + slot.name + "proven", True, DAY_S)

    def _tries(self, slot: Slot, counter: str) -> dict[str, bool]:
        if self.known(slot.tag + counter) is None:
            self.put(slot.tag + counter, {}, slot.window_s)
        tries: dict[str, bool] = self.known(slot.tag + counter)
        return tries


class Member(Kitchen):
    """One sidecar of a fleet.

    Args:
        keys: the session keys.
        sleep: between two looks at what others have found out.

    Attributes:
        marks: of clients that were forgotten, by client key; of everybody by "".
    """

    def __init__(
        self,
        clock: ManualClock,
        http: CannedHttp,
        shared: SharedProofs,
        *,
        keys: Sequence[bytes] = KEYS,
        sleep: Callable[[float], Awaitable[None]] = turn,
        fingerprint: bytes = b"one",
        **options: Any,
    ) -> None:
        self._shared = shared
        self._keys = keys
        self._sleep = sleep
        self._fingerprint = fingerprint
        self.marks: dict[str, str] = {}
        super().__init__(clock, http, **options)

    def strategy(self, name: str, **options: Any) -> Strategy:
        self.sharing = Sharing(
            name,
            self._shared,
            secret=FleetSecret(self._keys),
            fingerprint=self._fingerprint,
            clock=self.clock,
            mark=lambda client_key: json.dumps([self.marks.get(""), self.marks.get(client_key)]),
            moment=lambda: self.caches.moment,
            lease_s=LEASE_S,
            negative_ttl_s=NEGATIVE_S,
            sleep=self._sleep,
        )
        return super().strategy(name, sharing=self.sharing, fingerprint=self._fingerprint, **options)

    def forget(self, client_id: str, mark: str = "1") -> None:
        """As every member does once it has heard of it."""
        self.marks[canonical_client_id(client_id)] = mark
        self.caches.forget_client("plain", client_id)


def fleet(
    count: int,
    clock: ManualClock,
    http: CannedHttp,
    shared: Callable[[], SharedProofs],
    applications: Sequence[Application],
    **options: Any,
) -> list[Member]:
    return [Member(clock, http, shared(), applications=applications, **options) for _ in range(count)]


async def ask_all(members: Sequence[Member], authorization: bytes | str, count: int) -> list[Seen]:
    """So many requests at once, one member after the other in turn."""
    return await asyncio.gather(*(members[n % len(members)].ask(authorization) for n in range(count)))


async def close_all(members: Sequence[Member]) -> None:
    for member in members:
        await member.close()
