"""All that is remembered, and how it is forgotten.

Law of this file: keys are digests under a secret; what was forgotten is not used again, also not by a judgement
that was under way.
"""

import hashlib
from collections.abc import Iterable

from validator.caching.epochs import ShardedEpoch
from validator.caching.generations import Generations
from validator.caching.proofs import packed, unpacked
from validator.caching.replies import Replies
from validator.model import Proof

Moment = tuple[int, int]  # the generation, and the epoch of the proofs


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
        self.replies = Replies(max_entries, self.epoch)
        self.denials = Replies(max(1000, max_entries // 10), self.epoch)
        self.proofs: Generations[bytes] = Generations(max_entries)

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
            self.proofs.put(key, packed(proof, self.proof_epoch.value))

    def known_proof(self, key: bytes) -> Proof | None:
        """A kept proof, unless its client was forgotten since."""
        kept = self.proofs.get(key)
        if kept is None:
            return None
        proof, epoch = unpacked(kept)
        if epoch != self.proof_epoch.value:
            shard = self.proof_epoch.client_shard(proof.strategy, proof.client_id)
            if self.proof_epoch.last_moved(shard) > epoch:
                return None
        return proof

    def forget_client(self, strategy: str, client_id: str) -> None:
        """Nothing that is known of this client's credentials now, or being found out now, is used again."""
        self.proof_epoch.touch_client(strategy, client_id)
        self.epoch.touch_client(strategy, client_id)
        self.denials.clear()  # whose they are is not known: a secret that was wrong may be right now

    def begin_anew(self) -> None:
        """Proofs stay; every answer is judged anew, and what is being found out now, by rules that no longer hold,
        is not kept."""
        self.generation += 1
        self.epoch.touch_all()
        self.replies.clear()
        self.denials.clear()

    def forget(self) -> None:
        """Nothing that is known now, or being found out now, is used again."""
        self.begin_anew()
        self.proofs.clear()
