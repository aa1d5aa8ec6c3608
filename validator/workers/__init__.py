"""One sidecar as several processes: a supervisor that keeps the truth, and workers that judge by it.

Law of this package: a worker judges by what its supervisor has told it, and by nothing that its supervisor may
have taken back: one that does not listen is killed, and one that hears nothing any more ends.
"""

from validator.workers.supervisor import Supervisor

MAX_WORKERS = 64

__all__ = ["MAX_WORKERS", "Supervisor"]
