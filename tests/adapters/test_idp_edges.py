"""Which addresses are called at all, whom TLS trusts, how it ends, and what no failure may tell."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from idp_calls import (
    THRESHOLD,
    MakeClient,
    Observed,
    jwks_request,
    refusal,
)

from validator.adapters.breaker import BreakerState, CircuitBreaker
from validator.adapters.idp import IdpClient
from validator.errors import Unavailable
from validator.model import Endpoint, HttpRequest
from validator.testing import FakeIdp, Fault, ManualClock

CANARY = "canary-7f3b"


# -- addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("http://idp.example/keys", "allow_insecure_http"),
        ("http://localhost.example/keys", "allow_insecure_http"),
        ("http://127.0.0.1.example/keys", "allow_insecure_http"),
        ("http://0.0.0.0/keys", "allow_insecure_http"),
        ("http://[2001:db8::1]/keys", "allow_insecure_http"),
        ("https://user:secret@idp.example/keys", "user name"),
        ("http://idp.example@127.0.0.1/keys", "user name"),
        ("ftp://127.0.0.1/keys", "absolute https URL"),
        ("file:///etc/passwd", "absolute https URL"),
        ("/keys", "absolute https URL"),
        ("http://", "absolute https URL"),
        ("http://127.0.0.1:99999999/", "absolute https URL"),
        ("", "absolute https URL"),
    ],
)
async def test_an_address_that_may_not_be_called_is_refused_without_a_call(
    make: MakeClient, observed: Observed, url: str, advice: str
) -> None:
    client = make()
    for _ in range(THRESHOLD + 1):
        error = await refusal(client, jwks_request(url))
        assert advice in error.detail
        assert "secret" not in error.detail
    assert client.breaker_state is BreakerState.CLOSED
    assert observed == [(Endpoint.JWKS, "unreachable")] * (THRESHOLD + 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1.2.3"])
async def test_plain_http_is_spoken_to_loopback(idp: FakeIdp, make: MakeClient, host: str) -> None:
    url = idp.jwks_uri.replace("127.0.0.1", host)
    error_or_none = None
    try:
        assert (await make().send(jwks_request(url))).status == 200
    except Unavailable as error:
        error_or_none = error
    # 127.1.2.3 has no listener here: what matters is that it was called.
    assert error_or_none is None or "allow_insecure_http" not in error_or_none.detail


async def test_plain_http_elsewhere_needs_leave(idp: FakeIdp, make: MakeClient) -> None:
    elsewhere = idp.jwks_uri.replace("127.0.0.1", "0.0.0.0")  # noqa: S104  reaches the listener, yet is no loopback name
    assert (await make(allow_insecure_http=True).send(jwks_request(elsewhere))).status == 200


# -- TLS -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "development")])
    today = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(built.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    clock: ManualClock, make: MakeClient, observed: Observed, server_tls: ssl.SSLContext
) -> None:
    async with FakeIdp(clock=clock, alg="ES256", ssl_context=server_tls) as idp:
        error = await refusal(make(), jwks_request(idp.jwks_uri))
    assert error.detail == "jwks endpoint at 127.0.0.1: its TLS certificate is not trusted"
    assert observed == [(Endpoint.JWKS, "unreachable")]


@pytest.fixture
def trusting(certificate: tuple[Path, Path], clock: ManualClock) -> IdpClient:
    return IdpClient(clock=clock, breaker=CircuitBreaker(clock), ca_file=str(certificate[0]))


async def test_the_ca_file_is_trusted_and_the_name_still_checked(
    clock: ManualClock, server_tls: ssl.SSLContext, trusting: IdpClient
) -> None:
    async with FakeIdp(clock=clock, alg="ES256", ssl_context=server_tls) as idp:
        assert (await trusting.send(jwks_request(idp.jwks_uri))).status == 200
        other_name = idp.jwks_uri.replace("127.0.0.1", "localhost")
        assert "not trusted" in (await refusal(trusting, jwks_request(other_name))).detail
    await trusting.close()


def test_a_ca_file_that_is_none_is_named(clock: ManualClock, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(ValueError, match=name):
            IdpClient(clock=clock, breaker=CircuitBreaker(clock), ca_file=str(tmp_path / name))


async def test_plain_text_on_a_tls_port_is_told_as_such(idp: FakeIdp, make: MakeClient) -> None:
    error = await refusal(make(), jwks_request(idp.jwks_uri.replace("http://", "https://")))
    assert "TLS handshake failed" in error.detail


# -- its end, and its secrets --------------------------------------------------------------------------------


async def test_after_close_calls_are_refused_and_closing_again_is_harmless(idp: FakeIdp, make: MakeClient) -> None:
    client = make()
    await client.send(jwks_request(idp.jwks_uri))
    await client.close()
    await client.close()
    assert "closed" in (await refusal(client, jwks_request(idp.jwks_uri))).detail


async def test_close_ends_a_call_in_flight(idp: FakeIdp, make: MakeClient) -> None:
    client = make()
    idp.fail(Fault.stall())
    call = asyncio.create_task(client.send(jwks_request(idp.jwks_uri)))
    await idp.wait_for_calls(Endpoint.JWKS, 1)
    await client.close()
    with pytest.raises(Unavailable):
        await call


@pytest.mark.parametrize(
    "fault",
    [
        Fault.server_error(),
        Fault(status=503, body=CANARY.encode(), headers={"X-Echo": CANARY}),
        Fault(status=429, body=CANARY.encode(), headers={"Retry-After": CANARY}),
        Fault.oversized(5000),
        Fault.stall(),
    ],
)
async def test_no_failure_tells_what_was_sent_or_what_came(
    idp: FakeIdp, make: MakeClient, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    idp.fail(fault)
    request = HttpRequest(
        Endpoint.TOKEN,
        "POST",
        f"{idp.token_endpoint}?token={CANARY}",
        {"Authorization": f"Basic {CANARY}"},
        f"client_secret={CANARY}".encode(),
    )
    error = await refusal(make(total_timeout_s=0.1, max_reply_bytes=4096), request)
    assert CANARY not in f"{error!r} {error} {error.detail} {error.args} {caplog.text}"


@pytest.mark.parametrize(
    "wrong",
    [{"total_timeout_s": 0}, {"connect_timeout_s": -1}, {"max_reply_bytes": 0}, {"max_concurrent": 0}],
)
def test_bounds_are_checked(clock: ManualClock, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be above"):
        IdpClient(clock=clock, breaker=CircuitBreaker(clock), **wrong)
