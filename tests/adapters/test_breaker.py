"""The circuit breaker's moves, each at its boundary."""

import pytest

from validator.adapters.breaker import BreakerState, CircuitBreaker, Permit
from validator.testing import ManualClock

RESET_S = 10.0
EPSILON_S = 0.001


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> CircuitBreaker:
    return CircuitBreaker(clock, threshold=3, reset_s=RESET_S)


def admitted(breaker: CircuitBreaker) -> Permit:
    permit = breaker.admit()
    assert permit is not None
    return permit


def opened(breaker: CircuitBreaker) -> None:
    for _ in range(3):
        admitted(breaker).failed()
    assert breaker.state is BreakerState.OPEN


def test_it_stays_closed_below_the_threshold_and_opens_at_it(breaker: CircuitBreaker) -> None:
    for _ in range(2):
        admitted(breaker).failed()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.retry_after_s == 0
    admitted(breaker).failed()
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit() is None
    assert breaker.retry_after_s == RESET_S


def test_only_consecutive_failures_count(breaker: CircuitBreaker) -> None:
    for _ in range(5):
        admitted(breaker).failed()
        admitted(breaker).failed()
        admitted(breaker).succeeded()
    assert breaker.state is BreakerState.CLOSED


def test_an_abandoned_call_neither_counts_nor_clears(breaker: CircuitBreaker) -> None:
    admitted(breaker).failed()
    admitted(breaker).failed()
    admitted(breaker).abandoned()
    assert breaker.state is BreakerState.CLOSED
    admitted(breaker).failed()
    assert breaker.state is BreakerState.OPEN


def test_a_probe_is_let_through_at_reset_and_not_before(breaker: CircuitBreaker, clock: ManualClock) -> None:
    opened(breaker)
    clock.advance(RESET_S - EPSILON_S)
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit() is None
    assert breaker.retry_after_s == pytest.approx(EPSILON_S)
    clock.advance(EPSILON_S)
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admit() is not None


def test_one_probe_only(breaker: CircuitBreaker, clock: ManualClock) -> None:
    opened(breaker)
    clock.advance(RESET_S)
    admitted(breaker)
    assert breaker.admit() is None
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.retry_after_s > 0


def test_a_good_probe_closes_it(breaker: CircuitBreaker, clock: ManualClock) -> None:
    opened(breaker)
    clock.advance(RESET_S)
    admitted(breaker).succeeded()
    assert breaker.state is BreakerState.CLOSED
    admitted(breaker).failed()
    admitted(breaker).failed()
    assert breaker.state is BreakerState.CLOSED, "the count starts anew"


def test_one_bad_probe_opens_it_for_a_whole_period(breaker: CircuitBreaker, clock: ManualClock) -> None:
    opened(breaker)
    clock.advance(RESET_S + 5)
    admitted(breaker).failed()
    clock.advance(RESET_S - EPSILON_S)
    assert breaker.admit() is None
    clock.advance(EPSILON_S)
    assert breaker.admit() is not None


def test_an_abandoned_probe_leaves_its_place_to_the_next(breaker: CircuitBreaker, clock: ManualClock) -> None:
    opened(breaker)
    clock.advance(RESET_S)
    admitted(breaker).abandoned()
    assert breaker.state is BreakerState.HALF_OPEN
    admitted(breaker).succeeded()
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("late", ["succeeded", "failed", "abandoned"])
def test_a_call_from_before_it_opened_says_nothing_about_the_probe(
    breaker: CircuitBreaker, clock: ManualClock, late: str
) -> None:
    straggler = admitted(breaker)
    opened(breaker)
    clock.advance(RESET_S)
    probe = admitted(breaker)
    getattr(straggler, late)()
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admit() is None, "the probe is still under way"
    probe.succeeded()
    assert breaker.state is BreakerState.CLOSED


def test_a_permit_reports_once(breaker: CircuitBreaker) -> None:
    permit = admitted(breaker)
    for _ in range(3):
        permit.failed()
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(("threshold", "reset_s"), [(0, 1.0), (1, 0.0), (1, -1.0), (1, float("nan"))])
def test_bounds_are_checked(clock: ManualClock, threshold: int, reset_s: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        CircuitBreaker(clock, threshold=threshold, reset_s=reset_s)
