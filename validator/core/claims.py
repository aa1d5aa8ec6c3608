"""Payload, expectations, now -> Principal.

Law of this file: everything that decides whether a token's claims entitle anyone, and whom, lives here (RFC 7519
section 4.1, RFC 9068 section 4, RFC 8725). Whether the token is genuine is decided elsewhere; both must hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from validator.core import entra, kinds, upstream
from validator.core.durations import duration
from validator.core.jws import Jws
from validator.core.telling import Step, Tell, nobody
from validator.errors import Denied
from validator.model import Reason, UpstreamHeaders

_SUBJECT = ("sub",)
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
        required_claims: what a token must say of itself, by claim.
        usual_claims: what it must not contradict, where that is all that can be asked.
        version: Entra's ``ver``, to which the issuer is bound; ``None``: there is no such thing.
        people: whether people sign in at the issuer, so that a ``sub`` may be one.
        user_scopes: whether client credentials may come by the scope ``openid``.
        upstream_headers: what the upstream is told of the claims; nothing is demanded of them.
    """

    issuer: str
    audiences: frozenset[str]
    client_claims: tuple[tuple[str, ...], ...]
    token_types: frozenset[str]
    required_scopes: frozenset[str] = frozenset()
    scope_claims: tuple[str, ...] = ("scope", "scp")
    leeway_s: float = 0.0
    required_claims: Mapping[str, str] = field(default_factory=dict)
    usual_claims: Mapping[str, str] = field(default_factory=dict)
    version: entra.TokenVersion | None = None
    people: bool = False
    user_scopes: bool = True
    upstream_headers: upstream.Wanted = ()


@dataclass(slots=True)
class Principal:
    """Whom a genuine token speaks for. ``expires_at``: seconds since the epoch, leeway included."""

    client_id: str
    expires_at: float
    token_id: str | None
    upstream_headers: UpstreamHeaders = ()


def screen(payload: Mapping[str, Any], expected: Expectations, now: float) -> None:
    """What can be refused before a key is looked for, so that foreign and stale tokens never cause a fetch.

    Raises:
        Denied: ``token_malformed``, ``issuer_mismatch``, ``claim_missing`` or ``token_expired``.
    """
    if payload.get("iss") != expected.issuer:
        raise wrong_issuer(payload, [expected.issuer])
    if expected.version is not None:
        entra.check_version(payload, expected.version, expected.issuer)
    expires_at = _numeric_date(payload, "exp")
    if expires_at is None:
        raise Denied(Reason.CLAIM_MISSING, "the token has no exp; a token without an end is not accepted")
    if now >= expires_at + expected.leeway_s:
        raise Denied(Reason.TOKEN_EXPIRED, f"exp was {duration(now - expires_at)} ago")


def wrong_issuer(payload: Mapping[str, Any], trusted: Sequence[str]) -> Denied:
    """The refusal of a token that none of the trusted issuers has issued, by its own word."""
    issuer = payload.get("iss")
    shown = repr(issuer[:100]) if isinstance(issuer, str) else "missing or no string"
    return Denied(Reason.ISSUER_MISMATCH, f"iss is {shown}, not {' or '.join(map(repr, trusted))}")


def judge(jws: Jws, expected: Expectations, now: float, tell: Tell = nobody) -> Principal:
    """Whom the token speaks for, at ``now``.

    Raises:
        Denied: ``token_type_wrong``, ``issuer_mismatch``, ``token_expired``, ``token_not_yet_valid``,
            ``audience_mismatch``, ``scope_missing``, ``claim_missing`` or ``token_malformed``.
    """
    screen(jws.payload, expected, now)
    return judge_screened(jws, expected, now, tell)


def judge_screened(jws: Jws, expected: Expectations, now: float, tell: Tell = nobody) -> Principal:
    """The same for a token that has passed ``screen`` at this very ``now``."""
    payload = jws.payload
    _check_type(jws, expected)
    tell(Step.TYPE, None)
    _check_begun(payload, expected, now)
    tell(Step.BEGUN, None)
    _check_audience(payload, expected.audiences)
    tell(Step.AUDIENCE, None)
    _check_required(payload, expected.required_claims)
    tell(Step.REQUIRED_CLAIMS, None)
    client_id = _client_id(payload, expected)
    tell(Step.CLIENT_ID, client_id)
    kinds.check_access_token(jws, client_id, expected.audiences)
    tell(Step.NOT_ID_TOKEN, None)
    _check_rights(payload, expected)
    tell(Step.SCOPES, None)
    wanted = expected.upstream_headers
    return Principal(
        client_id,
        float(payload["exp"]) + expected.leeway_s,
        _token_id(payload, expected),
        upstream.picked(payload, wanted) if wanted else (),
    )


def judge_introspected(payload: Mapping[str, Any], expected: Expectations, now: float) -> Principal:
    """Whom a token speaks for that its issuer calls active (RFC 7662 section 2.2). Most members are optional
    there; those that are given must be right. ``expires_at`` is infinite where the answer names no end.

    Raises:
        Denied: as ``judge``, but for a missing ``iss`` or ``exp``.
    """
    payload = {name: value for name, value in payload.items() if value is not None}
    if payload.get("iss", expected.issuer) != expected.issuer:
        raise wrong_issuer(payload, [expected.issuer])
    expires_at = _numeric_date(payload, "exp")
    if expires_at is not None and now >= expires_at + expected.leeway_s:
        raise Denied(Reason.TOKEN_EXPIRED, f"exp was {duration(now - expires_at)} ago")
    _check_begun(payload, expected, now)
    _check_audience(payload, expected.audiences)
    _check_required({**expected.usual_claims, **payload}, expected.usual_claims)
    _check_required(payload, expected.required_claims)
    client_id = _client_id(payload, expected)
    kinds.check_introspected(payload, client_id)
    _check_rights(payload, expected)
    ends = float("inf") if expires_at is None else expires_at + expected.leeway_s
    told = upstream.picked(payload, expected.upstream_headers)
    return Principal(client_id, ends, _token_id(payload, expected), told)


def _check_begun(payload: Mapping[str, Any], expected: Expectations, now: float) -> None:
    """RFC 7519 forbids use before nbf; iat is a mark of age, and an issuer's clock may run ahead of ours."""
    for name, tolerance in (("nbf", expected.leeway_s), ("iat", max(expected.leeway_s, _ISSUED_AHEAD_S))):
        moment = _numeric_date(payload, name)
        if moment is not None and moment > now + tolerance:
            ahead = moment - now
            raise Denied(
                Reason.TOKEN_NOT_YET_VALID,
                f"{name} is {duration(ahead)} ahead; see leeway_s",
                retry_after_s=ahead - tolerance,
            )


def _check_required(payload: Mapping[str, Any], required: Mapping[str, str]) -> None:
    for name, value in required.items():
        found = payload.get(name)
        if found is None:
            raise Denied(Reason.CLAIM_MISSING, f"the claim {name} is not there; it must be {value!r}")
        if found != value:
            shown = repr(found[:50]) if isinstance(found, str) else "no string"
            raise Denied(Reason.TOKEN_TYPE_WRONG, f"the claim {name} is {shown}, not {value!r}")


def _check_rights(payload: Mapping[str, Any], expected: Expectations) -> None:
    kinds.check_not_bound(payload)
    if not expected.required_scopes:
        return
    missing = expected.required_scopes - _scopes(payload, expected.scope_claims)
    if missing:
        raise Denied(Reason.SCOPE_MISSING, f"the token lacks the scopes {', '.join(sorted(missing))}")


def _token_id(payload: Mapping[str, Any], expected: Expectations) -> str | None:
    name = "uti" if expected.version is not None else "jti"  # Entra's own name for it
    token_id = payload.get(name)
    if token_id is not None and not isinstance(token_id, str):
        raise Denied(Reason.TOKEN_MALFORMED, f"{name} is not a string")
    return token_id


def _numeric_date(payload: Mapping[str, Any], name: str) -> float | None:
    """RFC 7519 section 2, NumericDate: a JSON number, not a numeral in a string."""
    value = payload.get(name)
    if value is None and name not in payload:
        return None
    if type(value) is not float and type(value) is not int:  # and so no boolean
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
    if isinstance(aud, str) and aud in audiences:
        return
    values = [aud] if isinstance(aud, str) else [] if aud is None else aud
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Denied(Reason.TOKEN_MALFORMED, "aud is neither a string nor a list of strings")
    if audiences and audiences.isdisjoint(values):
        found = (
            f"the token is for {', '.join(values)[:150]!r}" if values else "it has no aud to say whom it is for"
        )
        raise Denied(Reason.AUDIENCE_MISMATCH, f"{found}; it must be for {' or '.join(sorted(audiences))}")


def _client_id(payload: Mapping[str, Any], expected: Expectations) -> str:
    """The first path that is there decides; one that holds anything but a usable string is no reason to look
    further, since two claims that disagree are two identities."""
    for path in expected.client_claims:
        value: Any = payload
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is None:
            continue
        if not isinstance(value, str):
            raise Denied(Reason.CLAIM_MISSING, f"the claim {'.'.join(path)} is not a string")
        if not value or len(value) > _MAX_CLIENT_ID_CHARS or not value.isprintable():
            raise Denied(Reason.CLAIM_MISSING, f"the claim {'.'.join(path)} is empty, too long or not printable")
        if path == _SUBJECT:
            kinds.check_subject(
                payload,
                value,
                _scopes(payload, expected.scope_claims),
                audiences=expected.audiences,
                people=expected.people,
                user_scopes=expected.user_scopes,
            )
        return value
    names = ", ".join(".".join(path) for path in expected.client_claims)
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
