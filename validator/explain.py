"""``validator explain``: the way to a decision, step by step, for one credential.

Law of this file: each step is taken by the same part that takes it in the sidecar; here it is only told. No
secret, no token and no cookie is ever printed, only what was read out of them.
"""

import contextlib
from typing import BinaryIO

from validator.adapters.sqlite import StoreError
from validator.core import jws
from validator.core.extract import extract, session_cookie
from validator.core.registry import authorize
from validator.errors import AuthError, Denied, Unavailable
from validator.model import BearerToken, ClientCredentials, Credential, Method, Proof, Reason, SessionCookie
from validator.settings import Settings
from validator.wiring import Sidecar

DONE, NO, USAGE = 0, 1, 2
_MAX_INPUT_BYTES = 1024 * 1024
_SHOWN_CLAIMS = (
    "iss", "aud", "sub", "exp", "nbf", "iat", "jti", "scope", "scp", "ver", "appid", "azp", "cid", "client_id",
)  # fmt: skip

_METHODS = {
    BearerToken: Method.BEARER,
    ClientCredentials: Method.CLIENT_CREDENTIALS,
    SessionCookie: Method.SESSION,
}


def _say(text: str) -> None:
    print(text)  # noqa: T201 - this is what a person reads


async def report(settings: Settings, stdin: BinaryIO, *, strategy: str | None, service: str | None) -> int:
    """Prints the steps and the decision; returns the exit code."""
    name = strategy or (next(iter(settings.strategies)) if len(settings.strategies) == 1 else None)
    if name is None or name not in settings.strategies:
        known = ", ".join(settings.strategies)
        _say(f"name one of the strategies with --strategy: {known}")
        return USAGE
    raw = stdin.read(_MAX_INPUT_BYTES + 1)
    sidecar = Sidecar(settings)
    try:
        try:
            await sidecar.prepare()
        except ValueError as error:
            _say(f"the sidecar would not start: {error}")
            return NO
        try:
            return await _steps(sidecar, settings, name, service, raw.strip())
        except AuthError as error:
            waits = " and is not cached" if isinstance(error, Unavailable) else ""
            _say(f"decision: {error.reason.status} {error.reason.value}{waits}")
            if error.detail:
                _say(f"because: {error.detail}")
            return NO
    except StoreError as error:
        _say(f"the store cannot be used: {error}")
        return NO
    finally:
        await sidecar.stop()


async def _steps(sidecar: Sidecar, settings: Settings, name: str, service: str | None, raw: bytes) -> int:
    credential = _credential(raw, settings)
    method = _METHODS[type(credential)]
    _say(f"1. credential: {method.value}" + _readable(credential))
    strategy = sidecar.strategies[name]
    on = ", ".join(sorted(m.value for m in strategy.methods))
    if method not in strategy.methods:
        raise Denied(Reason.METHOD_NOT_ENABLED, f"strategy {name} has {on} on")
    _say(f"2. strategy {name}: issuer {settings.strategies[name].issuer}, methods {on}")
    proof = await _prove(sidecar, name, method, credential)
    lasts_s = proof.good_until - sidecar.now()
    _say(f"3. genuine: it speaks for the client {proof.client_id!r}, for another {lasts_s:.0f} s")
    if proof.session is not None:
        _say(f"   session {proof.session.id}")
    application = sidecar.registry.find(name, proof.client_id)
    if sidecar.registry.covers(proof, application):
        raise Denied(Reason.REVOKED, "the client, application, token or session was revoked")
    if application is None:
        authorize(application, service or "")
        return NO
    _say(f"4. application {application.id} ({application.name}), {application.origin.value}, not revoked")
    if service is None:
        if not application.active:
            authorize(application, "")
        services = ", ".join(f"{s} ({status.value})" for s, status in application.registrations.items()) or "none"
        _say(f"5. registrations: {services}; name one with --service to have it judged")
        return DONE
    authorize(application, service)
    _say(f"5. registered for {service}: approved")
    _say("decision: 200 allowed")
    return DONE


async def _prove(sidecar: Sidecar, name: str, method: Method, credential: Credential) -> Proof:
    authenticator = sidecar.strategies[name].authenticators[method]
    proof = authenticator.prove_now(credential, sidecar.now())
    if proof is None:
        _say("   asking the issuer")
        proof = await authenticator.prove(credential)
    return proof


def _credential(raw: bytes, settings: Settings) -> Credential:
    """An ``Authorization`` value, with or without the header's name, a bare token, or our cookie."""
    bound = settings.limits.max_token_bytes
    for prefix in (b"authorization:", b"cookie:"):
        if raw.lower().startswith(prefix):
            raw = raw[len(prefix) :].strip()
    cookie = session_cookie(raw, settings.session.cookie_name.encode())
    if cookie is not None:
        return extract(None, cookie, max_token_bytes=bound)
    if raw and b" " not in raw:
        raw = b"Bearer " + raw
    return extract(raw or None, None, max_token_bytes=bound)


def _readable(credential: Credential) -> str:
    """What a token says of itself, before anything of it is believed."""
    if isinstance(credential, ClientCredentials):
        return f" of {credential.client_id!r}"
    if not isinstance(credential, BearerToken):
        return ""
    with contextlib.suppress(Denied):
        token = jws.parse(credential.token, max_bytes=_MAX_INPUT_BYTES)
        shown = (f"{name}={token.payload[name]!r}"[:120] for name in _SHOWN_CLAIMS if name in token.payload)
        head = f"alg {token.alg!r}, kid {token.kid!r}, typ {token.typ!r}"
        return f"\n   it says of itself: {head}, {', '.join(shown)}"
    return ""
