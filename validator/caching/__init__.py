"""Proofs and replies, deadlines, the epoch.

Law of this package: everything that decides whether something known earlier may be used again lives here. A reply
is replayed before its deadline as long as nothing it depended on has changed since it was judged.

Many entries must not mean many objects: the garbage collector would walk them all, and each would cost a cache
line or three on the request's way. So tables hold bytes and numbers, and nothing that the collector follows.
"""

from validator.caching.caches import Caches, Moment
from validator.caching.epochs import NO_SHARDS, ShardedEpoch, Shards
from validator.caching.generations import Generations
from validator.caching.replies import Replies, Reply, Tally

__all__ = [
    "NO_SHARDS",
    "Caches",
    "Generations",
    "Moment",
    "Replies",
    "Reply",
    "ShardedEpoch",
    "Shards",
    "Tally",
]
