"""A bridge over a real store, and identity providers that fail on command.

Law of this file: it wires as the program does; what a provider or a store does wrong is told to it, and what it
did is written down. Nothing here judges.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from support_registry import StoredRegistry

from validator.caching import Caches
from validator.core.registration import NewClient, RegisteredClient, RegistrationRefused
from validator.core.sealing import Sealer
from validator.dcr.bridge import Bridge
from validator.dcr.plan import Credentials, Event, NewApplication, Plan, Registering
from validator.dcr.registrar import Changes, ClientRegistrar, Keep
from validator.errors import Unavailable
from validator.model import Application, ClientRecord, Origin, Reason, RegistrationStatus, Revocation
from validator.registry.index import MemoryRegistry
from validator.testing import ManualClock

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
STRATEGY_ID = "5a0c1c9e-0000-4000-8000-000000000001"
APPLICATION_ID = "3f0c1c9e-0000-4000-8000-000000000001"
VERSION_ID = "9f0c1c9e-0000-4000-8000-000000000001"
WANTED = NewApplication(
    client_name="Orders mobile",
    redirect_uris=(),
    grant_types=("client_credentials",),
    scopes=(),
    token_endpoint_auth_method="client_secret_post",
    application_description="",
    portal_id="1f0c1c9e-0000-4000-8000-000000000001",
    organization_id="1f0c1c9e-0000-4000-8000-000000000002",
    developer_id="1f0c1c9e-0000-4000-8000-000000000003",
    auth_strategy_id=STRATEGY_ID,
    dcr_provider_id="1f0c1c9e-0000-4000-8000-000000000004",
)


def refused(error: str = "invalid_client_metadata") -> RegistrationRefused:
    return RegistrationRefused(error, "it says no")


def down(*, sent: bool = False) -> Unavailable:
    return Unavailable(Reason.IDP_UNAVAILABLE, "nobody answers", sent=sent)


def store_down() -> Unavailable:
    return Unavailable(Reason.STORE_UNAVAILABLE, "the disk is full")


def event(kind: str, client_id: str, **changes: Any) -> Event:
    known = Event(kind, client_id, APPLICATION_ID, "Orders mobile", STRATEGY_ID, (), VERSION_ID)
    return replace(known, **changes)


@dataclass(repr=False)
class ScriptedRegistrar:
    """``ClientRegistrar`` without a wire.

    Attributes:
        secrets: by client id, those that exist.
        managements: by client id, what a call must bring.
        fails: by method, what it raises before it has its effect; ``lost``: after it.
        gates: by method, awaited before it has its effect.
        calls: (method, client id), in order.
        renews: each update and rotation brings another ``management``.
    """

    secrets: dict[str, str] = field(default_factory=dict)
    managements: dict[str, str] = field(default_factory=dict)
    fails: dict[str, Exception] = field(default_factory=dict)
    lost: dict[str, Exception] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    changes: list[Changes] = field(default_factory=list)
    renews: bool = False
    keeps_secret: bool = True
    made: int = 0

    async def create(self, client: NewClient) -> RegisteredClient:
        await self._begin("create", client.name)
        self.made += 1
        client_id = self.ids.pop(0) if self.ids else f"client-{self.made}"
        self.secrets[client_id] = f"secret-{self.made}-of-{client_id}"
        self.managements[client_id] = f"management-0-of-{client_id}"
        self._end("create")
        return self._client(client_id)

    async def update(self, client_id: str, management: str, changes: Changes, keep: Keep) -> bool:
        await self._begin("update", client_id)
        self._demand(client_id, management)
        self.changes.append(changes)
        await self._renew(client_id, keep)
        self._end("update")
        return self.keeps_secret

    async def rotate_secret(self, client_id: str, management: str, keep: Keep) -> RegisteredClient:
        await self._begin("rotate_secret", client_id)
        self._demand(client_id, management)
        self.made += 1
        self.secrets[client_id] = f"secret-{self.made}-of-{client_id}"
        await self._renew(client_id, keep)
        self._end("rotate_secret")
        return self._client(client_id)

    async def delete(self, client_id: str, management: str) -> bool:
        await self._begin("delete", client_id)
        if client_id not in self.secrets:
            return False
        self._demand(client_id, management)
        del self.secrets[client_id]
        self._end("delete")
        return True

    async def _renew(self, client_id: str, keep: Keep) -> None:
        if self.renews:
            self.made += 1
            self.managements[client_id] = f"management-{self.made}-of-{client_id}"
            await keep(self.managements[client_id])

    async def _begin(self, method: str, about: str) -> None:
        self.calls.append((method, about))
        if method in self.gates:
            await self.gates[method].wait()
        if method in self.fails:
            raise self.fails[method]

    def _end(self, method: str) -> None:
        if method in self.lost:
            raise self.lost[method]

    def _demand(self, client_id: str, management: str) -> None:
        if client_id not in self.secrets or self.managements[client_id] != management:
            raise refused("invalid_token")

    def _client(self, client_id: str) -> RegisteredClient:
        return RegisteredClient(client_id, self.secrets[client_id], 1_800_000_000, 0, self.managements[client_id])


class FallibleStore(StoredRegistry):
    """The store; ``fails`` names its methods that raise instead, ``gates`` those that wait, and ``waiting`` those
    that have come to their gate."""

    fails: dict[str, Exception]
    gates: dict[str, asyncio.Event]
    waiting: list[str]

    async def records(self, client_id: str) -> Sequence[ClientRecord]:
        return await self._or_fail("records", super().records(client_id))

    async def record(self, application: Application, sealed: str) -> None:
        await self._or_fail("record", super().record(application, sealed))

    async def reseal(self, strategy: str, client_id: str, sealed: str) -> None:
        await self._or_fail("reseal", super().reseal(strategy, client_id, sealed))

    async def adopt(self, application_id: str, new_id: str, name: str) -> Application:
        return await self._or_fail("adopt", super().adopt(application_id, new_id, name))

    async def forget(self, block: Revocation) -> None:
        await self._or_fail("forget", super().forget(block))

    async def revoke(self, revocation: Revocation) -> None:
        await self._or_fail(f"revoke {revocation.kind}", super().revoke(revocation))

    async def unrevoke(self, revocation: Revocation) -> bool:
        return await self._or_fail("unrevoke", super().unrevoke(revocation))

    async def set_registration(
        self, application_id: str, service: str, status: RegistrationStatus | None
    ) -> Application:
        return await self._or_fail("set_registration", super().set_registration(application_id, service, status))

    async def _or_fail(self, method: str, call: Any) -> Any:
        error = self.fails.get(method)
        if error is not None:
            call.close()
            raise error
        if method in self.gates:
            self.waiting.append(method)
            await self.gates[method].wait()
        return await call


class House:
    """One bridge and all that it rests on.

    Attributes:
        purged: (strategy, client id), in order.
        plan: may be replaced at any time.
    """

    def __init__(self, store: FallibleStore, memory: MemoryRegistry, clock: ManualClock, caches: Caches) -> None:
        self.store, self.memory, self.clock, self.caches = store, memory, clock, caches
        self.purged: list[tuple[str, str]] = []
        self.pauses: list[float] = []
        self.registrar: ScriptedRegistrar = ScriptedRegistrar()
        self.plan = plan(self.registrar)
        self.bridge = self.new_bridge()

    def new_bridge(self, **creation: Any) -> Bridge:
        """As after a restart: what was remembered in memory is gone."""
        return Bridge(
            store=self.store,
            clock=self.clock,
            plan=lambda: self.plan,
            purge=self._purge,
            **{"pause": self._pause, **creation},
        )

    def serve(self, registrar: ClientRegistrar, **changes: Any) -> None:
        self.plan = plan(registrar, **changes)

    async def _purge(self, strategy: str, client_id: str) -> None:
        self.purged.append((strategy, client_id))
        self.caches.forget_client(strategy, client_id)

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def create(self, **changes: Any) -> Credentials:
        return await self.bridge.create(replace(WANTED, **changes))

    async def adopted(self, **changes: Any) -> Credentials:
        """A client whose application has Konnect's id and one registration."""
        made = await self.create(**changes)
        await self.bridge.event(event("add_registration", made.client_id))
        return made

    def application(self, client_id: str, strategy: str = "plain") -> Application | None:
        return self.memory.find(strategy, client_id)

    def blocked(self, client_id: str, strategy: str = "plain") -> bool:
        wanted = ("client_id", client_id, strategy)
        return any((r.kind, r.value, r.strategy) == wanted for r in self.memory.revocations())

    def from_file(self, *applications: Application) -> None:
        self.memory.load_file([replace(a, origin=Origin.FILE) for a in applications])


def plan(registrar: ClientRegistrar, keys: Iterable[bytes] = (KEY,), **changes: Any) -> Plan:
    both = {name: Registering(registrar, "client_secret_basic") for name in ("plain", "azure")}
    sealer = Sealer(list(keys), purpose="registered clients")
    return replace(Plan(registering=both, sealer=sealer, default="plain"), **changes)


@asynccontextmanager
async def house(path: Path | None, clock: ManualClock | None = None) -> AsyncIterator[House]:
    clock = clock or ManualClock()
    caches = Caches(b"0123456789abcdef", max_entries=1000)
    memory = MemoryRegistry(clock=clock, epoch=caches.epoch, strategies=["plain", "azure"])
    store = await FallibleStore.open(path, memory=memory, clock=clock)
    store.fails, store.gates, store.waiting = {}, {}, []
    made = House(store, memory, clock, caches)
    try:
        yield made
    finally:
        made.store.fails.clear()
        async with asyncio.timeout(10):
            await made.bridge.close()
            await store.close()


async def until(condition: Callable[[], bool], *, timeout_s: float = 5.0) -> None:
    """Lets the loop turn until the condition holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)
