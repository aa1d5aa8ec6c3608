"""oauth2-proxy as the one that answers subrequests: ``/oauth2/auth``, bearer tokens let through by their JWT.

Law of this file: the options are those that its documentation names for bearer tokens; logs of single requests
are off, as they are everywhere here.
"""

import contextlib
import shutil
from collections.abc import AsyncIterator

from bench import subjects
from bench.rivals.rival import BUILT, Rival, Running, go_version
from bench.stage import Stage, free_ports
from validator.testing import FakeIdp


def _command() -> str | None:
    return shutil.which("oauth2-proxy", path=str(BUILT)) or shutil.which("oauth2-proxy")


def _missing() -> str | None:
    if _command():
        return None
    return "oauth2-proxy is absent: install Go and run scripts/bench again, or put oauth2-proxy on the PATH"


def _version() -> str:
    return go_version(_command() or "oauth2-proxy", "github.com/oauth2-proxy/oauth2-proxy/v7")


@contextlib.asynccontextmanager
async def _started(stage: Stage, idp: FakeIdp) -> AsyncIterator[Running]:
    (port,) = free_ports(1)
    options = [
        f"--http-address=127.0.0.1:{port}",
        "--provider=oidc",
        f"--oidc-issuer-url={idp.issuer}",
        f"--client-id={subjects.AUDIENCE}",  # the audience that it demands of a bearer token
        "--client-secret=none",
        "--cookie-secret=0123456789abcdef0123456789abcdef",
        "--cookie-secure=false",
        f"--redirect-url=http://127.0.0.1:{port}/oauth2/callback",
        "--email-domain=*",
        "--skip-jwt-bearer-tokens=true",
        "--upstream=static://200",
        "--request-logging=false",
        "--auth-logging=false",
        "--standard-logging=false",
    ]
    async with stage.program(_command() or "oauth2-proxy", *options, env={"GOMAXPROCS": "1"}) as program:
        await program.ready(port, "/ping")
        yield Running(program, port, "/oauth2/auth", status=202)


RIVAL = Rival(
    name="oauth2-proxy",
    missing=_missing,
    version=_version,
    started=_started,
    facts={
        "asked as": "nginx `auth_request` asks it: `/oauth2/auth`, 202 lets through",
        "algorithms": "those that the issuer's discovery document names",
        "audience": "its client id",
        "keys": "discovery, then the key set; asked again for an unknown key",
        "keeps results": "no",
        "registrations": "no",
    },
)
