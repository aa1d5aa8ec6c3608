"""What machine it was: a number without it says little."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

from validator import __version__


def description() -> list[tuple[str, str]]:
    """Names and values, fit for a table; nothing that names the machine or who uses it."""
    return [
        ("processor", _processor()),
        ("cores", str(os.cpu_count())),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"),
        ("kernel", platform.release()),
        ("system", platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")),
        ("Python", platform.python_version()),
        ("nginx", _version("nginx", "-v")),
        ("wrk", _version("wrk", "-v")),
        ("validator", f"{__version__}, commit {_version('git', 'rev-parse', '--short', 'HEAD')}"),
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "absent"
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    said = (ran.stdout + ran.stderr).strip().splitlines()
    return said[0] if said else "unknown"
