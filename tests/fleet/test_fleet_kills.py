"""Whoever is killed, what was acknowledged holds."""

import random
from pathlib import Path

import fleet_kills
import pytest

pytestmark = [pytest.mark.programs, pytest.mark.timeout(240)]  # ten programs on two cores, started again and again

SECONDS = 10.0


@pytest.mark.parametrize("appendonly", [False, True], ids=["Redis forgets", "Redis remembers"])
async def test_nothing_acknowledged_is_lost_and_nothing_revoked_is_allowed(
    tmp_path: Path, appendonly: bool
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # noqa: T201 - to have it again
    found = await fleet_kills.run(SECONDS, seed, tmp_path, appendonly=appendonly, pause_s=(0.3, 1.2))
    assert found.kills.total() >= 3
    assert found.closed >= 10
    assert found.wrong == []
    assert found.lost == []
    assert not found.denied
    assert found.failed_starts == []
