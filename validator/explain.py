"""``validator explain``: the way to a decision, step by step, for one credential.

Law of this file: each step is taken by the same part that takes it in the sidecar; here it is only told. No
secret, no token and no cookie is ever printed, only what was read out of them.
"""

import asyncio
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from validator import presented
from validator.adapters.sqlite import StoreError
from validator.authn.bearer import BearerAuthenticator
from validator.core import jws
from validator.core.discovery import typed_issuer_differs
from validator.core.durations import duration
from validator.core.jws import Jws
from validator.core.registry import authorize
from validator.errors import AuthError, Denied, Unavailable
from validator.issuers import Issuer
from validator.model import (
    Application,
    BearerToken,
    ClientCredentials,
    Credential,
    Method,
    Origin,
    Proof,
    Reason,
    Revocation,
    SessionCookie,
)
from validator.pipeline import MAX_JOINED, JointRoute, Route
from validator.ports import Clock
from validator.remedies import Situation, remedy
from validator.remedies.blocks import blocking
from validator.settings import Settings
from validator.steps import MAX_TOKEN_BYTES, Teller, Told, outcome
from validator.wiring import Sidecar, parts, trusted_places
from validator.words import clean

DONE, NO, USAGE = 0, 1, 2
_MAX_INPUT_BYTES = 1024 * 1024
_JWE_DOTS = 4  # RFC 7516 section 7.1
_SEALED = "the cookie is one that this sidecar sealed for this strategy"

_METHODS = {
    BearerToken: Method.BEARER,
    ClientCredentials: Method.CLIENT_CREDENTIALS,
    SessionCookie: Method.SESSION,
}


def _say(text: str, depth: int = 0) -> None:
    print("   " * depth + text)  # noqa: T201 - this is what a person reads


async def report(
    settings: Settings, stdin: BinaryIO, *, strategy: str | None, service: str | None, clock: Clock | None = None
) -> int:
    """Prints the steps and the decision; returns the exit code."""
    names = strategy.split(",") if strategy is not None else []
    if unknown := [name for name in names if name not in settings.strategies]:
        _say(f"there is no strategy {unknown[0]!r}")
        return _name_one(settings)
    if not len(names) == len(set(names)) <= MAX_JOINED:
        _say(f"a route has no strategy twice and at most {MAX_JOINED}")
        return USAGE
    raw = stdin.read(_MAX_INPUT_BYTES + 1).strip()
    told: list[Told] = []
    sidecar = Sidecar(settings, clock=clock, tell=lambda step, found: told.append((step, found)))
    try:
        try:
            await sidecar.prepare()
        except ValueError as error:
            _say(f"the sidecar would not start: {error}")
            return NO
        credential = presented.credential(raw, settings)
        token = _readable(credential)
        chosen = await _choose(sidecar, settings, names, credential, token)
        if chosen is None:
            return _name_one(settings)
        return await _Explanation(sidecar, settings, chosen, service, credential, token, told).tell()
    except StoreError as error:
        _say(f"the store cannot be used: {error}")
        return NO
    except Denied as error:  # there is no credential that any strategy could judge
        name = names[0] if names else next(iter(settings.strategies))
        _say("1. credential: none that could be judged")
        unmarked = presented.missing_scheme(raw)
        return _refuse(Situation(error, name, settings.strategies[name], settings, unmarked=unmarked))
    finally:
        await sidecar.stop()


class _Chosen(NamedTuple):
    """The strategy to explain by.

    Attributes:
        error: why it cannot be known whose the credential is; it is then shown to nobody.
    """

    name: str
    why: str
    error: Unavailable | None = None


class _Explanation:
    """One credential under one strategy."""

    def __init__(
        self,
        sidecar: Sidecar,
        settings: Settings,
        chosen: _Chosen,
        service: str | None,
        credential: Credential,
        token: Jws | None,
        told: list[Told],
    ) -> None:
        self._sidecar = sidecar
        self._settings = settings
        self._name, self._why, self._unknown = chosen
        self._service = service
        self._credential = credential
        self._token = token
        self._told = told
        self._strategy = settings.strategies[self._name]
        self._places = trusted_places(self._strategy)
        self._teller = Teller(self._strategy, self._places, sidecar.now())
        self._client_id = credential.client_id if isinstance(credential, ClientCredentials) else None
        self._application: Application | None = None
        self._revocations: list[Revocation] = []

    async def tell(self) -> int:
        """Prints all of it; returns the exit code."""
        if not isinstance(self._credential, SessionCookie):
            await asyncio.gather(
                *(issuer.tend() for issuer in self._issuers())
            )  # as the sidecar does at its start
        self._tell_credential()
        self._tell_strategy()
        try:
            proof = await self._prove()
            self._find(proof)
            return self._authorize()
        except AuthError as error:
            return _refuse(self._situation(error))

    def _tell_credential(self) -> None:
        credential = self._credential
        if isinstance(credential, ClientCredentials):
            _say(f"1. credential: client_credentials: the client id {clean(credential.client_id)!r} and a secret")
        elif isinstance(credential, SessionCookie):
            _say("1. credential: session: a cookie that the sidecar sealed, or claims to be one")
        elif self._token is not None:
            first, *rows = self._teller.token(self._token, ours=self._is_ours())
            _say(f"1. credential: bearer: {first}")
            for row in rows:
                _say(row, 1)
        elif jws.looks_opaque(credential.token):
            _say("1. credential: bearer: an opaque token, which only its issuer can read")
        else:
            kind = "an encrypted token (JWE)" if credential.token.count(b".") == _JWE_DOTS else "a token"
            _say(f"1. credential: bearer: {kind} that cannot be read here")

    def _is_ours(self) -> bool:
        named = self._token.payload.get("iss") if self._token is not None else None
        names = [metadata.issuer for issuer in self._issuers() if (metadata := issuer.metadata) is not None]
        return named in names or (
            isinstance(named, str) and any(not typed_issuer_differs(p.place.issuer, named) for p in self._places)
        )

    def _tell_strategy(self) -> None:
        on = ", ".join(sorted(method.value for method in self._strategy.auth_methods))
        _say(f"2. strategy {self._name}: {self._strategy.provider.title}; methods {on}")
        if self._why:
            _say(self._why, 1)
        if isinstance(self._credential, SessionCookie):
            return
        for trusted, issuer in zip(self._places, self._issuers(), strict=True):
            version = f" for v{trusted.version} tokens" if trusted.version else ""
            if issuer.metadata is not None:
                _say(f"trusts {clean(issuer.metadata.issuer)}{version}", 1)
                if issuer.keys is None:
                    _say(f"its keys CANNOT BE READ: {issuer.missing()}", 2)
            elif issuer.absent:
                _say(f"no issuer{version} exists there (404 for {trusted.place.document})", 1)
            else:
                _say(f"the issuer {issuer.place.issuer} CANNOT BE REACHED: {issuer.missing()}", 1)

    async def _prove(self) -> Proof:
        strategy = self._sidecar.strategies[self._name]
        method = _METHODS[type(self._credential)]
        if method not in strategy.methods:
            on = ", ".join(sorted(m.value for m in strategy.methods))
            raise Denied(Reason.METHOD_NOT_ENABLED, f"strategy {self._name} has {on} on")
        authenticator = strategy.authenticators[method]
        self._told.clear()
        try:
            if self._unknown is not None:
                raise self._unknown
            proof = authenticator.prove_now(self._credential, self._sidecar.now())
            if proof is None:
                self._told.clear()
                proof = await authenticator.prove(self._credential)
        except AuthError as error:
            self._tell_way(error)
            raise
        self._tell_way(None)
        lasts_s = proof.good_until - self._sidecar.now()
        _say(f"genuine: it speaks for the client {clean(proof.client_id)!r}, for another {duration(lasts_s)}", 1)
        if proof.session is not None:
            _say(f"session {proof.session.id}", 1)
        self._tell_upstream(proof)
        return proof

    def _tell_upstream(self, proof: Proof) -> None:
        """What an allowed answer has the upstream told besides the application."""
        told = dict(proof.upstream_headers)
        for name, claim in self._strategy.upstream_headers.items():
            absent = f"absent; the claim {claim} is missing, or is nothing that a header can hold"
            _say(f"{name}: {clean(told[name]) if name in told else absent}", 1)
        if proof.minted is not None:
            _say("X-Access-Token: the token just minted, not shown (forward_minted_token)", 1)

    def _tell_way(self, error: AuthError | None) -> None:
        _say("3. checks")
        lines = self._teller.way(self._told, error)
        if error is not None and not self._told:
            mark = "NO  " if isinstance(error, Denied) else "??  "
            lines = [f"{mark} {self._first_check(error)}"]
        for line in lines:
            _say(line, 1)

    def _first_check(self, error: AuthError) -> str:
        """What was to hold before anything else could be looked at."""
        if isinstance(error, Unavailable):
            known = any(issuer.metadata is not None for issuer in self._issuers())
            return "its issuer says where to ask" if known else "its issuer can be reached"
        if isinstance(self._credential, SessionCookie):
            over = error.reason is Reason.SESSION_EXPIRED
            return "the session is not over" if over else _SEALED
        if isinstance(self._credential, ClientCredentials):
            return "few wrong secrets were tried for this client id"
        return "it is a signed token of three readable parts"

    def _find(self, proof: Proof) -> None:
        registry = self._sidecar.registry
        self._client_id = proof.client_id
        self._application = application = registry.find(self._name, proof.client_id)
        if application is not None:
            origin = "the configuration file" if application.origin is Origin.FILE else "the control plane"
            state = "active" if application.active else "inactive"
            _say(f"4. application {application.id} ({clean(application.name)}), from {origin}, {state}")
            if application.groups:
                _say(f"groups: {', '.join(application.groups)}", 1)
            shown = ", ".join(f"{s} ({status.value})" for s, status in application.registrations.items()) or "none"
            _say(f"5. registrations: {shown}")
        else:
            _say(f"4. application: none has the client id {clean(proof.client_id)!r} under strategy {self._name}")
        if self._settings.redis is not None and self._settings.store.path is None:
            _say("what is shared through Redis was not looked at: only a sidecar with store.path has a copy", 1)
        if registry.covers(proof, application):
            self._revocations = blocking(registry.revocation, proof, application)
            raise Denied(Reason.REVOKED, "the client, application, token or session was revoked")

    def _authorize(self) -> int:
        if self._service is None and self._application is not None and self._application.active:
            _say("the credential is good; name a service with --service to have its registration judged")
            return DONE
        authorize(self._application, self._service or "")
        _say("decision: 200 allowed")
        return DONE

    def _situation(self, error: AuthError) -> Situation:
        issuers = self._issuers()
        order = parts.grant_order(self._strategy, self._places)
        asked = next((index for index in order if issuers[index].metadata is not None), order[0])
        return Situation(
            error,
            self._name,
            self._strategy,
            self._settings,
            [(place, issuer.metadata) for place, issuer in zip(self._places, issuers, strict=True)],
            (issuers[asked].metadata, parts.grant_options(self._strategy, self._places[asked])),
            self._credential,
            self._token or self._minted(),
            self._client_id,
            self._application,
            self._service,
            self._sidecar.now(),
            revocations=self._revocations,
        )

    def _minted(self) -> Jws | None:
        return next((found for _, found in self._told if isinstance(found, Jws)), None)

    def _issuers(self) -> tuple[Issuer, ...]:
        return _bearer(self._sidecar, self._name).tokens.issuers.all()


def _bearer(sidecar: Sidecar, name: str) -> BearerAuthenticator:
    found = sidecar.strategies[name].authenticators[Method.BEARER]
    assert isinstance(found, BearerAuthenticator)  # noqa: S101 - made by the wiring for every strategy
    return found


def _refuse(situation: Situation) -> int:
    for line in outcome(situation.error):
        _say(line)
    advice = remedy(situation)
    if advice:
        _say("what to do:")
        for line in advice:
            _say(line, 1)
    return NO


# Which strategy


def _name_one(settings: Settings) -> int:
    _say(f"name one of the strategies with --strategy: {', '.join(settings.strategies)}")
    for name, strategy in settings.strategies.items():
        _say(f"{name}: {strategy.provider.title}, issuer {strategy.issuer}", 1)
    return USAGE


async def _pick(sidecar: Sidecar, names: Sequence[str], credential: Credential) -> _Chosen:
    """The strategy by which a route under all of these judges a credential, and why; refuses what is nobody's."""
    await asyncio.gather(*(i.tend() for name in names for i in _bearer(sidecar, name).tokens.issuers.all()))
    routes = [Route(sidecar.strategies[name], "", sidecar.caches) for name in names]
    method, listed = _METHODS[type(credential)], ", ".join(names)
    joint = JointRoute(routes, sidecar.caches)
    if (silent := await joint.find_out(method, credential)) is not None:
        name = silent[0].strategy.name
        why = f"whose of {listed} the credential is cannot be known before the issuer of {name} says its name"
        return _Chosen(name, why, silent[1])
    picked = joint.pick(method, credential)
    if picked is None:
        return _Chosen(names[0], f"{method.value} is off under all of {listed}")
    if not picked[1]:
        _say(f"the credential is not for any of {listed}: it is refused, and no identity provider is asked")
        picked[0].strategy.authenticators[method].disown(credential, sidecar.now())
    name = picked[0].strategy.name
    return _Chosen(name, f"chosen as the first of {listed} whose own the credential says to be")


async def _choose(
    sidecar: Sidecar, settings: Settings, names: Sequence[str], credential: Credential, token: Jws | None
) -> _Chosen | None:
    """The strategy that was named, or trusts the token's issuer, and why it was chosen; or says why not."""
    if len(names) > 1:
        return await _pick(sidecar, names, credential)
    if names or len(settings.strategies) == 1:
        return _Chosen((*names, *settings.strategies)[0], "")
    issuer = token.payload.get("iss") if token is not None else None
    if token is None or not isinstance(issuer, str):
        kinds = {BearerToken: "a token that cannot be read", ClientCredentials: "a client id and secret"}
        _say(f"{kinds.get(type(credential), 'a session cookie')} does not tell which strategy it is for")
        return None
    trusting = await asyncio.gather(*(_trusts(sidecar, settings, name, token) for name in settings.strategies))
    able = [name for name, trusts in zip(settings.strategies, trusting, strict=True) if trusts]
    if len(able) == 1:
        return _Chosen(able[0], f"chosen because it alone trusts the issuer that the token names, {clean(issuer)}")
    who = f"the strategies {', '.join(able)} trust it" if able else "no strategy trusts it"
    _say(f"the token names the issuer {clean(issuer)}; {who}")
    return None


async def _trusts(sidecar: Sidecar, settings: Settings, name: str, token: Jws) -> bool:
    try:
        await _bearer(sidecar, name).tokens.issuers.ask(token.payload)
    except Denied:
        return False
    except Unavailable:  # by what the file says, then
        places = trusted_places(settings.strategies[name])
        return any(not typed_issuer_differs(p.place.issuer, str(token.payload["iss"])) for p in places)
    return True


def _readable(credential: Credential) -> Jws | None:
    """A token taken apart, before anything of it is believed."""
    if not isinstance(credential, BearerToken):
        return None
    try:
        return jws.parse(credential.token, max_bytes=MAX_TOKEN_BYTES)
    except Denied:
        return None
