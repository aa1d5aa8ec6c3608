"""What the registry's tests share: an epoch that remembers, and short ways to make values.

Law of this file: nothing here judges.
"""

import contextlib

from support_registry import StoredRegistry

from validator.model import Application, Method, Origin, Proof, RegistrationStatus
from validator.registry.index import MemoryRegistry
from validator.testing import ManualClock

A_GUID = "3F0C1C9E-AAAA-4000-8000-00000000000B"


class RecordingEpoch:
    """``ports.Epoch`` that keeps what it was told, in order.

    ``look`` is called at each touch, so that a test sees what was in force at that very moment.
    """

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.look = lambda: None

    def touch_client(self, strategy: str, client_id: str) -> None:
        self._tell("client", strategy, client_id)

    def touch_id(self, identifier: str) -> None:
        self._tell("id", identifier)

    def touch_all(self) -> None:
        self._tell("all")

    def _tell(self, *what: str) -> None:
        self.told.append(what)
        self.look()

    def taken(self) -> list[tuple[str, ...]]:
        told, self.told = self.told, []
        return told


def app(
    application_id: str, client_id: str, strategy: str = "plain", services: str = "orders", **more: object
) -> Application:
    """An application of the API with approved registrations for the services named, separated by spaces."""
    registrations = dict.fromkeys(services.split(), RegistrationStatus.APPROVED)
    return Application(application_id, f"App {application_id}", strategy, client_id, registrations, **more)


def filed(application: Application) -> Application:
    """The same as the file would hold it."""
    return Application(
        application.id,
        application.name,
        application.strategy,
        application.client_id,
        application.registrations,
        application.active,
        Origin.FILE,
    )


@contextlib.asynccontextmanager
async def opened(path, clock=None, epoch=None, *, own=True):
    clock = clock or ManualClock()
    memory = MemoryRegistry(clock=clock, epoch=epoch or RecordingEpoch(), strategies=["plain", "azure"])
    registry = await StoredRegistry.open(path, memory=memory, clock=clock, own=own)
    try:
        yield registry, memory
    finally:
        await registry.close()


def proof(client_id="c1", token_id=None):
    return Proof("plain", Method.BEARER, client_id, 9e9, 9e9, token_id=token_id)


async def on_thread(registry, sql):
    """What a statement returns on the file's own connection."""
    return await registry.file._on_thread(lambda: registry.file._opened.connection.execute(sql).fetchall())
