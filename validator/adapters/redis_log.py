"""``ports.SharedLog`` in Redis: a hash of records, and a stream of what has changed.

Law of this file: what is written is one script, so it is there as a whole or not at all; what is read is taken for
what it must look like, or not at all, and from a master only. What the records mean is not known here.

The user that this needs, when Redis is not to know us as its default user (one line of an ACL file; {validator} is
``redis.prefix`` in braces, which keeps all keys in one slot of a Cluster)::

    user validator on >PASSWORD resetchannels -@all ~{validator}:*
        +evalsha +eval +time +hget +hset +hdel +hmget +hscan +xadd +xrange +xread +info +role

and with it ``+select`` for a database other than 0, ``+cluster|slots`` on a Cluster; ``+client|setname`` makes our
connections known by their name. The user for Sentinels needs ``+sentinel|get-master-addr-by-name`` alone.
"""

import json
import math
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

import structlog

from validator.adapters.redis_link import RedisLink, Reply, Session, check_master, require_master
from validator.adapters.redis_scripts import AHEAD_MS, APPEND, PURGE, STATE, WRITTEN
from validator.errors import Unavailable
from validator.model import Reason
from validator.ports import Clock, LogEntry, LogState, Position, Record

MAX_RECORD_BYTES: Final = 1024 * 1024
MAX_APPEND_BYTES: Final = 8 * 1024 * 1024
MAX_APPENDED: Final = 2000  # records: a script is a time in which nobody else is served
_MAX_FETCHED: Final = 1000  # keys of one command
_ENTRIES: Final = 500  # of one reading
_PORTION: Final = 1000
_PURGED_PORTIONS: Final = 20  # of one call
_TIMEOUT_S: Final = 1.0  # nobody's request waits for these calls
_ANSWER_S: Final = 0.5  # beyond the time that a reading is asked to wait for
_MEMORY_EVERY_S: Final = 60.0  # a look at how the server evicts
_EXPIRED_S: Final = 3600.0  # clocks differ
_MARKS_KEPT_S: Final = 2 * 86_400.0  # nothing that was found out before is believed for half as long
_MAX_VERSION: Final = 2**53
_UNREADABLE: Final = "?"  # no content of any change

_ENTRY_ID: Final = re.compile(rb"[0-9]{1,20}-[0-9]{1,20}")
_MARK: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_REPLICATION_ID: Final = re.compile(rb"^master_replid:([0-9a-f]{40})\r?$", re.MULTILINE)
_MASTER: Final = re.compile(rb"^role:master\r?$", re.MULTILINE)
_EVICTION: Final = re.compile(rb"^maxmemory_policy:([a-z-]{1,32})\r?$", re.MULTILINE)
_LIMITED: Final = re.compile(rb"^maxmemory:[1-9]", re.MULTILINE)
_REVOCATION, _CLIENT = "revocation\0", "client\0"  # as ``core.changes`` begins its keys
_FORGOTTEN_CLIENT: Final = re.compile(r"forgotten\0[^\0]+\0[^\0]+")  # those of everybody are two at most

T = TypeVar("T")
log = structlog.get_logger(__name__)


class RedisLog:
    """``ports.SharedLog``.

    Args:
        link: closed with this.
        prefix: of all keys; whoever has the same one shares the same truth.
        clock: tells when it is time to look at the server's settings again.
        timeout_s: for each call but ``since``.
    """

    def __init__(self, link: RedisLink, prefix: str, clock: Clock, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._link = link
        self._clock = clock
        self._timeout_s = timeout_s
        self._records = f"{{{prefix}}}:records"
        self._log = f"{{{prefix}}}:log"
        self._purged_to = 0  # a cursor of HSCAN
        self._warned = False
        self._owner = secrets.token_urlsafe(12)  # of what is being restored
        self._memory_at = -math.inf  # by clock.monotonic()

    async def state(self) -> LogState:
        """``ports.SharedLog``."""

        async def work(session: Session) -> LogState:
            replication = await session.command("INFO", "replication")
            if not _MASTER.search(replication):
                check_master([b"slave"])
            incarnation = _REPLICATION_ID.search(replication)
            if incarnation is None:
                raise ValueError("no replication id")
            if self._clock.monotonic() >= self._memory_at:
                self._warn_of_eviction(await session.command("INFO", "memory"))
                self._memory_at = self._clock.monotonic() + _MEMORY_EVERY_S
            reply = await session.script(STATE, (self._records, self._log), (incarnation[1],))
            mark, last, version, age_ms, time_ms = reply
            position = None if mark is None else _position(last, mark, version)
            return LogState(
                position, _whole(age_ms) / 1000, incarnation[1].decode(), time_s=_whole(time_ms) / 1000
            )

        return await self._call("state", work)

    async def append(
        self,
        position: Position | None,
        records: Sequence[tuple[str, str | None]],
        *,
        version: int,
        restored: Sequence[Record] = (),
        restoring: bool = False,
    ) -> Position | None:
        """``ports.SharedLog``: 1 to ``MAX_APPENDED`` records, of ``MAX_APPEND_BYTES`` together at most, and none
        of more than ``MAX_RECORD_BYTES``; others are refused here."""
        mark = secrets.token_urlsafe(12)
        names = json.dumps([key for key, _ in records] + [record.key for record in restored])
        words = [word for key, content in records for word in (key.encode(), json.dumps(content).encode())]
        for record in restored:
            words += (record.key.encode(), json.dumps([_whole(record.version), record.content]).encode())
        if not 0 < len(records) + len(restored) <= MAX_APPENDED or sum(map(len, words)) > MAX_APPEND_BYTES:
            raise _too_much(
                f"1 to {MAX_APPENDED} records at a time are shared, of {MAX_APPEND_BYTES} bytes in all"
            )
        if max(map(len, words)) > MAX_RECORD_BYTES:
            raise _too_much(f"a record of more than {MAX_RECORD_BYTES} bytes is not shared")
        before = "" if position is None else position.mark

        async def work(session: Session) -> Position | None:
            keys = (self._records, self._log)
            head = (before, version, mark, names, len(records), self._owner, int(restoring))
            reply = await session.script(APPEND, keys, (*head, *words))
            if reply is None:  # nothing was written, so a replica has not refused it
                await require_master(session)
                return None
            last, written = reply
            return _position(last, mark.encode(), written)

        return await self._call("append", work)

    async def since(self, position: Position | None, *, wait_s: float) -> Sequence[LogEntry]:
        """``ports.SharedLog``."""
        after = "0-0" if position is None else position.entry
        blocking = ("BLOCK", max(1, round(wait_s * 1000))) if wait_s > 0 else ()

        async def work(session: Session) -> Sequence[LogEntry]:
            # ROLE is answered when the wait is over: a replica may not have what its master has.
            reply, role, time = await session.pipeline(
                ("XREAD", "COUNT", _ENTRIES, *blocking, "STREAMS", self._log, after), ("ROLE",), ("TIME",)
            )
            check_master(role)
            if reply is None:
                return ()
            ((_, entries),) = reply
            return [_entry(identifier, fields, _now_ms(time)) for identifier, fields in entries]

        return await self._call("since", work, timeout_s=wait_s + _ANSWER_S, waiting=True)

    async def fetch(self, keys: Sequence[str]) -> Sequence[Record | None]:
        """``ports.SharedLog``."""
        found: list[Record | None] = []
        for start in range(0, len(keys), _MAX_FETCHED):
            found += await self._fetch(keys[start : start + _MAX_FETCHED])
        return found

    async def written(self, entry: LogEntry, keys: Sequence[str]) -> Sequence[Record | None] | None:
        """``ports.SharedLog``."""
        found: list[Record | None] = []
        for start in range(0, len(keys), _MAX_FETCHED):
            portion = await self._written(entry, keys[start : start + _MAX_FETCHED])
            if portion is None:
                return None
            found += portion
        return found

    async def _fetch(self, keys: Sequence[str]) -> Sequence[Record | None]:
        async def work(session: Session) -> Sequence[Record | None]:
            reply, role, time = await session.pipeline(("HMGET", self._records, *keys), ("ROLE",), ("TIME",))
            check_master(role)
            return _found(keys, reply, _now_ms(time))

        return await self._call("fetch", work)

    async def _written(self, entry: LogEntry, keys: Sequence[str]) -> Sequence[Record | None] | None:
        async def work(session: Session) -> Sequence[Record | None] | None:
            reply = await session.script(WRITTEN, (self._records, self._log), (entry.id, entry.mark, *keys))
            role, time = await session.pipeline(("ROLE",), ("TIME",))
            check_master(role)
            return None if reply is None else _found(keys, reply, _now_ms(time))

        return await self._call("fetch", work)

    async def scan(self) -> AsyncIterator[Sequence[Record]]:
        """``ports.SharedLog``."""
        cursor = 0
        while True:
            cursor, found, _ = await self._portion("scan", cursor)
            yield [record for record, _ in found]
            if cursor == 0:
                return

    async def purge(self, older_than_s: float) -> int:
        """Removes what has been no more for longer than that, what is kept of clients that were deleted before it,
        revocations that have run out, and marks of clients that nobody needs any more; all by Redis's own clock.
        Does a bounded piece of the work and goes on from there when called again; returns how many records it has
        removed."""
        removed = 0
        for _ in range(_PURGED_PORTIONS):
            self._purged_to, found, now_ms = await self._portion("purge", self._purged_to)
            over = [(r.key, text) for r, text in found if _is_over(r, older_than_s, now_ms / 1000)]
            removed += await self._remove(over)
            if self._purged_to == 0:
                break
        return removed

    async def close(self) -> None:
        """``ports.SharedLog``."""
        await self._link.close()

    async def _remove(self, records: Sequence[tuple[str, bytes]]) -> int:
        if not records:
            return 0
        words = [word for key, text in records for word in (key, text)]

        async def work(session: Session) -> int:
            return _whole(await session.script(PURGE, (self._records,), words))

        return await self._call("purge", work)

    async def _portion(self, name: str, cursor: int) -> tuple[int, Sequence[tuple[Record, bytes]], int]:
        async def work(session: Session) -> tuple[int, Sequence[tuple[Record, bytes]], int]:
            reply, role, time = await session.pipeline(
                ("HSCAN", self._records, cursor, "COUNT", _PORTION), ("ROLE",), ("TIME",)
            )
            check_master(role)
            following, found = reply
            pairs = zip(found[::2], found[1::2], strict=True)
            ours = [(name, text) for key, text in pairs if (name := _name(key)) is not None]
            now_ms = _now_ms(time)
            return int(following), [(_record(name, text, now_ms), text) for name, text in ours], now_ms

        return await self._call(name, work)

    async def _call(
        self,
        name: str,
        work: Callable[[Session], Awaitable[T]],
        *,
        timeout_s: float | None = None,
        waiting: bool = False,
    ) -> T:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        return await self._link.call(name, work, key=self._records, timeout_s=limit_s, waiting=waiting)

    def _warn_of_eviction(self, memory: bytes) -> None:
        policy = _EVICTION.search(memory)
        evicts = policy is not None and policy[1].startswith(b"allkeys-") and _LIMITED.search(memory) is not None
        if evicts and policy is not None and not self._warned:
            log.warning(
                "redis_would_evict_the_registry",
                maxmemory_policy=policy[1].decode(),
                remedy="set maxmemory-policy to noeviction, or to volatile-ttl, on this Redis",
            )
        self._warned = evicts


def _is_over(record: Record, older_than_s: float, now: float) -> bool:
    written_at = record.version / 1000  # a version is a time, or later than one
    if record.content is None:
        return written_at < now - older_than_s
    if record.content == _UNREADABLE:
        return False  # whoever reads it says so
    if _FORGOTTEN_CLIENT.fullmatch(record.key):
        return written_at < now - _MARKS_KEPT_S
    try:
        if record.key.startswith(_CLIENT):
            *_, deleted_at = json.loads(record.content)
            return deleted_at is not None and max(float(deleted_at), written_at) < now - older_than_s
        if record.key.startswith(_REVOCATION):
            _created_at, expires_at = json.loads(record.content)
            return expires_at is not None and float(expires_at) + _EXPIRED_S < now
    except (ValueError, TypeError, OverflowError, RecursionError):
        return False
    return False


def _too_much(detail: str) -> Unavailable:
    return Unavailable(Reason.STORE_UNAVAILABLE, detail)


# What a server answers is looked at before it is believed; the link turns the errors raised here into Unavailable.


def _position(entry: Reply, mark: Reply, version: Reply) -> Position:
    return Position(_entry_id(entry), _mark(mark), _version(version))


def _entry(identifier: Reply, fields: Reply, now_ms: int) -> LogEntry:
    name = _entry_id(identifier)
    try:
        pairs = dict(zip(fields[::2], fields[1::2], strict=True))
        previous = _mark(pairs[b"previous"]) if pairs[b"previous"] else ""
        version = _believed(int(pairs[b"version"]), now_ms)
        return LogEntry(name, _mark(pairs[b"mark"]), previous, version, _keys(pairs[b"keys"]))
    # What somebody else has written hides nothing of ours: it is told to be there, and that it follows nothing.
    except (ValueError, LookupError, TypeError, RecursionError):
        return LogEntry(name, "", _UNREADABLE, 0, ())


def _keys(text: Reply) -> list[str]:
    keys = json.loads(text)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise TypeError("no keys")
    "".join(keys).encode()  # half of a surrogate pair is no text
    return keys


def _found(keys: Sequence[str], texts: Sequence[Reply], now_ms: int) -> list[Record | None]:
    return [None if text is None else _record(key, text, now_ms) for key, text in zip(keys, texts, strict=True)]


def _name(key: bytes) -> str | None:
    """Of a record; ``None``: it is none. No key of ours is other than text."""
    try:
        return None if key.startswith(b"\0") else key.decode()
    except UnicodeDecodeError:
        return None


def _record(key: str, text: bytes, now_ms: int) -> Record:
    try:
        version, content = json.loads(text)
        if not (content is None or isinstance(content, str)):
            content = _UNREADABLE
        return Record(key, _believed(version, now_ms), content)
    # One that somebody else has written over does not hide all the others.
    except (ValueError, TypeError, RecursionError):
        return Record(key, 0, _UNREADABLE)


def _entry_id(reply: Reply) -> str:
    if not isinstance(reply, bytes) or not _ENTRY_ID.fullmatch(reply):
        raise ValueError("no id of an entry")
    return reply.decode()


def _mark(reply: Reply) -> str:
    mark = reply.decode()
    if not isinstance(mark, str) or not _MARK.fullmatch(mark):
        raise ValueError("no mark")
    return mark


def _now_ms(time: Reply) -> int:
    seconds, _ = time
    return _whole(int(seconds)) * 1000


def _believed(version: Reply, now_ms: int) -> int:
    if _whole(version) > now_ms + AHEAD_MS:
        raise ValueError("no version of ours")
    return _whole(version)


def _version(reply: Reply) -> int:
    return _whole(int(reply))


def _whole(number: Reply) -> int:
    if type(number) is not int or not 0 <= number < _MAX_VERSION:
        raise ValueError("no number")
    return number
