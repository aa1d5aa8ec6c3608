"""There is advice for every reason and every provider, ready to paste, and no secret stands in it."""

import json
import shlex
from typing import Any

import pytest
import yaml
from explain_support import CLIENT, SECRET, TENANT

from validator.core import jws
from validator.core.oauth import GrantOptions
from validator.core.providers import PROVIDERS
from validator.errors import Denied
from validator.model import (
    Application,
    BearerToken,
    ClientCredentials,
    Credential,
    Origin,
    Reason,
    RegistrationStatus,
    Revocation,
    SessionCookie,
)
from validator.remedies import Situation, remedy
from validator.settings import Settings
from validator.testing import ManualClock, TokenMint
from validator.wiring import trusted_places

REASONS = [
    reason for reason in Reason if reason is not Reason.STRATEGY_UNKNOWN
]  # --strategy names one that is there
ISSUERS = {
    "okta": "https://dev-1.okta.com/oauth2/default",
    "curity": "https://idp.example/oauth/v2/oauth-anonymous",
}
OPAQUE = BearerToken(b"opaque-token-of-somebody")
PAIR = ClientCredentials(CLIENT, SECRET)
DETAILS = (
    "",
    "an ID token, by nonce; send the access token",
    "typ is 'x'",
    "the token is bound to a key",
    "sub names a user, not an application: the token has openid",
    "none of the claims that name the application is there: x",
    "the token that the identity provider minted names another client",
)


def situation(idp: str, error: Denied, credential: Credential | None, token: Any = None, **more: Any) -> Situation:
    issuer = ISSUERS.get(idp, f"https://login.microsoftonline.com/{TENANT}")
    strategy = {"idp": idp, "issuer": issuer, "audience": ["api://orders"], "required_scopes": ["orders"]}
    control = {"token": "control-token-of-32-characters-or-so"}
    listen = more.pop("listen", {"control": "127.0.0.1:8101"})
    settings = Settings.model_validate({"strategies": {"main": strategy}, "control": control, "listen": listen})
    main = settings.strategies["main"]
    return Situation(
        error,
        "main",
        main,
        settings,
        [(place, None) for place in trusted_places(main)],
        (None, GrantOptions(main.token_endpoint_auth_method)),
        credential,
        token,
        **more,
    )


def token(**changes: Any) -> jws.Jws:
    mint = TokenMint("https://elsewhere.example", ManualClock())
    return jws.parse(mint.mint(changes).encode(), max_bytes=99999)


@pytest.mark.parametrize("idp", sorted(PROVIDERS))
@pytest.mark.parametrize("reason", REASONS, ids=str)
def test_every_reason_has_advice_and_no_secret(idp: str, reason: Reason) -> None:
    application = Application(
        "app-1", "Orders", "main", CLIENT, {"svc": RegistrationStatus.PENDING}, origin=Origin.API
    )
    tokens = (None, token(), token(exp=5, azp=CLIENT, ver="2.0"))
    for detail in DETAILS:
        for credential in (None, PAIR, OPAQUE, SessionCookie(b"sealed")):
            for read in tokens:
                at = situation(
                    idp,
                    Denied(reason, detail),
                    credential,
                    read,
                    client_id=CLIENT,
                    application=application,
                    now=9.0,
                )
                lines = remedy(at)
                assert lines
                text = "\n".join(lines)
                for secret in (SECRET, "opaque-token-of-somebody", "sealed\n", "control-token-of"):
                    assert secret not in text
                for line in lines:
                    if line.startswith("  curl") and "<the API>" not in line:
                        assert shlex.split(line)[0] == "curl"


def test_an_operator_is_shown_the_request_to_the_control_plane() -> None:
    application = Application("app-1", "Orders", "main", CLIENT, {}, origin=Origin.API)
    at = situation("generic", Denied(Reason.NOT_REGISTERED), PAIR, application=application, service="billing")
    assert remedy(at)[1] == (
        "  curl -X PUT http://127.0.0.1:8101/v1/applications/app-1/registrations/billing "
        "-H 'Authorization: Bearer <the control token>' -H 'Content-Type: application/json' "
        """-d '{"status": "approved"}'"""
    )
    at = situation(
        "generic",
        Denied(Reason.REVOKED),
        PAIR,
        client_id=CLIENT,
        listen={"control": "unix:/run/control.sock"},
        revocations=[Revocation("client_id", CLIENT, "main"), Revocation("application_id", "app-1")],
    )
    for line, body in zip(
        remedy(at)[2:], [{"client_id": CLIENT, "strategy": "main"}, {"application_id": "app-1"}], strict=True
    ):
        words = shlex.split(line)
        assert words[:5] == ["curl", "-X", "DELETE", "--unix-socket", "/run/control.sock"]
        assert json.loads(words[-1]) == body


@pytest.mark.parametrize(
    ("idp", "found", "advice"),
    [
        ("generic", "https://idp.example/", "the slash at the end alone"),
        ("generic", "https://IDP.example", "upper and lower case alone"),
        ("generic", "http://idp.example", "http and https alone"),
        ("generic", "https://idp.example/realms/other", "the same host, but another issuer there"),
        ("generic", "https://other.example", "another identity provider"),
        ("auth0", "https://login.example/", "additional_issuers: ['https://login.example/']"),
        ("okta", "https://idp.example.okta.com", "org authorization server"),
    ],
)
def test_two_issuers_are_told_apart(idp: str, found: str, advice: str) -> None:
    error = Denied(Reason.ISSUER_MISMATCH)
    strategy = {"idp": idp, "issuer": "https://idp.example" + ("/oauth2/default" if idp == "okta" else "")}
    settings = Settings.model_validate({"strategies": {"main": strategy}})
    main = settings.strategies["main"]
    places = [(place, None) for place in trusted_places(main)]
    lines = remedy(Situation(error, "main", main, settings, places, token=token(iss=found)))
    assert lines[0] == f"the token's issuer:    {found}"
    assert lines[1] == f"the strategy's issuer: {strategy['issuer']}"
    assert advice in "\n".join(lines[2:])


def test_what_is_pasted_into_the_file_keeps_what_stands_there() -> None:
    statuses = {
        "orders": RegistrationStatus.APPROVED,
        "billing": RegistrationStatus.PENDING,
        "stock": RegistrationStatus.REVOKED,
    }
    application = Application("app-1", "Orders", "main", CLIENT, statuses, origin=Origin.FILE)
    at = situation("generic", Denied(Reason.NOT_REGISTERED), PAIR, application=application, service="billing")
    written = yaml.safe_load(remedy(at)[1])
    assert written == {"registrations": ["orders", {"service": "stock", "status": "revoked"}, "billing"]}

    strategy = {
        "idp": "auth0",
        "issuer": "https://tenant.auth0.com/",
        "additional_issuers": ["https://a.example/"],
    }
    settings = Settings.model_validate({"strategies": {"main": strategy}})
    main = settings.strategies["main"]
    places = [(place, None) for place in trusted_places(main)]
    found = token(iss="https://b.example/")
    lines = remedy(Situation(Denied(Reason.ISSUER_MISMATCH), "main", main, settings, places, token=found))
    (line,) = (line for line in lines if "additional_issuers: " in line)
    assert yaml.safe_load(line) == {"additional_issuers": ["https://a.example/", "https://b.example/"]}
