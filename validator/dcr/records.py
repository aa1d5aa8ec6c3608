"""The clients that the bridge knows, and how each is managed.

Law of this file: everything between the bridge and what is stored of a client lives here: which one an id means,
and that how it is managed is never lost on the way to the disk, nor written there in clear.
"""

import secrets

import structlog

from validator.core.registry import canonical_client_id
from validator.core.sealing import NONCE_BYTES, Sealer, SealError
from validator.dcr.plan import BridgeRefused
from validator.errors import Unavailable
from validator.model import Application, ClientRecord, Origin
from validator.ports import ClientRecords

_MAX_UNSAVED = 1000

log = structlog.get_logger(__name__)


class Records:
    """Clients by id."""

    def __init__(self, store: ClientRecords) -> None:
        self._store = store
        self._unsaved: dict[tuple[str, str], str] = {}

    async def find(self, client_id: str, strategy: str | None = None) -> ClientRecord:
        """The record of the one client that ``client_id`` means, a deleted one's too.

        Args:
            strategy: decides where the id is known under several.

        Raises:
            BridgeRefused: there is none, or it is not the bridge's, or not any more: the file has it.
            Unavailable: the store cannot say.
        """
        found = await self._store.records(client_id)
        if len(found) > 1:
            named = [record for record in found if record.strategy == strategy]
            found = named or [record for record in found if not record.deleted] or found
        if len(found) > 1:
            names = ", ".join(record.strategy for record in found)
            raise BridgeRefused(
                400, "ambiguous_client", f"the client id {client_id!r} exists under several strategies ({names})"
            )
        if not found:
            raise self._unknown(client_id)
        record = found[0]
        held = self._held(record)
        if held is not None and held.origin is Origin.FILE and not record.deleted:
            raise _of_the_file(held)
        return record

    def application(self, record: ClientRecord) -> Application:
        """The application of a client, as it may be changed.

        Raises:
            BridgeRefused: it was deleted behind the bridge's back.
        """
        held = self._held(record)
        if held is None:
            raise BridgeRefused(
                404,
                "application_not_found",
                f"the application of the client {record.client_id!r} was deleted through the sidecar's control "
                "plane: delete the application in Konnect too and create it anew",
            )
        return held

    def management(self, record: ClientRecord, sealer: Sealer) -> str:
        """How the client is managed. Raises ``BridgeRefused``: the key that sealed it is gone."""
        unsaved = self._unsaved.get(_place(record))
        if unsaved is not None:
            return unsaved
        try:
            return sealer.open(record.sealed, bound_to=_place(record))
        except SealError as error:
            raise BridgeRefused(
                400,
                "sealed_by_another_key",
                f"how the client {record.client_id!r} is managed at the identity provider cannot be opened: "
                f"{error}. Put the former key back as a further one in dcr.sealing_keys_file (or "
                "session.keys_file)",
            ) from None

    def sealed(self, strategy: str, client_id: str, management: str, sealer: Sealer) -> str:
        bound_to = (strategy, canonical_client_id(client_id))
        return sealer.seal(management, bound_to=bound_to, nonce=secrets.token_bytes(NONCE_BYTES))

    async def keep(self, record: ClientRecord, management: str, sealer: Sealer) -> None:
        """On the disk when this returns. Where the disk does not take it, it is kept in memory for the next call:
        the identity provider takes the former one no more.

        Raises:
            Unavailable: the store did not take it.
        """
        place = _place(record)
        if len(self._unsaved) < _MAX_UNSAVED:
            self._unsaved[place] = management
        try:
            await self._store.reseal(*place, self.sealed(*place, management, sealer))
        except Unavailable:
            log.error(  # noqa: TRY400 - the caller tells why
                "dcr_management_not_stored", strategy=record.strategy, client_id=record.client_id
            )
            raise
        self._unsaved.pop(place, None)

    async def saved_management(self, record: ClientRecord, sealer: Sealer) -> str:
        """How the client is managed, and the disk has it: what it did not take before, it takes now.

        Raises:
            BridgeRefused: as ``management``.
            Unavailable: the store did not take it again.
        """
        management = self.management(record, sealer)
        if _place(record) in self._unsaved:
            await self.keep(record, management, sealer)
        return management

    def gone(self, record: ClientRecord) -> None:
        """The client is deleted; nothing of it waits for the disk any more."""
        self._unsaved.pop(_place(record), None)

    def _held(self, record: ClientRecord) -> Application | None:
        held = self._store.list(strategy=record.strategy, client_id=record.client_id)
        return held[0] if held else None

    def _unknown(self, client_id: str) -> BridgeRefused:
        held = self._store.list(client_id=client_id)
        if held and held[0].origin is Origin.FILE:
            return _of_the_file(held[0])
        if held:
            return BridgeRefused(
                404,
                "client_not_found",
                f"the client {client_id!r} was not registered through this bridge, so it cannot be managed here: "
                "change its application through the sidecar's control plane, and the client at the identity "
                "provider",
            )
        return BridgeRefused(
            404, "client_not_found", f"no client {client_id!r} was ever registered through this bridge"
        )


def _of_the_file(application: Application) -> BridgeRefused:
    return BridgeRefused(
        400,
        "read_only",
        f"the application {application.id!r} of this client stands in the sidecar's configuration file: change it "
        "there",
    )


def _place(record: ClientRecord) -> tuple[str, str]:
    return record.strategy, canonical_client_id(record.client_id)
