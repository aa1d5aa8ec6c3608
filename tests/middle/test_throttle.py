"""Guessing is bounded before it reaches the identity provider; who is right, or whom nobody could judge, is not
counted."""

from contextlib import ExitStack

import pytest

from validator.authn.throttle import Throttle
from validator.errors import Denied
from validator.model import Reason
from validator.testing import ManualClock

WINDOW_S = 60.0


@pytest.fixture
def throttle(clock: ManualClock) -> Throttle:
    return Throttle(clock, max_failures=3, max_unregistered_failures=5, window_s=WINDOW_S)


def tried(
    throttle: Throttle, count: int = 1, *, failed: bool = True, client: str = "orders", registered: bool = True
) -> None:
    for _ in range(count):
        with throttle.attempt("plain", client, registered=registered) as attempt:
            attempt.failed = failed


def refused(
    throttle: Throttle, client: str = "orders", *, registered: bool = True, strategy: str = "plain"
) -> bool:
    """Whether the next try is turned away, by the quick check and by the try itself alike."""
    found: list[Reason | None] = []
    try:
        throttle.check(strategy, client, registered=registered)
        found.append(None)
    except Denied as denied:
        found.append(denied.reason)
    try:
        with throttle.attempt(strategy, client, registered=registered):
            found.append(None)
    except Denied as denied:
        found.append(denied.reason)
    assert found in ([None] * 2, [Reason.TOO_MANY_ATTEMPTS] * 2)
    return found[0] is not None


def test_one_below_the_bound_passes_and_at_the_bound_none(throttle: Throttle) -> None:
    tried(throttle, 2)
    assert not refused(throttle)
    tried(throttle)
    assert refused(throttle)


def test_others_are_not_touched(throttle: Throttle) -> None:
    tried(throttle, 3)
    assert not refused(throttle, "billing")
    assert not refused(throttle, strategy="other")


def test_the_case_of_a_guid_is_no_way_around(throttle: Throttle) -> None:
    guid = "3f0c1c9e-aaaa-4000-8000-00000000000b"
    tried(throttle, 3, client=guid)
    assert refused(throttle, guid.upper())


@pytest.mark.parametrize(("after_s", "still"), [(WINDOW_S - 0.001, True), (WINDOW_S, False)])
def test_the_window_ends(throttle: Throttle, clock: ManualClock, after_s: float, still: bool) -> None:
    tried(throttle)
    clock.advance(10)
    tried(throttle, 2)
    clock.advance(after_s - 10)
    assert refused(throttle) is still
    if not still:
        tried(throttle, 2)
        assert not refused(throttle), "a new window counts from nothing"


@pytest.mark.parametrize(("after_s", "retry_after_s"), [(0, 60), (20, 40), (59.5, 1)])
def test_retry_after_is_the_end_of_the_window(
    throttle: Throttle, clock: ManualClock, after_s: float, retry_after_s: float
) -> None:
    tried(throttle, 3)
    clock.advance(after_s)
    with pytest.raises(Denied) as caught:
        throttle.check("plain", "orders", registered=True)
    assert caught.value.retry_after_s == pytest.approx(retry_after_s)


def test_the_window_counts_from_the_first_failure(throttle: Throttle, clock: ManualClock) -> None:
    tried(throttle, failed=False)
    clock.advance(WINDOW_S - 1)
    tried(throttle, 3)
    clock.advance(WINDOW_S - 1)
    assert refused(throttle)


def test_parallel_guesses_are_bounded_like_successive_ones(throttle: Throttle) -> None:
    with ExitStack() as stack:
        tries = [stack.enter_context(throttle.attempt("plain", "orders", registered=True)) for _ in range(3)]
        with pytest.raises(Denied), throttle.attempt("plain", "orders", registered=True):
            pass
        throttle.check("plain", "orders", registered=True)  # who joins one of the three is not turned away
        for attempt in tries:
            attempt.failed = True
    assert refused(throttle)


def test_tries_under_way_that_prove_right_make_room_again(throttle: Throttle) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(throttle.attempt("plain", "orders", registered=True))
    tried(throttle, 2)
    assert not refused(throttle)


def test_successes_never_count(throttle: Throttle) -> None:
    tried(throttle, 50, failed=False)
    tried(throttle, 2)
    tried(throttle, 50, failed=False)
    assert not refused(throttle)


def test_a_success_does_not_wipe_out_failures(throttle: Throttle) -> None:
    """Else a guesser who holds one good secret of the client could go on for ever."""
    tried(throttle, 2)
    tried(throttle, failed=False)
    tried(throttle)
    assert refused(throttle)


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt], ids=["an outage", "given up"])
def test_a_try_that_ends_without_an_answer_does_not_count(throttle: Throttle, error: type[BaseException]) -> None:
    for _ in range(10):
        with pytest.raises(error), throttle.attempt("plain", "orders", registered=True):
            raise error
    assert not refused(throttle)
    tried(throttle, 2)
    assert not refused(throttle)


def test_invented_client_ids_share_one_bound(throttle: Throttle) -> None:
    for number in range(5):
        tried(throttle, client=f"invented-{number}", registered=False)
    assert refused(throttle, "never-seen", registered=False)
    assert not refused(throttle, "orders"), "a registered client does not pay for them"
    assert not refused(throttle, "never-seen", registered=False, strategy="other")


def test_an_unregistered_client_has_its_own_bound_as_well(throttle: Throttle) -> None:
    tried(throttle, 3, client="one", registered=False)
    assert refused(throttle, "one", registered=False)
    assert not refused(throttle, "two", registered=False)


def test_registered_failures_do_not_fill_the_shared_bound(throttle: Throttle) -> None:
    for number in range(5):
        tried(throttle, client=f"registered-{number}")
    assert not refused(throttle, "invented", registered=False)
