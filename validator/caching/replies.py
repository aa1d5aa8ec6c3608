"""Answers that may be given again.

Law of this file: an answer is given again before its deadline, while nothing that it rests on has moved, and never
with another byte than it was judged with, but for the time it has left. Nearly every request goes this way, so it
is written for the machine: an entry is one string of bytes, so that a lookup among a million touches as little
memory as can be, and the garbage collector none.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from validator.caching.epochs import ShardedEpoch, Shards
from validator.core.reply import MAX_AGE_S, NO_STORE, Rendered

_FREED_AT_ONCE: Final = 4
# Deadline, epoch, number of the kind; four shards; behind them what this answer alone says.
_ENTRY: Final = Struct("<dQIHHHH")
_OWN: Final = _ENTRY.size
_OFTEN: Final = Struct("<dQI")
_SHARDS: Final = Struct("<HHHH")
_unpack: Final = _OFTEN.unpack_from


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


# How such answers begin and end, where they are counted, and what Cache-Control says by the seconds left.
_Kind = tuple[bytes, bytes, Tally, tuple[bytes, ...]]
_Same = tuple[bytes, bytes, Tally, bool]  # what tells one kind from another, at less cost


class _Generation:
    """Entries, and what many of them have in common."""

    __slots__ = ("entries", "kinds", "numbers")

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.kinds: list[_Kind] = []
        self.numbers: dict[_Same, int] = {}

    def number(self, kind: _Kind) -> int:
        head, rest, tally, cache_control = kind
        same = (head, rest, tally, cache_control is NO_STORE)
        number = self.numbers.get(same)
        if number is None:
            number = self.numbers[same] = len(self.kinds)
            self.kinds.append(kind)
        return number

    def drop_last_kind(self) -> None:
        head, rest, tally, cache_control = self.kinds.pop()
        self.numbers.pop((head, rest, tally, cache_control is NO_STORE), None)


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
        return len(self._young.entries) + len(self._old.entries)

    def replay(self, key: bytes, now: float) -> bytes | None:
        """The whole answer as it goes over the wire, if it may be given at ``now``, and counted."""
        entry = self._young.entries.get(key)
        if entry is None and (entry := self._rejuvenated(key)) is None:
            return None
        deadline, epoch, number = _unpack(entry)
        left_s = deadline - now
        if left_s <= 0:
            return None
        marks = self._epoch
        if epoch != marks.value and not marks.unmoved_since(epoch, *_SHARDS.unpack_from(entry, _OFTEN.size)):
            return None
        kind: _Kind = self._young.kinds[number]
        head, rest, tally, cache_control = kind
        tally.replayed += 1
        # Further ahead than any lifetime only where the clock was set back a moment ago.
        return head + entry[_OWN:] + cache_control[int(left_s) if left_s < MAX_AGE_S else MAX_AGE_S] + rest

    def known(self, key: bytes, now: float) -> Reply | None:
        """The same answer in its parts, for those who want it otherwise than whole."""
        if self.replay(key, now) is None:
            return None
        entry = self._young.entries[key]
        deadline, _, number = _unpack(entry)
        kind: _Kind = self._young.kinds[number]
        head, rest, tally, cache_control = kind
        return Reply(Rendered(head + entry[_OWN:], rest, cache_control), tally, deadline)

    def in_doubt(self, key: bytes, now: float) -> bytes | None:
        """The head of an answer that lasts, but may have become untrue."""
        entry = self._young.entries.get(key)
        if entry is None:
            return None
        deadline, _, number = _unpack(entry)
        if now >= deadline:
            return None
        kind: _Kind = self._young.kinds[number]
        return kind[0] + entry[_OWN:]

    def confirm(self, key: bytes, epoch: int) -> None:
        """An answer ``in_doubt`` was judged again at ``epoch``, and is the same."""
        entries = self._young.entries
        entry = entries[key]
        deadline, _, number = _unpack(entry)
        entries[key] = _OFTEN.pack(deadline, epoch, number) + entry[_OFTEN.size :]

    def put(self, key: bytes, reply: Reply, *, epoch: int, shards: Shards, common: bytes = b"") -> None:
        """Keeps an answer until its deadline.

        Args:
            epoch: at which it was judged.
            shards: what a change must touch to make it doubtful.
            common: how many an answer begins, this one among them.
        """
        self._make_room()
        self._old.entries.pop(key, None)
        rendered = reply.rendered
        number = self._young.number((common, rendered.rest, reply.tally, rendered.cache_control))
        own = rendered.head[len(common) :]
        self._young.entries[key] = _ENTRY.pack(reply.deadline, epoch, number, *shards) + own

    def discard(self, key: bytes) -> None:
        self._young.entries.pop(key, None)
        self._old.entries.pop(key, None)

    def clear(self) -> None:
        self._dropped += [table for table in (self._young, self._old) if table.kinds]
        self._young = _Generation()
        self._old = _Generation()

    def _rejuvenated(self, key: bytes) -> bytes | None:
        """Moves an entry of the old generation to the young one."""
        old = self._old
        entry = old.entries.pop(key, None)
        if entry is None:
            return None
        self._make_room()
        deadline, epoch, number = _unpack(entry)
        number = self._young.number(old.kinds[number])
        entry = _OFTEN.pack(deadline, epoch, number) + entry[_OFTEN.size :]
        self._young.entries[key] = entry
        return entry

    def _make_room(self) -> None:
        if self._dropped:
            self._free_some()
        young = self._young
        # Kinds outlive their entries, so they are bound as well: clients may come and go for ever.
        if len(young.entries) >= self._half or len(young.kinds) >= self._half:
            self.evictions += len(self._old.entries)
            self._dropped.append(self._old)
            self._old = young
            self._young = _Generation()

    def _free_some(self) -> None:
        """Freeing a million entries at once would be a pause."""
        last = self._dropped[-1]
        for _ in range(min(_FREED_AT_ONCE, len(last.entries))):
            last.entries.popitem()
        for _ in range(min(_FREED_AT_ONCE, len(last.kinds))):
            last.drop_last_kind()
        if not last.entries and not last.kinds:
            self._dropped.pop()
