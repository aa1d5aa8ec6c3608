"""Fakes that ship with the package: for ``validator demo``, for its tests and for yours.

Law of this package: FOR DEVELOPMENT ONLY. Nothing here guards anything: keys are shared within the process,
faults are a feature, and the identity provider hands out whatever it is told to. Everything listens on loopback,
unless it is told that it stands on a network of its own.
"""

from validator.testing.clients import FakeClient
from validator.testing.clock import ManualClock
from validator.testing.echo import Echo
from validator.testing.faults import Fault
from validator.testing.idp import FakeIdp
from validator.testing.introspection import Introspection
from validator.testing.mint import ABSENT, SigningKey, TokenMint
from validator.testing.registration import Registration, RegistrationEvent
from validator.testing.serving import LoopbackServer, Route, SeenRequest

__all__ = [
    "ABSENT",
    "Echo",
    "FakeClient",
    "FakeIdp",
    "Fault",
    "Introspection",
    "LoopbackServer",
    "ManualClock",
    "Registration",
    "RegistrationEvent",
    "Route",
    "SeenRequest",
    "SigningKey",
    "TokenMint",
]
