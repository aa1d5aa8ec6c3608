"""Payload, expectations, now -> Principal.

Law of this file: everything that decides whether a token's claims entitle anyone, and whom, lives here (RFC 7519
section 4.1, RFC 9068 section 4, RFC 8725). Whether the token is genuine is decided elsewhere; both must hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from validator.core.jws import Jws
from validator.errors import Denied
from validator.model import Reason

# Claims that OpenID Connect Core puts into ID tokens alone (sections 2, 3.1.3.6, 3.3.2.11).
_ID_TOKEN_CLAIMS = ("at_hash", "c_hash", "s_hash")
# What Keycloak writes into its `typ` claim for tokens that are not access tokens.
_OTHER_TOKEN_CLAIM = ("ID", "Refresh", "Offline", "Logout")
# What access tokens have and ID tokens do not; azpacr is Entra's, whose app-only tokens have no scope.
_ACCESS_TOKEN_CLAIMS = frozenset({"scope", "scp", "client_id", "azpacr"})
# How the user proved to be who they are, and who that is (OpenID Connect Core sections 2 and 5.1).
_USER_CLAIMS = frozenset({"auth_time", "acr", "amr", "email", "email_verified"})
_MAX_CLIENT_ID_CHARS = 256
_ISSUED_AHEAD_S = 60.0


@dataclass(frozen=True, slots=True)
class Expectations:
    """What a strategy demands of a token.

    Attributes:
        issuer: the discovery document's, to the letter.
        audiences: one of them must be in ``aud``; empty: any audience.
        client_claims: where the client id may stand, in order; each a path into nested claims.
        token_types: accepted ``typ`` in lower case, without ``application/``.
        leeway_s: seconds by which clocks may differ.
    """

    issuer: str
    audiences: frozenset[str]
    client_claims: tuple[tuple[str, ...], ...]
    token_types: frozenset[str]
    required_scopes: frozenset[str] = frozenset()
    scope_claims: tuple[str, ...] = ("scope", "scp")
    leeway_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a genuine token speaks for. ``expires_at``: seconds since the epoch, leeway included."""

    client_id: str
    expires_at: float
    token_id: str | None


def screen(payload: Mapping[str, Any], expected: Expectations, now: float) -> None:
    """What can be refused before a key is looked for, so that foreign and stale tokens never cause a fetch.

    Raises:
        Denied: ``token_malformed``, ``issuer_mismatch``, ``claim_missing`` or ``token_expired``.
    """
    issuer = payload.get("iss")
    if issuer != expected.issuer:
        shown = repr(issuer[:100]) if isinstance(issuer, str) else "missing or no string"
        raise Denied(Reason.ISSUER_MISMATCH, f"iss is {shown}, not {expected.issuer!r}")
    expires_at = _numeric_date(payload, "exp")
    if expires_at is None:
        raise Denied(Reason.CLAIM_MISSING, "the token has no exp; a token without an end is not accepted")
    if now >= expires_at + expected.leeway_s:
        raise Denied(Reason.TOKEN_EXPIRED, f"exp was {now - expires_at:.0f} s ago")


def judge(jws: Jws, expected: Expectations, now: float) -> Principal:
    """Whom the token speaks for, at ``now``.

    Raises:
        Denied: ``token_type_wrong``, ``issuer_mismatch``, ``token_expired``, ``token_not_yet_valid``,
            ``audience_mismatch``, ``scope_missing``, ``claim_missing`` or ``token_malformed``.
    """
    payload = jws.payload
    _check_type(jws, expected)
    screen(payload, expected, now)
    # RFC 7519 forbids use before nbf; iat is a mark of age, and an issuer's clock may run ahead of ours a little.
    for name, tolerance in (("nbf", expected.leeway_s), ("iat", max(expected.leeway_s, _ISSUED_AHEAD_S))):
        moment = _numeric_date(payload, name)
        if moment is not None and moment > now + tolerance:
            ahead = moment - now
            raise Denied(
                Reason.TOKEN_NOT_YET_VALID,
                f"{name} is {ahead:.0f} s ahead; see leeway_s",
                retry_after_s=ahead - tolerance,
            )
    _check_audience(payload, expected.audiences)
    client_id = _client_id(payload, expected.client_claims)
    _check_not_id_token(jws, client_id, expected.audiences)
    _check_not_bound(payload)
    missing = expected.required_scopes - _scopes(payload, expected.scope_claims)
    if missing:
        raise Denied(Reason.SCOPE_MISSING, f"the token lacks the scopes {', '.join(sorted(missing))}")
    token_id = payload.get("jti")
    if token_id is not None and not isinstance(token_id, str):
        raise Denied(Reason.TOKEN_MALFORMED, "jti is not a string")
    return Principal(client_id, float(payload["exp"]) + expected.leeway_s, token_id)


def _numeric_date(payload: Mapping[str, Any], name: str) -> float | None:
    """RFC 7519 section 2, NumericDate: a JSON number, not a numeral in a string."""
    value = payload.get(name)
    if value is None and name not in payload:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Denied(Reason.TOKEN_MALFORMED, f"{name} is not a number")
    # Compared, not converted: an integer of JSON can be too large for a float. 1e11 is the year 5138; beyond it
    # somebody counts in milliseconds, and 1e999 reads as infinity.
    if not -1e11 <= value <= 1e11:  # noqa: PLR2004 - as said
        raise Denied(Reason.TOKEN_MALFORMED, f"{name} is not in seconds since the epoch")
    return float(value)


def _check_type(jws: Jws, expected: Expectations) -> None:
    """RFC 8725 section 3.11, RFC 9068 section 4: `application/` may be left out; case does not count."""
    typ = (jws.typ or "JWT").lower().removeprefix("application/")
    if typ not in expected.token_types:
        raise Denied(Reason.TOKEN_TYPE_WRONG, f"typ is {typ[:50]!r}, not one of {sorted(expected.token_types)}")


def _check_audience(payload: Mapping[str, Any], audiences: frozenset[str]) -> None:
    aud = payload.get("aud")
    values = [aud] if isinstance(aud, str) else [] if aud is None else aud
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Denied(Reason.TOKEN_MALFORMED, "aud is neither a string nor a list of strings")
    if audiences and audiences.isdisjoint(values):
        found = ", ".join(values)[:150] or "nobody"
        raise Denied(
            Reason.AUDIENCE_MISMATCH, f"the token is for {found!r}, not for {', '.join(sorted(audiences))}"
        )


def _check_not_id_token(jws: Jws, client_id: str, audiences: frozenset[str]) -> None:
    """An ID token tells a client who its user is; it is never an access token (RFC 9068 section 5). One that is
    for a configured audience other than the client itself is for an API."""
    payload = jws.payload
    if (jws.typ or "").lower().removeprefix("application/") == "at+jwt":
        return
    kind = payload.get("typ")
    marks = [name for name in _ID_TOKEN_CLAIMS if name in payload]
    if kind in _OTHER_TOKEN_CLAIM or payload.get("token_use") == "id" or payload.get("purpose") == "id":
        marks.append("its own word")
    if "nonce" in payload and kind != "Bearer":
        marks.append("nonce")
    if "azp" in payload and kind != "Bearer" and not _ACCESS_TOKEN_CLAIMS & payload.keys():
        aud = payload.get("aud")
        values = {aud} if isinstance(aud, str) else set(aud or ())
        if client_id in values and not (audiences & values) - {client_id}:
            marks.append("aud is the client itself")
        marks += sorted(_USER_CLAIMS & payload.keys())
    if marks:
        raise Denied(Reason.TOKEN_TYPE_WRONG, f"an ID token, by {', '.join(marks)}; send the access token")


def _check_not_bound(payload: Mapping[str, Any]) -> None:
    """A token bound to its holder's key (RFC 7800) proves nothing in other hands, and we are shown no key: RFC
    9449 section 7.2 forbids to take it for a bearer token."""
    confirmation = payload.get("cnf")
    if confirmation is not None:
        names = ", ".join(sorted(confirmation))[:80] if isinstance(confirmation, dict) else "cnf"
        raise Denied(
            Reason.TOKEN_TYPE_WRONG, f"the token is bound to a key ({names!r}), which is not checked here"
        )


def _client_id(payload: Mapping[str, Any], paths: tuple[tuple[str, ...], ...]) -> str:
    """The first path that is there decides; one that holds anything but a usable string is no reason to look
    further, since two claims that disagree are two identities."""
    for path in paths:
        value: Any = payload
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is None:
            continue
        if not isinstance(value, str):
            raise Denied(Reason.CLAIM_MISSING, f"the claim {'.'.join(path)} is not a string")
        if not value or len(value) > _MAX_CLIENT_ID_CHARS or not value.isprintable():
            raise Denied(Reason.CLAIM_MISSING, f"the claim {'.'.join(path)} is empty, too long or not printable")
        return value
    names = ", ".join(".".join(path) for path in paths)
    raise Denied(Reason.CLAIM_MISSING, f"none of the claims that name the application is there: {names}")


def _scopes(payload: Mapping[str, Any], claims: tuple[str, ...]) -> frozenset[str]:
    """RFC 8693 section 4.2: `scope` is a space-separated string; Okta's and Entra's `scp` may be a list."""
    for name in claims:
        value = payload.get(name)
        if isinstance(value, str):
            return frozenset(value.split())
        if isinstance(value, list):
            return frozenset(item for item in value if isinstance(item, str))
    return frozenset()
