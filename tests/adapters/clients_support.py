"""What the tests of registered clients share: the store over a file, opened and closed.

Law of this file: nothing here judges.
"""

import contextlib

from registry_support import RecordingEpoch

from validator.adapters.memory import MemoryRegistry
from validator.adapters.sqlite_clients import SqliteClients
from validator.testing import ManualClock


@contextlib.asynccontextmanager
async def opened_clients(path, clock=None, epoch=None):
    clock = clock or ManualClock()
    memory = MemoryRegistry(clock=clock, epoch=epoch or RecordingEpoch(), strategies=["plain", "azure"])
    store = await SqliteClients.open(path, memory=memory, clock=clock)
    try:
        yield store, memory
    finally:
        await store.close()


async def only(store, client_id):
    """The one record of a client."""
    (record,) = await store.records(client_id)
    return record
