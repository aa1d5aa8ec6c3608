"""The bridge's JSON.

Law of this file: the shape of every body that Konnect sends to the bridge or is answered, as pydantic models; the
validation and the OpenAPI document come from them. What Konnect adds one day is ignored, what it promises is
demanded, and every length is bounded.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from validator.dcr.plan import Event, NewApplication
from validator.server.resources import Body, ClientId, Id, Mistakes, Name, Service

# Documented as UUIDs; nothing rests on that, so any other printable text is an id too.
Identifier = Name
RedirectUri = Annotated[Name, Field(max_length=2048)]
GrantType = Annotated[Name, Field(max_length=128)]
# RFC 6749 section 3.3: a space would make two scopes of one.
Scope = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x21\x23-\x5B\x5D-\x7E]+$")]
# Words for people, of which nothing is made: line breaks are fine.
Description = Annotated[str, Field(max_length=10_000)]
Audience = Annotated[str, Field(max_length=2048)]
RedirectUris = Annotated[list[RedirectUri], Field(max_length=100)]

_LOOSE = ConfigDict(extra="ignore", strict=True, frozen=True)
# The member that an event of each type cannot do without.
_MEMBER_OF = {
    "update_application": "redirect_uris",
    "add_registration": "api_product_version_id",
    "remove_registration": "api_product_version_id",
}


class ApplicationPayload(Body):
    """A new application, as Konnect announces it."""

    model_config = _LOOSE

    client_name: Name
    redirect_uris: RedirectUris
    grant_types: list[GrantType] = Field(max_length=50, description="bearer is taken for client_credentials")
    scopes: list[Scope] = Field(max_length=200)
    token_endpoint_auth_method: GrantType = Field(description="the strategy's own method is registered instead")
    application_description: Description
    portal_id: Identifier
    organization_id: Identifier
    developer_id: Identifier
    auth_strategy_id: Identifier = Field(description="which strategy the client belongs to, by configuration")
    dcr_provider_id: Identifier

    def application(self) -> NewApplication:
        """The value that the bridge takes."""
        return NewApplication(
            client_name=self.client_name,
            redirect_uris=tuple(self.redirect_uris),
            grant_types=tuple(self.grant_types),
            scopes=tuple(self.scopes),
            token_endpoint_auth_method=self.token_endpoint_auth_method,
            application_description=self.application_description,
            portal_id=self.portal_id,
            organization_id=self.organization_id,
            developer_id=self.developer_id,
            auth_strategy_id=self.auth_strategy_id,
            dcr_provider_id=self.dcr_provider_id,
        )


class EventHook(Body):
    """What happened to an application in Konnect."""

    model_config = _LOOSE | ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"properties": {"event_type": {"const": event}}, "required": [member]}
                for event, member in _MEMBER_OF.items()
            ]
        }
    )

    event_type: Literal["update_application", "add_registration", "remove_registration"]
    client_id: ClientId = Field(description="the client id of the path")
    application_id: Id = Field(description="the application's id here from the first event on")
    application_name: Name
    application_description: Description
    portal_id: Identifier
    organization_id: Identifier
    developer_id: Identifier
    auth_strategy_id: Identifier
    dcr_provider_id: Identifier
    redirect_uris: RedirectUris | None = Field(default=None, description="required by update_application")
    api_product_version_id: Service | None = Field(
        default=None, description="required by add_registration and remove_registration"
    )
    audience: Audience | None = None

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any], strategies: Collection[str]) -> Mistakes:
        """The member that this type of event cannot do without."""
        del strategies
        event = raw.get("event_type")
        member = _MEMBER_OF.get(event) if isinstance(event, str) else None
        if member is None or raw.get(member) is not None:
            return []
        return [(f"/{member}", f"Field required, since event_type is {event}")]

    def event(self, client_id: str) -> Event:
        """The value that the bridge takes; ``client_id`` as the path has it."""
        return Event(
            self.event_type,
            client_id,
            self.application_id,
            self.application_name,
            self.auth_strategy_id,
            tuple(self.redirect_uris or ()),
            self.api_product_version_id or "",
        )


class ClientCredentials(BaseModel):
    """A client at the identity provider. The secret is told once."""

    client_id: str
    client_secret: str
    client_id_issued_at: int = Field(description="seconds since the epoch")
    client_secret_expires_at: int = Field(description="seconds since the epoch; 0: never")


class NewSecret(BaseModel):
    """The client's secret from now on; the one before has ended."""

    client_id: str
    client_secret: str
    client_id_issued_at: int | None = Field(default=None, description="seconds since the epoch; left out: unknown")
    client_secret_expires_at: int = Field(description="seconds since the epoch; 0: never")


class BridgeError(BaseModel):
    """Every refusal of the bridge, for a Konnect admin to act on."""

    error: str
    error_description: str
