"""The values that pass between the floors.

Law of this file: values are frozen and slotted, hold no behaviour beyond their own shape, and no secret
appears in a ``repr``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NamedTuple, Self


class Method(StrEnum):
    """How a request authenticated; Konnect's ``auth_methods``."""

    CLIENT_CREDENTIALS = "client_credentials"
    BEARER = "bearer"
    SESSION = "session"

    __hash__ = str.__hash__  # Enum's is written in Python, and a method is looked up several times a judgement


class Reason(str, Enum):  # noqa: UP042 - StrEnum takes no further members
    """Why a request did not pass: the one closed list for decision, log field, metric label and test.

    Attributes:
        status: the HTTP status that goes with it (RFC 9110).
        oauth_error: the ``error`` of an RFC 6750 challenge, or "" where none belongs.
    """

    status: int
    oauth_error: str

    def __new__(cls, value: str, status: int, oauth_error: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.status = status
        member.oauth_error = oauth_error
        return member

    NO_CREDENTIAL = "no_credential", 401
    MALFORMED_CREDENTIAL = "malformed_credential", 401, "invalid_request"
    MULTIPLE_CREDENTIALS = "multiple_credentials", 401, "invalid_request"
    METHOD_NOT_ENABLED = "method_not_enabled", 401, "invalid_request"
    TOKEN_MALFORMED = "token_malformed", 401, "invalid_token"
    TOKEN_ENCRYPTED = "token_encrypted", 401, "invalid_token"
    ALGORITHM_NOT_ALLOWED = "algorithm_not_allowed", 401, "invalid_token"
    KEY_UNKNOWN = "key_unknown", 401, "invalid_token"
    SIGNATURE_INVALID = "signature_invalid", 401, "invalid_token"
    TOKEN_EXPIRED = "token_expired", 401, "invalid_token"
    TOKEN_NOT_YET_VALID = "token_not_yet_valid", 401, "invalid_token"
    ISSUER_MISMATCH = "issuer_mismatch", 401, "invalid_token"
    AUDIENCE_MISMATCH = "audience_mismatch", 401, "invalid_token"
    TOKEN_TYPE_WRONG = "token_type_wrong", 401, "invalid_token"
    SCOPE_MISSING = "scope_missing", 403, "insufficient_scope"
    CLAIM_MISSING = "claim_missing", 401, "invalid_token"
    TOKEN_FOR_GRAPH = "token_for_graph", 401, "invalid_token"
    TOKEN_INACTIVE = "token_inactive", 401, "invalid_token"
    CREDENTIALS_REJECTED = "credentials_rejected", 401
    SESSION_INVALID = "session_invalid", 401
    SESSION_EXPIRED = "session_expired", 401
    REVOKED = "revoked", 401, "invalid_token"
    APPLICATION_UNKNOWN = "application_unknown", 403
    APPLICATION_INACTIVE = "application_inactive", 403
    NOT_REGISTERED = "not_registered", 403
    TOO_MANY_ATTEMPTS = "too_many_attempts", 429
    STRATEGY_UNKNOWN = "strategy_unknown", 404
    IDP_UNAVAILABLE = "idp_unavailable", 503
    STORE_UNAVAILABLE = "store_unavailable", 503

    def __str__(self) -> str:
        return str(self.value)


class RegistrationStatus(StrEnum):
    """Only ``approved`` opens the door."""

    APPROVED = "approved"
    PENDING = "pending"
    REVOKED = "revoked"
    REJECTED = "rejected"


class Origin(StrEnum):
    """Where an application is written down: the configuration file (read-only) or the control API."""

    FILE = "file"
    API = "api"


@dataclass(frozen=True, slots=True, repr=False)
class BearerToken:
    """RFC 6750 bearer token as it arrived, undecoded: from a client, or from a token endpoint."""

    token: bytes

    def __repr__(self) -> str:
        return "BearerToken(<redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class ClientCredentials:
    """RFC 7617 user-id and password, taken literally: a client id and its secret."""

    client_id: str
    client_secret: str

    def __repr__(self) -> str:
        return f"ClientCredentials(client_id={self.client_id!r}, client_secret=<redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class SessionCookie:
    """The value of our own session cookie, still sealed."""

    value: bytes

    def __repr__(self) -> str:
        return "SessionCookie(<redacted>)"


Credential = BearerToken | ClientCredentials | SessionCookie

UpstreamHeaders = tuple[tuple[str, str], ...]
"""Headers that tell the upstream what a token claims: name and value of each."""


@dataclass(frozen=True, slots=True)
class Application:
    """What a developer registered: at the identity provider one client id, under one strategy.

    ``registrations`` maps a service's name to the status of the right to call it. ``groups`` are told to the
    upstream, in the order written; nothing is decided by them here.
    """

    id: str
    name: str
    strategy: str
    client_id: str
    registrations: Mapping[str, RegistrationStatus] = field(default_factory=dict)
    active: bool = True
    origin: Origin = Origin.API
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """An opened session, as it is sealed into the cookie. Times are seconds since the epoch.

    Attributes:
        id: names the session in a revocation; not a secret.
        seen_at: the last activity that was written down; idle time counts from here.
        ends_at: the absolute end, which no activity moves.
        token_id: the ``jti`` of the token that opened it, so that revoking the token ends the session.
        upstream_headers: what the upstream is told of the credential that opened it.
    """

    id: str
    strategy: str
    client_id: str
    opened_at: float
    seen_at: float
    ends_at: float
    token_id: str | None = None
    upstream_headers: UpstreamHeaders = ()


class Proof(NamedTuple):
    """Who a credential proved to be, and until when that may be believed. Times are seconds since the epoch.

    Attributes:
        good_until: no decision may rest on this proof from that moment on.
        ends_at: when the credential itself ends (the token's life); bounds a session opened with it.
        token_id: ``jti`` of the token presented or minted, where there is one.
        key_id: thumbprint of the key that verified a bearer token; the proof falls when the key does. ``None``
            where the identity provider vouched for the token itself.
        session: the session that the request came with.
        opens: the session to hand out with an allowed answer; its revocation does not touch this proof.
        upstream_headers: what the upstream is told of the token's claims.
        minted: the access token that was minted for a client id and secret, where the upstream is to have it;
            ``good_until`` is not beyond its end.
    """

    strategy: str
    method: Method
    client_id: str
    good_until: float
    ends_at: float
    token_id: str | None = None
    key_id: str | None = None
    session: Session | None = None
    opens: Session | None = None
    upstream_headers: UpstreamHeaders = ()
    minted: BearerToken | None = None


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry of the list of what no longer counts. ``None`` times mean: for good.

    ``kind`` is the member of the control API's body that named it; ``strategy`` narrows a ``client_id``, and
    goes with ``sessions_of``, which ends the client's sessions that were opened until ``created_at``.
    """

    kind: str  # client_id | application_id | session_id | jti | sessions_of
    value: str
    strategy: str | None = None
    created_at: float = 0.0
    expires_at: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ClientRecord:
    """A client that was registered dynamically.

    Attributes:
        sealed: how it is managed at the identity provider, sealed; "" once it is deleted.
        adopted: whether ``application_id`` is the one that Konnect named, and no longer one of our own.
        deleted_at: seconds since the epoch; ``None`` while the client exists.
    """

    strategy: str
    client_id: str
    application_id: str
    sealed: str
    adopted: bool = False
    deleted_at: float | None = None

    @property
    def deleted(self) -> bool:
        return self.deleted_at is not None

    def __repr__(self) -> str:
        return f"ClientRecord({self.strategy}, {self.client_id}, {self.application_id}, deleted={self.deleted})"


class Knowledge(Enum):
    """How far what is held in memory is the whole truth about applications and revocations.

    ``CURRENT``: it is. ``BEHIND``: others may have written what is not known here, so that what is absent cannot
    be denied. ``REFUSED``: it has been so for longer than the operator accepts, and nothing is decided by it.
    """

    CURRENT = "current"
    BEHIND = "behind"
    REFUSED = "refused"


class Endpoint(StrEnum):
    """What is asked of an identity provider; a metric label."""

    DISCOVERY = "discovery"
    JWKS = "jwks"
    TOKEN = "token"  # noqa: S105 - an endpoint's name
    INTROSPECTION = "introspection"
    REGISTRATION = "registration"


@dataclass(frozen=True, slots=True, repr=False)
class HttpRequest:
    """A request that the core has built and an adapter is to carry. ``body`` may hold a secret."""

    endpoint: Endpoint
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def __repr__(self) -> str:
        return f"HttpRequest({self.endpoint.value}, {self.method} {self.url}, <headers and body redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class HttpReply:
    """What came back, whatever its status. Header names are in lower case; ``body`` may hold a token."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"HttpReply({self.status}, {len(self.body)} bytes)"
