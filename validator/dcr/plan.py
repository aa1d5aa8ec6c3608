"""What the bridge goes by: its configuration as values, and what Konnect sends as values.

Law of this file: data, and what follows from it without asking anybody. How Konnect's words become those of
RFC 7591 stands here.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field

from validator.core.registration import NewClient
from validator.core.sealing import Sealer
from validator.dcr.registrar import ClientRegistrar
from validator.errors import Unavailable
from validator.model import Reason, RegistrationStatus

EVENT_TYPES = ("update_application", "add_registration", "remove_registration")

# Konnect names its auth method among the grants; both mean that the client fetches tokens for itself.
_OWN_TOKENS = frozenset({"client_credentials", "bearer"})
# Of the others these can be asked for without knowing more than Konnect says. The implicit grant cannot
# (its response types are not told), and RFC 9700 section 2.1.2 advises against it.
_WITH_REDIRECT = ("authorization_code", "refresh_token")
_OF_USERS = frozenset({"openid", "offline_access", "profile", "email"})  # no client has them for itself


class BridgeRefused(Exception):
    """What is answered instead.

    Args:
        status: HTTP status.
        error: a short code or phrase.
        description: one or more sentences for a Konnect admin; holds no secret.
    """

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(status, error, description)
        self.status = status
        self.error = error
        self.description = description


class Busy(Unavailable):
    """The bridge itself does not take the call now; nothing was begun."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.STORE_UNAVAILABLE, detail)


@dataclass(frozen=True, slots=True)
class Registering:
    """How clients of one strategy are registered.

    Attributes:
        auth_method: how the sidecar itself sends a client's secret to the token endpoint, so what a client has to
            be registered with, whatever Konnect asks for.
        scopes: what the sidecar asks for when it proves a client's secret, so what a client that may have only
            some scopes has to have.
    """

    registrar: ClientRegistrar
    auth_method: str
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The bridge's configuration.

    Attributes:
        registering: by strategy, those that the bridge serves.
        default: the strategy of an ``auth_strategy_id`` that is not mapped, or ``None``: then it is a mistake.
        strategies: by Konnect's ``auth_strategy_id``.
        services: by Konnect's ``api_product_version_id``; what is not mapped is itself the service.
        status: what a new registration is written with.
    """

    registering: Mapping[str, Registering]
    sealer: Sealer
    default: str | None = None
    strategies: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)
    status: RegistrationStatus = RegistrationStatus.APPROVED

    def strategy(self, auth_strategy_id: str) -> str:
        """Raises ``BridgeRefused``."""
        name = self.strategies.get(auth_strategy_id, self.default)
        if name is None or name not in self.registering:
            raise BridgeRefused(
                400,
                "unknown_auth_strategy",
                f"auth_strategy_id {auth_strategy_id!r} is mapped to no strategy of the sidecar: add it to "
                "dcr.strategies in its configuration, or set dcr.strategy for all that are not mapped",
            )
        return name

    def service(self, api_product_version_id: str) -> str:
        return self.services.get(api_product_version_id, api_product_version_id)

    def of(self, strategy: str) -> Registering:
        """Raises ``BridgeRefused``: the configuration does not name that strategy any more."""
        found = self.registering.get(strategy)
        if found is None:
            raise BridgeRefused(
                400,
                "unknown_auth_strategy",
                f"the client belongs to the strategy {strategy!r}, which the bridge does not serve any more: name "
                "it in dcr.strategy or dcr.strategies of the sidecar's configuration",
            )
        return found


@dataclass(frozen=True, slots=True)
class NewApplication:
    """Konnect's ApplicationPayload."""

    client_name: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    scopes: tuple[str, ...]
    token_endpoint_auth_method: str
    application_description: str
    portal_id: str
    organization_id: str
    developer_id: str
    auth_strategy_id: str
    dcr_provider_id: str

    def digest(self, strategy: str) -> bytes:
        """The same for the same request, and for no other."""
        return hashlib.sha256(repr((strategy, astuple(self))).encode()).digest()

    def client(self, registering: Registering) -> NewClient:
        """What is asked for at the identity provider."""
        grants = grant_types(self.grant_types, self.redirect_uris)
        own = grants == ("client_credentials",)
        scopes = tuple(dict.fromkeys(s for s in self.scopes if not (own and s in _OF_USERS)))
        if scopes:  # who names none gets the provider's default
            scopes = tuple(dict.fromkeys((*scopes, *registering.scopes)))
        return NewClient(self.client_name, grants, self.redirect_uris, scopes, registering.auth_method)


def grant_types(asked: Sequence[str], redirect_uris: Sequence[str]) -> tuple[str, ...]:
    """The grants to register a client with. Every one gets ``client_credentials``: by it a client gets the token
    that it presents, the sidecar proves its secret, and either opens a session."""
    if _OWN_TOKENS & set(asked) or "authorization_code" not in asked or not redirect_uris:
        return ("client_credentials",)
    return ("client_credentials", *(name for name in _WITH_REDIRECT if name in asked))


@dataclass(frozen=True, slots=True)
class Event:
    """Konnect's EventHook. ``redirect_uris`` and ``api_product_version_id`` belong to some types only."""

    event_type: str
    client_id: str
    application_id: str
    application_name: str
    auth_strategy_id: str
    redirect_uris: tuple[str, ...] = ()
    api_product_version_id: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What Konnect is answered. Times are seconds since the epoch; 0 for ``expires_at``: never."""

    client_id: str
    client_secret: str
    issued_at: int | None = None
    expires_at: int = 0

    def __repr__(self) -> str:
        return f"Credentials({self.client_id}, <redacted>)"
