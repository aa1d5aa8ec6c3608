"""The command line: exit codes (0 done, 1 the answer is no, 2 wrong usage) and what a person reads, in which no
secret ever stands."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sidecar_process import Ran, command, configuration, running, write_config

from validator import __version__
from validator.adapters.clock import SystemClock
from validator.cli import main
from validator.model import Endpoint
from validator.testing import FakeIdp, Fault

pytestmark = pytest.mark.programs

SECRET = "s:e%c+ret-of-orders"
WRONG = "wrong-secret-of-orders"
KEY = base64.b64encode(bytes(range(32))).decode()
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
async def idp() -> AsyncIterator[FakeIdp]:
    clients = {"orders": SECRET, "sleeping": SECRET, "stranger": SECRET}
    async with FakeIdp(clients, clock=SystemClock()) as running_idp:
        yield running_idp


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def explainable(idp: FakeIdp, directory: Path, **sections: Any) -> str:
    """A file with two strategies, of which ``machines`` knows no bearer tokens; its path."""
    config = configuration(idp.issuer, store={"path": str(directory / "state.db")}, **sections)
    (orders,) = config["applications"]
    config["applications"].append(
        {**orders, "id": "app-2", "name": "Sleeping", "client_id": "sleeping", "status": "inactive"}
    )
    machines = {**config["strategies"]["plain"], "auth_methods": ["client_credentials"]}
    config["strategies"]["machines"] = machines
    return str(write_config(directory / "validator.yaml", config))


# Usage


def test_version_is_the_packages() -> None:
    ran = command("--version")
    assert (ran.code, ran.out) == (0, f"validator {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("serve",),
        ("check", "--config"),
        ("check", "--config", "f.yaml", "--offline"),
        ("explain", "f.yaml"),
    ],
    ids=lambda arguments: " ".join(arguments) or "no command",
)
def test_wrong_usage_ends_with_2_and_says_how(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr()
    assert ended.value.code == 2
    assert told.err.startswith("usage: validator")
    assert told.out == ""


# check


def test_check_of_a_good_file_ends_with_0_and_tells_its_warnings(tmp_path: Path) -> None:
    file = write_config(tmp_path / "validator.yaml", configuration(NOWHERE))
    ran = command("check", "--config", str(file))
    assert ran.code == 0
    assert f"{file}: no mistakes (1 strategy, 1 application, 2 warnings)" in ran.out
    assert "warning: " in ran.out
    assert "session.keys_file is not set" in ran.out
    assert ran.err == ""


def test_check_of_a_bad_file_ends_with_1_and_tells_every_mistake_with_its_line(tmp_path: Path) -> None:
    text = "listen:\n  data: nonsense\nstrategies:\n  plain:\n    idp: oktaa\n    issuer: ftp://idp\ncolour: red\n"
    file = write_config(tmp_path / "validator.yaml", text)
    ran = command("check", "--config", str(file))
    assert ran.code == 1
    told = ran.out + ran.err
    for place in (":2: listen.data:", ":5: strategies.plain.idp:", ":6: strategies.plain.issuer:", ":7: colour:"):
        assert f"{file}{place}" in told
    assert "did you mean okta?" in told
    assert "no mistakes" not in told


@pytest.mark.parametrize("name", ["missing.yaml", "."], ids=["missing", "a directory"])
def test_check_of_no_file_ends_with_1_and_names_it(tmp_path: Path, name: str) -> None:
    ran = command("check", "--config", str(tmp_path / name))
    assert ran.code == 1
    assert str(tmp_path / name) in ran.out + ran.err
    assert "Traceback" not in ran.err


async def online(idp: FakeIdp, directory: Path, issuer: str = "") -> Ran:
    file = await asyncio.to_thread(write_config, directory / "f.yaml", configuration(issuer or idp.issuer))
    return await asyncio.to_thread(command, "check", "--config", str(file), "--online")


async def test_check_online_says_what_it_found_at_the_issuer(idp: FakeIdp, tmp_path: Path) -> None:
    ran = await online(idp, tmp_path)
    assert ran.code == 0
    assert "strategy plain: an OAuth 2.0 identity provider (generic)" in ran.out
    assert f"  issuer {idp.issuer}\n" in ran.out
    assert f"1 key at {idp.jwks_uri}: {idp.mint.current.kid} (RS256)" in ran.out
    assert f"token endpoint {idp.token_endpoint}, by client_secret_post" in ran.out
    assert "no mistakes" in ran.out
    assert idp.calls[Endpoint.TOKEN] == 0  # it proves nobody's secret


async def test_check_online_tells_of_another_issuer_than_the_one_that_was_typed(
    idp: FakeIdp, tmp_path: Path
) -> None:
    idp.metadata = {"issuer": "https://other.example"}
    ran = await online(idp, tmp_path)
    assert f"ISSUER MISMATCH: the file says {idp.issuer}, the issuer calls itself https://other.exam" in ran.out


FAILURES: list[tuple[str, Callable[[FakeIdp], None], str]] = [
    ("errors", lambda idp: idp.fail(Fault.server_error()), "NOT REACHED"),
    ("garbage", lambda idp: idp.fail(Fault.garbage()), "NOT REACHED"),
    ("no keys", lambda idp: idp.fail(Fault.json_reply({"keys": []}), Endpoint.JWKS), "NO KEYS"),
    ("no token endpoint", lambda idp: idp.metadata.update(token_endpoint=None), "NO TOKEN ENDPOINT"),
]


@pytest.mark.parametrize(("fail", "told"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
async def test_check_online_ends_with_1_when_an_issuer_would_not_do(
    idp: FakeIdp, tmp_path: Path, fail: Callable[[FakeIdp], None], told: str
) -> None:
    fail(idp)
    ran = await online(idp, tmp_path)
    assert ran.code == 1
    assert f"  {told}" in ran.out
    assert "but not everything would work: plain" in ran.out
    assert "Traceback" not in ran.err


async def test_check_online_ends_with_1_when_the_issuer_is_down(idp: FakeIdp, tmp_path: Path) -> None:
    await idp.take_down()
    ran = await online(idp, tmp_path)
    assert ran.code == 1
    assert "  NOT REACHED: " in ran.out
    assert "refused" in ran.out


# explain


ROWS: list[tuple[str, Callable[[FakeIdp], str], tuple[str, ...], int, tuple[str, ...]]] = [
    (
        "a good token",
        lambda idp: idp.token("orders"),
        ("--strategy", "plain", "--service", "svc"),
        0,
        (
            "1. credential: bearer",
            "api://default (`aud`)",
            "speaks for the client 'orders'",
            "decision: 200 allowed",
        ),
    ),
    (
        "a good token without a service",
        lambda idp: f"Authorization: Bearer {idp.token('orders')}",
        ("--strategy", "plain"),
        0,
        ("4. application app-1 (Orders), from the configuration file", "5. registrations: svc (approved)"),
    ),
    (
        "a good token for another service",
        lambda idp: idp.token("orders"),
        ("--strategy", "plain", "--service", "billing"),
        1,
        ("4. application app-1", "decision: 403 not_registered"),
    ),
    (
        "a wrong audience",
        lambda idp: idp.token("orders", aud="api://elsewhere"),
        ("--strategy", "plain"),
        1,
        ("api://elsewhere (`aud`)", "decision: 401 audience_mismatch", "because: ", "what to do:"),
    ),
    (
        "an expired token",
        lambda idp: "Bearer " + idp.token("orders", exp=1_700_000_000),
        ("--strategy", "plain"),
        1,
        ("(2023-11-14 22:13:20 UTC)", "decision: 401 token_expired"),
    ),
    (
        "a token of no application",
        lambda idp: idp.token("stranger"),
        ("--strategy", "plain", "--service", "svc"),
        1,
        ("speaks for the client 'stranger'", "decision: 403 application_unknown", "/v1/applications"),
    ),
    (
        "an inactive application, without a service",
        lambda idp: idp.token("sleeping"),
        ("--strategy", "plain"),
        1,
        ("decision: 403 application_inactive",),
    ),
    (
        "a pair",
        lambda _: basic("orders", SECRET),
        ("--strategy", "plain", "--service", "svc"),
        0,
        ("1. credential: client_credentials: the client id 'orders'", "asks the token endpoint", "200 allowed"),
    ),
    (
        "a pair, un-encoded, with a wrong secret",
        lambda _: f"Basic orders:{WRONG}",
        ("--strategy", "plain", "--service", "svc"),
        1,
        ("decision: 401 credentials_rejected",),
    ),
    ("nothing", lambda _: "", ("--strategy", "plain"), 1, ("decision: 401 no_credential",)),
    ("garbage", lambda _: "\x00\xff secret words", ("--strategy", "plain"), 1, ("decision: 401 ",)),
    (
        "a method that is off",
        lambda idp: idp.token("orders"),
        ("--strategy", "machines"),
        1,
        ("decision: 401 method_not_enabled", "strategy machines has client_credentials on"),
    ),
    (
        "a strategy that is not there",
        lambda idp: idp.token("orders"),
        ("--strategy", "plian"),
        2,
        ("--strategy: plain, machines",),
    ),
    (
        "no strategy where there are two",
        lambda idp: idp.token("orders"),
        (),
        2,
        ("--strategy: plain, machines",),
    ),
]


@pytest.mark.parametrize(
    ("credential", "arguments", "code", "told"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
async def test_explain_tells_the_way_to_the_decision(
    idp: FakeIdp,
    tmp_path: Path,
    credential: Callable[[FakeIdp], str],
    arguments: tuple[str, ...],
    code: int,
    told: tuple[str, ...],
) -> None:
    file = await asyncio.to_thread(explainable, idp, tmp_path)
    given = credential(idp)
    ran = await asyncio.to_thread(
        command, "explain", "--config", file, *arguments, stdin=f"{given}\n".encode("latin-1")
    )
    assert ran.code == code, ran
    for phrase in told:
        assert phrase in ran.out + ran.err
    assert "Traceback" not in ran.err
    for secret in (SECRET, WRONG, "secret words", *(part for part in given.split() if len(part) > 30)):
        assert secret not in ran.out + ran.err
    if given.count(".") == 2:
        assert given.rpartition(".")[2] not in ran.out + ran.err  # nor the signature alone


async def test_explain_opens_a_cookie_beside_the_running_sidecar_that_sealed_it(
    idp: FakeIdp, tmp_path: Path
) -> None:
    """The store is shared with the sidecar, and so is a revocation that was written there."""
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    keys.chmod(0o600)
    store = {"path": str(tmp_path / "state.db")}
    config = configuration(idp.issuer, session={"keys_file": str(keys)}, store=store)
    arguments = ("explain", "--config", str(tmp_path / "validator.yaml"), "--service", "svc")
    jar = aiohttp.DummyCookieJar()
    async with running(config, tmp_path) as sidecar, aiohttp.ClientSession(cookie_jar=jar) as http:
        bearer = {"Authorization": f"Bearer {idp.token('orders')}"}
        async with http.get(f"http://{sidecar.data}/v1/authorize/plain/svc", headers=bearer) as reply:
            cookie = reply.headers["Set-Cookie"].partition(";")[0]
            session = reply.headers["X-Session-Id"]
        stdin = f"Cookie: theme=dark; {cookie}".encode()
        ran = await asyncio.to_thread(command, *arguments, stdin=stdin)
        assert ran.code == 0, ran
        assert "1. credential: session" in ran.out
        assert f"session {session}" in ran.out
        assert cookie.partition("=")[2] not in ran.out
        revocation = {"session_id": session}
        async with http.post(f"http://{sidecar.control}/v1/revocations", json=revocation) as reply:
            assert reply.status == 201
        ran = await asyncio.to_thread(command, *arguments, stdin=stdin)
        assert ran.code == 1
        assert "decision: 401 revoked" in ran.out


async def test_explain_says_503_and_that_it_is_not_kept_when_the_issuer_is_down(
    idp: FakeIdp, tmp_path: Path
) -> None:
    file = await asyncio.to_thread(explainable, idp, tmp_path)
    await idp.take_down()
    ran = await asyncio.to_thread(
        command, "explain", "--config", file, "--strategy", "plain", stdin=basic("orders", SECRET).encode()
    )
    assert ran.code == 1
    assert "decision: 503 idp_unavailable and is not cached" in ran.out
    assert SECRET not in ran.out + ran.err


def test_explain_says_what_is_wrong_with_the_file_the_store_or_the_certificates(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    good = configuration(NOWHERE)
    strategy = {**good["strategies"]["plain"], "ca_file": str(bundle)}
    rows: list[tuple[Any, str]] = [
        ("strategies: []\n", "strategies"),
        ({**good, "store": {"path": str(tmp_path)}}, str(tmp_path)),
        ({**good, "strategies": {"plain": strategy}}, str(bundle)),
    ]
    for config, told in rows:
        file = write_config(tmp_path / "validator.yaml", config)
        ran = command("explain", "--config", str(file), stdin=b"x")
        assert ran.code == 1
        assert told in ran.out + ran.err
        assert "Traceback" not in ran.err
