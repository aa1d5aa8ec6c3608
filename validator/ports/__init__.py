"""What the inner floors ask of the outer ones, as protocols.

Law of this package: signatures and promises, and the values that only they speak of; nothing that runs.
"""

from validator.ports.judging import Authenticator, Clock, Epoch, HttpClient, Registry, Revocations
from validator.ports.proofs import (
    Answered,
    Exhausted,
    Leave,
    OutOfReach,
    Settled,
    SharedProofs,
    Slot,
    Standing,
    Taken,
)
from validator.ports.registry import (
    Apply,
    ClientRecords,
    Conflict,
    Journal,
    NotFound,
    Plan,
    ReadOnly,
    RegistryAdmin,
    RegistryError,
    T,
)
from validator.ports.storing import LocalStore, LogEntry, LogState, Position, Record, SharedLog

__all__ = [
    "Answered",
    "Apply",
    "Authenticator",
    "ClientRecords",
    "Clock",
    "Conflict",
    "Epoch",
    "Exhausted",
    "HttpClient",
    "Journal",
    "Leave",
    "LocalStore",
    "LogEntry",
    "LogState",
    "NotFound",
    "OutOfReach",
    "Plan",
    "Position",
    "ReadOnly",
    "Record",
    "Registry",
    "RegistryAdmin",
    "RegistryError",
    "Revocations",
    "Settled",
    "SharedLog",
    "SharedProofs",
    "Slot",
    "Standing",
    "T",
    "Taken",
]
