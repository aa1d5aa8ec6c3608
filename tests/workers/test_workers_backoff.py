"""One that ends once is replaced at once; one that keeps ending is not, ever less."""

from validator.testing import ManualClock
from validator.workers.backoff import Backoff


def lives(backoff, clock, seconds):
    backoff.started()
    clock.advance(seconds)
    return backoff.ended()


def test_the_first_one_is_replaced_at_once():
    clock = ManualClock()
    assert lives(Backoff(clock.monotonic), clock, 0) == 0


def test_one_that_keeps_ending_waits_twice_as_long_each_time_and_five_seconds_at_most():
    clock = ManualClock()
    backoff = Backoff(clock.monotonic)
    waits = [lives(backoff, clock, 0.2) for _ in range(10)]
    assert waits == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5]


def test_one_that_lived_for_thirty_seconds_is_replaced_at_once_again():
    clock = ManualClock()
    backoff = Backoff(clock.monotonic)
    for _ in range(5):
        lives(backoff, clock, 1)
    assert lives(backoff, clock, 29.9) > 0
    assert lives(backoff, clock, 30) == 0
    assert lives(backoff, clock, 1) == 0.1


def test_a_crash_loop_starts_few_processes_in_a_minute():
    clock = ManualClock()
    backoff = Backoff(clock.monotonic)
    end, started = clock.monotonic() + 60, 0
    while clock.monotonic() < end:
        started += 1
        clock.advance(lives(backoff, clock, 0.01))
    assert started < 25
