"""What the kernel booked on a process: CPU time, memory, descriptors.

Law of this file: numbers come from ``/proc`` alone, never from the program under test.
"""

from pathlib import Path


def cpu_ns(*pids: int) -> int:
    """CPU time, in the kernel and out of it, of processes, their threads and their children that live, in ns."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
            total += cpu_ns(*map(int, (task / "children").read_text().split()))
    return total


def resident_bytes(pid: int) -> int:
    """Memory that a process holds, its share of what it shares with others."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no Pss for process {pid}")


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
