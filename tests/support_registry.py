"""The registry as a sidecar that shares nothing has it: index, journal and file.

Law of this file: it wires as the program does and judges nothing.
"""

from validator.adapters.sqlite import SqliteStore
from validator.registry.journal import LocalJournal
from validator.registry.writer import RegistryWriter


class StoredRegistry(RegistryWriter):
    """A writer with its own file, which ends with it.

    Attributes:
        file: the store.
    """

    @classmethod
    async def open(cls, path, *, memory, clock, own=True):
        file, loaded = await SqliteStore.open(path, clock=clock, own=own)
        memory.load_stored(*loaded)

        async def apply(changes):
            memory.apply_changes(changes)

        made = cls(memory, LocalJournal(file, apply), clock=clock, store=file)
        made.file = file
        return made

    async def close(self):
        await super().close()
        await self.file.close()

    async def healthy(self):
        return await self.file.healthy()
