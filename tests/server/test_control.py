"""What each operation of the control plane does, over real sockets."""

import asyncio
import uuid

import pytest
from blockbuster import blockbuster_ctx
from control_support import A_GUID, A_NEW, Running, raw, serving
from structlog.testing import capture_logs

from validator.model import Application, Method, Proof, RegistrationStatus, Session


@pytest.fixture
async def control():
    with blockbuster_ctx("validator"):
        async with serving(Running()) as running:
            yield running


class TestProcess:
    async def test_health(self, control):
        assert await control.ask("GET", "/healthz") == (200, {"status": "ok"})
        assert await control.ask("HEAD", "/healthz") == (200, b"")

    async def test_readiness(self, control):
        assert await control.ask("GET", "/readyz") == (200, {"status": "ready"})
        control.missing = ["strategy plain has no keys"]
        expected = {"status": "unready", "missing": ["strategy plain has no keys"]}
        assert await control.ask("GET", "/readyz") == (503, expected)

    async def test_readiness_can_leave_redis_out_and_nothing_else(self, control):
        assert (await control.ask("GET", "/readyz"))[0] == 200
        assert control.excluded == set()
        assert (await control.ask("GET", "/readyz?exclude=redis"))[0] == 200
        assert control.excluded == {"redis"}
        status, problem = await control.ask("GET", "/readyz?exclude=store")
        assert (status, problem["errors"]) == (400, [{"parameter": "exclude", "detail": "must be redis"}])

    async def test_metrics(self, control):
        assert await control.ask("GET", "/metrics") == (200, b"up 1\n")
        assert control.headers["Content-Type"] == "text/plain; version=1.0.0; charset=utf-8"

    async def test_the_cache_is_forgotten(self, control):
        assert await control.ask("DELETE", "/v1/cache") == (204, b"")
        assert control.cleared == 1


class TestApplications:
    async def test_created_read_and_deleted(self, control):
        status, made = await control.ask("POST", "/v1/applications", A_NEW)
        assert status == 201
        assert control.headers["Location"] == "/v1/applications/app-1"
        assert made == {
            "id": "app-1",
            "name": "Orders",
            "strategy": "plain",
            "client_id": "c1",
            "status": "active",
            "registrations": [{"service": "orders", "status": "approved"}],
            "groups": [],
            "origin": "api",
        }
        assert control.memory.find("plain", "c1").registrations == {"orders": RegistrationStatus.APPROVED}
        assert await control.ask("GET", "/v1/applications/app-1") == (200, made)
        assert await control.ask("DELETE", "/v1/applications/app-1") == (204, b"")
        assert (await control.ask("GET", "/v1/applications/app-1"))[0] == 404
        assert (await control.ask("DELETE", "/v1/applications/app-1"))[0] == 404

    async def test_what_is_left_out_has_defaults(self, control):
        status, made = await control.ask("POST", "/v1/applications", {"strategy": "plain", "client_id": "c1"})
        assert status == 201
        assert str(uuid.UUID(made["id"])) == made["id"]
        assert (made["name"], made["status"], made["registrations"]) == ("c1", "active", [])

    async def test_taken_ones_conflict(self, control):
        control.memory.load_file([Application("filed", "F", "plain", "fc")])
        await control.ask("POST", "/v1/applications", A_NEW)
        for change, message in (
            ({"client_id": "other"}, "id 'app-1' is taken"),
            ({"id": "2"}, "client id 'c1'"),
            ({"id": "filed", "client_id": "x"}, "configuration file"),
            ({"id": "2", "client_id": "fc"}, "configuration file"),
        ):
            status, problem = await control.ask("POST", "/v1/applications", {**A_NEW, **change})
            assert status == 409
            assert message in problem["detail"]

    async def test_a_put_of_a_new_id_with_a_taken_client_id_names_it(self, control):
        await control.ask("POST", "/v1/applications", A_NEW)
        status, problem = await control.ask("PUT", "/v1/applications/2", {**A_NEW, "id": "2"})
        assert (status, "client id 'c1'" in problem["detail"]) == (409, True)

    async def test_put_creates_then_replaces_whole(self, control):
        body = {k: v for k, v in A_NEW.items() if k != "id"}
        status, made = await control.ask("PUT", "/v1/applications/app-1", body)
        assert (status, made["id"]) == (201, "app-1")
        assert control.headers["Location"] == "/v1/applications/app-1"
        status, now = await control.ask(
            "PUT", "/v1/applications/app-1", {"strategy": "azure", "client_id": "c2", "status": "inactive"}
        )
        assert status == 200
        assert (now["name"], now["strategy"], now["status"], now["registrations"]) == (
            "c2",
            "azure",
            "inactive",
            [],
        )
        assert control.memory.find("plain", "c1") is None
        assert control.memory.find("azure", "c2").active is False

    async def test_what_was_read_can_be_put_back(self, control):
        _, made = await control.ask("POST", "/v1/applications", A_NEW)
        assert await control.ask("PUT", "/v1/applications/app-1", made) == (200, made)

    async def test_of_parallel_puts_of_a_new_id_one_creates_and_none_fails(self, control):
        body = {"strategy": "plain", "client_id": "c1"}
        replies = await asyncio.gather(*(control.ask("PUT", "/v1/applications/new", body) for _ in range(20)))
        assert sorted(status for status, _ in replies) == [200] * 19 + [201]

    async def test_of_parallel_posts_of_one_client_one_creates(self, control):
        body = {"strategy": "plain", "client_id": A_GUID}
        replies = await asyncio.gather(*(control.ask("POST", "/v1/applications", body) for _ in range(20)))
        assert sorted(status for status, _ in replies) == [201] + [409] * 19

    async def test_the_files_own_are_read_and_not_written(self, control):
        control.memory.load_file([Application("filed", "F", "plain", "fc")])
        _, read = await control.ask("GET", "/v1/applications/filed")
        assert read["origin"] == "file"
        for method, path, body in (
            ("PUT", "/v1/applications/filed", {"strategy": "plain", "client_id": "fc"}),
            ("DELETE", "/v1/applications/filed", None),
            ("PUT", "/v1/applications/filed/registrations/orders", {"status": "approved"}),
            ("DELETE", "/v1/applications/filed/registrations/orders", None),
        ):
            status, problem = await control.ask(method, path, body)
            assert status == 409
            assert "stands in the configuration file: change it there" in problem["detail"]

    async def test_registrations(self, control):
        await control.ask("POST", "/v1/applications", A_NEW)
        path = "/v1/applications/app-1/registrations"
        for status in ("pending", "revoked", "rejected", "approved"):
            code, now = await control.ask("PUT", f"{path}/billing", {"status": status})
            assert code == 200
            assert {"service": "billing", "status": status} in now["registrations"]
            assert control.memory.find("plain", "c1").registrations["billing"] == status
        assert await control.ask("DELETE", f"{path}/billing") == (204, b"")
        assert (await control.ask("DELETE", f"{path}/billing"))[0] == 404
        assert (await control.ask("PUT", "/v1/applications/no/registrations/x", {"status": "approved"}))[0] == 404
        assert set(await control.mistakes("PUT", f"{path}/x", {"status": "yes"})) == {"/status"}
        assert set(await control.mistakes("PUT", f"{path}/x", {})) == {"/status"}
        assert set(await control.mistakes("PUT", f"{path}/a%0Ab", {"status": "approved"})) == {"service"}

    async def test_ids_and_services_with_slashes_and_other_scripts(self, control):
        status, _ = await control.ask("POST", "/v1/applications", {**A_NEW, "id": "a/b ü?"})
        assert status == 201
        location = control.headers["Location"]
        assert location == "/v1/applications/a%2Fb%20%C3%BC%3F"
        target = location.encode() + b"/registrations/v1%2Forders"
        content = b'{"status":"approved"}'
        reply = await raw(
            control,
            b"PUT %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (target, len(content), content),
        )
        assert reply.startswith(b"HTTP/1.1 200 ")
        assert "v1/orders" in control.memory.get("a/b ü?").registrations


class TestListing:
    @pytest.fixture(autouse=True)
    async def some(self, control):
        for number in range(5):
            strategy = "azure" if number % 2 else "plain"
            await control.registry.create(Application(f"{number}", f"n{number}", strategy, f"c{number}"))

    async def ids(self, control, query=""):
        status, page = await control.ask("GET", f"/v1/applications{query}")
        assert status == 200
        return [a["id"] for a in page["applications"]], page["next"]

    async def test_pages(self, control):
        assert await self.ids(control) == (["0", "1", "2", "3", "4"], None)
        assert await self.ids(control, "?limit=5") == (["0", "1", "2", "3", "4"], None)
        assert await self.ids(control, "?limit=4") == (["0", "1", "2", "3"], "3")
        assert await self.ids(control, "?limit=4&after=3") == (["4"], None)
        assert await self.ids(control, "?after=9") == ([], None)

    async def test_filters(self, control):
        assert await self.ids(control, "?strategy=azure") == (["1", "3"], None)
        assert await self.ids(control, "?strategy=azure&limit=1") == (["1"], "1")
        assert await self.ids(control, "?client_id=c2") == (["2"], None)
        assert await self.ids(control, "?client_id=c2&strategy=azure") == ([], None)

    async def test_the_most_a_page(self, control):
        for number in range(1000):
            control.memory.apply(Application(f"x{number:04}", "n", "plain", f"x{number}"))
        ids, following = await self.ids(control, "?limit=1000&after=4")
        assert (len(ids), following) == (1000, None)
        ids, following = await self.ids(control, "?limit=1000")
        assert (len(ids), following) == (1000, "x0994")

    @pytest.mark.parametrize(
        ("query", "wrong"),
        [
            ("?limit=0", "limit"),
            ("?limit=1001", "limit"),
            ("?limit=-1", "limit"),
            ("?limit=", "limit"),
            ("?limit=1e2", "limit"),
            ("?limit=٣", "limit"),
            ("?limit=12345", "limit"),
            ("?limit=1&limit=2", "limit"),
            ("?clientid=x", "clientid"),
            ("?client_id=" + "x" * 257, "client_id"),
        ],
    )
    async def test_a_wrong_parameter_is_named(self, control, query, wrong):
        assert set(await control.mistakes("GET", f"/v1/applications{query}")) == {wrong}


class TestRevocations:
    @pytest.mark.parametrize(
        "body",
        [
            {"client_id": "c9"},
            {"client_id": "c9", "strategy": "plain"},
            {"application_id": "app-1"},
            {"session_id": "s1"},
            {"jti": "j1"},
            {"jti": "j1", "expires_at": 1_800_000_001},
            {"jti": "j1", "expires_at": 1_800_000_000.5},
        ],
    )
    async def test_made_read_and_lifted(self, control, body):
        await control.ask("POST", "/v1/applications", A_NEW)
        status, made = await control.ask("POST", "/v1/revocations", body)
        assert status == 201
        assert made == {"expires_at": None, **body, "created_at": control.clock.now()}
        assert await control.ask("GET", "/v1/revocations") == (200, {"revocations": [made]})
        assert (await control.ask("POST", "/v1/revocations", body))[0] == 201
        assert await control.ask("DELETE", "/v1/revocations", body) == (204, b"")
        assert (await control.ask("DELETE", "/v1/revocations", body))[0] == 404
        assert await control.ask("GET", "/v1/revocations") == (200, {"revocations": []})

    @pytest.mark.parametrize(
        ("body", "pointers"),
        [
            ({}, {""}),
            ({"client_id": None}, {""}),
            ({"client_id": "a", "jti": "b"}, {""}),
            ({"jti": "b", "strategy": "plain"}, {"/strategy"}),
            ({"client_id": "a", "strategy": "nope"}, {"/strategy"}),
            ({"strategy": "plain"}, {""}),
            ({"sessions_of": "a"}, {"/strategy"}),
            ({"sessions_of": "a", "strategy": "nope"}, {"/strategy"}),
            ({"sessions_of": "", "strategy": "plain"}, {"/sessions_of"}),
            ({"sessions_of": "a", "client_id": "a", "strategy": "plain"}, {""}),
            ({"token": "a"}, {"", "/token"}),
            ({"jti": 5, "strategy": "nope"}, {"/jti", "/strategy"}),
            ({"jti": ""}, {"/jti"}),
            ({"jti": "x" * 513}, {"/jti"}),
            ({"jti": "a", "expires_at": "1900000000"}, {"/expires_at"}),
            ({"jti": "a", "expires_at": True}, {"/expires_at"}),
            ({"jti": "a", "expires_at": 1_800_000_000}, {"/expires_at"}),
            ({"jti": "a", "expires_at": 0}, {"/expires_at"}),
            ({"jti": "a", "expires_at": 1_900_000_000_000}, {"/expires_at"}),
        ],
    )
    async def test_mistakes(self, control, body, pointers):
        assert set(await control.mistakes("POST", "/v1/revocations", body)) == pointers
        assert control.registry.revocations() == []

    async def test_sessions_of_end_with_the_longest_that_they_could_have_lasted(self, control):
        control.session_ttl_s = 7200.0
        body = {"sessions_of": "c1", "strategy": "plain"}
        status, made = await control.ask("POST", "/v1/revocations", body)
        assert status == 201
        now = control.clock.now()
        assert made == {**body, "created_at": now, "expires_at": now + 7200.0}
        assert await control.ask("GET", "/v1/revocations") == (200, {"revocations": [made]})
        named = {**body, "expires_at": now + 60}
        assert (await control.ask("POST", "/v1/revocations", named))[1]["expires_at"] == now + 60
        assert await control.ask("DELETE", "/v1/revocations", body) == (204, b"")
        assert (await control.ask("DELETE", "/v1/revocations", body))[0] == 404

    async def test_sessions_of_end_the_sessions_that_are_open_and_no_later_one(self, control):
        def proof(opened_at):
            session = Session("s1", "plain", "c1", opened_at, opened_at, opened_at + 3600)
            return Proof("plain", Method.SESSION, "c1", opened_at + 900, opened_at + 3600, session=session)

        before = control.clock.now()
        control.clock.advance(10)
        await control.ask("POST", "/v1/revocations", {"sessions_of": "c1", "strategy": "plain"})
        control.clock.advance(10)
        assert control.memory.covers(proof(before), None)
        assert not control.memory.covers(proof(control.clock.now()), None)

    async def test_infinite_ends_are_refused(self, control):
        status, _ = await control.ask(
            "POST",
            "/v1/revocations",
            data=b'{"jti":"a","expires_at":1e999}',
            headers={"Content-Type": "application/json"},
        )
        assert status == 400

    async def test_an_unknown_application(self, control):
        assert (await control.ask("POST", "/v1/revocations", {"application_id": "nobody"}))[0] == 404
        assert control.registry.revocations() == []

    async def test_the_list_is_bounded(self, control):
        for number in range(3):
            await control.ask("POST", "/v1/revocations", {"jti": str(number)})
        _, listed = await control.ask("GET", "/v1/revocations?limit=2")
        assert [r["jti"] for r in listed["revocations"]] == ["2", "1"]
        assert set(await control.mistakes("GET", "/v1/revocations?limit=1001")) == {"limit"}


class TestLog:
    async def test_one_line_for_each_write_and_none_for_reading_or_failing(self, control):
        new = {**A_NEW, "id": "2", "client_id": "c2"}
        with capture_logs() as lines:
            await control.ask("POST", "/v1/applications", A_NEW)
            await control.ask("POST", "/v1/applications", A_NEW)
            await control.ask("PUT", "/v1/applications/2", new)
            await control.ask("PUT", "/v1/applications/2", new)
            await control.ask("GET", "/v1/applications")
            await control.ask("PUT", "/v1/applications/2/registrations/x", {"status": "pending"})
            await control.ask("DELETE", "/v1/applications/2/registrations/x")
            await control.ask("DELETE", "/v1/applications/2")
            await control.ask("DELETE", "/v1/applications/2")
            await control.ask("POST", "/v1/revocations", {"client_id": "c1", "strategy": "plain"})
            await control.ask("DELETE", "/v1/revocations", {"client_id": "c1", "strategy": "plain"})
            await control.ask("DELETE", "/v1/cache")
        assert {line["event"] for line in lines} == {"control_write"}
        assert {line["remote"] for line in lines} == {"127.0.0.1"}
        assert [line["action"] for line in lines] == [
            "create_application",
            "create_application",
            "replace_application",
            "set_registration",
            "delete_registration",
            "delete_application",
            "revoke",
            "unrevoke",
            "clear_cache",
        ]
        assert lines[0]["application_id"] == "app-1"
        assert (lines[3]["service"], lines[3]["status"]) == ("x", "pending")
        assert (lines[6]["client_id"], lines[6]["strategy"]) == ("c1", "plain")
