"""Applications that stand in the file: read-only truth for the registry.

Law of this file: the shape of one entry. Whether entries fit together is judged in ``checks``.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from validator.core.registry import MAX_GROUPS
from validator.model import Application, Origin, RegistrationStatus
from validator.settings.values import (
    ClientId,
    DisplayName,
    GroupName,
    Identifier,
    Section,
    ServiceName,
    StrategyName,
    one_or_many,
)


class Registration(Section):
    """An application's right to call one service."""

    service: ServiceName = Field(examples=["orders"], description="the name of the Kong Gateway Service")
    status: RegistrationStatus = Field(
        default=RegistrationStatus.APPROVED, examples=["approved"], description="only approved opens the door"
    )


def _short(value: object) -> object:
    return {"service": value} if isinstance(value, str) else value


class ApplicationEntry(Section):
    """One application."""

    id: Identifier = Field(
        examples=["3f0c1c9e-0000-4000-8000-000000000001"],
        description="the application's id, unique in the registry",
    )
    name: DisplayName | None = Field(
        default=None,
        examples=["Orders mobile"],
        description="the application's name, shown to upstreams; by default its client id",
    )
    strategy: StrategyName = Field(examples=["azure"], description="the name of a strategy of this file")
    client_id: ClientId = Field(
        examples=["orders-mobile"],
        description="its client id at the identity provider, unique within the strategy",
    )
    registrations: tuple[
        Annotated[Registration, BeforeValidator(_short, json_schema_input_type=str | Registration)], ...
    ] = Field(
        default=(),
        max_length=10_000,
        examples=[["orders", {"service": "billing", "status": "pending"}]],
        description="the services it may call: names, or sections with service and status",
    )
    groups: Annotated[tuple[GroupName, ...], one_or_many(GroupName)] = Field(
        default=(),
        max_length=MAX_GROUPS,
        examples=[["gold", "internal"]],
        description="what upstreams, and Kong's acl plugin, are told that it belongs to",
    )
    status: Literal["active", "inactive"] = Field(
        default="active", examples=["active"], description="an inactive application is refused everywhere"
    )

    def application(self) -> Application:
        """The value that the registry holds."""
        return Application(
            id=self.id,
            name=self.name or self.client_id,
            strategy=self.strategy,
            client_id=self.client_id,
            registrations={entry.service: entry.status for entry in self.registrations},
            active=self.status == "active",
            origin=Origin.FILE,
            groups=self.groups,
        )
