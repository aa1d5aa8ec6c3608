"""``validator serve`` with TLS: what it starts with, what it will not, and what SIGHUP does."""

import contextlib
import http.client
import json
import socket
import ssl

import pytest
from sidecar_process import SidecarProcess, command, configuration, write_config
from tls_support import Authority

pytestmark = pytest.mark.programs

OURS, NEXT, GATEWAYS = Authority("ours"), Authority("next"), Authority("gateways")
ISSUER = "http://127.0.0.1:9"  # nobody listens there, and nobody has to
TIMEOUT_S = 20.0


def with_tls(directory, **more):
    files = {"certificate_file": str(directory / "data.crt"), "key_file": str(directory / "data.key"), **more}
    return configuration(ISSUER, listen={"data": "127.0.0.1:0", "control": "127.0.0.1:0", "data_tls": files})


def asked(sidecar, ca, pair=None):
    """The status of a request without a credential, over a connection of its own."""
    context = ssl.create_default_context(cadata=ca.certificate.decode())
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    connection = http.client.HTTPSConnection(sidecar.data, timeout=TIMEOUT_S, context=context)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("GET", "/v1/authorize/plain/svc")
            reply = connection.getresponse()
            reply.read()
        return reply.status


def test_it_serves_and_reads_the_files_again(tmp_path):
    OURS.issue("validator.test").write(tmp_path, "data")
    with SidecarProcess(with_tls(tmp_path), tmp_path) as sidecar:
        assert asked(sidecar, OURS) == 401
        NEXT.issue("validator.test").write(tmp_path, "data")
        before = sidecar.reconfigure(with_tls(tmp_path))
        sidecar.wait_for(lambda event: event["event"] == "reloaded", after=before)
        assert asked(sidecar, NEXT) == 401
        (tmp_path / "data.key").write_bytes(OURS.issue("validator.test").key)
        before = sidecar.reconfigure(with_tls(tmp_path))
        refused = sidecar.wait_for(lambda event: event["event"] == "configuration refused", after=before)
        assert "listen.data_tls.key_file: found another key than the certificate's" in refused["mistakes"][0]
        assert asked(sidecar, NEXT) == 401
        assert sidecar.terminate() == 0


def test_only_those_with_a_certificate_are_served(tmp_path):
    OURS.issue("validator.test").write(tmp_path, "data")
    (tmp_path / "ca.crt").write_bytes(GATEWAYS.certificate)
    with SidecarProcess(with_tls(tmp_path, client_ca_file=str(tmp_path / "ca.crt")), tmp_path) as sidecar:
        assert asked(sidecar, OURS, GATEWAYS.issue("kong").write(tmp_path, "kong")) == 401
        with pytest.raises((OSError, http.client.HTTPException)):
            asked(sidecar, OURS)


def test_clear_text_is_hung_up_on(tmp_path):
    OURS.issue("validator.test").write(tmp_path, "data")
    with SidecarProcess(with_tls(tmp_path), tmp_path) as sidecar:
        host, _, port = sidecar.data.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: v\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert b"HTTP" not in client.recv(4096)
                assert client.recv(4096) == b""
        assert asked(sidecar, OURS) == 401
        assert "Traceback" not in sidecar.said()


@pytest.mark.parametrize("arguments", ["serve", "check"])
def test_a_wrong_key_is_told_and_nothing_starts(tmp_path, arguments):
    OURS.issue("validator.test").write(tmp_path, "data")
    (tmp_path / "data.key").write_bytes(OURS.issue("validator.test").key)
    path = write_config(tmp_path / "v.yaml", json.dumps(with_tls(tmp_path), indent=2))
    ran = command(arguments, "--config", str(path))
    assert ran.code == 1
    assert "listen.data_tls.key_file: found another key than the certificate's" in ran.out + ran.err
