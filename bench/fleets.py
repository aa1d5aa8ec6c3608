"""Several sidecars with one Redis, and what kills them: programs of the tests.

Law of this file: the one place of the benchmark that knows that these live among the tests; and that a fleet,
which has more processes than there are cores, is not held to one of them.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.stage import Stage

# They are programs of the tests and no part of the package; they know nothing of pytest.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import fleet_faults
import fleet_faults_ways
import fleet_kills
import fleet_measures
import fleet_processes
import fleet_scene
import redis_faults
import redis_servers

__all__ = [
    "all_cores",
    "fleet_faults",
    "fleet_faults_ways",
    "fleet_kills",
    "fleet_measures",
    "fleet_processes",
    "fleet_scene",
    "redis_faults",
    "redis_servers",
]


@contextlib.contextmanager
def all_cores(stage: Stage) -> Iterator[None]:
    """What is started in this block runs on either core, and so does this program."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, stage.cores)
    # Threads keep the cores of whoever started them, and give them to their children.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="fleet"))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
