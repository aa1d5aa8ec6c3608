"""The control plane's JSON.

Law of this file: the shape of every body that comes in or goes out, but for those of Konnect's bridge, as
pydantic models; from them come the validation, the replies and the OpenAPI document, so the three cannot disagree.
What needs more than one member or the configuration to be judged stands in ``mistakes`` beside its model.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from validator.core import naming
from validator.core.registry import MAX_GROUPS
from validator.model import Application, Origin, RegistrationStatus, Revocation

MAX_REGISTRATIONS = 1000  # services of one application


def _short(value: object) -> object:
    return {"service": value, "status": "approved"} if isinstance(value, str) else value


_printable, _addressable = AfterValidator(naming.printable), AfterValidator(naming.addressable)
Id = Annotated[str, Field(min_length=1, max_length=naming.MAX_ID_CHARS), _printable, _addressable]
Name = Annotated[str, Field(min_length=1, max_length=naming.MAX_NAME_CHARS), _printable]
ClientId = Annotated[str, Field(min_length=1, max_length=naming.MAX_CLIENT_ID_CHARS), _printable]
Service = Annotated[str, Field(min_length=1, max_length=naming.MAX_SERVICE_CHARS), _printable, _addressable]
StrategyName = Annotated[str, Field(min_length=1, max_length=naming.MAX_STRATEGY_CHARS), _printable]
TokenId = Annotated[str, Field(min_length=1, max_length=naming.MAX_TOKEN_ID_CHARS), _printable]
Group = Annotated[
    str,
    Field(min_length=1, max_length=naming.MAX_GROUP_CHARS, json_schema_extra={"pattern": naming.GROUP}),
    AfterValidator(naming.group),
]
Status = Literal["approved", "pending", "revoked", "rejected"]
Mistakes = list[tuple[str, str]]  # JSON pointer, what is wrong


class Body(BaseModel):
    """What every request body has in common: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any], strategies: Collection[str]) -> Mistakes:
        """What a field alone cannot tell; ``raw`` is an object as parsed, of unknown content."""
        del raw, strategies
        return []


class RegistrationStatusBody(Body):
    """The status of an application's right to call one service."""

    status: Status = Field(description="only approved opens the door")


class RegistrationBody(Body):
    """An application's right to call one service."""

    service: Service = Field(description="the name of the Kong Gateway Service")
    status: Status = Field(description="only approved opens the door")


class ApplicationBody(Body):
    """An application as it is written; a whole one, also when it replaces another."""

    id: Id | None = Field(default=None, description="left out: a UUID is made")
    name: Name | None = Field(default=None, description="left out: the client id")
    strategy: StrategyName = Field(description="a strategy of the configuration file")
    client_id: ClientId = Field(description="its client id at the identity provider, unique within the strategy")
    status: Literal["active", "inactive"] = Field(
        default="active", description="an inactive application is refused everywhere"
    )
    registrations: list[
        Annotated[RegistrationBody, BeforeValidator(_short, json_schema_input_type=str | RegistrationBody)]
    ] = Field(
        default_factory=list,
        max_length=MAX_REGISTRATIONS,
        description="services it may call; a bare string is short for an approved one",
    )
    groups: list[Group] = Field(
        default_factory=list,
        max_length=MAX_GROUPS,
        description="what upstreams are told that it belongs to, in this order; no decision rests on them",
    )
    origin: Literal["api"] | None = Field(
        default=None, description="may be sent back as it was read; only api can be written"
    )

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any], strategies: Collection[str]) -> Mistakes:
        """A strategy that is not configured; a service or a group named twice."""
        found = _unknown_strategy(raw, strategies)
        groups = raw.get("groups")
        known: set[str] = set()
        for position, group in enumerate(groups[:MAX_GROUPS] if isinstance(groups, list) else []):
            if isinstance(group, str):
                if group in known:
                    found.append((f"/groups/{position}", "this group is already named above"))
                known.add(group)
        entries = raw.get("registrations")
        seen: set[str] = set()
        for position, entry in enumerate(entries[:MAX_REGISTRATIONS] if isinstance(entries, list) else []):
            service = entry.get("service") if isinstance(entry, dict) else entry
            if isinstance(service, str):
                if service in seen:
                    found.append((f"/registrations/{position}", "this service is already named above"))
                seen.add(service)
        return found

    def application(self, application_id: str) -> Application:
        """The value that the registry holds."""
        return Application(
            id=application_id,
            name=self.client_id if self.name is None else self.name,
            strategy=self.strategy,
            client_id=self.client_id,
            registrations={r.service: RegistrationStatus(r.status) for r in self.registrations},
            active=self.status == "active",
            origin=Origin.API,
            groups=tuple(self.groups),
        )


_KINDS = ("client_id", "application_id", "session_id", "jti", "sessions_of")
_WITH_STRATEGY = ("client_id", "sessions_of")


class RevocationBody(Body):
    """What is to be blocked: exactly one of client_id, application_id, session_id, jti and sessions_of."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": [kind]} for kind in _KINDS],
            "dependentRequired": {"sessions_of": ["strategy"]},
        }
    )

    client_id: ClientId | None = Field(default=None, description="everything of this client, until it is lifted")
    application_id: Id | None = Field(default=None, description="everything of this application's client")
    session_id: TokenId | None = Field(default=None, description="one session")
    jti: TokenId | None = Field(default=None, description="one token, and the session that it opened")
    sessions_of: ClientId | None = Field(
        default=None, description="the sessions of this client that are open now; it may open others"
    )
    strategy: StrategyName | None = Field(
        default=None, description="narrows client_id to one strategy; sessions_of needs it"
    )
    expires_at: float | None = Field(
        default=None,
        allow_inf_nan=False,
        gt=0,
        lt=1e11,
        description="seconds since the epoch, in the future; left out: until it is lifted, with sessions_of until "
        "the last of the sessions would have ended",
    )

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any], strategies: Collection[str]) -> Mistakes:
        """None or several of the five; a strategy that is missing, not configured, or narrows nothing."""
        found = _unknown_strategy(raw, strategies)
        if len([kind for kind in _KINDS if raw.get(kind) is not None]) != 1:
            found.append(("", f"must have exactly one of {', '.join(_KINDS)}"))
        elif raw.get("strategy") is None and raw.get("sessions_of") is not None:
            found.append(("/strategy", "Field required: the sessions of a client are those under one strategy"))
        elif raw.get("strategy") is not None and all(raw.get(kind) is None for kind in _WITH_STRATEGY):
            found.append(("/strategy", f"goes with {' or '.join(_WITH_STRATEGY)} alone"))
        return found

    def revocation(self, now: float, session_ttl_s: float) -> Revocation:
        """The value that the registry holds.

        Args:
            now: seconds since the epoch.
            session_ttl_s: seconds that no session lasts longer than.
        """
        kind, value = next((k, v) for k in _KINDS if (v := getattr(self, k)) is not None)
        expires_at = self.expires_at
        if expires_at is None and kind == "sessions_of":
            expires_at = now + session_ttl_s
        return Revocation(kind, value, self.strategy, now, expires_at)


class ApplicationView(BaseModel):
    """An application as it is read."""

    id: str
    name: str
    strategy: str
    client_id: str
    status: Literal["active", "inactive"]
    registrations: list[RegistrationBody]
    groups: list[str]
    origin: Literal["file", "api"] = Field(description="file: stands in the configuration file, read-only here")


class ApplicationList(BaseModel):
    """One page."""

    applications: list[ApplicationView]
    next: str | None = Field(description="send it as after for the next page; null: there is none")


class RevocationView(BaseModel):
    """A revocation as it is read: one of the five, and its times in seconds since the epoch."""

    client_id: str | None = None
    application_id: str | None = None
    session_id: str | None = None
    jti: str | None = None
    sessions_of: str | None = None
    strategy: str | None = None
    created_at: float
    expires_at: float | None = None


class RevocationList(BaseModel):
    """The newest first."""

    revocations: list[RevocationView]


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Whether requests can be judged."""

    status: Literal["ready", "unready"]
    missing: list[str] | None = None


class OpenApiDocument(BaseModel):
    """The members that every OpenAPI document has."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]


class FieldMistake(BaseModel):
    """One mistake in a request."""

    pointer: str | None = Field(default=None, description="JSON pointer (RFC 6901) into the body")
    parameter: str | None = Field(default=None, description="name of the query parameter")
    detail: str


class ProblemBody(BaseModel):
    """RFC 9457."""

    title: str
    status: int
    detail: str
    reason: str | None = None
    errors: list[FieldMistake] | None = None


def application_json(application: Application) -> dict[str, object]:
    """``ApplicationView``, registrations in order of service."""
    return {
        "id": application.id,
        "name": application.name,
        "strategy": application.strategy,
        "client_id": application.client_id,
        "status": "active" if application.active else "inactive",
        "registrations": [
            {"service": service, "status": status.value}
            for service, status in sorted(application.registrations.items())
        ],
        "groups": list(application.groups),
        "origin": application.origin.value,
    }


def revocation_json(revocation: Revocation) -> dict[str, object]:
    """``RevocationView``."""
    body: dict[str, object] = {revocation.kind: revocation.value}
    if revocation.strategy is not None:
        body["strategy"] = revocation.strategy
    return {**body, "created_at": revocation.created_at, "expires_at": revocation.expires_at}


def _unknown_strategy(raw: Mapping[str, Any], strategies: Collection[str]) -> Mistakes:
    name = raw.get("strategy")
    if not isinstance(name, str) or name in strategies:
        return []
    known = ", ".join(sorted(strategies)) or "none"
    return [("/strategy", f"no such strategy is configured; configured: {known}")]
