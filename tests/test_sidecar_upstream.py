"""What upstreams are told by the assembled sidecar: claims, groups and minted tokens as a gateway reads them."""

import pytest
from sidecar_support import SECRET, applications, assembled, basic, bearer, settings_for

from validator.model import Endpoint
from validator.testing import Fault

HEADERS = {"X-Claim-Tenant": "ctx.tenant", "X-Claim-Roles": "roles"}
CANARY = "CanaryMinted.D9sF"


def grouped(*groups):
    first, *others = applications()
    assert first["client_id"] == "orders"
    return [{**first, "groups": list(groups)}, *others]


async def reconfigured(running, changes, **sections):
    """Puts a configuration with a changed strategy in force, as SIGHUP does."""
    issuer = running.idp.issuer
    strategy = {"idp": "generic", "issuer": issuer, "audience": ["api://default"], **changes}
    await running.sidecar.reload(settings_for(issuer, strategies={"plain": strategy}, **sections))
    await running.until_ready()


async def test_claims_go_with_each_credential_and_its_session():
    async with assembled() as running:
        token = running.idp.token("orders", ctx={"tenant": "acme"}, roles=["a", "b"])
        before = await running.ask(bearer(token))
        assert before.status == 200
        assert not set(HEADERS) & set(before.headers)
        await reconfigured(running, {"upstream_headers": HEADERS})
        told = await running.ask(bearer(token))
        assert {name: told.headers[name] for name in HEADERS} == {"X-Claim-Tenant": "acme", "X-Claim-Roles": "a,b"}
        session = await running.ask(told.cookie)
        assert (session.headers["X-Auth-Method"], session.headers["X-Claim-Tenant"]) == ("session", "acme")
        assert (await running.ask(before.cookie)).verdict == (401, "session_invalid")
        for changed in ({"X-Claim-Tenant": "roles"}, {"X-Claim-Roles": "roles"}):
            await reconfigured(running, {"upstream_headers": changed})
            assert (await running.ask(told.cookie)).verdict == (401, "session_invalid")
            (name,) = changed
            now = await running.ask(bearer(token))
            assert now.headers[name] == "a,b"
            assert not (set(HEADERS) - {name}) & set(now.headers)
        await reconfigured(running, {})
        assert (await running.ask(before.cookie)).status == 200


async def test_groups_of_the_file_and_of_the_control_plane():
    async with assembled(applications=grouped("gold", "internal")) as running:
        token = running.idp.token("orders")
        for _ in range(2):
            assert (await running.ask(bearer(token))).headers["X-Application-Groups"] == "gold, internal"
        await reconfigured(running, {}, applications=grouped("silver"))
        assert (await running.ask(bearer(token))).headers["X-Application-Groups"] == "silver"
        await reconfigured(running, {}, applications=applications()[1:])
        body = {
            "id": "a",
            "strategy": "plain",
            "client_id": "orders",
            "registrations": ["orders"],
            "groups": ["one"],
        }
        for groups in (["one"], ["two", "one"], []):
            status, _ = await running.control("PUT", "/v1/applications/a", {**body, "groups": groups})
            assert status in {200, 201}
            for _ in range(2):
                told = await running.ask(bearer(token))
                assert told.headers.get("X-Application-Groups") == (", ".join(groups) or None)


@pytest.mark.parametrize("methods", [["client_credentials", "session"], ["client_credentials"]], ids=" ".join)
async def test_a_minted_token_is_forwarded_and_seen_nowhere_else(methods):
    async with assembled() as running:
        await reconfigured(running, {"forward_minted_token": True, "auth_methods": methods})
        minted = {"access_token": CANARY, "token_type": "Bearer", "expires_in": 600}
        running.idp.fail(Fault.json_reply(minted, status=200), Endpoint.TOKEN)
        answers = [await running.ask(basic("orders", SECRET)) for _ in range(3)]
        for told in answers:
            assert told.headers["X-Access-Token"] == CANARY
            assert told.headers["Cache-Control"] == "no-store"
        assert running.idp.calls[Endpoint.TOKEN] == 1
        refused = await running.ask(basic("orders", SECRET), service="billing")
        assert refused.status == 403
        paths = ("/metrics", "/v1/applications", "/readyz")
        heard = [await running.control("GET", path) for path in paths]
        assert CANARY not in f"{heard} {refused} {running.logs} {running.sidecar.caches!r}"
        await reconfigured(running, {"auth_methods": methods})
        assert "X-Access-Token" not in (await running.ask(basic("orders", SECRET))).headers


async def test_a_minted_token_is_forwarded_no_longer_than_it_says():
    """Without ``expires_in`` only the token tells when it ends, and ``leeway_s`` is ours alone."""
    async with assembled() as running:
        await reconfigured(running, {"forward_minted_token": True, "leeway_s": 100})
        now = running.clock.now()
        for token in [running.idp.token("orders", exp=now + ends_s) for ends_s in (10, 20, 30)]:
            running.idp.fail(Fault.json_reply({"access_token": token}, status=200), Endpoint.TOKEN)
            for _ in range(2):
                assert (await running.ask(basic("orders", SECRET))).headers["X-Access-Token"] == token
            running.clock.advance(10)
