"""What Konnect's four calls do, step by step.

Law of this file: the order of the steps and what is undone when one fails. In whatever moment something fails, or
the process ends: no credential counts that Konnect took away, no secret is handed out that does not hold, and the
same call made again completes what was begun. Calls for one client run one after the other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import structlog

from validator.core.registration import RegistrationRefused
from validator.core.registry import canonical_client_id
from validator.dcr.creation import Creation
from validator.dcr.plan import EVENT_TYPES, BridgeRefused, Credentials, Event, NewApplication, Plan
from validator.dcr.records import Records
from validator.dcr.registrar import Changes, Keep
from validator.errors import Unavailable
from validator.model import Application, ClientCredentials, RegistrationStatus, Revocation
from validator.ports import ClientRecord, ClientRecords, Clock, Conflict, NotFound, RegistryError

# A token of a deleted client may live on, but not for so long.
_BLOCK_S = 30 * 86400.0
_ALL = 1 << 31  # more revocations than there can be
_KONNECTS = frozenset({RegistrationStatus.APPROVED, RegistrationStatus.PENDING})

_T = TypeVar("_T")
log = structlog.get_logger(__name__)


class Bridge:
    """Konnect's HTTP DCR bridge without HTTP. Every method raises ``BridgeRefused`` or ``RegistrationRefused``
    (somebody said no) or ``Unavailable`` (nobody could say).

    Args:
        plan: the configuration of now, asked at the beginning of each call.
        purge: nothing cached of the client (strategy, client id) is used from then on.
        vouch: told of the secret that a client of a strategy has from now on, which needs no guessing.
        creation: further arguments of ``Creation``.
    """

    def __init__(
        self,
        *,
        store: ClientRecords,
        clock: Clock,
        plan: Callable[[], Plan],
        purge: Callable[[str, str], None],
        vouch: Callable[[str, ClientCredentials], None] = lambda _strategy, _pair: None,
        **creation: Any,
    ) -> None:
        self._store = store
        self._clock = clock
        self._plan = plan
        self._purge = purge
        self._vouch = vouch
        self._records = Records(store)
        self._creation = Creation(store=store, records=self._records, clock=clock, run=self._carried, **creation)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._calls: set[asyncio.Task[Any]] = set()

    async def create(self, wanted: NewApplication) -> Credentials:
        """A client at the identity provider, and its application here."""
        plan = self._plan()
        made = await self._creation.create(wanted, plan)
        self._vouch(plan.strategy(wanted.auth_strategy_id), ClientCredentials(made.client_id, made.client_secret))
        return made

    async def delete(self, client_id: str) -> None:
        """The client is deleted, and everything that it proved by is refused; so it was already, if it was."""
        await self._in_turn(client_id, lambda: self._delete(client_id))

    async def new_secret(self, client_id: str) -> Credentials:
        """Another secret; what the one before it opened is closed when this returns."""
        return await self._in_turn(client_id, lambda: self._new_secret(client_id))

    async def event(self, event: Event) -> None:
        """The application is as Konnect has it."""
        await self._in_turn(event.client_id, lambda: self._event(event))

    async def close(self) -> None:
        """Waits for the calls under way: each is bounded by the timeouts of what it asks."""
        while self._calls:
            await asyncio.wait(set(self._calls))
        await self._creation.close()

    async def _in_turn(self, client_id: str, call: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        async def turn() -> _T:
            lock = self._turns.setdefault(canonical_client_id(client_id), asyncio.Lock())
            async with lock:
                self._creation.named(client_id)
                try:
                    return await call()
                except RegistryError as error:  # the control plane changed it at the same time
                    raise BridgeRefused(400, "application_changed", f"{error}: try again") from None

        return await self._carried(turn())

    async def _carried(self, call: Coroutine[Any, Any, _T]) -> _T:
        """To its end, also when the caller goes away: half a call is what must not be."""
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when the caller has gone

    # Deleting: blocked here first, then deleted there, then forgotten here. Whoever repeats it meets the block,
    # and a provider that says the client is gone.

    async def _delete(self, client_id: str) -> None:
        plan = self._plan()
        record = await self._records.find(client_id)
        if record.deleted:
            return
        registrar = plan.of(record.strategy).registrar
        management = self._records.management(record, plan.sealer)
        now = self._clock.now()
        block = Revocation(
            "client_id", canonical_client_id(record.client_id), record.strategy, now, now + _BLOCK_S
        )
        blocked_before = self._blocked(block)
        await self._store.revoke(block)
        self._purge(record.strategy, record.client_id)
        try:
            there = await registrar.delete(record.client_id, management)
        except (RegistrationRefused, Unavailable):
            self._purge(record.strategy, record.client_id)  # what was proved meanwhile, by a client perhaps gone
            if blocked_before is None:
                await self._lift(block)
            raise
        if not there:
            log.warning(
                "dcr_gone_already",
                strategy=record.strategy,
                client_id=record.client_id,
                advice="nothing, unless it still exists there under another registration access token",
            )
        await self._store.forget(block)
        self._records.gone(record)
        log.info("dcr_deleted", strategy=record.strategy, client_id=record.client_id)

    def _blocked(self, block: Revocation) -> Revocation | None:
        """A block that stood before, which somebody else may have set: it is not ours to lift."""
        return next(
            (
                found
                for found in self._store.revocations(limit=_ALL)
                if (found.kind, found.value, found.strategy) == (block.kind, block.value, block.strategy)
            ),
            None,
        )

    async def _lift(self, block: Revocation) -> None:
        try:
            await self._store.unrevoke(block)
        except Unavailable:
            log.error(  # noqa: TRY400 - the call itself tells why
                "dcr_block_not_lifted",
                strategy=block.strategy,
                client_id=block.value,
                advice="delete the application again, or lift the revocation through the control plane",
            )

    # A new secret: made there, then everything that rests on the former one is ended here, then it is handed out.

    async def _new_secret(self, client_id: str) -> Credentials:
        plan = self._plan()
        record = await self._existing(client_id)
        registrar = plan.of(record.strategy).registrar
        management = await self._records.saved_management(record, plan.sealer)
        try:
            client = await registrar.rotate_secret(record.client_id, management, self._keep(record, plan))
        finally:
            # Also where it failed: the former secret may have ended all the same.
            self._purge(record.strategy, record.client_id)
        now = self._clock.now()
        await self._store.revoke(
            Revocation("sessions_of", record.client_id, record.strategy, now, now + plan.session_ttl_s)
        )
        # Whoever still tries the former secret is refused, and is not to use up the tries of the new one.
        self._vouch(record.strategy, ClientCredentials(record.client_id, client.client_secret))
        log.info("dcr_new_secret", strategy=record.strategy, client_id=record.client_id)
        return Credentials(record.client_id, client.client_secret, client.issued_at, client.expires_at)

    # Events: each may come again, and in any order that Konnect sends them.

    async def _event(self, event: Event) -> None:
        if event.event_type not in EVENT_TYPES:
            known = ", ".join(EVENT_TYPES)
            raise BridgeRefused(400, "Bad Request", f"event_type must be one of {known}")
        plan = self._plan()
        if event.event_type == "remove_registration":
            found = await self._records.find(event.client_id, plan.strategies.get(event.auth_strategy_id))
            if found.deleted:
                return
        record = await self._existing(event.client_id, plan.strategies.get(event.auth_strategy_id))
        application = await self._adopted(record, event)
        service = plan.service(event.api_product_version_id)
        match event.event_type:
            case "update_application":
                await self._update(record, application, event, plan)
            case "add_registration":
                await self._add(application, service, plan.status)
            case "remove_registration":
                await self._remove(application, service)
        log.info("dcr_event", type=event.event_type, strategy=record.strategy, client_id=record.client_id)

    async def _adopted(self, record: ClientRecord, event: Event) -> Application:
        """The application under Konnect's own id, which only events name; before it may call anything."""
        application = self._records.application(record)
        if record.adopted:
            if record.application_id != event.application_id:
                raise BridgeRefused(
                    400,
                    "another_application",
                    f"the client {record.client_id!r} belongs to the application {record.application_id!r}, not "
                    f"to {event.application_id!r}",
                )
            return application
        try:
            return await self._store.adopt(application.id, event.application_id, event.application_name)
        except Conflict as conflict:
            raise BridgeRefused(400, "application_id_taken", f"{conflict}: delete that one first") from None

    async def _update(self, record: ClientRecord, application: Application, event: Event, plan: Plan) -> None:
        registrar = plan.of(record.strategy).registrar
        management = await self._records.saved_management(record, plan.sealer)
        changes = Changes(event.application_name, event.redirect_uris)
        try:
            same_secret = await registrar.update(record.client_id, management, changes, self._keep(record, plan))
        except Unavailable:
            self._purge(record.strategy, record.client_id)  # the provider may have replaced the secret
            raise
        if application.name != event.application_name:
            await self._store.adopt(application.id, application.id, event.application_name)
        if not same_secret:
            self._purge(record.strategy, record.client_id)
            raise BridgeRefused(
                400,
                "secret_replaced",
                f"the application is updated, but the identity provider gave the client {record.client_id!r} "
                "another secret with it, which was asked to be kept: request a new secret for the application",
            )

    async def _add(self, application: Application, service: str, status: RegistrationStatus) -> None:
        # Told again, it takes nothing back that somebody has decided since: approved, revoked or rejected.
        if service not in application.registrations:
            await self._store.set_registration(application.id, service, status)

    async def _remove(self, application: Application, service: str) -> None:
        # What an operator has shut stays shut, or coming back through the portal would open it.
        if application.registrations.get(service) in _KONNECTS:
            try:
                await self._store.set_registration(application.id, service, None)
            except NotFound:
                return  # somebody else was quicker

    async def _existing(self, client_id: str, strategy: str | None = None) -> ClientRecord:
        record = await self._records.find(client_id, strategy)
        if record.deleted:
            raise BridgeRefused(404, "client_not_found", f"the client {client_id!r} has been deleted")
        return record

    def _keep(self, record: ClientRecord, plan: Plan) -> Keep:
        def keep(management: str) -> Awaitable[None]:
            return self._records.keep(record, management, plan.sealer)

        return keep
