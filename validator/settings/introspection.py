"""How a strategy's issuer is asked about opaque tokens.

Law of this file: data, bounds and defaults.
"""

from typing import Literal

from pydantic import Field

from validator.core.introspection import ResponseKind
from validator.core.providers import TokenEndpointAuthMethod
from validator.settings.secret_values import ClientSecret
from validator.settings.values import ClientId, FilePath, Flag, Seconds, Section


class Introspection(Section):
    """RFC 7662, and RFC 9701 where the answers are signed."""

    client_id: ClientId | None = Field(
        default=None,
        examples=["gateway"],
        description="the client that we are at the introspection endpoint; none: we do not authenticate there",
    )
    client_secret_file: FilePath | None = Field(
        default=None,
        examples=["/run/secrets/introspection-secret"],
        description="a file that holds that client's secret alone",
    )
    client_secret: ClientSecret | None = Field(
        default=None,
        examples=["the secret that the identity provider gave"],
        description="the secret itself; meant for the environment",
    )
    auth_method: TokenEndpointAuthMethod = Field(
        default="client_secret_basic",
        examples=["client_secret_basic"],
        description="how that client authenticates: client_secret_basic or client_secret_post",
    )
    tokens: Literal["opaque", "all"] = Field(
        default="opaque",
        examples=["opaque"],
        description="which tokens are asked about: those that cannot be read here, or all",
    )
    response: ResponseKind = Field(
        default="json",
        examples=["json"],
        description="json; jwt for signed answers (RFC 9701); phantom for the JWT that the token stands for",
    )
    ttl_s: Seconds = Field(
        default=60,
        ge=0,
        le=3600,
        examples=[60],
        description="how long an answer is believed at most; the provider's Cache-Control can only shorten it",
    )
    ignore_no_store: Flag = Field(
        default=False,
        examples=[False],
        description="whether an answer is kept for ttl_s though the provider says Cache-Control: no-store",
    )
