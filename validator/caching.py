"""Proofs and replies, deadlines, the epoch.

Law of this file: everything that decides whether an earlier answer may be given again lives here. A reply is
replayed before its deadline as long as nothing it depended on has changed since it was judged.
"""

import hashlib
from collections.abc import Iterable
from typing import Generic, TypeVar

from validator.core.registry import canonical_client_id
from validator.core.reply import Rendered
from validator.model import Proof

V = TypeVar("V")

Moment = tuple[int, int]  # the generation, and the epoch of the proofs

_SHARDS = 4096  # a write makes one reply in so many be judged again, besides those it is about


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

    def unmoved_since(self, epoch: int, shards: tuple[int, ...]) -> bool:
        if self._all > epoch:
            return False
        moved = self._moved
        return all(moved[shard] <= epoch for shard in shards)


class Tally:
    """How often one outcome was judged and how often replayed; read by the metrics at scrape."""

    __slots__ = ("judged", "replayed")

    def __init__(self) -> None:
        self.judged = 0
        self.replayed = 0


class Reply:
    """A rendered answer and what it rests on.

    Attributes:
        deadline: seconds since the epoch; 0 for an answer that is never replayed.
        epoch: the epoch at which it was judged, or last found unmoved.
        shards: what a change must touch to make it doubtful.
    """

    __slots__ = ("deadline", "epoch", "rendered", "shards", "tally")

    def __init__(
        self,
        rendered: Rendered,
        tally: Tally,
        *,
        deadline: float = 0.0,
        epoch: int = 0,
        shards: tuple[int, ...] = (),
    ) -> None:
        self.rendered = rendered
        self.tally = tally
        self.deadline = deadline
        self.epoch = epoch
        self.shards = shards


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
        self._dropped: dict[bytes, V] = {}
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
        for _ in range(min(4, len(self._dropped))):
            self._dropped.popitem()
        if len(self._young) >= self._half:
            self.evictions += len(self._old)
            self._dropped = self._old
            self._old = self._young
            self._young = {}

    def discard(self, key: bytes) -> None:
        self._young.pop(key, None)
        self._old.pop(key, None)

    def clear(self) -> None:
        self._dropped = {}
        self._young = {}
        self._old = {}


class Caches:
    """Both caches and the small one for denials, so that a flood of bad credentials evicts no good one.

    Keys are SHA-256 under a secret prefix, drawn anew for each process: neither a dump of the tables nor a
    chosen credential gives anything to work with.

    Args:
        secret: at least 16 random bytes.
        max_entries: bound on replies and on proofs each; a tenth of it on denials.
    """

    def __init__(self, secret: bytes, *, max_entries: int) -> None:
        self._prefix = hashlib.sha256(len(secret).to_bytes(8, "big") + secret)
        self.epoch = ShardedEpoch()
        self.proof_epoch = ShardedEpoch()
        self.generation = 0
        self.proof_hits = 0
        self.proof_misses = 0
        self.replies: Generations[Reply] = Generations(max_entries)
        self.denials: Generations[Reply] = Generations(max(1000, max_entries // 10))
        self.proofs: Generations[tuple[Proof, int]] = Generations(max_entries)

    def seed(self, parts: Iterable[bytes]) -> "hashlib._Hash":
        """A digest under way: ``copy()`` it, ``update`` it with the one last part, take its ``digest()``. The
        parts are length-prefixed, so that no two lists run together."""
        seed = self._prefix.copy()
        for part in parts:
            seed.update(len(part).to_bytes(8, "big") + part)
        return seed

    @property
    def moment(self) -> Moment:
        """Names the present among all that was ever forgotten: what is begun at one moment and done at another
        may rest on what no longer holds."""
        return self.generation, self.proof_epoch.value

    def client_moment(self, strategy: str, client_id: str) -> Moment:
        """The same, moved by what was forgotten of everything or of this client (and one in some thousand
        others) alone."""
        return self.generation, self.proof_epoch.last_moved(self.proof_epoch.client_shard(strategy, client_id))

    def keep_proof(self, key: bytes, proof: Proof, begun: Moment) -> None:
        """Keeps a proof unless anything was forgotten since ``begun``; whose it would be was not known then."""
        if begun == self.moment:
            self.proofs.put(key, (proof, self.proof_epoch.value))

    def known_proof(self, key: bytes) -> Proof | None:
        """A kept proof, unless its client was forgotten since."""
        kept = self.proofs.get(key)
        if kept is None:
            return None
        proof, epoch = kept
        if epoch != self.proof_epoch.value:
            shards = (self.proof_epoch.client_shard(proof.strategy, proof.client_id),)
            if not self.proof_epoch.unmoved_since(epoch, shards):
                return None
        return proof

    def forget_client(self, strategy: str, client_id: str) -> None:
        """Nothing that is known of this client's credentials now, or being found out now, is used again."""
        self.proof_epoch.touch_client(strategy, client_id)
        self.epoch.touch_client(strategy, client_id)
        self.denials.clear()  # whose they are is not known: a secret that was wrong may be right now

    def begin_anew(self) -> None:
        """What is known stays; what is being found out now, by rules that no longer hold, is not kept."""
        self.generation += 1
        self.epoch.touch_all()

    def forget(self) -> None:
        """Nothing that is known now, or being found out now, is used again."""
        self.begin_anew()
        for table in (self.replies, self.denials, self.proofs):
            table.clear()
