"""A worker whose supervisor hangs goes by what it was told for a while, and by nothing for longer than it may."""

import pytest

from validator.model import Knowledge
from validator.settings.redis import Redis
from validator.testing import ManualClock
from validator.workers.hearing import Hearing

CURRENT, BEHIND, REFUSED = Knowledge.CURRENT, Knowledge.BEHIND, Knowledge.REFUSED


def redis(**settings: object) -> Redis:
    return Redis.model_validate({"url": "redis://127.0.0.1:1", **settings})


def after(clock: ManualClock, hearing: Hearing, seconds: float) -> Knowledge:
    clock.advance(seconds)
    return hearing.knowledge


@pytest.mark.parametrize(("max_stale_s", "refused_s"), [(1, 5), (3, 5), (8, 8), (30, 30)])
def test_refusing_when_stale_needs_no_supervisor_that_says_so(max_stale_s: float, refused_s: float) -> None:
    clock = ManualClock()
    hearing = Hearing(redis(when_stale="refuse", max_stale_s=max_stale_s), CURRENT, clock.monotonic)
    assert after(clock, hearing, refused_s - 0.1) in ({CURRENT} if refused_s <= 10 else {BEHIND})
    assert after(clock, hearing, 0.2) is REFUSED
    assert after(clock, hearing, 3600) is REFUSED


def test_what_was_missed_before_the_silence_counts() -> None:
    clock = ManualClock()
    hearing = Hearing(redis(when_stale="refuse", max_stale_s=30), CURRENT, clock.monotonic)
    hearing.told(BEHIND)
    for _ in range(12):
        assert after(clock, hearing, 2) is BEHIND
        hearing.heard()
    assert after(clock, hearing, 9.9) is BEHIND  # it speaks, and says itself when that is too long
    assert after(clock, hearing, 0.2) is REFUSED


def test_serving_goes_on_and_denies_nothing_that_may_have_been_written() -> None:
    clock = ManualClock()
    hearing = Hearing(redis(when_stale="serve", max_stale_s=3), CURRENT, clock.monotonic)
    assert after(clock, hearing, 9.9) is CURRENT
    assert after(clock, hearing, 0.2) is BEHIND
    assert after(clock, hearing, 3600) is BEHIND


def test_without_sharing_there_is_nothing_to_miss() -> None:
    clock = ManualClock()
    hearing = Hearing(None, CURRENT, clock.monotonic)
    assert after(clock, hearing, 3600) is CURRENT
    assert hearing.silent_since is None


def test_one_that_speaks_again_is_given_time_to_read_what_it_has_missed() -> None:
    clock = ManualClock()
    hearing = Hearing(redis(when_stale="refuse", max_stale_s=3), CURRENT, clock.monotonic)
    assert after(clock, hearing, 20) is REFUSED
    hearing.heard()
    assert hearing.knowledge is REFUSED
    hearing.heard()
    assert after(clock, hearing, 0.9) is REFUSED
    assert after(clock, hearing, 0.2) is CURRENT


@pytest.mark.parametrize("told", [CURRENT, BEHIND, REFUSED])
def test_one_that_speaks_is_believed(told: Knowledge) -> None:
    clock = ManualClock()
    hearing = Hearing(redis(when_stale="refuse", max_stale_s=3), CURRENT, clock.monotonic)
    hearing.told(told)
    for _ in range(10):
        hearing.heard()
        assert after(clock, hearing, 2) is told
