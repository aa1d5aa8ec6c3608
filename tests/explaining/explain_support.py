"""What the tests of ``validator explain`` share: the providers, the command in process, strategies by provider.

Law of this file: no tests, no fixtures; the clock stands still, so that what is said of times is exact.
"""

import base64
import io
from dataclasses import dataclass
from typing import Any

import pytest
from imitations import Auth0Imitation, CurityImitation, EntraImitation, OktaImitation

from validator import explain
from validator.settings import Settings
from validator.testing import FakeIdp, ManualClock

TENANT = "11111111-1111-1111-1111-111111111111"
OTHER_TENANT = "22222222-2222-2222-2222-222222222222"
CLIENT = "6731de76-14a6-49ae-97bc-6eba6914391e"
API_ID = "7c0fa206-7023-577b-95ac-f1d8c972fa7c"
SECRET = "s3cret-of-the-client"
GATEWAY_SECRET = "s3cret-of-the-gateway"
CLOCK = ManualClock()  # nobody moves it


@dataclass(frozen=True)
class World:
    """All the providers, each with the client ``orders`` (Entra's has a GUID)."""

    entra: EntraImitation
    okta: OktaImitation
    auth0: Auth0Imitation
    curity: CurityImitation
    plain: FakeIdp


@dataclass(frozen=True)
class Explained:
    """``text`` is what was printed, each run of white space as one space."""

    code: int
    text: str


class Explainer:
    """Runs the command and sees that nothing secret was printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def __call__(
        self, credential: str, strategies: dict[str, Any], *, client_id: str = "orders", **options: Any
    ) -> Explained:
        first = next(iter(strategies))
        application = {"id": "app-1", "name": "Orders", "strategy": first, "client_id": client_id}
        registered, redis = options.pop("registered", True), options.pop("redis", None)
        store = options.pop("store", None)
        settings = Settings.model_validate(
            {
                "strategies": strategies,
                "applications": [{**application, "registrations": ["svc"]}] if registered else [],
                "redis": redis,
                "store": {"path": store},
            }
        )
        options = {"strategy": None, "service": "svc", "clock": CLOCK, **options}
        self._capsys.readouterr()
        code = await explain.report(settings, io.BytesIO(credential.encode()), **options)
        printed = self._capsys.readouterr().out
        for secret in (SECRET, GATEWAY_SECRET, *(part for part in credential.split() if len(part) > 20)):
            assert secret not in printed
        if credential.count(".") == 2:
            assert credential.rpartition(".")[2] not in printed
        return Explained(code, " ".join(printed.split()))


def basic(client_id: str, secret: str = SECRET) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def azure(world: World, **changes: Any) -> dict[str, Any]:
    return {"azure": {"idp": "azure", "issuer": world.entra.base, "audience": ["api://orders", API_ID], **changes}}


def okta(world: World, **changes: Any) -> dict[str, Any]:
    return {"okta": {"idp": "okta", "issuer": world.okta.issuer, "audience": ["api://default"], **changes}}


def auth0(world: World, *audience: str, **changes: Any) -> dict[str, Any]:
    return {"auth0": {"idp": "auth0", "issuer": world.auth0.issuer, "audience": list(audience), **changes}}


def curity(world: World, **changes: Any) -> dict[str, Any]:
    return {"curity": {"idp": "curity", "issuer": world.curity.discovery_url, **changes}}


def plain(world: World, idp: str = "generic", **changes: Any) -> dict[str, Any]:
    return {"plain": {"idp": idp, "issuer": world.plain.issuer, "audience": ["api://default"], **changes}}


def introspection(**changes: Any) -> dict[str, Any]:
    return {"introspection": {"client_id": "gateway", "client_secret": GATEWAY_SECRET, **changes}}


def says(told: Explained, code: int, *phrases: str) -> None:
    """These, in this order."""
    assert told.code == code, told.text
    at = 0
    for phrase in phrases:
        found = told.text.find(phrase, at)
        assert found >= 0, f"{phrase!r} is not (there) in: {told.text}"
        at = found + len(phrase)
