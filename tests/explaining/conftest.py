"""All the providers, and the command with a log as quiet as it has it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import structlog
from explain_support import API_ID, CLIENT, CLOCK, GATEWAY_SECRET, SECRET, TENANT, Explainer, World
from imitations import Auth0Api, Auth0Imitation, CurityImitation, EntraImitation, EntraResource, OktaImitation

from validator.testing import FakeIdp


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clients = {"orders": SECRET}
    resources = {
        "api://orders": EntraResource(),
        "api://orders2": EntraResource(version=2, audience=API_ID),
    }
    apis = {
        "https://orders.example/": Auth0Api(),
        "https://rfc.example/": Auth0Api(profile="rfc9068"),
        "https://hs.example/": Auth0Api(alg="HS256"),
        "https://jwe.example/": Auth0Api(encrypted=True),
    }
    async with AsyncExitStack() as stack:
        yield World(
            *[
                await stack.enter_async_context(provider)  # type: ignore[arg-type]
                for provider in (
                    EntraImitation({CLIENT: SECRET}, tenant=TENANT, clock=CLOCK, resources=resources),
                    OktaImitation(clients, clock=CLOCK),
                    Auth0Imitation(clients, clock=CLOCK, apis=apis),
                    CurityImitation(clients, clock=CLOCK, introspection_clients={"gateway": GATEWAY_SECRET}),
                    FakeIdp(clients, clock=CLOCK),
                )
            ]
        )


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """As the command has it: what goes wrong is told, not logged."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.fixture
def explained(capsys: pytest.CaptureFixture[str]) -> Explainer:
    return Explainer(capsys)
