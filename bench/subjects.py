"""What is measured and what it is measured with: the sidecar, nginx, and the credentials that they are sent.

Law of this file: the sidecar runs as it is shipped, by its command line, with its defaults but for what a
scenario names; nothing is reached but its HTTP.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.stage import Program, Stage, ask, free_ports
from validator.testing import FakeIdp

STRATEGY, SERVICE, CLIENT, AUDIENCE = "bench", "orders", "bench-app", "bench"
PATH = f"/v1/authorize/{STRATEGY}/{SERVICE}"
TOKENS = 1000  # distinct, so that the cache is looked up in earnest; few enough to be warm after a second
CREDENTIAL_BYTES = 1100  # what Entra ID, Okta and Auth0 issue is 0.8 to 1.6 kB
FILLER = "reports:read reports:write orders:read orders:write invoices:read invoices:write customers:read "
# Lifetimes that outlast a run: only cached decisions are measured.
LONG_LIVED: Mapping[str, Any] = {"decision_ttl_s": 3600, "negative_ttl_s": 300}

NGINX_CONF = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx-{port}.pid;
error_log {folder}/nginx-{port}.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200; }} }}
}}
"""


@dataclass(frozen=True)
class Sidecar:
    program: Program
    port: int
    control_port: int

    @property
    def pid(self) -> int:
        return self.program.pid

    async def metrics(self) -> str:
        return (await asyncio.to_thread(ask, self.control_port, "/metrics"))[1].decode()


def configuration(issuer: str, **sections: Any) -> dict[str, Any]:
    """One strategy and one application; a section given as a mapping is merged into the default one."""
    config: dict[str, Any] = {
        "strategies": {
            STRATEGY: {
                "idp": "generic",
                "issuer": issuer,
                "credential_claim": ["client_id"],
                "audience": [AUDIENCE],
                "auth_methods": ["bearer"],
            }
        },
        "applications": [application(CLIENT)],
        "cache": dict(LONG_LIVED),
    }
    for name, value in sections.items():
        config[name] = {**config.get(name, {}), **value} if isinstance(value, Mapping) else value
    return config


def application(client_id: str, number: int = 1) -> dict[str, Any]:
    return {
        "id": f"00000000-0000-4000-8000-{number:012}",
        "name": f"Bench {number}",
        "strategy": STRATEGY,
        "client_id": client_id,
        "registrations": [SERVICE],
    }


@contextlib.asynccontextmanager
async def sidecar(
    stage: Stage, config: Mapping[str, Any], *, name: str = "sidecar", data: str = ""
) -> AsyncIterator[Sidecar]:
    """``validator serve`` with that configuration, ready, on the measured core.

    Args:
        data: an address for the data plane in place of the port, such as ``unix:/path``.
    """
    port, control_port = free_ports(2)
    config = {
        "listen": {"data": data or f"127.0.0.1:{port}", "control": f"127.0.0.1:{control_port}"},
        "store": {"path": str(stage.folder / f"{name}.db")},
        **config,
    }
    path = stage.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    async with stage.program(stage.validator, "serve", "--config", str(path)) as program:
        await program.ready(control_port)
        yield Sidecar(program, port, control_port)


@contextlib.asynccontextmanager
async def nginx(stage: Stage, *, core: int | None = None) -> AsyncIterator[tuple[Program, int]]:
    """nginx that answers everything with an empty 200, and its port; on the measured core if none is named."""
    (port,) = free_ports(1)
    conf = stage.folder / f"nginx-{port}.conf"
    conf.write_text(NGINX_CONF.format(folder=stage.folder, port=port))
    async with stage.program(
        "nginx", "-e", f"{stage.folder}/nginx-{port}.log", "-c", str(conf), core=core
    ) as program:
        await program.ready(port)
        yield program, port


# -- credentials ---------------------------------------------------------------------------------------------


def header_file(path: Path, headers: Iterable[str]) -> Path:
    """One request's header a line."""
    path.write_text("".join(f"{header}\n" for header in headers))
    return path


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


def tokens(idp: FakeIdp, count: int = TOKENS, *, size: int = CREDENTIAL_BYTES, **claims: Any) -> list[str]:
    """Distinct tokens of the benchmark's application, of about ``size`` bytes."""
    bare = len(idp.token(CLIENT, scope="", **claims))
    scope = (FILLER * 200)[: max(0, size - bare) * 3 // 4]  # base64 makes four characters of three
    return [idp.token(CLIENT, scope=scope, **claims) for _ in range(count)]


def spoiled(token: str) -> str:
    """The same token with another character in the middle of its signature."""
    at = len(token) - 40
    return f"{token[:at]}{'B' if token[at] == 'A' else 'A'}{token[at + 1 :]}"


def pair(client_id: str, secret: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()
