"""What is written here and what is written in the shared log about one key: which of the two holds.

Law of this file: pure, and the same verdict at every sidecar. A record that cannot be read is not guessed at.
"""

import json
from typing import Final

from validator.core.changes import ApplicationChange, Change, ClientChange, RevocationChange, change, content
from validator.core.naming import check_application, check_revocation
from validator.model import ClientRecord, Revocation
from validator.ports import Record

REVOCATIONS: Final = "revocation\0"  # how the keys of RevocationChange begin
_END_OF_TIME_S: Final = 2.0**53


def read(record: Record) -> Change:
    """The change that a record stands for.

    Raises:
        ValueError: it is garbage, or written by a later version of the program.
    """
    try:
        found = change(record.key, record.content)
    except (RecursionError, OverflowError):
        raise ValueError(f"what is written of {record.key!r} is nested too deeply, or too large") from None
    _check_characters(record)
    if isinstance(found, ClientChange) and found.record is not None:
        _check_client(found.record)
    try:
        if isinstance(found, ApplicationChange) and found.application is not None:
            check_application(found.application)
        if isinstance(found, RevocationChange):
            check_revocation(found.entry)
    except ValueError as error:
        raise ValueError(f"what is written of {record.key!r} could not have been written here: {error}") from None
    return found


def weighed(mine: Record, theirs: Record, *, untold: bool = False) -> Record:
    """What holds: ``theirs`` itself, ``mine`` itself, or one that is to stand in the place of both.

    The higher version holds; what was written here before anything was shared holds against nothing. Where two
    have the same version, what all others read in the log holds. Of two revocations of one thing holds what covers
    both; and a revocation that whoever has lifted it could not know of holds against its lifting.

    Args:
        untold: others were never told of ``mine``, as of nothing that was written before anything was shared.
    """
    if not theirs.key.startswith(REVOCATIONS) or mine.content is None:
        return mine if mine.version > theirs.version else theirs
    if theirs.content is not None:
        both = _covering(mine.content, theirs.content)
        version = max(mine.version, theirs.version)
        if both == theirs.content and theirs.version == version:
            return theirs
        return mine if (both, version) == (mine.content, mine.version) else Record(mine.key, version, both)
    if mine.version and mine.version >= theirs.version:
        return mine
    return Record(mine.key, theirs.version + 1, mine.content) if untold or not mine.version else theirs


def _covering(one: str, other: str) -> str:
    """Of two ends the later; and of a client's sessions all that were opened before the later entry."""
    (one_created, one_ends), (other_created, other_ends) = json.loads(one), json.loads(other)
    ends = None if one_ends is None or other_ends is None else max(float(one_ends), float(other_ends))
    covering = Revocation("jti", "", None, max(float(one_created), float(other_created)), ends)
    written = content(RevocationChange(covering))
    assert written is not None  # noqa: S101 - what is not lifted has a content
    return written


def _check_characters(record: Record) -> None:
    """JSON can spell half of a surrogate pair, which neither a file nor a header can hold."""
    record.key.encode()
    if record.content is not None and "\\ud" in record.content.lower():
        json.dumps(json.loads(record.content), ensure_ascii=False).encode()


def _check_client(record: ClientRecord) -> None:
    words = (record.client_id, record.application_id, record.sealed)
    if not all(isinstance(word, str) for word in words):
        raise ValueError("what is written of a registered client is not all text")
    ended: object = record.deleted_at
    if ended is not None and not (isinstance(ended, int | float) and abs(ended) < _END_OF_TIME_S):
        raise ValueError("the time at which a registered client was deleted is no number, or too large")
