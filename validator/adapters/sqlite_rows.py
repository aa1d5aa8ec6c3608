"""Changes as rows of the registry's file, and back.

Law of this file: every statement about what is stored stands here, and nothing about when it runs. A change writes
all that its key means; what has ended is purged with its version, so that no row speaks of what is not stored.
"""

import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from validator.core.changes import (
    ApplicationChange,
    Change,
    ClientChange,
    Forgotten,
    RevocationChange,
    change,
    content,
)
from validator.core.registry import canonical_client_id
from validator.model import Application, ClientRecord, RegistrationStatus, Revocation
from validator.ports import Position, Record

GONE_KEPT_S: Final = 30 * 86400.0  # so long a repeated deletion finds what it asks for, and others hear of it
MARKS_KEPT_S: Final = 86400.0  # nothing that was found out is believed for longer
_PORTION: Final = 1000  # some 20 ms of the one thread

Statement = tuple[str, tuple[object, ...]]
_ClientRow = tuple[str, str, str, str, int, float | None]

_APPLICATIONS = """
SELECT id, name, strategy, client_id, active, group_names,
       (SELECT json_group_object(service, status) FROM registrations WHERE application_id = applications.id)
FROM applications
"""
_REVOCATIONS = "SELECT kind, value, strategy, created_at, expires_at FROM revocations"
_CLIENTS = "SELECT strategy, client_id, application_id, sealed, adopted, deleted_at FROM registered_clients"
_GONE = "SELECT key, version, mark FROM versions WHERE ends_at IS NOT NULL"
_UPSERT_APPLICATION = """
INSERT INTO applications (id, name, strategy, client_id, client_key, active, group_names)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, strategy = excluded.strategy,
    client_id = excluded.client_id, client_key = excluded.client_key, active = excluded.active,
    group_names = excluded.group_names
"""
_UPSERT_REVOCATION = """
INSERT OR REPLACE INTO revocations (kind, strategy, value, created_at, expires_at) VALUES (?, ?, ?, ?, ?)
"""
_UPSERT_CLIENT = """
INSERT OR REPLACE INTO registered_clients
    (strategy, client_key, client_id, application_id, sealed, adopted, deleted_at) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_UPSERT_VERSION = """
INSERT INTO versions (key, version, unshared, ends_at, mark) VALUES (?, ifnull(?2, 0), ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET version = ifnull(?2, version), unshared = excluded.unshared,
    ends_at = excluded.ends_at, mark = excluded.mark
"""
_UPDATE_VERSION = "UPDATE versions SET unshared = 0, ends_at = ?, mark = NULL WHERE key = ?"
_UPSERT_POSITION = "INSERT OR REPLACE INTO shared_log (id, entry, mark, version, at) VALUES (1, ?, ?, ?, ?)"


class Loaded(NamedTuple):
    """All that an index is to hold, in the order in which it takes it over."""

    applications: Sequence[Application]
    revocations: Sequence[Revocation]
    forgotten: Sequence[Forgotten]


# Writing


def save(application: Application) -> Sequence[Statement]:
    """The statements that write an application down whole, each with what stands for its marks."""
    row = (
        application.id,
        application.name,
        application.strategy,
        application.client_id,
        canonical_client_id(application.client_id),
        int(application.active),
        ",".join(application.groups),
    )
    return [
        (_UPSERT_APPLICATION, row),
        ("DELETE FROM registrations WHERE application_id = ?", (application.id,)),
        *(
            (
                "INSERT INTO registrations (application_id, service, status) VALUES (?, ?, ?)",
                (application.id, service, status.value),
            )
            for service, status in application.registrations.items()
        ),
    ]


def _statements(made: Change) -> Sequence[Statement]:
    match made:
        case ApplicationChange(application_id, None):
            return [("DELETE FROM applications WHERE id = ?", (application_id,))]
        case ApplicationChange(_, application) if application is not None:
            return save(application)
        case RevocationChange(entry, lifted):
            place = (entry.kind, entry.strategy or "", entry.value)
            if lifted:
                return [("DELETE FROM revocations WHERE kind = ? AND strategy = ? AND value = ?", place)]
            return [(_UPSERT_REVOCATION, (*place, entry.created_at, entry.expires_at))]
        case ClientChange(strategy, client_key, None):
            sql = "DELETE FROM registered_clients WHERE strategy = ? AND client_key = ?"
            return [(sql, (strategy, client_key))]
        case ClientChange(strategy, client_key, record) if record is not None:
            more = (record.client_id, record.application_id, record.sealed, int(record.adopted), record.deleted_at)
            return [(_UPSERT_CLIENT, (strategy, client_key, *more))]
    return []


def write(
    connection: sqlite3.Connection,
    changes: Sequence[Change],
    versions: int | Sequence[int] | None,
    *,
    unshared: bool,
    now: float,
) -> None:
    """Within the transaction of the caller."""
    each = versions if isinstance(versions, Sequence) else [versions] * len(changes)
    for made, version in zip(changes, each, strict=True):
        if version is not None and isinstance(made, ApplicationChange) and made.application is not None:
            _give_way(connection, made.application)
        for sql, parameters in _statements(made):
            connection.execute(sql, parameters)
        _note(connection, made, version, unshared, now)


def _give_way(connection: sqlite3.Connection, application: Application) -> None:
    """What is shared is read as it is now, so that the place which one application has left may be taken by
    another before its own change comes by. Until then nothing is known of it here."""
    place = (application.strategy, canonical_client_id(application.client_id), application.id)
    sql = "DELETE FROM applications WHERE strategy = ? AND client_key = ? AND id <> ? RETURNING id"
    for (application_id,) in connection.execute(sql, place).fetchall():
        _no_version(connection, ApplicationChange(application_id, None))


def _note(connection: sqlite3.Connection, made: Change, version: int | None, unshared: bool, now: float) -> None:
    """What is shared, or is to be, has a version; what never was, has none, unless it is stored nowhere else."""
    ends_at = mark = None
    if isinstance(made, Forgotten):
        ends_at, mark = now + MARKS_KEPT_S, made.mark
    elif content(made) is None:
        ends_at = now + GONE_KEPT_S
    key = made.key.encode()
    if version is None and not unshared and mark is None:
        connection.execute(_UPDATE_VERSION, (ends_at, key))
    else:
        connection.execute(_UPSERT_VERSION, (key, version, int(unshared), ends_at, mark))


def write_position(connection: sqlite3.Connection, position: Position, now: float) -> None:
    connection.execute(_UPSERT_POSITION, (position.entry, position.mark, position.version, now))


def purge(connection: sqlite3.Connection, now: float) -> None:
    """What has ended is stored no more."""
    ended = "DELETE FROM revocations WHERE expires_at <= ? RETURNING kind, value, strategy, created_at, expires_at"
    for row in connection.execute(ended, (now,)).fetchall():
        _no_version(connection, RevocationChange(_revocation(row)))
    deleted = "DELETE FROM registered_clients WHERE deleted_at <= ? RETURNING strategy, client_key"
    for strategy, client_key in connection.execute(deleted, (now - GONE_KEPT_S,)).fetchall():
        _no_version(connection, ClientChange(strategy, client_key, None))
    connection.execute("DELETE FROM versions WHERE ends_at <= ?", (now,))


def _no_version(connection: sqlite3.Connection, about: Change) -> None:
    connection.execute("DELETE FROM versions WHERE key = ?", (about.key.encode(),))


# Reading


def load(connection: sqlite3.Connection) -> Loaded:
    marks = connection.execute("SELECT key, mark FROM versions WHERE mark IS NOT NULL ORDER BY ends_at")
    told = (change(key.decode(), json.dumps(mark)) for key, mark in marks)
    return Loaded(
        list(_applications(connection.execute(f"{_APPLICATIONS} ORDER BY id"))),
        [_revocation(row) for row in connection.execute(f"{_REVOCATIONS} ORDER BY created_at")],
        [each for each in told if isinstance(each, Forgotten)],
    )


def portions(connection: sqlite3.Connection, now: float) -> Iterator[Sequence[Record]]:
    """Everything that is stored, and what is known to be no more; of one moment within a transaction."""
    changes = _changes(connection, now)
    while portion := list(islice(changes, _PORTION)):
        yield [Record(each.key, _version(connection, each), content(each)) for each in portion]
    gone = connection.execute(f"{_GONE} AND ends_at > ?", (now,))
    while rows := gone.fetchmany(_PORTION):
        yield [_gone(row) for row in rows]


def _changes(connection: sqlite3.Connection, now: float) -> Iterator[Change]:
    for application in _applications(connection.execute(_APPLICATIONS)):
        yield ApplicationChange(application.id, application)
    for row in connection.execute(f"{_REVOCATIONS} WHERE expires_at IS NULL OR expires_at > ?", (now,)):
        yield RevocationChange(_revocation(row))
    for row in connection.execute(_CLIENTS):
        yield _client_change(row)


def unshared(connection: sqlite3.Connection, now: float) -> Sequence[Record]:
    """Those that others have not been told of, as they are stored."""
    found = []
    rows = connection.execute("SELECT key, version, mark, ends_at FROM versions WHERE unshared = 1").fetchall()
    for key, version, mark, ends_at in rows:
        if ends_at is not None:
            if ends_at > now:
                found.append(_gone((key, version, mark)))
            continue
        stored = _stored(connection, key.decode())
        ended = isinstance(stored, RevocationChange) and (stored.entry.expires_at or now + 1) <= now
        if stored is not None and not ended:
            found.append(Record(stored.key, version, content(stored)))
    return found


def clients(connection: sqlite3.Connection, client_key: str) -> Sequence[ClientRecord]:
    rows = connection.execute(f"{_CLIENTS} WHERE client_key = ? ORDER BY strategy", (client_key,))
    return [_client(row) for row in rows]


def position(connection: sqlite3.Connection) -> tuple[Position, float] | None:
    row = connection.execute("SELECT entry, mark, version, at FROM shared_log").fetchone()
    return None if row is None else (Position(row[0], row[1], row[2]), row[3])


def _stored(connection: sqlite3.Connection, key: str) -> Change | None:
    match key.split("\0"):
        case ["application", application_id]:
            rows = connection.execute(f"{_APPLICATIONS} WHERE id = ?", (application_id,))
            return next((ApplicationChange(a.id, a) for a in _applications(rows)), None)
        case ["revocation", *place]:
            where = "WHERE kind = ? AND strategy = ? AND value = ?"
            rows = connection.execute(f"{_REVOCATIONS} {where}", place)
            return next((RevocationChange(_revocation(row)) for row in rows), None)
        case ["client", *place]:
            rows = connection.execute(f"{_CLIENTS} WHERE strategy = ? AND client_key = ?", place)
            return next((_client_change(row) for row in rows), None)
    return None


def _version(connection: sqlite3.Connection, about: Change) -> int:
    row = connection.execute("SELECT version FROM versions WHERE key = ?", (about.key.encode(),)).fetchone()
    return 0 if row is None else int(row[0])


def _gone(row: tuple[bytes, int, str | None]) -> Record:
    key, version, mark = row
    return Record(key.decode(), version, None if mark is None else json.dumps(mark))


def _applications(rows: Iterable[tuple[str, str, str, str, int, str, str]]) -> Iterator[Application]:
    # Most applications of a large registry hold one of few sets of registrations, and of groups: equal sets
    # share one object, which is what keeps a million of them small.
    shapes: dict[str, Mapping[str, RegistrationStatus]] = {}
    groups: dict[str, tuple[str, ...]] = {"": ()}
    for application_id, name, strategy, client_id, active, joined, text in rows:
        shape = shapes.get(text)
        if shape is None:
            shape = shapes[text] = {
                sys.intern(service): RegistrationStatus(status) for service, status in json.loads(text).items()
            }
        belongs = groups.get(joined)
        if belongs is None:
            belongs = groups[joined] = tuple(joined.split(","))
        yield Application(
            application_id, name, sys.intern(strategy), client_id, shape, bool(active), groups=belongs
        )


def _revocation(row: tuple[str, str, str, float, float | None]) -> Revocation:
    kind, value, strategy, created_at, expires_at = row
    return Revocation(kind, value, strategy or None, created_at, expires_at)


def _client(row: _ClientRow) -> ClientRecord:
    strategy, client_id, application_id, sealed, adopted, deleted_at = row
    return ClientRecord(strategy, client_id, application_id, sealed, bool(adopted), deleted_at)


def _client_change(row: _ClientRow) -> ClientChange:
    record = _client(row)
    return ClientChange(record.strategy, canonical_client_id(record.client_id), record)
