"""The command lines of Konnect's documents, as printed and run by a shell, against the gateway with the plugin, a
sidecar that is configured by the documents' own JSON, and imitations of Entra and Okta.

Law of this file: only placeholders and hosts are replaced; what has to be known of an answer beyond what the line
prints comes from a ``.curlrc``.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from gateway.gateway import Gateway, Route
from identity_providers.rows import API, API_GUID, GUID, SECRET, TENANT, granted
from imitations import EntraImitation, EntraResource, OktaImitation
from sidecar_process import command, running

from validator.adapters.clock import SystemClock

pytestmark = [pytest.mark.programs, pytest.mark.asyncio(loop_scope="module")]

HERE = Path(__file__).parent
LINE = (HERE / "documents" / "make-a-successful-request.txt").read_text()
TOKEN_LINE = (HERE / "documents" / "azure-bearer-token.txt").read_text()
# "Token endpoints for IdPs", Azure's row.
TABLE_BODY = {"grant_type": "client_credentials", "scope": "https://graph.microsoft.com/.default"}
OKTA_CLIENT = "0oaOrders"
CURLRC = 'silent\nshow-error\nnoproxy = "*"\nmax-time = 20\nwrite-out = "\\n%{http_code}"\n'


@dataclass(frozen=True)
class Answer:
    """What curl printed."""

    status: int
    body: dict[str, Any]

    @property
    def upstream(self) -> dict[str, str]:
        """The headers that the service behind the gateway saw."""
        return {name.lower(): value for name, value in self.body["headers"]}


@dataclass(frozen=True)
class Scene:
    """Everything that takes part, running."""

    entra: EntraImitation
    okta: OktaImitation
    gateway: Gateway
    home: Path
    config: Path

    async def shell(self, line: str, placeholders: Mapping[str, str]) -> Answer:
        """The line with its placeholders replaced, typed into a shell."""
        for placeholder, value in placeholders.items():
            assert placeholder in line
            line = line.replace(placeholder, value)
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        shell = await asyncio.create_subprocess_exec(
            "sh", "-c", line, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        printed, said = await asyncio.wait_for(shell.communicate(), 30)
        assert shell.returncode == 0, said.decode()
        body, _, status = printed.decode().rpartition("\n")
        return Answer(int(status), json.loads(body))

    async def request(self, route: str, client_id: str, secret: str = SECRET) -> Answer:
        """The documents' line under "Make a successful request"."""
        return await self.shell(
            LINE,
            {
                "example.com": self.gateway.url.removeprefix("http://"),
                "REGISTERED_ROUTE": route,
                "CLIENT_ID": client_id,
                "CLIENT_SECRET": secret,
            },
        )

    async def bearer(self, route: str, token: str) -> Answer:
        """The same for the documents' second method, for which they print no line."""
        return await self.shell(
            'curl example.com/REGISTERED_ROUTE -H "Authorization: Bearer ACCESS_TOKEN"',
            {
                "example.com": self.gateway.url.removeprefix("http://"),
                "REGISTERED_ROUTE": route,
                "ACCESS_TOKEN": token,
            },
        )


def _body(name: str, issuer: str, directory: Path) -> str:
    """The documents' body with another issuer, beside the configuration."""
    text = (HERE / "settings" / "konnect" / name).read_text()
    printed = json.loads(text)["configs"]["openid-connect"]["issuer"]
    (directory / name).write_text(text.replace(printed, issuer))
    return name


def _application(name: str, client_id: str) -> dict[str, Any]:
    identity = {"id": f"app-{name}", "name": f"Orders by {name}", "strategy": name, "client_id": client_id}
    return {**identity, "registrations": ["orders"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    directory, home = tmp_path_factory.mktemp("documents"), tmp_path_factory.mktemp("home")
    (home / ".curlrc").write_text(CURLRC)
    clock = SystemClock()
    resource = EntraResource(version=1, audience=API_GUID)
    # The guide's claim and its name, and a default scope: the body's own scopes cannot be granted to a client.
    org = OktaImitation(
        {OKTA_CLIENT: SECRET}, clock=clock, custom_claims=("client_id",), default_scopes=("orders.read",)
    )
    entra = EntraImitation({GUID: SECRET}, tenant=TENANT, clock=clock, resources={API: resource})
    async with entra as tenant, org:
        config = {
            "listen": {"data": "127.0.0.1:0", "control": "127.0.0.1:0"},
            "strategies": {
                "azure": {"konnect_file": _body("azure-auth.json", tenant.base, directory)},
                "okta": {"konnect_file": _body("okta-auth.json", org.issuer, directory)},
            },
            "applications": [_application("azure", GUID), _application("okta", OKTA_CLIENT)],
        }
        async with running(config, directory) as sidecar:
            url = f"http://{sidecar.data}"
            routes = [
                Route(f"/{name}", "orders", {"validator_url": url, "strategy": name, "timeout_ms": 5000})
                for name in ("azure", "okta")
            ]
            gateway = await asyncio.to_thread(Gateway, routes)
            await asyncio.to_thread(gateway.start)
            try:
                yield Scene(tenant, org, gateway, home, sidecar.config_file)
            finally:
                await asyncio.to_thread(gateway.stop)


@pytest.mark.parametrize(("route", "client_id"), [("azure", GUID), ("okta", OKTA_CLIENT)])
async def test_the_documents_line_is_a_successful_request(scene: Scene, route: str, client_id: str) -> None:
    for _ in range(2):  # judged, then replayed
        answer = await scene.request(route, client_id)
        assert answer.status == 200, answer
        assert answer.upstream["x-application-id"] == f"app-{route}"
        assert answer.upstream["x-credential-identifier"] == client_id
        assert answer.upstream["x-auth-method"] == "client_credentials"
        assert "authorization" not in answer.upstream


@pytest.mark.parametrize(("route", "client_id"), [("azure", GUID), ("okta", OKTA_CLIENT)])
async def test_the_same_line_with_a_wrong_secret_is_not(scene: Scene, route: str, client_id: str) -> None:
    answer = await scene.request(route, client_id, f"{SECRET}x")
    assert (answer.status, answer.body["reason"]) == (401, "credentials_rejected")


async def test_the_tables_graph_token_is_named_as_what_it_is(scene: Scene) -> None:
    form = {"client_id": GUID, "client_secret": SECRET, **TABLE_BODY}
    token = await granted(scene.entra.token_endpoint_v2, form)
    answer = await scene.bearer("azure", token)
    assert (answer.status, answer.body["reason"]) == (401, "token_for_graph")


async def test_explain_names_the_scope_to_ask_for_instead(scene: Scene) -> None:
    form = {"client_id": GUID, "client_secret": SECRET, **TABLE_BODY}
    token = await granted(scene.entra.token_endpoint_v2, form)
    arguments = ("explain", "--config", str(scene.config), "--strategy", "azure", "--service", "orders")
    ran = await asyncio.to_thread(command, *arguments, stdin=f"Bearer {token}".encode())
    assert ran.code == 1, ran.err
    assert "/.default" in ran.out
    assert "Graph" in ran.out
    assert token not in ran.out


async def test_the_printed_token_request_gets_no_token_since_entra_takes_post(scene: Scene) -> None:
    placeholders = {
        "https://login.microsoftonline.com": scene.entra.origin,
        "TENANT_ID": TENANT,
        "CLIENT_ID": GUID,
        "CLIENT_SECRET": SECRET,
    }
    answer = await scene.shell(TOKEN_LINE, placeholders)
    assert answer.status == 400
    assert "access_token" not in answer.body
    as_microsoft_has_it = TOKEN_LINE.replace("--request GET", "--request POST").replace(
        "scope=https://graph.microsoft.com/.default", f"resource={API}"
    )
    answer = await scene.shell(as_microsoft_has_it, placeholders)
    assert answer.status == 200, answer


async def test_the_documents_claim_lets_no_bearer_token_of_entra_in(scene: Scene) -> None:
    answer = await scene.bearer("azure", scene.entra.token(GUID, resource=API))
    assert (answer.status, answer.body["reason"]) == (401, "claim_missing")


async def test_the_documents_claim_lets_oktas_bearer_token_in_once_the_guide_was_followed(scene: Scene) -> None:
    form = {"scope": "orders.read"}
    token = await granted(scene.okta.token_endpoint, form, basic=(OKTA_CLIENT, SECRET))
    answer = await scene.bearer("okta", token)
    assert answer.status == 200, answer
    assert answer.upstream["x-auth-method"] == "bearer"
