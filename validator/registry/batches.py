"""What is newer here, in pieces that the shared log takes at once.

Law of this file: pure. What opens no door goes first: revocations, then what is no more, which makes room for what
comes at those who follow as well.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Final

from validator.ports import Record
from validator.registry.weighing import REVOCATIONS

BATCH: Final = 200  # records
MAX_RECORD_BYTES: Final = 1024 * 1024  # as it is shared; no log takes more

_BATCH_CHARACTERS: Final = 1_000_000


def batches(records: Iterable[Record]) -> Iterator[list[str]]:
    """The keys of records."""
    batch: list[str] = []
    size = 0
    for record in sorted(records, key=_turn):
        if len(batch) == BATCH or size > _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
        batch.append(record.key)
        size += len(record.content or "")
    if batch:
        yield batch


def too_large(record: Record) -> bool:
    """Whether a log refuses it, and whatever comes with it."""
    shared = json.dumps([record.version, record.content] if record.version else record.content)
    return max(len(record.key.encode()), len(shared)) > MAX_RECORD_BYTES


def _turn(record: Record) -> int:
    if record.key.startswith(REVOCATIONS):
        return 0
    return 1 if record.content is None else 2
