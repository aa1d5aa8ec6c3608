"""A route under several strategies: which of them judges what, and that nobody else is asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from joint_support import ASKING, NAMES, SECRET, WITHOUT, Joint
from structlog.testing import capture_logs
from support_http import down, until
from support_pipeline import ALL_METHODS, app, basic

from validator.model import Method, Revocation
from validator.pipeline import JointRoute
from validator.testing import ManualClock

BOTH = "plain,other"
ALL = ",".join(NAMES)
APPLICATIONS = [app("orders", "svc", "more", strategy=name) for name in NAMES]
DISCOVERED = "/.well-known/openid-configuration"
Made = Callable[..., Any]


@pytest.fixture
async def made(clock: ManualClock) -> AsyncIterator[Made]:
    joints: list[Joint] = []

    async def make(*, ready: bool = True, **options: Any) -> Joint:
        joints.append(Joint(clock, **{"applications": APPLICATIONS, **options}))
        return await joints[-1].ready() if ready else joints[-1]

    yield make
    for joint in joints:
        await joint.close()


def judged(joint: Joint) -> set[str]:
    """The strategies that counted anything."""
    return {name for name, _, _, _ in joint.kitchen.tallies}


class TestWhose:
    @pytest.mark.parametrize("name", NAMES)
    async def test_a_token_is_its_issuers(self, made, name):
        joint = await made()
        seen = await joint.kitchen.ask(joint.idps[name].token(), strategy=ALL)
        assert seen.status == 200
        assert judged(joint) == {name}
        assert joint.kitchen.verifications == {name: 1}

    async def test_an_opaque_token_is_the_first_that_introspects(self, made):
        joint = await made(options={"other": {"introspection": ASKING}, "third": {"introspection": ASKING}})
        assert (await joint.kitchen.ask(joint.idps["other"].opaque(), strategy=ALL)).status == 200
        foreign = joint.idps["third"].opaque()
        assert (await joint.kitchen.ask(foreign, strategy=ALL)).said == (401, "token_inactive")
        assert joint.shown(foreign.removeprefix(b"Bearer ")) == ["other"]

    @pytest.mark.parametrize("name", NAMES)
    async def test_a_pair_is_theirs_who_have_the_application(self, made, name):
        joint = await made(applications=[app("orders", strategy=name)])
        assert (await joint.kitchen.ask(basic("orders", SECRET), strategy=ALL)).status == 200
        assert joint.shown(SECRET.encode()) == [name]

    async def test_of_two_that_have_it_the_first_written(self, made):
        joint = await made()
        assert (await joint.kitchen.ask(basic("orders", SECRET), strategy="third,other")).status == 200
        assert joint.shown(SECRET.encode()) == ["third"]

    @pytest.mark.parametrize("name", NAMES)
    async def test_a_cookie_is_theirs_who_sealed_it(self, made, name):
        joint = await made()
        seen = await joint.kitchen.ask(cookie=joint.cookie(name), strategy=ALL)
        assert (seen.status, seen.headers["x-session-id"]) == (200, f"session-{name}")
        assert judged(joint) == {name}

    async def test_a_session_opened_on_a_joint_route_is_the_picked_ones(self, made):
        joint = await made()
        seen = await joint.kitchen.ask(joint.idps["other"].token(), strategy=BOTH)
        for strategy, status in (
            (BOTH, 200),
            ("other,plain", 200),
            ("other", 200),
            ("plain", 401),
            ("third", 401),
        ):
            assert (await joint.kitchen.ask(cookie=seen.cookie, strategy=strategy)).status == status

    async def test_a_method_that_is_off_makes_nothing_theirs(self, made):
        joint = await made(options={"plain": {"methods": WITHOUT[Method.CLIENT_CREDENTIALS]}})
        assert (await joint.kitchen.ask(basic("orders", SECRET), strategy=BOTH)).status == 200
        assert joint.shown(SECRET.encode()) == ["other"]

    async def test_the_issuers_name_in_the_configuration_counts_before_discovery(self, made):
        """With a slash that only the document has, and while the others cannot be reached."""
        joint = await made(ready=False, called={"other": "https://other.test/"})
        joint.idps["plain"].table.clear()
        token = joint.idps["other"].token()
        assert (await joint.kitchen.ask(token, strategy=ALL)).status == 200

    async def test_while_an_issuer_is_unknown_no_token_is_a_strangers(self, made):
        """Its name is another than the configured one, and so nobody can say whose the token is."""
        joint = await made(ready=False, called={"other": "https://elsewhere.test"})
        token, table = joint.idps["other"].token(), joint.idps["other"].table
        joint.idps["other"].table = dict.fromkeys(table, down())
        await joint.issuers["plain"].tend()
        await joint.issuers["third"].tend()
        assert (await joint.kitchen.ask(token, strategy=ALL)).said == (503, "idp_unavailable")
        joint.idps["other"].table = table
        joint.clock.advance(60)
        assert (await joint.kitchen.ask(token, strategy=ALL)).status == 200


class TestNobodys:
    async def test_a_foreign_token_is_refused_by_the_first_that_reads_tokens(self, made):
        joint = await made(options={"plain": {"methods": WITHOUT[Method.BEARER]}})
        seen = await joint.kitchen.ask(joint.idps["plain"].token(), strategy=ALL)
        assert seen.said == (401, "issuer_mismatch")
        assert seen.headers["www-authenticate"].startswith('Bearer realm="other", error=')
        assert judged(joint) == {"other"}

    @pytest.mark.parametrize("token", [b"e30.e30.e30", b"eyJ.x.y", b"a.b.c.d.e", b"opaque"])
    async def test_what_is_no_token_is_refused_as_the_first_would(self, made, token):
        joint = await made()
        alone = await joint.kitchen.ask(b"Bearer " + token, strategy="plain")
        assert (await joint.kitchen.ask(b"Bearer " + token, strategy=BOTH)).said == alone.said

    async def test_a_foreign_token_is_shown_to_nobody_who_would_ask_about_all(self, made):
        asking = {"introspection": ASKING, "everything": True}
        joint = await made(options={"plain": asking, "other": asking})
        token = joint.idps["third"].token()
        assert (await joint.kitchen.ask(token, strategy=BOTH)).said == (401, "issuer_mismatch")
        assert joint.shown(token.removeprefix(b"Bearer ")) == []
        own = joint.idps["other"].token()
        assert (await joint.kitchen.ask(own, strategy=BOTH)).status == 200
        assert joint.shown(own.removeprefix(b"Bearer ")) == ["other"]

    async def test_nor_while_it_is_not_known_what_they_are_called(self, made):
        joint = await made(ready=False, options={"plain": {"introspection": ASKING, "everything": True}})
        await joint.issuers["other"].tend()
        token = joint.idps["third"].token()
        assert (await joint.kitchen.ask(token, strategy=BOTH)).said == (401, "issuer_mismatch")
        assert joint.shown(token.removeprefix(b"Bearer ")) == []

    async def test_what_none_can_read_is_opaque_to_one_that_asks_about_all(self, made):
        joint = await made(options={"other": {"introspection": ASKING, "everything": True}})
        assert (await joint.kitchen.ask(b"Bearer eyJ.x.y", strategy=BOTH)).said == (401, "token_inactive")
        assert joint.shown(b"eyJ.x.y") == ["other"]

    async def test_a_pair_that_nobody_has_is_refused_unasked(self, made):
        joint = await made(applications=[])
        seen = await joint.kitchen.ask(basic("orders", SECRET), strategy=ALL)
        assert seen.said == (401, "credentials_rejected")
        assert [idp.asked() for idp in joint.idps.values()] == [0, 0, 0]
        assert judged(joint) == {"plain"}

    async def test_also_where_it_was_proved_on_the_first_ones_own_route(self, made):
        joint = await made(applications=[])
        assert (await joint.kitchen.ask(basic("orders", SECRET))).said == (403, "application_unknown")
        assert (await joint.kitchen.ask(basic("orders", SECRET), strategy=ALL)).said == (
            401,
            "credentials_rejected",
        )

    async def test_such_pairs_are_counted_as_wrong_secrets_are(self, made):
        """Else the answers would tell which client ids there are."""
        joint = await made(applications=[app("orders", strategy="other")])
        for client_id in ("orders", "stranger"):
            seen = [
                (await joint.kitchen.ask(basic(client_id, f"wrong-{number}"), strategy=BOTH)).said
                for number in range(12)
            ]
            assert seen == [(401, "credentials_rejected")] * 10 + [(429, "too_many_attempts")] * 2

    async def test_a_cookie_that_opens_nowhere(self, made):
        joint = await made()
        assert (await joint.kitchen.ask(cookie=b"x", strategy=ALL)).said == (401, "session_invalid")
        late = joint.cookie("other", seen_s=901)
        assert (await joint.kitchen.ask(cookie=late, strategy=ALL)).said == (401, "session_expired")


class TestChallenge:
    def options(self) -> dict[str, Any]:
        return {
            "plain": {"methods": frozenset({Method.BEARER})},
            "other": {"methods": frozenset({Method.CLIENT_CREDENTIALS})},
        }

    @pytest.mark.parametrize(
        ("authorization", "reason"),
        [(None, "no_credential"), (b"", "malformed_credential"), (b"Digest x", "method_not_enabled")],
    )
    async def test_before_a_pick_it_unites_the_methods_in_the_firsts_name(self, made, authorization, reason):
        joint = await made(options=self.options())
        seen = await joint.kitchen.ask(authorization, strategy=BOTH)
        assert seen.said == (401, reason)
        assert seen.headers["www-authenticate"].count('realm="plain"') == 2
        assert 'Basic realm="plain"' in seen.headers["www-authenticate"]

    async def test_a_method_that_is_off_everywhere(self, made):
        joint = await made(options=self.options())
        seen = await joint.kitchen.ask(cookie=joint.cookie("plain"), strategy=BOTH)
        assert seen.said == (401, "method_not_enabled")
        assert seen.headers["www-authenticate"].count("realm") == 2

    async def test_behind_it_it_is_the_picked_ones(self, made):
        joint = await made(options=self.options())
        seen = await joint.kitchen.ask(basic("orders", "wrong"), strategy=BOTH)
        assert seen.headers["www-authenticate"] == 'Basic realm="other", charset="UTF-8"'


class TestKept:
    @pytest.mark.parametrize("routes", [(BOTH, "other"), ("other", BOTH), (BOTH, "other,plain"), (BOTH, ALL)])
    @pytest.mark.parametrize("kind", ["token", "pair"])
    async def test_what_was_proved_on_one_route_is_proved_on_the_other(self, made, routes, kind):
        joint = await made(applications=APPLICATIONS[1:2])
        credential = joint.idps["other"].token() if kind == "token" else basic("orders", SECRET)
        for route in routes:
            assert (await joint.kitchen.ask(credential, strategy=route)).status == 200
        assert joint.kitchen.verifications == {"other": 1}
        assert joint.kitchen.caches.proof_hits == 1
        assert joint.idps["other"].asked() == (kind == "pair")

    async def test_calls_on_both_routes_share_one_question(self, made):
        joint = await made(applications=APPLICATIONS[1:2])
        asking = [
            asyncio.ensure_future(joint.kitchen.ask(basic("orders", SECRET), strategy=strategy))
            for strategy in (BOTH, "other", ALL)
        ]
        assert [seen.status for seen in await asyncio.gather(*asking)] == [200] * 3
        assert joint.idps["other"].asked() == 1

    async def test_answers_are_replayed(self, made):
        joint = await made()
        for _ in range(3):
            await joint.kitchen.ask(joint.idps["other"].token(jti="1"), strategy=BOTH)
            joint.clock.advance(0.5)
        assert (joint.kitchen.judged, joint.kitchen.replayed) == (3, 0)  # three tokens
        token = joint.idps["other"].token(jti="1")
        for _ in range(3):
            await joint.kitchen.ask(token, strategy=BOTH)
        assert (joint.kitchen.judged, joint.kitchen.replayed) == (4, 2)

    async def test_a_change_has_an_answer_judged_again_from_its_proof(self, made):
        joint = await made()
        token = joint.idps["other"].token()
        route = joint.kitchen.pipeline.route(BOTH, "svc")
        assert isinstance(route, JointRoute)
        first = await joint.kitchen.ask(token, strategy=BOTH)
        joint.kitchen.caches.epoch.touch_all()
        key = route.key(token, None)
        assert joint.kitchen.pipeline.replay(route, key, joint.clock.now()) is None
        again = await joint.kitchen.ask(token, strategy=BOTH)
        assert again.headers["x-session-id"] == first.headers["x-session-id"]
        assert joint.kitchen.verifications == {"other": 1}
        joint.kitchen.registry.revoke(Revocation("client_id", "orders", "other", created_at=joint.clock.now()))
        assert (await joint.kitchen.ask(token, strategy=BOTH)).said == (401, "revoked")

    async def test_another_strategys_changes_leave_an_answer_alone(self, made):
        joint = await made()
        token = joint.idps["other"].token()
        await joint.kitchen.ask(token, strategy=BOTH)
        joint.kitchen.registry.revoke(Revocation("client_id", "orders", "plain", created_at=joint.clock.now()))
        await joint.kitchen.ask(token, strategy=BOTH)
        assert joint.kitchen.replayed == 1

    async def test_no_answer_of_one_route_is_another_ones(self, made):
        """Nor of the same strategies in another order."""
        joint = await made()
        routes = [joint.kitchen.pipeline.route(names, "svc") for names in (BOTH, "other,plain", ALL, *NAMES)]
        keys = {route.key(b"Bearer x", None) for route in routes} | {route.key(None, b"x") for route in routes}
        keys |= {route.no_credential_key for route in routes}
        assert len(keys) == 3 * len(routes)
        assert len({key[:32] for key in keys}) == len(keys)

    async def test_whose_a_pair_is_follows_the_registry_at_once(self, made):
        joint = await made(applications=[])
        pair, seen = basic("orders", SECRET), []
        for change in (None, APPLICATIONS[1], APPLICATIONS[0]):
            if change is not None:
                joint.kitchen.registry.apply(change)
            answer = await joint.kitchen.ask(pair, strategy=BOTH)
            seen.append((answer.status, answer.headers.get("x-application-id")))
        joint.kitchen.registry.remove(APPLICATIONS[0].id)
        assert (await joint.kitchen.ask(pair, strategy=BOTH)).headers["x-application-id"] == "app-other-orders"
        assert seen == [(401, None), (200, "app-other-orders"), (200, "app-plain-orders")]

    async def test_also_of_a_secret_that_was_wrong_there(self, made):
        joint = await made(applications=APPLICATIONS[1:2])
        pair = basic("orders", "wrong")
        assert 'realm="other"' in (await joint.kitchen.ask(pair, strategy=BOTH)).headers["www-authenticate"]
        joint.kitchen.registry.apply(APPLICATIONS[0])
        assert 'realm="plain"' in (await joint.kitchen.ask(pair, strategy=BOTH)).headers["www-authenticate"]

    @pytest.mark.parametrize(("secret", "status"), [(SECRET, 200), ("wrong", 401)])
    async def test_also_where_it_changes_while_somebody_is_asked(self, made, secret, status):
        joint = await made(applications=APPLICATIONS[1:2])
        idp = joint.idps["other"]
        gate = idp.gates["https://other.test/token"] = asyncio.Event()
        asking = asyncio.ensure_future(joint.kitchen.ask(basic("orders", secret), strategy=BOTH))
        await until(lambda: idp.asked() == 1)
        joint.kitchen.registry.apply(APPLICATIONS[0])
        gate.set()
        assert (await asking).status == status
        assert (await joint.kitchen.ask(basic("orders", secret), strategy=BOTH)).status == status
        assert joint.idps["plain"].asked() == 1

    async def test_another_clients_changes_leave_an_answer_alone(self, made):
        joint = await made(applications=APPLICATIONS[1:2])
        await joint.kitchen.ask(basic("orders", SECRET), strategy=BOTH)
        joint.kitchen.registry.apply(app("billing"))
        await joint.kitchen.ask(basic("orders", SECRET), strategy=BOTH)
        assert joint.kitchen.replayed == 1


class TestRoute:
    @pytest.mark.parametrize(
        "names",
        [
            "plain,",
            ",plain",
            ",",
            "plain,plain",
            "plain,other,plain",
            "plain,none",
            "none,plain",
            "plain, other",
            "",
        ],
    )
    async def test_no_route_for_unknown_or_repeated_names(self, made, names):
        joint = await made()
        assert joint.kitchen.pipeline.route(names, "svc") is None

    async def test_at_most_eight(self, made):
        joint = await made()
        names = [f"s{number}" for number in range(9)]
        idp = (joint.issuers["plain"], joint.idps["plain"])
        joint.kitchen.reload({name: {"idp": idp} for name in names})
        assert joint.kitchen.pipeline.route(",".join(names[:8]), "svc") is not None
        with capture_logs() as logs:
            assert joint.kitchen.pipeline.route(",".join(names), "svc") is None
            joint.kitchen.pipeline.strategy_unknown(",".join(names))
        assert "at most 8" in logs[0]["detail"]

    async def test_a_store_that_fails_is_no_refusal(self, made):
        joint = await made()
        joint.kitchen.registry.find = lambda *_: (_ for _ in ()).throw(down())  # type: ignore[method-assign]
        assert (await joint.kitchen.ask(basic("orders", SECRET), strategy=BOTH)).status == 503

    async def test_rules_of_a_reload_count(self, made):
        joint = await made()
        token = joint.idps["other"].token()
        assert (await joint.kitchen.ask(token, strategy=BOTH)).status == 200
        joint.reload(other={"methods": ALL_METHODS - {Method.BEARER}, "fingerprint": b"two"})
        assert (await joint.kitchen.ask(token, strategy=BOTH)).said == (401, "issuer_mismatch")
