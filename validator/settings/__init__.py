"""The configuration file as frozen, checked values.

Law of this package: what passes is right, and what does not is told in full: every mistake at once, each with
its line, what was found, what was expected and an example. No secret is ever printed.
"""

from validator.settings.applications import ApplicationEntry, Registration
from validator.settings.bridge import Dcr
from validator.settings.mistakes import Mistake, Notice, SettingsError
from validator.settings.model import Settings
from validator.settings.reading import Imported, read, read_konnect
from validator.settings.redis import Redis
from validator.settings.schema import json_schema
from validator.settings.sections import (
    Cache,
    Control,
    DataTls,
    Keys,
    Limits,
    Listen,
    Log,
    Outbound,
    Session,
    Store,
    Throttle,
)
from validator.settings.strategies import Algorithm, Strategy
from validator.settings.values import Address

__all__ = [
    "Address",
    "Algorithm",
    "ApplicationEntry",
    "Cache",
    "Control",
    "DataTls",
    "Dcr",
    "Imported",
    "Keys",
    "Limits",
    "Listen",
    "Log",
    "Mistake",
    "Notice",
    "Outbound",
    "Redis",
    "Registration",
    "Session",
    "Settings",
    "SettingsError",
    "Store",
    "Strategy",
    "Throttle",
    "json_schema",
    "read",
    "read_konnect",
]
