"""What Konnect's four calls do, step by step.

Law of this file: the order of the steps and what is undone when one fails. In whatever moment something fails, or
the process ends: no credential counts that Konnect took away, no secret is handed out that does not hold, and the
same call made again completes what was begun. Calls for one client run one after the other.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import structlog

from validator.core.registration import SECRET_NOT_ROTATED, RegistrationRefused
from validator.core.registry import canonical_client_id
from validator.dcr.creation import Creation
from validator.dcr.plan import EVENT_TYPES, BridgeRefused, Busy, Credentials, Event, NewApplication, Plan
from validator.dcr.records import Records
from validator.dcr.registrar import Changes, Keep
from validator.errors import Unavailable
from validator.model import Application, ClientCredentials, ClientRecord, RegistrationStatus, Revocation
from validator.ports import ClientRecords, Clock, Conflict, NotFound, RegistryError

# A token of a deleted client may live on, but not for so long.
_BLOCK_S = 30 * 86400.0
_SESSIONS_S = 365 * 86400.0  # no session can be configured to last longer
_MAX_WAITING = 8  # calls for one client; Konnect makes one at a time
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
        purge: Callable[[str, str], Awaitable[None]],
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
        self._waiting: Counter[str] = Counter()
        self._closing = False
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
        """Waits for the calls under way, each bounded by the timeouts of what it asks; those that only wait for
        their turn are given up."""
        self._closing = True
        while self._calls:
            await asyncio.wait(set(self._calls))
        await self._creation.close()

    async def _in_turn(self, client_id: str, call: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        client = canonical_client_id(client_id)
        if self._waiting[client] >= _MAX_WAITING:
            raise Busy("too many calls for this client wait for their turn")

        async def turn() -> _T:
            lock = self._turns.setdefault(client, asyncio.Lock())
            async with lock:
                if self._closing:
                    raise Busy("the sidecar is stopping")
                self._creation.named(client_id)
                try:
                    return await call()
                except RegistryError as error:  # the control plane changed it at the same time
                    raise BridgeRefused(400, "application_changed", f"{error}: try again") from None

        self._waiting[client] += 1

        async def counted() -> _T:
            try:
                return await turn()
            finally:
                self._waiting[client] -= 1
                if not self._waiting[client]:
                    del self._waiting[client]

        return await self._carried(counted())

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
        blocked_before = self._store.revocation(block)
        await self._store.revoke(block)
        await self._purge(record.strategy, record.client_id)
        try:
            there = await registrar.delete(record.client_id, management)
        except (RegistrationRefused, Unavailable) as error:
            # Where it may be deleted all the same, the block stays: the repeated call completes it.
            ours = blocked_before is None or _is_ours(blocked_before)
            if ours and not (isinstance(error, Unavailable) and error.sent):
                await self._lift(block)
            raise
        finally:
            await self._purge(record.strategy, record.client_id)  # what was proved meanwhile
        if not there:
            log.warning(
                "dcr_gone_already",
                strategy=record.strategy,
                client_id=record.client_id,
                advice="nothing, unless it still exists there under another registration access token",
            )
        await self._end_sessions(record)
        await self._store.forget(block)
        self._records.gone(record)
        log.info("dcr_deleted", strategy=record.strategy, client_id=record.client_id)

    async def _lift(self, block: Revocation) -> None:
        if self._store.revocation(block) != block:
            return  # an operator has blocked the client meanwhile
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
        self._records.application(record)  # or the secret would open nothing
        registrar = plan.of(record.strategy).registrar
        management = await self._records.saved_management(record, plan.sealer)
        try:
            client = await registrar.rotate_secret(record.client_id, management, self._keep(record, plan))
        except (Unavailable, RegistrationRefused) as error:
            if not isinstance(error, RegistrationRefused) or error.error != SECRET_NOT_ROTATED:
                await self._end_sessions(record)  # the former secret may have ended all the same
            raise
        finally:
            await self._purge(record.strategy, record.client_id)
        await self._end_sessions(record)
        # Whoever still tries the former secret is refused, and is not to use up the tries of the new one.
        self._vouch(record.strategy, ClientCredentials(record.client_id, client.client_secret))
        log.info("dcr_new_secret", strategy=record.strategy, client_id=record.client_id)
        return Credentials(record.client_id, client.client_secret, client.issued_at, client.expires_at)

    async def _end_sessions(self, record: ClientRecord) -> None:
        now = self._clock.now()
        await self._store.revoke(
            Revocation("sessions_of", record.client_id, record.strategy, now, now + _SESSIONS_S)
        )

    # Events: each may come again, and in any order that Konnect sends them.

    async def _event(self, event: Event) -> None:
        if event.event_type not in EVENT_TYPES:
            known = ", ".join(EVENT_TYPES)
            raise BridgeRefused(400, "Bad Request", f"event_type must be one of {known}")
        plan = self._plan()
        strategy = plan.strategies.get(event.auth_strategy_id, plan.default)
        if event.event_type == "remove_registration":
            found = await self._records.find(event.client_id, strategy)
            if found.deleted:
                return
        record = await self._existing(event.client_id, strategy)
        application = await self._adopted(record, event)
        version = event.api_product_version_id
        match event.event_type:
            case "update_application":
                await self._update(record, application, event, plan)
            case "add_registration":
                plan.of(record.strategy)  # refuses what the configuration does not serve any more
                await self._add(application, plan.service(version), plan.status)
            case "remove_registration":
                # Also the name that it had before it was mapped.
                for service in dict.fromkeys((plan.service(version), version)):
                    application = await self._remove(application, service)
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
        finally:
            await self._purge(record.strategy, record.client_id)  # the provider may have replaced the secret
        if application.name != event.application_name:
            await self._store.adopt(application.id, application.id, event.application_name)
        if not same_secret:
            await self._end_sessions(record)
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

    async def _remove(self, application: Application, service: str) -> Application:
        # What an operator has shut stays shut, or coming back through the portal would open it.
        if application.registrations.get(service) in _KONNECTS:
            try:
                return await self._store.set_registration(application.id, service, None)
            except NotFound:
                pass  # somebody else was quicker
        return application

    async def _existing(self, client_id: str, strategy: str | None = None) -> ClientRecord:
        record = await self._records.find(client_id, strategy)
        if record.deleted:
            raise BridgeRefused(404, "client_not_found", f"the client {client_id!r} has been deleted")
        return record

    def _keep(self, record: ClientRecord, plan: Plan) -> Keep:
        def keep(management: str) -> Awaitable[None]:
            return self._records.keep(record, management, plan.sealer)

        return keep


def _is_ours(block: Revocation) -> bool:
    """Whether a block is one that a deletion left, and no operator's: those end when somebody chose."""
    return block.expires_at == block.created_at + _BLOCK_S
