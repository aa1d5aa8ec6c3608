"""How long something takes, as people say it."""

import pytest

from validator.core.durations import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (-42, "42 seconds"),
        (119, "119 seconds"),
        (720, "12 minutes"),
        (7200, "2 hours"),
        (3 * 86400, "3 days"),
        (1_795_241_554, "57 years"),
    ],
)
def test_a_duration_in_its_largest_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text
