"""Who may speak to the control plane: the token, and without one no browser."""

import pytest
from blockbuster import blockbuster_ctx
from control_support import A_NEW, TOKEN, Running, raw, serving
from structlog.testing import capture_logs


@pytest.fixture
async def control():
    with blockbuster_ctx("validator"):
        async with serving(Running()) as running:
            yield running


class TestToken:
    @pytest.fixture(autouse=True)
    def configured(self, control):
        control.token = TOKEN

    PROTECTED = (
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/v1/applications"),
        ("POST", "/v1/applications"),
        ("DELETE", "/v1/cache"),
        ("GET", "/v1/revocations"),
        ("GET", "/nowhere"),
        ("PATCH", "/healthz/"),
    )

    @pytest.mark.parametrize(("method", "path"), PROTECTED)
    async def test_nothing_without_it(self, control, method, path):
        status, _ = await control.ask(method, path)
        assert status == 401
        assert control.headers["WWW-Authenticate"] == 'Bearer realm="control"'

    async def test_health_and_readiness_are_open(self, control):
        assert (await control.ask("GET", "/healthz"))[0] == 200
        assert (await control.ask("GET", "/readyz"))[0] == 200

    @pytest.mark.parametrize(
        "value",
        [
            "Bearer",
            "Bearer ",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            f"Bearer {TOKEN.upper()}",
            f"Basic {TOKEN}",
            TOKEN,
            "Bearer t\u00f6ken",
        ],
    )
    async def test_a_wrong_one(self, control, value):
        assert (await control.ask("GET", "/metrics", headers={"Authorization": value}))[0] == 401

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    async def test_the_right_one(self, control, scheme):
        headers = {
            "Authorization": f"{scheme} {TOKEN}",
            "Origin": "https://portal.test",
            "Host": "example.test",
        }
        assert (await control.ask("GET", "/metrics", headers=headers))[0] == 200

    async def test_two_authorizations_are_none(self, control):
        headers = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")]
        assert (await control.ask("GET", "/metrics", headers=headers))[0] == 401

    async def test_a_new_token_counts_at_once_and_an_empty_one_opens_nothing(self, control):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        control.token = "another"
        assert (await control.ask("GET", "/metrics", headers=headers))[0] == 401
        control.token = ""
        assert (await control.ask("GET", "/metrics", headers={"Authorization": "Bearer "}))[0] == 401

    async def test_it_is_in_no_log_and_no_answer(self, control):
        with capture_logs() as lines:
            replies = [
                await control.ask("POST", "/v1/applications", A_NEW, headers={"Authorization": f"Bearer {TOKEN}"}),
                await control.ask("GET", "/metrics", headers={"Authorization": f"Bearer x{TOKEN}"}),
                await control.ask("POST", "/v1/applications", {}, headers={"Authorization": f"Bearer {TOKEN}"}),
            ]
        assert [status for status, _ in replies] == [201, 401, 400]
        assert "canary" not in repr(lines) + repr(replies)


class TestBrowsers:
    """Without a token the listener is on loopback, where a page in somebody's browser can reach it."""

    @pytest.mark.parametrize(
        "host",
        ["127.0.0.1", "127.0.0.1:8101", "127.8.8.8", "localhost", "LocalHost:8101", "[::1]", "[::1]:8101"],
    )
    async def test_loopback_hosts_pass(self, control, host):
        assert (await control.ask("GET", "/v1/applications", headers={"Host": host}))[0] == 200

    @pytest.mark.parametrize(
        "host",
        [
            "rebound.test",
            "127.0.0.1.rebound.test",
            "localhost.rebound.test",
            "10.0.0.1",
            "0.0.0.0",  # noqa: S104 -- a Host header's value, nothing is bound
            "[",
            "x@y:z",
            "::1",
        ],
    )
    async def test_other_hosts_are_refused(self, control, host):
        status, problem = await control.ask("GET", "/v1/applications", headers={"Host": host})
        assert status == 403
        assert "control.token_file" in problem["detail"]

    async def test_no_host_is_refused(self, control):
        assert (await raw(control, b"GET /v1/applications HTTP/1.0\r\n\r\n")).split()[1] == b"403"

    @pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://127.0.0.1:8101"])
    async def test_an_origin_is_refused(self, control, origin):
        assert (await control.ask("POST", "/v1/applications", A_NEW, headers={"Origin": origin}))[0] == 403
        assert control.registry.list() == []

    async def test_a_unix_socket_is_out_of_their_reach(self, tmp_path):
        async with serving(Running(), unix=tmp_path / "c.sock") as control:
            with capture_logs() as lines:
                assert (await control.ask("POST", "/v1/applications", A_NEW))[0] == 201
            assert lines[0]["remote"] == "unix"
            assert (await control.ask("GET", "/healthz", headers={"Origin": "null"}))[0] == 403
