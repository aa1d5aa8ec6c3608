"""A bounded table of things that are small, many and asked for off the hot path."""

from typing import Generic, TypeVar

V = TypeVar("V")

_FREED_AT_ONCE = 4


class Generations(Generic[V]):
    """A bounded table that forgets what has not been asked for longest, roughly, and never pauses.

    New entries go to the young generation; when it holds half of the bound, the old one is dropped and it takes
    its place. A hit in the old one moves back to the young. Hits in the young one, the common case, keep no
    books. What was dropped is freed a few entries at a time, since freeing a million at once would be a pause.
    """

    def __init__(self, max_entries: int) -> None:
        self._half = max(1, max_entries // 2)
        self._young: dict[bytes, V] = {}
        self._old: dict[bytes, V] = {}
        self._dropped: list[dict[bytes, V]] = []
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: bytes) -> V | None:
        value = self._young.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self.put(key, value)
        return value

    def put(self, key: bytes, value: V) -> None:
        self._old.pop(key, None)
        self._young[key] = value
        if self._dropped:
            self._free_some()
        if len(self._young) >= self._half:
            self.evictions += len(self._old)
            self._dropped.append(self._old)
            self._old = self._young
            self._young = {}

    def discard(self, key: bytes) -> None:
        self._young.pop(key, None)
        self._old.pop(key, None)

    def clear(self) -> None:
        self._dropped += [table for table in (self._young, self._old) if table]
        self._young = {}
        self._old = {}

    def _free_some(self) -> None:
        last = self._dropped[-1]
        for _ in range(min(_FREED_AT_ONCE, len(last))):
            last.popitem()
        if not last:
            self._dropped.pop()
