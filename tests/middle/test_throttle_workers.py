"""Guesses that are spread over several processes are no more guesses than without them."""

import pytest

from validator.authn.throttle import Throttle
from validator.errors import Denied
from validator.testing import ManualClock

WORKERS = 3


class Crew:
    """Throttles that tell each other of failed tries, at once or later."""

    def __init__(self, *, max_failures: int = 6, max_unregistered: int = 100) -> None:
        clock = ManualClock()
        self.told: list[tuple[Throttle, tuple[str, str, bool]]] = []
        self.all = [
            Throttle(
                clock,
                max_failures=max_failures,
                max_unregistered_failures=max_unregistered,
                window_s=60,
                workers=WORKERS,
                failed=lambda *what, number=number: self.told.append((self.all[number], what)),
            )
            for number in range(WORKERS)
        ]

    def tell(self) -> None:
        for teller, what in self.told:
            for throttle in self.all:
                if throttle is not teller:
                    throttle.failed_elsewhere(*what)
        self.told = []


def fails(throttle: Throttle, client: str = "orders", *, registered: bool = True) -> bool:
    """Whether the try was made."""
    try:
        with throttle.attempt("plain", client, registered=registered) as attempt:
            attempt.failed = True
    except Denied:
        return False
    return True


def test_failures_elsewhere_count_here():
    crew, made = Crew(), 0
    for number in range(30):
        made += fails(crew.all[number % WORKERS])
        crew.tell()
    assert made == 6
    with pytest.raises(Denied):
        crew.all[0].check("plain", "orders", registered=True)


def test_ids_that_no_application_has_share_their_bound_across_processes():
    crew, made = Crew(max_unregistered=9), 0
    for number in range(40):
        made += fails(crew.all[number % WORKERS], f"invented-{number}", registered=False)
        crew.tell()
    assert made == 9


def test_tries_at_the_same_moment_everywhere_are_bounded_together():
    """Nobody has told anybody yet."""
    crew = Crew()
    under_way = []
    for throttle in crew.all:
        for _ in range(20):
            attempt = throttle.attempt("plain", "orders", registered=True)
            try:
                under_way.append((attempt, attempt.__enter__()))
            except Denied:
                break
    assert 6 <= len(under_way) < 6 + WORKERS
    for attempt, tried in under_way:
        tried.failed = True
        attempt.__exit__(None, None, None)


def test_a_try_that_did_not_fail_is_told_to_nobody():
    crew = Crew()
    with crew.all[0].attempt("plain", "orders", registered=True):
        pass
    assert crew.told == []
