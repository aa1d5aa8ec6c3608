"""The epoch: what a change moves, and whom it reaches.

Law of this file: a change is never missed; a change elsewhere is missed almost always.
"""

from typing import Final

from validator.core.registry import canonical_client_id

_SHARDS: Final = 4096  # a write makes one reply in so many be judged again, besides those it is about
_NOWHERE: Final = 3 * _SHARDS  # never moves

Shards = tuple[int, int, int, int]
"""What an answer rests on: its client, and up to three tokens and sessions."""

NO_SHARDS: Final[Shards] = (_NOWHERE,) * 4


class ShardedEpoch:
    """``ports.Epoch``: one integer that every change moves, and beside it when each shard moved last.

    While nothing changes, a reply is good when its epoch is the present one: one comparison. After a change, a
    reply whose shards have not moved since is as good as before, so that a registry that is written to all day
    does not turn the hot path cold.
    """

    __slots__ = ("_all", "_moved", "value")

    def __init__(self) -> None:
        self.value = 0
        self._all = 0
        self._moved = [0] * (_NOWHERE + 1)

    @staticmethod
    def client_shard(strategy: str | None, client_id: str) -> int:
        """``None``: under whichever strategy; the last third."""
        client = canonical_client_id(client_id)
        if strategy is None:
            return 2 * _SHARDS + hash(client) % _SHARDS
        return hash((strategy, client)) % _SHARDS

    @staticmethod
    def id_shard(identifier: str) -> int:
        """Of a ``jti`` or a session id; the second third, apart from the clients."""
        return _SHARDS + hash(identifier) % _SHARDS

    @classmethod
    def shards(
        cls,
        strategy: str | None,
        client_id: str,
        first: str | None = None,
        second: str | None = None,
        third: str | None = None,
    ) -> Shards:
        """Of an answer to that client, which rests on these tokens and sessions."""
        return (
            cls.client_shard(strategy, client_id),
            _NOWHERE if first is None else cls.id_shard(first),
            _NOWHERE if second is None else cls.id_shard(second),
            _NOWHERE if third is None else cls.id_shard(third),
        )

    def touch_client(self, strategy: str, client_id: str) -> None:
        self.value += 1
        self._moved[self.client_shard(strategy, client_id)] = self.value
        self._moved[self.client_shard(None, client_id)] = self.value

    def touch_id(self, identifier: str) -> None:
        self.value += 1
        self._moved[self.id_shard(identifier)] = self.value

    def touch_all(self) -> None:
        self.value += 1
        self._all = self.value

    def last_moved(self, shard: int) -> int:
        """The epoch at which a shard moved last."""
        return max(self._all, self._moved[shard])

    def unmoved_since(self, epoch: int, first: int, second: int, third: int, fourth: int) -> bool:
        """Whether none of the shards has moved after ``epoch``."""
        moved = self._moved
        return (
            self._all <= epoch
            and moved[first] <= epoch
            and moved[second] <= epoch
            and moved[third] <= epoch
            and moved[fourth] <= epoch
        )
