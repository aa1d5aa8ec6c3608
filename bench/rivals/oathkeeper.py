"""Ory Oathkeeper's decision API: the ``jwt`` authenticator, ``allow``, ``noop``.

Law of this file: issuer, audience and algorithm are pinned, as its documentation advises; it calls home to nobody
and writes no line for a request.
"""

import contextlib
import json
import shutil
from collections.abc import AsyncIterator

import yaml

from bench import subjects
from bench.rivals.rival import BUILT, Rival, Running, go_version
from bench.stage import Stage, free_ports
from validator.testing import FakeIdp


def _command() -> str | None:
    return shutil.which("oathkeeper", path=str(BUILT)) or shutil.which("oathkeeper")


def _missing() -> str | None:
    if _command():
        return None
    return "Ory Oathkeeper is absent: install Go and run scripts/bench again, or put oathkeeper on the PATH"


def _version() -> str:
    return go_version(_command() or "oathkeeper", "github.com/ory/oathkeeper")


@contextlib.asynccontextmanager
async def _started(stage: Stage, idp: FakeIdp) -> AsyncIterator[Running]:
    port, proxy_port, metrics_port = free_ports(3)
    rules = stage.folder / f"oathkeeper-{port}-rules.json"
    rules.write_text(
        json.dumps(
            [
                {
                    "id": "bench",
                    "match": {"url": f"http://127.0.0.1:{port}{subjects.PATH}", "methods": ["GET"]},
                    "authenticators": [{"handler": "jwt"}],
                    "authorizer": {"handler": "allow"},
                    "mutators": [{"handler": "noop"}],
                }
            ]
        )
    )
    config = stage.folder / f"oathkeeper-{port}.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "log": {"level": "error"},
                "serve": {
                    "api": {"host": "127.0.0.1", "port": port},
                    "proxy": {"host": "127.0.0.1", "port": proxy_port},
                    "prometheus": {"host": "127.0.0.1", "port": metrics_port},
                },
                "access_rules": {"repositories": [rules.as_uri()]},
                "authenticators": {
                    "jwt": {
                        "enabled": True,
                        "config": {
                            "jwks_urls": [idp.jwks_uri],
                            "trusted_issuers": [idp.issuer],
                            "target_audience": [subjects.AUDIENCE],
                            "allowed_algorithms": ["RS256"],
                            "scope_strategy": "none",
                        },
                    }
                },
                "authorizers": {"allow": {"enabled": True}},
                "mutators": {"noop": {"enabled": True}},
            }
        )
    )
    command = [_command() or "oathkeeper", "serve", "--config", str(config), "--sqa-opt-out"]
    async with stage.program(*command, env={"GOMAXPROCS": "1", "SQA_OPT_OUT": "true"}) as program:
        await program.ready(port, "/health/ready")
        yield Running(program, port, f"/decisions{subjects.PATH}")


RIVAL = Rival(
    name="Ory Oathkeeper",
    missing=_missing,
    version=_version,
    started=_started,
    facts={
        "asked as": "decision API: `/decisions/...`",
        "algorithms": "RS256, configured",
        "audience": "configured",
        "keys": "the key set by its URL, no discovery; kept for 30 s",
        "keeps results": "no",
        "registrations": "no",
    },
)
