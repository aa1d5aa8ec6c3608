"""Where the registry is kept: in a file of its own, and in a log that several share."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from validator.core.changes import Change
from validator.model import ClientRecord


@dataclass(frozen=True, slots=True)
class Position:
    """How far a replica has followed the log that several share.

    Attributes:
        entry: id of the last entry that is known here.
        mark: what that entry alone is marked with; the next one names it.
        version: the highest version that is known here.
    """

    entry: str
    mark: str
    version: int


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one key.

    Attributes:
        version: of two versions of a key the higher is the truth; 0: written before anything was shared.
        content: as ``core.changes.content`` writes it; ``None``: it is no more.
    """

    key: str
    version: int
    content: str | None


class LocalStore(Protocol):
    """A registry's own file. Each call raises ``Unavailable`` (``store_unavailable``) where it cannot be used."""

    async def commit(
        self,
        changes: Sequence[Change],
        *,
        version: int | Sequence[int] | None = None,
        unshared: bool = False,
        position: Position | None = None,
    ) -> None:
        """All of it, or nothing; durable when it returns.

        Args:
            version: of every one of the changes, or of each; ``None``: nothing is shared.
            unshared: others have not been told; see ``unshared()``. Any later commit of a key with
                ``unshared=False`` clears its mark.
            position: what is followed up to with these changes.
        """

    async def clients(self, client_key: str) -> Sequence[ClientRecord]:
        """One for each strategy that knows the client, deleted ones among them."""

    async def position(self) -> tuple[Position, float] | None:
        """The last one committed, and when (seconds since the epoch)."""

    def records(self) -> AsyncIterator[Sequence[Record]]:
        """Everything that is stored, in portions, and what is known to be no more."""

    async def unshared(self) -> Sequence[Record]:
        """What others have not been told."""

    async def healthy(self) -> bool:
        """Whether a write would be possible, within two seconds. Raises nothing."""

    async def close(self) -> None:
        """Waits for what is under way."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One write to what is shared: which keys have changed.

    Attributes:
        previous: the mark of the entry before it; "" before the first; "?" (the mark of none) where the entry
            cannot be read. Such a one has no mark, version or keys.
    """

    id: str
    mark: str
    previous: str
    version: int
    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class LogState:
    """What is shared as it stands now.

    Attributes:
        position: of the last entry; ``None``: nothing was ever written, or everything is lost.
        age_s: for how long this server has been known to have this state; a server that was restarted, failed over
            to, or flushed begins anew, for others may still be restoring what it has lost. 0 while somebody says
            that he is (``append``); where he has not said so for some seconds, it counts from when that ran out.
        incarnation: another one after a restart or a failover; what was scanned meanwhile is not all there is.
        time_s: what the server's clock says, in seconds since the epoch; 0.0: not told.
    """

    position: Position | None
    age_s: float
    incarnation: str = ""
    time_s: float = 0.0


class SharedLog(Protocol):
    """What several sidecars share: one record for each key, and a log of the keys that changed, in the order in
    which they did. Each call returns within a bounded time, and raises ``Unavailable`` (``store_unavailable``)
    where the server does not serve: not reached, too slow, read-only, out of memory, or talking nonsense."""

    async def state(self) -> LogState: ...

    async def append(
        self,
        position: Position | None,
        records: Sequence[tuple[str, str | None]],
        *,
        version: int,
        restored: Sequence[Record] = (),
        restoring: bool = False,
    ) -> Position | None:
        """Writes records (key and content) and one entry for all of them, in one step.

        Args:
            position: what the writer goes by. Where it is not the last entry any more, nothing is written.
            version: the entry's, and its records', will be higher.
            restored: written as well, each with the version that it has (none above ``version``): what is restored
                is no newer than it was when it was lost.
            restoring: the writer has more to restore after this. Until its next write that says otherwise, or for
                10 s, ``LogState.age_s`` is 0; every write takes back what the same writer said in its last one,
                and nothing that another one has said.

        Returns:
            The position with this entry; ``None``: others have written in between.
        """

    async def since(self, position: Position | None, *, wait_s: float) -> Sequence[LogEntry]:
        """The entries behind a position (``None``: behind nothing), a few hundred at most; where there is none
        yet, it waits for one, ``wait_s`` at most."""

    async def fetch(self, keys: Sequence[str]) -> Sequence[Record | None]:
        """The records of these keys as they are now."""

    async def written(self, entry: LogEntry, keys: Sequence[str]) -> Sequence[Record | None] | None:
        """The same, as they were after an entry, or newer; ``None``: the log does not have that entry any more, so
        that what there is may be older. In one step, as a server may be replaced by an older one at any moment."""

    def scan(self) -> AsyncIterator[Sequence[Record]]:
        """Every record that is there from beginning to end of the scan, in portions, perhaps more than once."""

    async def purge(self, older_than_s: float) -> int:
        """Removes what has been no more for longer than that, what is kept of clients that were deleted before it,
        revocations that have run out, and marks of clients that nobody needs any more; all by the server's clock.
        A bounded piece of the work, which goes on when it is called again; returns how many records are gone."""

    async def close(self) -> None: ...
