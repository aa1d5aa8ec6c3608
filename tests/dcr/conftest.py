"""A bridge whose every part may be told to fail."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dcr_support import House, ScriptedRegistrar, house

from validator.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
async def home(path: Path, clock: ManualClock) -> AsyncIterator[House]:
    async with house(path, clock) as made:
        yield made


@pytest.fixture
def registrar(home: House) -> ScriptedRegistrar:
    return home.registrar
