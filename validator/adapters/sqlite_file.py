"""The registry's file on the disk.

Law of this file: everything that decides whether a file may serve as the registry (its directory, its mode,
its format and version, how durably it is written) lives here; every refusal names the file and what to do.
Blocking throughout: it runs on the store's own thread.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

VERSION = 4
_APPLICATION_ID = 0x4B435652  # "KCVR" in the file's header: tells our file from any other program's
_BUSY_TIMEOUT_S = 2.0  # a backup may hold the lock for a moment; a caller should not wait for it much longer
_OWNED_TRIES, _OWNED_POLL_S = 20, 0.05  # a predecessor may be about to end

_REVOCATIONS = (
    """
    CREATE TABLE revocations (
        kind TEXT NOT NULL CHECK (kind IN ('client_id', 'application_id', 'session_id', 'jti', 'sessions_of')),
        strategy TEXT NOT NULL,  -- '' is every strategy
        value TEXT NOT NULL,
        created_at REAL NOT NULL,
        expires_at REAL,
        PRIMARY KEY (kind, strategy, value)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX revocations_by_end ON revocations (expires_at) WHERE expires_at IS NOT NULL",
)
_REGISTERED_CLIENTS = """
    CREATE TABLE registered_clients (
        strategy TEXT NOT NULL,
        client_key TEXT NOT NULL,  -- the form under which client ids are compared
        client_id TEXT NOT NULL,
        application_id TEXT NOT NULL,
        sealed TEXT NOT NULL,  -- how the client is managed at the identity provider; '' once it is deleted
        adopted INTEGER NOT NULL CHECK (adopted IN (0, 1)),  -- whether application_id is Konnect's own
        deleted_at REAL,
        PRIMARY KEY (strategy, client_key)
    ) STRICT, WITHOUT ROWID
    """
_SHARING = (
    """
    CREATE TABLE versions (
        key BLOB PRIMARY KEY,  -- as core.changes writes it
        version INTEGER NOT NULL,
        unshared INTEGER NOT NULL CHECK (unshared IN (0, 1)),  -- others have not been told
        ends_at REAL,  -- until when the row is kept; NULL: as long as what it is about is stored
        mark TEXT  -- of what is not to be used again; with ends_at alone the key is no more
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX versions_by_end ON versions (ends_at) WHERE ends_at IS NOT NULL",
    "CREATE INDEX versions_unshared ON versions (key) WHERE unshared = 1",
    """
    CREATE TABLE shared_log (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        entry TEXT NOT NULL,
        mark TEXT NOT NULL,
        version INTEGER NOT NULL,
        at REAL NOT NULL  -- when it was written here
    ) STRICT
    """,
    "CREATE INDEX registered_clients_by_end ON registered_clients (deleted_at) WHERE deleted_at IS NOT NULL",
)
_TABLES = (
    """
    CREATE TABLE applications (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        strategy TEXT NOT NULL,
        client_id TEXT NOT NULL,
        client_key TEXT NOT NULL,  -- the form under which client ids are compared
        active INTEGER NOT NULL CHECK (active IN (0, 1)),
        group_names TEXT NOT NULL DEFAULT '',  -- in order, joined by commas, which none of them holds
        UNIQUE (strategy, client_key)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE registrations (
        application_id TEXT NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
        service TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('approved', 'pending', 'revoked', 'rejected')),
        PRIMARY KEY (application_id, service)
    ) STRICT, WITHOUT ROWID
    """,
    *_REVOCATIONS,
    _REGISTERED_CLIENTS,
    *_SHARING,
)
# From each version to the next, all steps in one transaction.
_UPGRADES = {
    1: (
        "ALTER TABLE revocations RENAME TO revocations_of_1",
        "DROP INDEX revocations_by_end",
        *_REVOCATIONS,
        "INSERT INTO revocations SELECT kind, strategy, value, created_at, expires_at FROM revocations_of_1",
        "DROP TABLE revocations_of_1",
        _REGISTERED_CLIENTS,
    ),
    2: ("ALTER TABLE applications ADD COLUMN group_names TEXT NOT NULL DEFAULT ''",),
    3: _SHARING,
}


class StoreError(Exception):
    """The store cannot be used at all; the message is for the person who starts the program."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection that belongs to the thread that made it, and which file it is."""

    connection: sqlite3.Connection
    path: Path | None
    identity: tuple[int, int] | None
    ownership: int | None = None

    def close(self) -> None:
        """Gives the file free for another sidecar."""
        self.connection.close()
        if self.ownership is not None:
            os.close(self.ownership)

    def still_there(self) -> bool:
        """Whether the path still leads to the file that was opened."""
        return self.path is None or _identity(self.path) == self.identity

    def another(self) -> sqlite3.Connection | None:
        """A connection for reading one consistent view while others are written; ``None``: there is no file."""
        if self.path is None:
            return None
        connection = sqlite3.connect(str(self.path), timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        connection.execute("PRAGMA query_only = ON")
        return connection


def connect(path: Path | None, *, own: bool = True) -> Opened:
    """Opens the file with full durability, and creates it (mode 0600) when there is none.

    Args:
        own: no other sidecar may have it at the same time: what one of them writes, the other would not know.

    Raises:
        StoreError: the directory, the file or its content does not serve, or it belongs to another process.
    """
    ownership = None
    if path is not None:
        path = path.absolute()
        try:
            _prepare(path)
            ownership = _own(path) if own else None
        except OSError as error:
            raise StoreError(f"the registry's store {path} cannot be reached: {error.strerror}") from error
    try:
        return _connect(path, ownership)
    except BaseException:
        if ownership is not None:
            os.close(ownership)
        raise


def _connect(path: Path | None, ownership: int | None) -> Opened:
    try:
        connection = sqlite3.connect(
            str(path) if path else ":memory:", timeout=_BUSY_TIMEOUT_S, isolation_level=None
        )
    except sqlite3.Error as error:
        raise StoreError(f"the registry's store {path} cannot be opened: {error}") from error
    try:
        _recognise(connection, path)
        _configure(connection, path)
        _create(connection)
        return Opened(connection, path, _identity(path) if path else None, ownership)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"the registry's store {path} cannot be used: {_advice(error)}") from error
        raise


def _prepare(path: Path) -> None:
    directory = path.parent
    if not directory.is_dir():
        raise StoreError(
            f"the directory {directory} of the registry's store does not exist: create it, writable for the "
            "user that runs the sidecar, or set store.path"
        )
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StoreError(
            f"the directory {directory} of the registry's store is not writable for user id {os.geteuid()}: "
            "SQLite keeps its log beside the file; change the owner or mode, or set store.path"
        )
    try:
        # Never opened and closed again once SQLite has it: closing any descriptor drops its POSIX locks.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        _restrict(path)
    except OSError as error:
        raise StoreError(f"the registry's store {path} cannot be created: {error.strerror}") from error
    else:
        os.close(descriptor)
        _sync(directory)


def _own(path: Path) -> int:
    """The descriptor that keeps ``path.lock`` locked until it is closed, if only by the process's end. A lock on
    the store itself would be dropped with SQLite's own."""
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_OWNED_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        time.sleep(_OWNED_POLL_S)
    os.close(descriptor)
    raise StoreError(
        f"the registry's store {path} belongs to another sidecar that is running: give each its own store.path; "
        "what is posted to one reaches the others through the Redis that they share, and must be posted to each "
        "where they share none"
    )


def _restrict(path: Path) -> None:
    if not path.is_file():
        raise StoreError(f"the registry's store {path} is not a file: set store.path to one")
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise StoreError(
            f"the registry's store {path} is open to other users and its mode cannot be changed to 0600: "
            f"{error.strerror}"
        ) from error


def _sync(directory: Path) -> None:
    """A new file survives a power failure only when its directory has been written as well."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _configure(connection: sqlite3.Connection, path: Path | None) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if path is not None and mode != "wal":
        raise StoreError(
            f"the registry's store {path} cannot have a write-ahead log (mode {mode}): put it on a local "
            "file system"
        )
    connection.execute("PRAGMA synchronous = FULL")  # an acknowledged write survives a power failure too
    connection.execute("PRAGMA foreign_keys = ON")


def _recognise(connection: sqlite3.Connection, path: Path | None) -> None:
    """Before the first write: nobody else's file, nor one from the future, is changed in the least."""
    version, application_id, tables = _header(connection)
    if tables and application_id != _APPLICATION_ID:
        raise StoreError(f"{path} is the SQLite database of another program: set store.path to another file")
    if tables and version < 1:
        raise StoreError(
            f"the registry's store {path} has no version: restore it from a backup, or move it away to start with "
            "an empty one"
        )
    if version > VERSION:
        raise StoreError(
            f"the registry's store {path} was written by a newer version (schema {version}, this one knows "
            f"{VERSION}): run that version, or restore a backup made before the upgrade"
        )


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    found, _, tables = _header(connection)
    statements = [] if tables else list(_TABLES)
    for version in range(found, VERSION) if tables else ():
        statements += _UPGRADES[version]
    if statements:
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _header(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Schema version, whose file it is, number of tables and indexes."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return version, application_id, tables


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _advice(error: sqlite3.Error) -> str:
    if isinstance(error, sqlite3.OperationalError):  # locked, read-only, full: the text says it
        return str(error)
    return f"{error}. Restore it from a backup, or move it away to start with an empty one"
