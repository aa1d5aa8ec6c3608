"""How a client comes to be.

Law of this file: of a client that is made at the identity provider and not recorded here, nothing remains there;
and of a request that is repeated because its answer was lost, one client comes, not two.
"""

import asyncio
import json
import secrets
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import astuple
from functools import partial

import structlog
from cachetools import TTLCache

from validator.core.registration import RegisteredClient, RegistrationRefused
from validator.core.registry import canonical_client_id
from validator.core.sealing import KEY_BYTES, NONCE_BYTES, Sealer
from validator.dcr.plan import BridgeRefused, Credentials, NewApplication, Plan
from validator.dcr.records import Records
from validator.dcr.registrar import ClientRegistrar, UnusableClient
from validator.errors import Unavailable
from validator.model import Application
from validator.ports import ClientRecords, Clock, Conflict
from validator.singleflight import SingleFlight

RETRY_WINDOW_S = 120.0  # retries come soon; whoever asks the same later may mean another application
_MAX_REMEMBERED = 1000
_UNDO_DELAYS_S = (1.0, 5.0, 30.0, 120.0)  # an identity provider that stays away longer needs a person

log = structlog.get_logger(__name__)


class Creation:
    """Creates clients.

    Args:
        run: carries a coroutine through to its end even when its caller goes away.
        pause: waits for some seconds.
        undo_delays_s: between the attempts to delete a client that could not be recorded.
        retry_window_s: for so long a repeated request is answered as it was before.
    """

    def __init__(
        self,
        *,
        store: ClientRecords,
        records: Records,
        clock: Clock,
        run: Callable[[Coroutine[object, object, Credentials]], Awaitable[Credentials]],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        undo_delays_s: Sequence[float] = _UNDO_DELAYS_S,
        retry_window_s: float = RETRY_WINDOW_S,
    ) -> None:
        self._store = store
        self._records = records
        self._run = run
        self._pause = pause
        self._undo_delays_s = undo_delays_s
        self._flight: SingleFlight[bytes, Credentials] = SingleFlight()
        self._undoing: set[asyncio.Task[bool]] = set()
        # What was answered to whom, sealed by a key that ends with the process.
        self._answered: TTLCache[bytes, tuple[str, str, str]] = TTLCache(
            _MAX_REMEMBERED, retry_window_s, timer=clock.monotonic
        )
        self._by_client: dict[str, bytes] = {}
        self._own = Sealer([secrets.token_bytes(KEY_BYTES)], purpose="answers")

    async def create(self, wanted: NewApplication, plan: Plan) -> Credentials:
        """The client, recorded. The same request at the same time, or soon after, brings the same client, as long
        as nobody has named it.

        Raises:
            BridgeRefused, RegistrationRefused, Unavailable: nothing was created, or it is deleted again.
        """
        strategy = plan.strategy(wanted.auth_strategy_id)
        digest = wanted.digest(strategy)
        remembered = self._remembered(digest)
        if remembered is not None:
            return remembered
        return await self._flight.run(digest, lambda: self._run(self._create(wanted, plan, strategy, digest)))

    def named(self, client_id: str) -> None:
        """A call names the client, so its answer has arrived: who asks the same again wants another one."""
        client = canonical_client_id(client_id)
        digest = self._by_client.pop(client, None)
        if digest is not None and (answered := self._answered.get(digest)) is not None:
            _, answered_with, _ = answered
            if canonical_client_id(answered_with) == client:
                del self._answered[digest]

    async def close(self) -> None:
        """Gives up what is still to be undone, and names it in the log."""
        undoing = set(self._undoing)
        for task in undoing:
            task.cancel()
        await asyncio.gather(*undoing, return_exceptions=True)

    def _remembered(self, digest: bytes) -> Credentials | None:
        answered = self._answered.get(digest)
        if answered is None:
            return None
        strategy, client_id, sealed = answered
        if not self._store.list(strategy=strategy, client_id=client_id):
            return None  # deleted since, through the control plane
        return Credentials(*json.loads(self._own.open(sealed, bound_to=(digest.hex(),))))

    def _remember(self, digest: bytes, strategy: str, credentials: Credentials) -> None:
        self._answered.expire()
        if len(self._by_client) >= 2 * _MAX_REMEMBERED:  # of answers that have expired
            self._by_client = {
                client: known for client, known in self._by_client.items() if known in self._answered
            }
        text = json.dumps(astuple(credentials))
        sealed = self._own.seal(text, bound_to=(digest.hex(),), nonce=secrets.token_bytes(NONCE_BYTES))
        self._answered[digest] = (strategy, credentials.client_id, sealed)
        self._by_client[canonical_client_id(credentials.client_id)] = digest

    async def _create(self, wanted: NewApplication, plan: Plan, strategy: str, digest: bytes) -> Credentials:
        registering = plan.of(strategy)
        client = await self._register(wanted, plan, strategy)
        # Before it is recorded: should the process end here, this line is what is known of the client.
        log.info("dcr_registered", strategy=strategy, client_id=client.client_id)
        try:
            await self._check_alone(strategy, client.client_id)
            application = Application(str(uuid.uuid4()), wanted.client_name, strategy, client.client_id)
            sealed = self._records.sealed(strategy, client.client_id, client.management, plan.sealer)
            await self._store.record(application, sealed)
        except Conflict as conflict:
            log.error(  # noqa: TRY400 - the answer tells why
                "dcr_client_id_taken",
                strategy=strategy,
                client_id=client.client_id,
                advice="have the identity provider give every client an id of its own",
            )
            if not self._store.list(strategy=strategy, client_id=client.client_id):
                await self._undo(registering.registrar, strategy, client)
            # Else deleting it would delete the client of the application that has it.
            raise BridgeRefused(
                400, "client_id_taken", f"the identity provider handed out a client id again: {conflict}"
            ) from None
        except BaseException:
            await self._undo(registering.registrar, strategy, client)
            raise
        credentials = Credentials(client.client_id, client.client_secret, client.issued_at, client.expires_at)
        self._remember(digest, strategy, credentials)
        return credentials

    async def _check_alone(self, strategy: str, client_id: str) -> None:
        """Konnect names a client by its id alone, so that one under another strategy could not be told from it.

        Raises:
            Conflict: there is one.
        """
        for record in await self._store.records(client_id):
            if record.strategy != strategy and not record.deleted:
                raise Conflict(f"the client id {client_id!r} is known under the strategy {record.strategy!r}")

    async def _register(self, wanted: NewApplication, plan: Plan, strategy: str) -> RegisteredClient:
        registering = plan.of(strategy)
        try:
            return await registering.registrar.create(wanted.client(registering))
        except UnusableClient as unusable:
            why = f"{unusable.description}; it could not be deleted again"
            _log_orphan(strategy, unusable.client_id, why, client_name=wanted.client_name)
            named = f"A client {unusable.client_id!r}" if unusable.client_id is not None else "A client"
            raise BridgeRefused(
                400,
                "invalid_registration_reply",
                f"{unusable.description}. {named} of the name {wanted.client_name!r} may exist there now: "
                "delete it by hand",
            ) from None
        except Unavailable as unavailable:
            if not unavailable.sent:
                raise
            log.error(  # noqa: TRY400 - the detail tells why
                "dcr_outcome_unknown",
                strategy=strategy,
                client_name=wanted.client_name,
                detail=unavailable.detail,
                advice="if the identity provider got the request, it has a client of this name that nobody uses",
            )
            raise

    async def _undo(self, registrar: ClientRegistrar, strategy: str, client: RegisteredClient) -> None:
        if await self._deleted(registrar, strategy, client):
            return
        task = asyncio.create_task(self._undo_later(registrar, strategy, client))
        self._undoing.add(task)
        task.add_done_callback(partial(self._undone, strategy, client.client_id))

    def _undone(self, strategy: str, client_id: str, task: asyncio.Task[bool]) -> None:
        self._undoing.discard(task)
        # Given up, perhaps before it began; or it failed as nothing should.
        if task.cancelled() or task.exception() is not None or not task.result():
            _log_orphan(strategy, client_id, "it was made, not recorded, and could not be deleted again")

    async def _undo_later(self, registrar: ClientRegistrar, strategy: str, client: RegisteredClient) -> bool:
        for delay_s in self._undo_delays_s:
            await self._pause(delay_s)
            if await self._deleted(registrar, strategy, client):
                return True
        return False

    async def _deleted(self, registrar: ClientRegistrar, strategy: str, client: RegisteredClient) -> bool:
        """Whether it is settled: deleted, or refused for good, which the log tells."""
        try:
            if not await registrar.delete(client.client_id, client.management):
                _log_orphan(strategy, client.client_id, "the provider says that it does not exist")
                return True
        except Unavailable:
            return False
        except RegistrationRefused as refused:
            _log_orphan(strategy, client.client_id, refused.description)
            return True
        log.warning("dcr_undone", strategy=strategy, client_id=client.client_id)
        return True


def _log_orphan(strategy: str, client_id: str | None, why: str, **more: str) -> None:
    log.error(
        "dcr_orphan",
        strategy=strategy,
        client_id=client_id,
        detail=why,
        **more,
        advice="delete it at the identity provider",
    )
