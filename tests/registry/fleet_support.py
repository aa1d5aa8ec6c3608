"""A sidecar as far as its registry reaches: real from the request to the replica, with a fake server and file.

Law of this file: it wires as the program does and judges nothing.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from fake_log import FakeLog, FakeServer, FakeStore
from support_http import CannedIdp
from support_pipeline import Kitchen

from validator.core.changes import ApplicationChange, Change, Forgotten, change
from validator.model import Application, RegistrationStatus, Revocation
from validator.ports import LocalStore, Plan
from validator.registry.replica import Replica
from validator.registry.writer import RegistryWriter
from validator.testing import ManualClock


async def at_once(_seconds: float) -> None:
    """Sleeps no time at all."""


class Sidecar:
    """One of a fleet.

    Attributes:
        planned: what the last write that was begun here would change.
    """

    def __init__(self, name: str, server: FakeServer, clock: ManualClock, idp: CannedIdp) -> None:
        self.name = name
        self.server = server
        self.clock = clock
        self.idp = idp
        self.store = FakeStore(clock)
        self.planned: Sequence[Change] = ()
        self.urgent = False

    async def start(self, **options: Any) -> None:
        """With what its file says, and no memory of anything else."""
        self.store.crashed = False
        self.store.crash = None
        self.kitchen = Kitchen(self.clock, self.idp, applications=[])
        self.registry = self.kitchen.registry
        self.log = FakeLog(self.server)
        self.registry.apply_changes([change(r.key, r.content) for r, _ in self.store.rows.values()])
        self.replica = Replica(
            index=self.registry,
            store=self.store,
            log=self.log,
            apply=self.apply,
            set_knowledge=self.registry.set_knowledge,
            clock=self.clock,
            **{"sleep": at_once, **options},
        )
        await self.replica.load()
        self.writer = RegistryWriter(self.registry, self, clock=self.clock, store=cast("LocalStore", self.replica))

    async def commit(self, plan: Plan[Any], *, urgent: bool = False) -> Any:
        """The replica's, with an eye on what is planned."""
        self.planned, self.urgent = (), urgent

        def watched() -> tuple[Sequence[Change], Any]:
            changes, result = plan()
            if changes:
                self.planned = changes
            return changes, result

        return await self.replica.commit(watched, urgent=urgent)

    async def apply(self, changes: Sequence[Change]) -> None:
        self.registry.apply_changes(changes)
        for made in changes:
            if isinstance(made, Forgotten):
                self.kitchen.caches.forget()

    @property
    def mark(self) -> str:
        position = self.replica._follower._position
        return position.mark if position else ""

    @property
    def up_to_date(self) -> bool:
        return self.replica.following and self.mark == self.server.mark


Start = Callable[..., Coroutine[Any, Any, Sidecar]]
ORDERS = Application("app-1", "Orders", "plain", "orders", {"svc": RegistrationStatus.APPROVED})
BILLING = Application("app-2", "Billing", "plain", "billing", {"svc": RegistrationStatus.APPROVED})
KEY = ApplicationChange("app-1", None).key
REVOKED = Revocation("client_id", "orders")


async def cut_off(sidecar: Sidecar) -> None:
    sidecar.log.connected = False
    await sidecar.replica.step()
    assert not sidecar.replica.following


async def rejoin(*sidecars: Sidecar) -> None:
    for sidecar in sidecars:
        sidecar.log.connected = True
        for _ in range(2):  # finds out what has happened, and mends it
            await sidecar.replica.step()
        assert sidecar.replica.following
    for sidecar in sidecars:
        await sidecar.replica.step()
        await sidecar.replica.settled()


def revoked(sidecar: Sidecar, entry: Revocation = REVOKED) -> bool:
    return sidecar.registry.revocation(entry) is not None
