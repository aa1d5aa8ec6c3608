"""Sidecars behind https, in the test gateway.

Law of this file: a credential is sent to the peer that the configuration names, proven by its certificate, or to
nobody; a connection that was made on other terms serves no one else.
"""

import datetime as dt
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from gateway import builds, peers
from gateway.builds import BUILDS, MODULES, Build
from gateway.desk import Desk, open_desk
from gateway.gateway import Route
from gateway.stage import BEARER, is_unavailable
from gateway.stub import After, Play, StubSidecar, allowed
from sidecar_process import configuration, running
from tls_support import Authority, Pair

from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

pytestmark = pytest.mark.programs

OURS, STRANGERS, GATEWAYS = Authority("ours"), Authority("strangers"), Authority("gateways")
NAME, OTHER_NAME = "validator.test", "other.test"
PAST = dt.datetime(2021, 1, 1, tzinfo=dt.UTC)
TIMEOUT_MS = 2000

Config = Mapping[str, object]


@pytest.fixture(scope="module", params=BUILDS)
def build(request: pytest.FixtureRequest) -> Iterator[Build]:
    with builds.opened(request.param) as opened:
        yield opened


@pytest.fixture(scope="module")
def modules() -> Iterator[Build]:
    """The build that can show a certificate of its own."""
    with builds.opened(MODULES) as opened:
        yield opened


def client_pair(pair: Pair) -> dict[str, object]:
    return {"tls_client_certificate": pair.certificate.decode(), "tls_client_key": pair.key.decode()}


def desk(
    build: Build, directory: Path, url: str, *configs: Config, trusted: Authority | None = OURS
) -> AbstractAsyncContextManager[Desk]:
    """A gateway with a route for each configuration, ``/``, ``/1``, ``/2`` and so on."""
    base = {"validator_url": url, "strategy": "plain", "timeout_ms": TIMEOUT_MS, "tls_server_name": NAME}
    routes = [
        Route(f"/{number or ''}", "orders", {**base, **config}) for number, config in enumerate(configs or [{}])
    ]
    if trusted is None:
        return open_desk(build, routes)
    (directory / "trusted.pem").write_bytes(trusted.certificate)
    return open_desk(build, routes, directory / "trusted.pem")


async def status_of(opened: Desk, path: str = "/") -> int:
    """Of the answer, which is a whole 503 where it is one."""
    answer = await opened.client.get(path)
    assert answer.status == 200 or is_unavailable(answer)
    return answer.status


@dataclass(slots=True)
class Served:
    """A sidecar behind TLS, and the names that its handshakes asked for."""

    sidecar: StubSidecar
    names: list[str | None]

    @property
    def url(self) -> str:
        return self.sidecar.url

    @property
    def connections(self) -> list[int]:
        """That requests came over, in their order."""
        return [asked.connection for asked in self.sidecar.asked]


@asynccontextmanager
async def serving(
    directory: Path, pair: Pair, *, clients: Authority | None = None, version: ssl.TLSVersion | None = None
) -> AsyncIterator[Served]:
    files = pair.write(directory, "served")
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.certificate.decode())
    sidecar = StubSidecar(tls=context)
    await sidecar.start()
    sidecar.play(allowed())
    try:
        yield Served(sidecar, names)
    finally:
        await sidecar.stop()


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """With a certificate of ours for ``NAME``."""
    async with serving(tmp_path, OURS.issue(NAME)) as opened:
        yield opened


# Whom the plugin talks to


async def test_certificate_that_is_in_order(build: Build, served: Served, tmp_path: Path) -> None:
    async with desk(build, tmp_path, served.url) as opened:
        assert await status_of(opened) == 200
    assert served.names == [NAME]
    assert served.sidecar.asked[0].header("Authorization") == BEARER["Authorization"]
    assert served.sidecar.asked[0].header("Host") == served.url.removeprefix("https://")


async def test_name_is_by_default_the_host_of_the_url(build: Build, tmp_path: Path) -> None:
    async with serving(tmp_path, OURS.issue("127.0.0.1")) as served:
        async with desk(build, tmp_path, served.url, {"tls_server_name": None}) as opened:
            assert await status_of(opened) == 200
        assert served.names == ["127.0.0.1"]


UNTRUSTED = {
    "another name": OURS.issue(OTHER_NAME),
    "a longer name": OURS.issue(f"a.{NAME}"),
    "an unknown CA": STRANGERS.issue(NAME),
    "a CA of the same name": Authority("ours").issue(NAME),
    "expired": OURS.issue(NAME, until=PAST),
}


@pytest.mark.parametrize("name", UNTRUSTED)
async def test_certificate_that_proves_nothing(build: Build, tmp_path: Path, name: str) -> None:
    async with serving(tmp_path, UNTRUSTED[name]) as served, desk(build, tmp_path, served.url) as opened:
        assert [await status_of(opened) for _ in range(2)] == [503, 503]
        assert served.sidecar.asked == []  # nobody saw the credential
        log = opened.gateway.error_log()
        assert log.count(f"no decision: {served.url}: ") == 2
        assert log.count("lua ssl certificate ") == 2  # nginx's own words about what is wrong with it


@pytest.mark.parametrize("name", UNTRUSTED)
async def test_certificate_that_nobody_asks_for(build: Build, tmp_path: Path, name: str) -> None:
    async with serving(tmp_path, UNTRUSTED[name]) as served:
        async with desk(build, tmp_path, served.url, {"tls_verify": False}) as opened:
            assert await status_of(opened) == 200
        assert served.names == [NAME]


async def test_nobody_is_trusted_where_no_ca_is_configured(build: Build, served: Served, tmp_path: Path) -> None:
    async with desk(build, tmp_path, served.url, trusted=None) as opened:
        assert await status_of(opened) == 503
    assert served.sidecar.asked == []


async def test_server_without_tls(build: Build, tmp_path: Path) -> None:
    plain = StubSidecar()
    await plain.start()
    plain.play(allowed())
    url = plain.url.replace("http:", "https:")
    async with desk(build, tmp_path, url, {"tls_verify": False}, {}) as opened:
        assert [await status_of(opened, "/"), await status_of(opened, "/1")] == [503, 503]
    assert plain.asked == []
    await plain.stop()


async def test_server_with_tls_asked_without(build: Build, served: Served, tmp_path: Path) -> None:
    async with desk(build, tmp_path, served.url.replace("https:", "http:")) as opened:
        assert await status_of(opened) == 503
    assert served.sidecar.asked == []


async def test_next_sidecar_decides_where_the_first_proves_nothing(
    build: Build, served: Served, tmp_path: Path
) -> None:
    (tmp_path / "wrong").mkdir()
    async with serving(tmp_path / "wrong", STRANGERS.issue(NAME)) as wrong:
        config = {"fallback_validator_urls": [served.url]}
        async with desk(build, tmp_path, wrong.url, config) as opened:
            assert [await status_of(opened) for _ in range(3)] == [200, 200, 200]
    assert wrong.sidecar.asked == []
    assert len(wrong.names) == 1  # it is passed over


async def test_handshake_that_is_never_answered(build: Build, tmp_path: Path) -> None:
    with peers.silent() as url:
        async with desk(build, tmp_path, url.replace("http:", "https:"), {"timeout_ms": 200}) as opened:
            assert await status_of(opened) == 503
            assert "the TLS handshake failed: timeout" in opened.gateway.error_log()


# Connections


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_one_handshake_serves_many_requests(build: Build, tmp_path: Path, version: ssl.TLSVersion) -> None:
    async with serving(tmp_path, OURS.issue(NAME), version=version) as served:
        async with desk(build, tmp_path, served.url) as opened:
            assert [await status_of(opened) for _ in range(5)] == [200] * 5
        assert len(served.names) == 1
        assert len(set(served.connections)) == 1


async def test_stale_connection_is_tried_again_after_a_handshake(
    build: Build, served: Served, tmp_path: Path
) -> None:
    async with desk(build, tmp_path, served.url) as opened:
        await status_of(opened)
        served.sidecar.play(Play([], After.CLOSE), allowed())
        assert await status_of(opened) == 200
    assert len(set(served.connections)) == 2
    assert served.names == [NAME, NAME]


async def test_stale_connection_is_replaced_by_nobody_unproven(build: Build, tmp_path: Path) -> None:
    files = OURS.issue(NAME)
    async with serving(tmp_path, files) as served, desk(build, tmp_path, served.url) as opened:
        await status_of(opened)
        assert served.sidecar._tls is not None
        stranger = STRANGERS.issue(NAME).write(tmp_path, "stranger")
        served.sidecar._tls.load_cert_chain(stranger.certificate, stranger.key)
        served.sidecar.play(Play([], After.CLOSE), allowed())
        assert await status_of(opened) == 503
        assert len(served.sidecar.asked) == 1  # over the connection from before


LAX: Config = {"tls_verify": False}
STRICT: Config = {}
WRONG_NAME: Config = {"tls_server_name": OTHER_NAME}


@pytest.mark.parametrize(
    ("authority", "first", "second"),
    [(STRANGERS, LAX, STRICT), (OURS, STRICT, WRONG_NAME), (OURS, {**LAX, **WRONG_NAME}, WRONG_NAME)],
    ids=["not verified, then verified", "another name", "another name, then verified"],
)
async def test_connection_made_on_other_terms_serves_nobody_else(
    build: Build, tmp_path: Path, authority: Authority, first: Config, second: Config
) -> None:
    async with (
        serving(tmp_path, authority.issue(NAME)) as served,
        desk(build, tmp_path, served.url, first, second) as opened,
    ):
        for _ in range(3):
            assert await status_of(opened, "/") == 200
            assert await status_of(opened, "/1") == 503
        assert len(served.sidecar.asked) == 3


async def test_connections_of_the_same_terms_are_shared(build: Build, served: Served, tmp_path: Path) -> None:
    async with desk(build, tmp_path, served.url, {}, {"strategy": "other"}) as opened:
        assert [await status_of(opened, path) for path in ("/", "/1", "/", "/1")] == [200] * 4
    assert len(served.names) == 1


# The gateway's own certificate


@pytest_asyncio.fixture
async def demanding(tmp_path: Path) -> AsyncIterator[Served]:
    """Serves clients alone whose certificate is of ``GATEWAYS``."""
    async with serving(tmp_path, OURS.issue(NAME), clients=GATEWAYS) as opened:
        yield opened


async def test_certificate_that_is_demanded(modules: Build, demanding: Served, tmp_path: Path) -> None:
    async with desk(modules, tmp_path, demanding.url, client_pair(GATEWAYS.issue("kong"))) as opened:
        assert [await status_of(opened) for _ in range(3)] == [200, 200, 200]
    assert len(demanding.names) == 1


KONG = GATEWAYS.issue("kong")
REFUSED: dict[str, tuple[Config, str]] = {
    "none": ({}, ""),
    "another CA's": (client_pair(STRANGERS.issue("kong")), ""),
    "expired": (client_pair(GATEWAYS.issue("kong", until=PAST)), ""),
    "another key": (client_pair(Pair(KONG.certificate, GATEWAYS.issue("kong").key)), "the TLS handshake failed: "),
    "no certificate": (client_pair(Pair(b"nonsense", KONG.key)), "tls_client_certificate is no PEM certificate"),
    "no key": (client_pair(Pair(KONG.certificate, b"nonsense")), "tls_client_key is no PEM key"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_certificate_that_does_not_serve(
    modules: Build, demanding: Served, tmp_path: Path, name: str
) -> None:
    config, said = REFUSED[name]
    async with desk(modules, tmp_path, demanding.url, config) as opened:
        assert [await status_of(opened) for _ in range(2)] == [503, 503]
        log = opened.gateway.error_log()
    assert said in log
    assert demanding.sidecar.asked == []
    assert all(line not in log for line in KONG.key.decode().splitlines()[1:-1])


async def test_certificate_goes_with_the_key_beside_it(modules: Build, demanding: Served, tmp_path: Path) -> None:
    wrong = client_pair(Pair(KONG.certificate, GATEWAYS.issue("kong").key))
    async with desk(modules, tmp_path, demanding.url, client_pair(KONG), wrong) as opened:
        assert [await status_of(opened, path) for path in ("/", "/1", "/", "/1")] == [200, 503, 200, 503]


async def test_connections_belong_to_whom_they_were_made_for(
    modules: Build, demanding: Served, tmp_path: Path
) -> None:
    ours, others = client_pair(KONG), client_pair(GATEWAYS.issue("other"))
    async with desk(modules, tmp_path, demanding.url, ours, others, {}) as opened:
        for _ in range(2):
            assert [await status_of(opened, path) for path in ("/", "/1", "/2")] == [200, 200, 503]
    first, second = demanding.connections[:2]
    assert demanding.connections == [first, second, first, second]
    assert first != second


async def test_unverified_connection_with_a_certificate_serves_nobody_else(modules: Build, tmp_path: Path) -> None:
    pair = client_pair(KONG)
    async with (
        serving(tmp_path, STRANGERS.issue(NAME), clients=GATEWAYS) as served,
        desk(modules, tmp_path, served.url, {**pair, **LAX}, pair) as opened,
    ):
        assert [await status_of(opened, path) for path in ("/", "/1", "/")] == [200, 503, 200]


async def test_streamed_plugin_says_that_it_has_no_certificates(demanding: Served, tmp_path: Path) -> None:
    with builds.opened(builds.STREAMED) as streamed:
        async with desk(streamed, tmp_path, demanding.url, client_pair(KONG)) as opened:
            assert await status_of(opened) == 503
            assert "install the plugin on the node" in opened.gateway.error_log()
    assert demanding.sidecar.asked == []


# The sidecar itself


async def test_sidecar_that_demands_certificates(modules: Build, tmp_path: Path) -> None:
    files = OURS.issue(NAME).write(tmp_path, "data")
    (tmp_path / "clients.crt").write_bytes(GATEWAYS.certificate)
    listen = {
        "data": "127.0.0.1:0",
        "control": "127.0.0.1:0",
        "data_tls": {
            "certificate_file": str(files.certificate),
            "key_file": str(files.key),
            "client_ca_file": str(tmp_path / "clients.crt"),
        },
    }
    async with FakeIdp({"orders": "secret"}, clock=SystemClock()) as idp:
        config = configuration(idp.issuer, listen=listen)
        async with running(config, tmp_path) as sidecar:
            routes = [client_pair(KONG), {}, client_pair(STRANGERS.issue("kong"))]
            routes = [{**route, "service": "svc"} for route in routes]
            async with desk(modules, tmp_path, f"https://{sidecar.data}", *routes) as opened:
                headers = {"Authorization": f"Bearer {idp.token('orders')}"}
                answers = [await opened.client.get(path, headers) for path in ("/", "/1", "/2", "/")]
    assert [answer.status for answer in answers] == [200, 503, 503, 200]
    assert answers[0].identity["x-application-id"] == "app-1"
    assert is_unavailable(answers[1])
