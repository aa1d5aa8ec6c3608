"""The epoch: what a change moves, and whom it reaches.

Law of this file: a change is never missed; a change elsewhere is missed almost always.
"""

from collections.abc import Iterable
from typing import Final

from validator.core.registry import canonical_client_id

_SHARDS: Final = 4096  # a write makes one reply in so many be judged again, besides those it is about
_BITS: Final = 14  # of one shard among several in one number, counted from 1: 0 is the end
_MASK: Final = (1 << _BITS) - 1
MAX_SHARDS: Final = 64 // _BITS  # in one number of 64 bits: a client, and three tokens or sessions


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
        self._moved = [0] * (2 * _SHARDS)

    @staticmethod
    def client_shard(strategy: str, client_id: str) -> int:
        return hash((strategy, canonical_client_id(client_id))) % _SHARDS

    @staticmethod
    def id_shard(identifier: str) -> int:
        """Of a ``jti`` or a session id; the upper half, apart from the clients."""
        return _SHARDS + hash(identifier) % _SHARDS

    @staticmethod
    def packed(shards: Iterable[int]) -> int:
        """Up to ``MAX_SHARDS`` shards as one number of 64 bits.

        Raises:
            ValueError: more of them.
        """
        number = 0
        for place, shard in enumerate(shards):
            if place == MAX_SHARDS:
                raise ValueError(f"more than {MAX_SHARDS} shards")
            number |= shard + 1 << _BITS * place
        return number

    def touch_client(self, strategy: str, client_id: str) -> None:
        self.value += 1
        self._moved[self.client_shard(strategy, client_id)] = self.value

    def touch_id(self, identifier: str) -> None:
        self.value += 1
        self._moved[self.id_shard(identifier)] = self.value

    def touch_all(self) -> None:
        self.value += 1
        self._all = self.value

    def last_moved(self, shard: int) -> int:
        """The epoch at which a shard moved last."""
        return max(self._all, self._moved[shard])

    def unmoved_since(self, epoch: int, shards: int) -> bool:
        """Whether none of the ``packed`` shards has moved after ``epoch``."""
        if self._all > epoch:
            return False
        moved = self._moved
        while shards:
            if moved[(shards & _MASK) - 1] > epoch:
                return False
            shards >>= _BITS
        return True
