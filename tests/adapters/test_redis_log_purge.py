"""What nobody needs any more goes, by Redis's own clock, and nothing else does."""

import time
from typing import Any

import pytest
from redis_servers import RedisServer
from redis_support import PATIENT_S, PREFIX, appended, everything, linked

from validator.adapters.redis_log import RedisLog
from validator.core.changes import Change, ClientChange, Forgotten, RevocationChange, content
from validator.model import ClientRecord, Revocation
from validator.ports import Record
from validator.testing import ManualClock

pytestmark = pytest.mark.programs

DAY_S = 86_400.0
HOUR_S = 3600.0


def before(seconds: float) -> int:
    """The version of what was written so long ago."""
    return int((time.time() - seconds) * 1000)


def record(change: Change, seconds: float) -> Record:
    return Record(change.key, before(seconds), content(change))


def revocation(name: str, ends_in_s: float | None) -> Change:
    ends = None if ends_in_s is None else time.time() + ends_in_s
    return RevocationChange(Revocation("jti", name, None, time.time() - 100, ends))


def client(name: str, deleted_before_s: float | None) -> Change:
    deleted_at = None if deleted_before_s is None else time.time() - deleted_before_s
    return ClientChange("plain", name, ClientRecord("plain", name, "id", "sealed", False, deleted_at))


OVER = {
    "gone": lambda: Record("application\0x", before(31 * DAY_S), None),
    "revocation": lambda: record(revocation("over", -2 * HOUR_S), DAY_S),
    "deleted client": lambda: record(client("c", 31 * DAY_S), 31 * DAY_S),
    "client gone": lambda: Record("client\0plain\0c", before(31 * DAY_S), None),
    "mark": lambda: record(Forgotten("plain", "c", "mark"), 3 * DAY_S),
}
NEEDED = {
    "there": lambda: Record("application\0x", before(90 * DAY_S), "{}"),
    "gone of late": lambda: Record("application\0x", before(29 * DAY_S), None),
    "for good": lambda: record(revocation("for good", None), 90 * DAY_S),
    "lasting": lambda: record(revocation("lasting", HOUR_S), 90 * DAY_S),
    "just over": lambda: record(revocation("just over", -HOUR_S / 2), 90 * DAY_S),
    "no revocation": lambda: Record("revocation\0jti\0\0broken", before(90 * DAY_S), "[]"),
    "client": lambda: record(client("c", None), 90 * DAY_S),
    "client deleted of late": lambda: record(client("c", 29 * DAY_S), 29 * DAY_S),
    "client deleted by a clock behind": lambda: record(client("c", 90 * DAY_S), 1 * DAY_S),
    "no client": lambda: Record("client\0plain\0c", before(90 * DAY_S), "[]"),
    "mark of late": lambda: record(Forgotten("plain", "c", "mark"), 1.9 * DAY_S),
    "everybody's mark": lambda: record(Forgotten(None, None, "mark"), 90 * DAY_S),
    "those that were too many": lambda: record(Forgotten(None, "*", "mark"), 90 * DAY_S),
}


@pytest.mark.parametrize("which", OVER)
@pytest.mark.parametrize("off_s", [0.0, -90 * DAY_S])
async def test_what_is_over_goes(server: RedisServer, which: str, off_s: float) -> None:
    async with linked(server.url) as link:
        log = RedisLog(link, PREFIX, ManualClock(now=time.time() + off_s), timeout_s=PATIENT_S)
        over = OVER[which]()
        await appended(log, None, ("there", "1"), restored=[over], version=over.version)
        assert await log.purge(30 * DAY_S) == 1
        assert set(await everything(log)) == {"there"}
        assert (await log.state()).position is not None


@pytest.mark.parametrize("which", NEEDED)
@pytest.mark.parametrize("off_s", [0.0, 90 * DAY_S])
async def test_what_is_needed_stays(server: RedisServer, which: str, off_s: float) -> None:
    async with linked(server.url) as link:
        log = RedisLog(link, PREFIX, ManualClock(now=time.time() + off_s), timeout_s=PATIENT_S)
        needed = NEEDED[which]()
        await appended(log, None, restored=[needed], version=needed.version)
        assert await log.purge(30 * DAY_S) == 0
        assert await everything(log) == {needed.key: needed}


async def test_what_has_just_changed_is_spared(log: RedisLog) -> None:
    old = [Record(name, before(31 * DAY_S), None) for name in ("a", "b")]
    position = await appended(log, None, restored=old, version=old[1].version)
    removing = log._remove

    async def written_in_between(records: Any) -> int:
        await appended(log, position, ("a", "again"))
        return await removing(records)

    log._remove = written_in_between  # type: ignore[method-assign]
    assert await log.purge(30 * DAY_S) == 1
    assert set(await everything(log)) == {"a"}


async def test_a_lot_takes_several_calls(log: RedisLog) -> None:
    position = None
    version = before(31 * DAY_S)
    for start in range(0, 50_000, 2000):
        old = [Record(f"k{number}", version, None) for number in range(start, start + 2000)]
        position = await appended(log, position, restored=old, version=version)
    first = await log.purge(30 * DAY_S)
    assert 0 < first < 50_000
    removed = first
    for _ in range(20):
        removed += await log.purge(30 * DAY_S)
    assert removed == 50_000
