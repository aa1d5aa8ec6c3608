"""Secrets that are easy to recognise, and the search for them.

Law of this file: helpers without fixtures and without tests.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote_plus


@dataclass(frozen=True, slots=True)
class Canary:
    """A secret that holds ``core``, which no escaping for URLs, JSON or ``repr`` changes.

    The core is shorter than the secret, so that a leak of a piece is found as well.
    """

    name: str
    core: str

    @property
    def secret(self) -> str:
        """The core among characters that are escaped differently everywhere."""
        return f"{self.core}:%+/é\u00fc={self.core[::-1]}"

    @property
    def plain(self) -> str:
        """The same for places that take no more than the characters of a token (RFC 6750 section 2.1)."""
        return f"{self.core}-._~+/{self.core[::-1]}"


def _base64_cores(octets: bytes) -> Iterable[bytes]:
    """What stands in a base64 text for ``octets``, wherever in it they begin."""
    for offset, spoilt in ((0, 0), (1, 2), (2, 3)):
        text = base64.b64encode(b"\x00" * offset + octets)
        whole = (offset + len(octets)) * 8 // 6
        yield text[spoilt:whole]
        yield base64.urlsafe_b64encode(b"\x00" * offset + octets)[spoilt:whole]


def spellings(core: str | bytes) -> set[bytes]:
    """How it could stand in a log, a body or a file."""
    octets = core.encode() if isinstance(core, str) else core
    return {
        octets,
        octets.hex().encode(),
        octets.hex().upper().encode(),
        quote_plus(octets).encode(),
        repr(octets)[2:-1].encode(),
        *_base64_cores(octets),
    }


def leaks(haystack: bytes | str, cores: Iterable[str | bytes]) -> list[bytes]:
    """The spellings that are found, each with what stands around it."""
    octets = haystack.encode("utf-8", "surrogateescape") if isinstance(haystack, str) else haystack
    lowered = octets.lower()
    found = []
    for core in cores:
        for spelled in spellings(core):
            at = lowered.find(spelled.lower())
            if at >= 0:
                found.append(octets[max(0, at - 80) : at + len(spelled) + 40])
    return found


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


RIGHT = Canary("the right secret", "CanaryRightQ7xZ9")
WRONG = Canary("a wrong secret", "CanaryWrongK2vB5")
BEARER = Canary("a bearer token", "CanaryTokenW4nT8")
COOKIE = Canary("a session cookie", "CanaryCookieJ6mR")
CONTROL = Canary("the control token", "CanaryAdminH3pL1")
MINTED = Canary("what was minted", "CanaryMintedD9sF")
CANARIES = (RIGHT, WRONG, BEARER, COOKIE, CONTROL, MINTED)
CORES = [canary.core for canary in CANARIES]
KEY = b"CanarySealKeyU5yG0CanarySealKeyU"
