"""What is written here and what is written in the shared log about one key: which of the two holds.

Law of this file: pure, and the same verdict at every sidecar. A record that cannot be read is not guessed at.
"""

import json
import math
from typing import Final

from validator.core.changes import ApplicationChange, Change, ClientChange, RevocationChange, change, content
from validator.core.revocations import normal_revocation
from validator.model import Application, ClientRecord, Revocation
from validator.ports import Record

_REVOCATIONS: Final = "revocation\0"  # how the keys of RevocationChange begin
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
    if isinstance(found, ApplicationChange) and found.application is not None:
        _check_application(found.application)
    if isinstance(found, RevocationChange):
        _check_revocation(found.entry)
    return found


def weighed(mine: Record, theirs: Record) -> Record:
    """What holds: ``theirs`` itself, ``mine`` itself, or of two revocations of one thing what covers both.

    The higher version holds; what was written here before anything was shared holds against nothing. Where two
    have the same version, a revocation holds against its lifting, and else what all others read in the log.
    """
    if mine.content is not None and theirs.content is not None and theirs.key.startswith(_REVOCATIONS):
        both = _covering(mine.content, theirs.content)
        version = max(mine.version, theirs.version)
        if both == theirs.content and theirs.version == version:
            return theirs
        return mine if (both, version) == (mine.content, mine.version) else Record(mine.key, version, both)
    if mine.version != theirs.version:
        return mine if mine.version > theirs.version else theirs
    if theirs.key.startswith(_REVOCATIONS) and theirs.content is None and mine.content is not None:
        return mine if mine.version else theirs
    return theirs


def _covering(one: str, other: str) -> str:
    """Of two ends the later; and of a client's sessions all that were opened before the later entry."""
    (one_created, one_ends), (other_created, other_ends) = json.loads(one), json.loads(other)
    ends = None if one_ends is None or other_ends is None else max(float(one_ends), float(other_ends))
    covering = Revocation("jti", "", None, max(float(one_created), float(other_created)), ends)
    written = content(RevocationChange(covering))
    assert written is not None  # noqa: S101 - what is not lifted has a content
    return written


def _check_application(application: Application) -> None:
    words = (application.name, application.strategy, application.client_id, *application.groups)
    if not all(isinstance(word, str) for word in words):
        raise ValueError(f"what is written of the application {application.id!r} is not all text")


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


def _check_revocation(entry: Revocation) -> None:
    if normal_revocation(entry) != entry:
        raise ValueError(f"the client id {entry.value!r} is not written in its canonical form")
    if math.isnan(entry.created_at) or (entry.expires_at is not None and math.isnan(entry.expires_at)):
        raise ValueError(f"the times of the revocation of {entry.value!r} are no numbers")
