"""Answers that may be given again.

Law of this file: an answer is given again before its deadline, while its epoch stands, and never with another
byte than it was judged with, but for the time it has left. This is the way of nearly every request, so it is
written for the machine: no object is made for an entry, and none is made to look at one.
"""

from array import array
from dataclasses import dataclass
from typing import Final

from validator.caching.epochs import ShardedEpoch
from validator.core.reply import Rendered, cache_control

_FREED_AT_ONCE: Final = 4


class Tally:
    """How often one outcome was judged and how often replayed; read by the metrics at scrape."""

    __slots__ = ("judged", "replayed")

    def __init__(self) -> None:
        self.judged = 0
        self.replayed = 0


@dataclass(slots=True)
class Reply:
    """A rendered answer, and for how long.

    Attributes:
        deadline: seconds since the epoch; 0 for an answer that is never given again.
    """

    rendered: Rendered
    tally: Tally
    deadline: float = 0.0


class _Generation:
    """Entries in columns: ``places`` says in which row a key's entry stands."""

    __slots__ = ("deadlines", "epochs", "heads", "places", "rests", "shards", "tallies")

    def __init__(self) -> None:
        self.places: dict[bytes, int] = {}
        self.deadlines = array("d")
        self.epochs = array("Q")
        self.shards = array("Q")
        self.heads: list[bytes] = []
        self.rests: list[bytes] = []
        self.tallies: list[Tally] = []


class Replies:
    """A bounded table of answers; like ``Generations`` it forgets what has not been asked for longest, roughly,
    and never pauses.

    Args:
        max_entries: bound on all entries together.
        epoch: what moves when an answer may have become untrue.
    """

    __slots__ = ("_dropped", "_epoch", "_half", "_old", "_young", "evictions")

    def __init__(self, max_entries: int, epoch: ShardedEpoch) -> None:
        self._half = max(1, max_entries // 2)
        self._epoch = epoch
        self._young = _Generation()
        self._old = _Generation()
        self._dropped: list[_Generation] = []
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._young.places) + len(self._old.places)

    def replay(self, key: bytes, now: float) -> bytes | None:
        """The whole answer as it goes over the wire, if it may be given at ``now``, and counted."""
        young = self._young
        row = young.places.get(key)
        if row is None:
            if (row := self._rejuvenated(key)) is None:
                return None
            young = self._young
        left_s = young.deadlines[row] - now
        if left_s <= 0:
            return None
        epoch = self._epoch.value
        if young.epochs[row] != epoch:
            if not self._epoch.unmoved_since(young.epochs[row], young.shards[row]):
                return None
            young.epochs[row] = epoch
        young.tallies[row].replayed += 1
        return young.heads[row] + cache_control(left_s) + young.rests[row]

    def known(self, key: bytes, now: float) -> Reply | None:
        """The same answer in its parts, for those who want it otherwise than whole."""
        if self.replay(key, now) is None:
            return None
        young = self._young
        row = young.places[key]
        return Reply(Rendered(young.heads[row], young.rests[row]), young.tallies[row], young.deadlines[row])

    def in_doubt(self, key: bytes, now: float) -> bytes | None:
        """The head of an answer that lasts, but may have become untrue."""
        young = self._young
        row = young.places.get(key)
        return None if row is None or now >= young.deadlines[row] else young.heads[row]

    def confirm(self, key: bytes, epoch: int) -> None:
        """An answer ``in_doubt`` was judged again at ``epoch``, and is the same."""
        young = self._young
        row = young.places[key]
        young.epochs[row] = epoch

    def put(self, key: bytes, reply: Reply, *, epoch: int, shards: int) -> None:
        """Keeps an answer until its deadline.

        Args:
            epoch: at which it was judged.
            shards: what a change must touch to make it doubtful, as ``ShardedEpoch.packed``.
        """
        self._make_room()
        self._old.places.pop(key, None)
        rendered = reply.rendered
        self._write(key, reply.deadline, epoch, shards, rendered.head, rendered.rest, reply.tally)

    def discard(self, key: bytes) -> None:
        self._young.places.pop(key, None)
        self._old.places.pop(key, None)

    def clear(self) -> None:
        self._dropped += [table for table in (self._young, self._old) if table.places]
        self._young = _Generation()
        self._old = _Generation()

    def _rejuvenated(self, key: bytes) -> int | None:
        """Moves an entry of the old generation to the young one; its row there."""
        old = self._old
        row = old.places.pop(key, None)
        if row is None:
            return None
        self._make_room()
        self._write(
            key,
            old.deadlines[row],
            old.epochs[row],
            old.shards[row],
            old.heads[row],
            old.rests[row],
            old.tallies[row],
        )
        return self._young.places[key]

    def _write(
        self,
        key: bytes,
        deadline: float,
        epoch: int,
        shards: int,
        head: bytes,
        rest: bytes,
        tally: Tally,
    ) -> None:
        young = self._young
        row = young.places.get(key)
        if row is None:
            young.places[key] = len(young.heads)
            young.deadlines.append(deadline)
            young.epochs.append(epoch)
            young.shards.append(shards)
            young.heads.append(head)
            young.rests.append(rest)
            young.tallies.append(tally)
        else:
            young.deadlines[row] = deadline
            young.epochs[row] = epoch
            young.shards[row] = shards
            young.heads[row] = head
            young.rests[row] = rest
            young.tallies[row] = tally

    def _make_room(self) -> None:
        if self._dropped:
            self._free_some()
        if len(self._young.heads) >= self._half:
            self.evictions += len(self._old.places)
            self._dropped.append(self._old)
            self._old = self._young
            self._young = _Generation()

    def _free_some(self) -> None:
        """Freeing a million entries at once would be a pause."""
        last = self._dropped[-1]
        for _ in range(min(_FREED_AT_ONCE, len(last.places))):
            last.places.popitem()
        del last.heads[-_FREED_AT_ONCE:]
        if not last.places and not last.heads:
            self._dropped.pop()
