"""Konnect's HTTP DCR bridge: who calls it, what it is told, and how an identity provider is asked for clients.

Law of this file: data and bounds. What follows from other settings is judged in ``bridge_checks``.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from validator.settings.secret_values import ApiKeys, InitialAccessToken, SessionKeys
from validator.settings.values import (
    FilePath,
    Identifier,
    Seconds,
    Section,
    ServiceName,
    StrategyName,
    Url,
)

_DAY_S = 86400.0

AdapterName = Literal["rfc7591", "okta"]


class ClientRegistration(Section):
    """How clients are registered at one strategy's identity provider."""

    adapter: AdapterName | None = Field(
        default=None,
        examples=["rfc7591"],
        description="rfc7591, or okta for Okta's own client API; by default as idp is",
    )
    endpoint: Url | None = Field(
        default=None,
        examples=["https://idp.example.com/register"],
        description="where clients are registered, in place of what discovery says",
    )
    initial_access_token_file: FilePath | None = Field(
        default=None,
        examples=["/run/secrets/initial-access-token"],
        description="a file that holds the initial access token (RFC 7591 section 3), or Okta's API token, alone",
    )
    initial_access_token: InitialAccessToken | None = Field(
        default=None,
        examples=["the token that the identity provider gave"],
        description="the token itself; meant for the environment",
    )


class Dcr(Section):
    """The HTTP DCR bridge; without this section there is none."""

    api_keys_file: FilePath | None = Field(
        default=None,
        examples=["/run/secrets/dcr-api-keys"],
        description="a file of the keys that Konnect may send as X-API-KEY, one a line, # for comments",
    )
    api_keys: ApiKeys = Field(
        default=(),
        max_length=32,
        examples=["the output of `openssl rand -hex 32`"],
        description="the keys themselves, separated by spaces or commas; meant for the environment",
    )
    strategy: StrategyName | None = Field(
        default=None,
        examples=["plain"],
        description="where applications belong whose auth_strategy_id is not in strategies; by default the only "
        "strategy of the file, unless strategies is there: then other ids are refused",
    )
    strategies: Mapping[Identifier, StrategyName] = Field(
        default_factory=dict,
        max_length=1000,
        examples=[{"93f8380e-7798-4566-99e3-2edf2b57d289": "plain"}],
        description="where applications belong, by Konnect's auth_strategy_id",
    )
    services: Mapping[Identifier, ServiceName] = Field(
        default_factory=dict,
        max_length=10_000,
        examples=[{"5f9fd312-a987-4628-b4c5-bb4f4fddd5f7": "orders"}],
        description="the service, by Konnect's api_product_version_id; what is not here is itself the service",
    )
    registration_status: Literal["approved", "pending"] = Field(
        default="approved",
        examples=["approved"],
        description="what a new registration is written with; only approved opens the door",
    )
    sealing_keys_file: FilePath | None = Field(
        default=None,
        examples=["/run/secrets/dcr-sealing-keys"],
        description="a file of 32-byte keys in base64, one a line, that seal registration access tokens in the "
        "store; the first seals, all open; by default they follow from the session keys",
    )
    sealing_keys: SessionKeys = Field(
        default=(),
        examples=["the output of `openssl rand -base64 32`"],
        description="the keys themselves, separated by spaces or commas; meant for the environment",
    )
    retry_window_s: Seconds = Field(
        default=120,
        ge=0,
        le=_DAY_S,
        examples=[120],
        description="how long the same request to create an application is answered with the same client",
    )
