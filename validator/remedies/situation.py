"""What is known where a credential was refused, and requests to paste.

Law of this file: a placeholder stands for every secret.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from validator.core import entra
from validator.core.discovery import Metadata
from validator.core.jws import Jws
from validator.core.oauth import GrantOptions
from validator.core.trust import TrustedPlace
from validator.errors import AuthError
from validator.model import Application, Credential, Revocation
from validator.settings import Settings, Strategy
from validator.words import clean

_SECRET = "<secret>"  # noqa: S105 - a placeholder
_TOKEN_ENDPOINT = "<the token endpoint of the identity provider>"  # noqa: S105 - the same
# Claims that name a client and never a person.
_CLIENT_CLAIMS = ("client_id", "azp", "appid", "cid")


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known where a credential was refused.

    Attributes:
        issuers: of the strategy, with what is known of each.
        grant: how the strategy itself asks for tokens, and what is known of that issuer.
        token: the token presented or minted, where it could be read.
        client_id: whom the credential names, proved or not.
        service: the service that was asked for.
        now: seconds since the epoch.
        revocations: those that the credential is blocked by.
        unmarked: the scheme that is wanting before what stands alone, as far as its shape tells.
    """

    error: AuthError
    name: str
    strategy: Strategy
    settings: Settings
    issuers: Sequence[tuple[TrustedPlace, Metadata | None]] = ()
    grant: tuple[Metadata | None, GrantOptions] = field(default=(None, GrantOptions("client_secret_post")))
    credential: Credential | None = None
    token: Jws | None = None
    client_id: str | None = None
    application: Application | None = None
    service: str | None = None
    now: float = 0.0
    unmarked: Literal["", "Basic", "Bearer"] = ""
    revocations: Sequence[Revocation] = ()

    def claim(self, name: str) -> object:
        """A claim of the token; ``None`` where there is none."""
        return None if self.token is None else self.token.payload.get(name)


def token_request(situation: Situation, parameters: Mapping[str, str] | None = None) -> str:
    """A request for a token that the strategy accepts.

    Args:
        parameters: in place of those that the strategy itself sends.
    """
    metadata, grant = situation.grant
    strategy = situation.strategy
    own = {**grant.parameters, **({"scope": " ".join(grant.scopes)} if grant.scopes else {})}
    form = dict(own if parameters is None else parameters)
    audience = strategy.provider.audience_parameter
    if audience and not strategy.audience:
        form.setdefault(audience, "<the identifier of your API>")
    if strategy.idp == "okta":
        form.setdefault("scope", "<a custom scope of the authorization server>")
    endpoint = metadata.token_endpoint if metadata and metadata.token_endpoint else _TOKEN_ENDPOINT
    client = _client(situation)
    words = ["curl", endpoint, "-d", "grant_type=client_credentials"]
    if grant.auth_method == "client_secret_basic":
        words += ["-u", f"{client}:{_SECRET}"]
    else:
        words += ["-d", f"client_id={client}", "--data-urlencode", f"client_secret={_SECRET}"]
    for name, value in form.items():
        words += ["--data-urlencode", f"{name}={value}"]
    return "  " + shlex.join(words)


def _client(situation: Situation) -> str:
    claimed = map(situation.claim, _CLIENT_CLAIMS) if _is_own_token(situation) else ()
    named = (situation.client_id, *claimed)
    return next((clean(found) for found in named if isinstance(found, str) and found), "<client id>")


def _is_own_token(situation: Situation) -> bool:
    """Whether the token names an issuer of the strategy's: what another one calls a client is not told to this."""
    found = situation.claim("iss")
    if not isinstance(found, str):
        return False
    for trusted, metadata in situation.issuers:
        if found == (metadata.issuer if metadata else trusted.place.issuer):
            return True
        tenant = entra.GUID.search(trusted.place.issuer) if trusted.version else None
        if tenant and (theirs := entra.GUID.search(found)) and theirs[0].lower() == tenant[0].lower():
            return True  # the other version's issuer of the same tenant
    return False


def control_request(situation: Situation, method: str, path: str, body: Mapping[str, object] | None = None) -> str:
    """A request to the control plane of the configuration at hand."""
    address = situation.settings.listen.control
    at = (
        ["--unix-socket", address.path, f"http://localhost{path}"] if address.path else [f"http://{address}{path}"]
    )
    words = ["curl", "-X", method, *at]
    if situation.settings.control.token is not None:
        words += ["-H", "Authorization: Bearer <the control token>"]
    if body is not None:
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    return "  " + shlex.join(words)
