"""Every reason gets its status and headers, and each judged refusal is one line of log."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from structlog.testing import capture_logs
from support_http import TOKEN, CannedIdp, oauth_error
from support_pipeline import COOKIE, RING, RULES, Kitchen, Seen, app, basic, read

from validator.errors import Denied
from validator.model import (
    Application,
    Method,
    Reason,
    RegistrationStatus,
    Revocation,
    Session,
)
from validator.testing import ABSENT, TokenMint

SECRET = basic("orders", "s3cret")


@dataclass
class Scene:
    kitchen: Kitchen
    idp: CannedIdp

    @property
    def mint(self) -> TokenMint:
        return self.idp.mint

    def token(self, **claims: Any) -> str:
        return self.mint.mint({"client_id": "orders", **claims})

    def foreign(self) -> str:
        stranger = CannedIdp(self.kitchen.clock, keyring="stranger").mint
        return stranger.mint({"client_id": "orders"}, header={"kid": self.mint.current.kid})

    def cookie(self, strategy: str = "plain", seen_s: float = 0) -> dict[str, bytes]:
        now = self.kitchen.clock.now()
        session = Session("s", strategy, "orders", now - 1000, now + seen_s, now + 9999)
        return {"cookie": RING.seal(session, bytes(12))}

    def with_rules(self, **rules: Any) -> str:
        self.kitchen.reload({"plain": {"rules": replace(RULES, **rules)}})
        return self.token()

    def with_application(self, application: Application) -> str:
        self.kitchen.registry.apply(application)
        return self.token()

    def revoked(self) -> str:
        self.kitchen.registry.revoke(Revocation("client_id", "orders"))
        return self.token()

    def only(self, method: Method) -> None:
        self.kitchen.reload({"plain": {"methods": frozenset({method})}})

    def opaque_only_bearer(self) -> bytes:
        self.only(Method.BEARER)
        return SECRET

    def with_invalid_scope(self) -> bytes:
        self.idp.table[TOKEN] = oauth_error("invalid_scope")
        return SECRET

    def guessed(self) -> bytes:
        for _ in range(10):
            with self.kitchen.throttle.attempt("plain", "orders", registered=True) as attempt:
                attempt.failed = True
        return SECRET

    def down(self) -> str:
        self.idp.fail()
        return self.token()


def status(value: RegistrationStatus) -> Application:
    return replace(app(), registrations={"svc": value})


# Reasons that only other floors or other settings can give are tested there.
ELSEWHERE = {
    Reason.MULTIPLE_CREDENTIALS,
    Reason.STRATEGY_UNKNOWN,
    Reason.STORE_UNAVAILABLE,
    Reason.TOKEN_FOR_GRAPH,
    Reason.TOKEN_INACTIVE,
}

Sends = Callable[[Scene], "str | bytes | dict[str, bytes] | None"]
ROWS: list[tuple[str, Reason, Sends]] = [
    ("nothing", Reason.NO_CREDENTIAL, lambda _: None),
    ("an empty cookie", Reason.NO_CREDENTIAL, lambda _: {"cookie": b""}),
    ("an empty header", Reason.MALFORMED_CREDENTIAL, lambda _: b""),
    ("Bearer alone", Reason.MALFORMED_CREDENTIAL, lambda _: b"Bearer"),
    ("a broken pair", Reason.MALFORMED_CREDENTIAL, lambda _: b"Basic !!!"),
    ("another scheme", Reason.METHOD_NOT_ENABLED, lambda _: b"Digest x"),
    ("a method that is off", Reason.METHOD_NOT_ENABLED, Scene.opaque_only_bearer),
    ("an opaque token", Reason.TOKEN_MALFORMED, lambda _: "opaque"),
    ("an encrypted token", Reason.TOKEN_ENCRYPTED, lambda _: "a.b.c.d.e"),
    ("alg none", Reason.ALGORITHM_NOT_ALLOWED, lambda s: s.mint.mint_alg_none({"client_id": "orders"})),
    ("HS256", Reason.ALGORITHM_NOT_ALLOWED, lambda s: s.mint.mint_key_confused({"client_id": "orders"})),
    ("an unknown key", Reason.KEY_UNKNOWN, lambda s: s.mint.mint(header={"kid": "nobody's"})),
    ("a foreign key", Reason.SIGNATURE_INVALID, Scene.foreign),
    ("expired", Reason.TOKEN_EXPIRED, lambda s: s.token(exp=s.kitchen.clock.now())),
    ("not yet valid", Reason.TOKEN_NOT_YET_VALID, lambda s: s.token(nbf=s.kitchen.clock.now() + 1)),
    ("another issuer", Reason.ISSUER_MISMATCH, lambda s: s.token(iss="https://other.test")),
    ("another audience", Reason.AUDIENCE_MISMATCH, lambda s: s.token(aud="api://other")),
    ("an ID token", Reason.TOKEN_TYPE_WRONG, lambda s: s.mint.mint(header={"typ": "id+jwt"})),
    ("too few scopes", Reason.SCOPE_MISSING, lambda s: s.with_rules(required_scopes=frozenset({"x"}))),
    ("a scope refused", Reason.SCOPE_MISSING, Scene.with_invalid_scope),
    ("no client", Reason.CLAIM_MISSING, lambda s: s.token(client_id=ABSENT)),
    ("a wrong secret", Reason.CREDENTIALS_REJECTED, lambda _: basic("orders", "wrong")),
    ("no session of ours", Reason.SESSION_INVALID, lambda _: {"cookie": b"AAAA"}),
    ("another strategy's session", Reason.SESSION_INVALID, lambda s: s.cookie("other")),
    ("an idle session", Reason.SESSION_EXPIRED, lambda s: s.cookie(seen_s=-900)),
    ("revoked", Reason.REVOKED, Scene.revoked),
    ("an unknown application", Reason.APPLICATION_UNKNOWN, lambda s: s.token(client_id="nobody")),
    ("inactive", Reason.APPLICATION_INACTIVE, lambda s: s.with_application(app(active=False))),
    ("another service", Reason.NOT_REGISTERED, lambda s: s.with_application(app("orders", "else"))),
    *(
        (value.value, Reason.NOT_REGISTERED, lambda s, v=value: s.with_application(status(v)))
        for value in RegistrationStatus
        if value is not RegistrationStatus.APPROVED
    ),
    ("guessing", Reason.TOO_MANY_ATTEMPTS, Scene.guessed),
    ("nobody to ask", Reason.IDP_UNAVAILABLE, Scene.down),
]


async def send(scene: Scene, sends: Sends) -> Seen:
    what = sends(scene)
    return await (scene.kitchen.ask(**what) if isinstance(what, dict) else scene.kitchen.ask(what))


@pytest.fixture
def scene(kitchen: Kitchen, idp: CannedIdp) -> Scene:
    return Scene(kitchen, idp)


@pytest.mark.parametrize(("reason", "sends"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_each_refusal_has_its_reason_status_and_headers(scene: Scene, reason: Reason, sends: Sends) -> None:
    seen = await send(scene, sends)
    assert seen.said == (reason.status, reason.value)
    assert ("www-authenticate" in seen.headers) is (reason.status == 401 or reason is Reason.SCOPE_MISSING)
    assert ("retry-after" in seen.headers) is (reason.status in (429, 503))
    assert not {"set-cookie", "x-application-id", "x-credential-identifier"} & set(seen.headers)
    assert [key[2:] for key in scene.kitchen.tallies] == [
        ("unavailable" if reason.status == 503 else "denied", reason.value)
    ]


def test_every_reason_has_a_row() -> None:
    assert {reason for _, reason, _ in ROWS} == set(Reason) - ELSEWHERE


async def test_an_allowed_request_carries_the_facts(scene: Scene) -> None:
    for authorization, method in ((scene.token(), "bearer"), (SECRET, "client_credentials")):
        seen = await scene.kitchen.ask(authorization)
        facts = {name: value for name, value in seen.headers.items() if name.startswith("x-")}
        assert facts.pop("x-session-id")
        assert facts == {
            "x-application-id": "app-plain-orders",
            "x-application-name": "Orders",
            "x-credential-identifier": "orders",
            "x-auth-method": method,
        }
        assert seen.status == 200
        assert seen.headers["set-cookie"].startswith(f"{COOKIE}=")


async def test_beside_an_authorization_the_cookie_is_not_looked_at(scene: Scene) -> None:
    good = (await scene.kitchen.ask(scene.token())).cookie
    assert (await scene.kitchen.ask(basic("orders", "wrong"), cookie=good)).reason == "credentials_rejected"
    assert (await scene.kitchen.ask(SECRET, cookie=b"rubbish")).headers["x-auth-method"] == "client_credentials"


def test_what_has_no_credential_to_judge_is_answered_and_not_kept(kitchen: Kitchen) -> None:
    route = kitchen.pipeline.route("plain", "svc")
    assert route is not None
    seen = read(kitchen.pipeline.refuse(route, Denied(Reason.MULTIPLE_CREDENTIALS)))
    assert seen.said == (401, "multiple_credentials")
    assert kitchen.pipeline.route("nowhere", "svc") is None
    assert read(kitchen.pipeline.strategy_unknown()).said == (404, "strategy_unknown")
    assert len(kitchen.caches.denials) == 0


# The log


@pytest.mark.parametrize(("reason", "sends"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_a_judged_refusal_is_one_line_and_a_replayed_one_none(
    scene: Scene, reason: Reason, sends: Sends
) -> None:
    what = sends(scene)
    with capture_logs() as logs:
        for _ in range(3):
            await (scene.kitchen.ask(**what) if isinstance(what, dict) else scene.kitchen.ask(what))
    lines = [line for line in logs if line["event"] in ("denied", "unavailable")]
    assert len(lines) == scene.kitchen.judged == (3 if reason.status in (429, 503) else 1)
    assert scene.kitchen.replayed == 3 - len(lines)
    assert lines[0]["reason"] == reason.value
    assert lines[0]["log_level"] == ("warning" if reason.status == 503 else "info")
    assert (lines[0]["strategy"], lines[0]["service"]) == ("plain", "svc")
    assert "s3cret" not in json.dumps(logs)


async def test_an_allowed_request_is_no_line(scene: Scene) -> None:
    token = scene.token()
    with capture_logs() as logs:
        for _ in range(3):
            assert (await scene.kitchen.ask(token)).status == 200
    assert logs == []
