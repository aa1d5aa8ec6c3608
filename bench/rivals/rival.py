"""What a rival of the peers scenario is to it.

Law of this file: no rival is known here by name.
"""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.stage import Program, Stage
from validator.testing import FakeIdp

BUILT = Path(__file__).parents[2] / ".cache/bench/bin"


@dataclass(frozen=True)
class Running:
    """A rival that is ready: where it is asked, and its status for a token that is let through."""

    program: Program
    port: int
    path: str
    status: int = 200


@dataclass(frozen=True)
class Rival:
    """One program.

    Attributes:
        missing: what to install, or ``None`` where it is here.
        version: its own word for it.
        facts: what no request shows, by the columns of ``FACTS``.
    """

    name: str
    missing: Callable[[], str | None]
    version: Callable[[], str]
    started: Callable[[Stage, FakeIdp], AbstractAsyncContextManager[Running]]
    facts: Mapping[str, str]


def go_version(command: str, module: str) -> str:
    """What a Go program was built of, by its own build record; it need not know its version itself."""
    go = shutil.which("go")
    ran = go and subprocess.run([go, "version", "-m", command], capture_output=True, text=True, check=False)
    for line in ran.stdout.splitlines() if ran else ():
        fields = line.split()
        if len(fields) > 2 and fields[1] == module:
            return f"{Path(command).name} {fields[2]}"
    return f"{Path(command).name}, version unknown"


FACTS = ("asked as", "algorithms", "audience", "keys", "keeps results", "registrations")
