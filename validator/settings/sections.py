"""The sections of the configuration that stand for themselves, with every default and bound.

Law of this file: data and bounds only. What one value says about another is judged in ``checks``.
"""

from typing import Literal

from pydantic import Field

from validator.settings.secret_values import ControlToken, SessionKeys
from validator.settings.values import (
    Address,
    CookieName,
    FilePath,
    Flag,
    Listening,
    Seconds,
    Section,
    Whole,
)

_DAY_S = 86400.0
_MIB = 1024 * 1024


class DataTls(Section):
    """What the data plane serves TLS with."""

    certificate_file: FilePath = Field(
        examples=["/etc/validator/data.crt"],
        description="a PEM file with the certificate, and behind it those between it and its CA",
    )
    key_file: FilePath = Field(
        examples=["/run/secrets/data.key"],
        description="a PEM file with the certificate's private key, without a passphrase",
    )
    client_ca_file: FilePath | None = Field(
        default=None,
        examples=["/etc/validator/gateways-ca.crt"],
        description="a PEM file of CAs: only clients with a certificate that one of them signed are served",
    )


class Listen(Section):
    """Where the two planes listen."""

    data: Listening = Field(
        default=Address("127.0.0.1", 8100),
        json_schema_extra={"default": "127.0.0.1:8100"},
        examples=["127.0.0.1:8100", "unix:/run/validator/data.sock"],
        description="where gateways call: host:port or unix:/path; port 0 takes any free one",
    )
    data_tls: DataTls | None = Field(
        default=None,
        examples=[{"certificate_file": "/etc/validator/data.crt", "key_file": "/run/secrets/data.key"}],
        description="TLS on listen.data, which is host:port then; without this section there is none",
    )
    control: Listening = Field(
        default=Address("127.0.0.1", 8101),
        json_schema_extra={"default": "127.0.0.1:8101"},
        examples=["127.0.0.1:8101"],
        description="where people and Prometheus call; off loopback it demands control.token",
    )
    dcr: Listening | None = Field(
        default=None,
        examples=["0.0.0.0:8102"],
        description="where Konnect calls the HTTP DCR bridge, and nothing else; by default on the control plane",
    )


class Control(Section):
    """Who may use the control plane."""

    token_file: FilePath | None = Field(
        default=None,
        examples=["/run/secrets/control-token"],
        description="a file that holds the bearer token of the control plane",
    )
    token: ControlToken | None = Field(
        default=None,
        examples=["the output of `openssl rand -hex 32`"],
        description="the token itself, at least 16 characters; meant for the environment",
    )


class Session(Section):
    """The session cookie."""

    keys_file: FilePath | None = Field(
        default=None,
        examples=["/run/secrets/session-keys"],
        description="a file of 32-byte keys in base64, one a line, # for comments; the first seals, all open",
    )
    keys: SessionKeys = Field(
        default=(),
        examples=["the output of `openssl rand -base64 32`"],
        description="the keys themselves, separated by spaces or commas; meant for the environment",
    )
    cookie_name: CookieName = Field(
        default="__Host-session",
        examples=["__Host-session"],
        description="the cookie's name; with the prefix __Host- browsers refuse to send it elsewhere",
    )
    idle_ttl_s: Seconds = Field(
        default=900, ge=1, le=30 * _DAY_S, examples=[900], description="a session unused for so long ends"
    )
    absolute_ttl_s: Seconds = Field(
        default=_DAY_S,
        ge=1,
        le=365 * _DAY_S,
        examples=[86400],
        description="no session lives longer, used or not",
    )
    outlive_token: Flag = Field(
        default=False,
        examples=[False],
        description="whether a session may last longer than the token that opened it",
    )


class Cache(Section):
    """How long an answer is believed."""

    decision_ttl_s: Seconds = Field(
        default=30,
        ge=0,
        le=3600,
        examples=[30],
        description="how long an allowed decision may be reused, by us and by gateways",
    )
    negative_ttl_s: Seconds = Field(
        default=5,
        ge=0,
        le=300,
        examples=[5],
        description="how long a refused credential stays refused unasked",
    )
    proof_ttl_s: Seconds = Field(
        default=300,
        ge=0,
        le=_DAY_S,
        examples=[300],
        description="how long a proved client id and secret is believed",
    )
    max_entries: Whole = Field(
        default=200_000,
        ge=100,
        le=10_000_000,
        examples=[200000],
        description="how many answers are kept at most",
    )


class Throttle(Section):
    """Guessing of client secrets."""

    max_failures: Whole = Field(
        default=10,
        ge=1,
        le=10_000,
        examples=[10],
        description="refused secrets for one client id within window_s",
    )
    window_s: Seconds = Field(
        default=60, ge=1, le=_DAY_S, examples=[60], description="the time over which failures are counted"
    )
    max_unregistered_failures: Whole = Field(
        default=100,
        ge=1,
        le=1_000_000,
        examples=[100],
        description="failures of all unregistered client ids of a strategy together within window_s",
    )
    max_inactive_tokens: Whole = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        examples=[1000],
        description="introspected tokens of a strategy that turn out inactive within window_s",
    )


class Keys(Section):
    """The issuers' key sets."""

    refresh_s: Seconds = Field(
        default=600,
        ge=10,
        le=_DAY_S,
        examples=[600],
        description="how often a key set is fetched anew when its Cache-Control says nothing",
    )
    min_refresh_s: Seconds = Field(
        default=60,
        ge=1,
        le=_DAY_S,
        examples=[60],
        description="never more often, whatever Cache-Control says",
    )
    unknown_key_cooldown_s: Seconds = Field(
        default=10,
        ge=1,
        le=3600,
        examples=[10],
        description="the pause between fetches that unknown keys cause",
    )
    last_known_good_s: Seconds = Field(
        default=_DAY_S,
        ge=0,
        le=30 * _DAY_S,
        examples=[86400],
        description="how long keys stay in use while the issuer cannot be reached",
    )


class Outbound(Section):
    """Calls to each identity provider."""

    timeout_s: Seconds = Field(
        default=5, ge=0.05, le=60, examples=[5], description="the whole of one call, connecting included"
    )
    connect_timeout_s: Seconds = Field(
        default=2, ge=0.05, le=60, examples=[2], description="connecting, TLS included"
    )
    max_concurrent: Whole = Field(
        default=32, ge=1, le=1000, examples=[32], description="calls in flight to one identity provider"
    )
    max_reply_bytes: Whole = Field(
        default=_MIB, ge=4096, le=16 * _MIB, examples=[1048576], description="a longer reply is dropped"
    )
    breaker_failures: Whole = Field(
        default=5, ge=1, le=1000, examples=[5], description="failures in a row after which calls pause"
    )
    breaker_reset_s: Seconds = Field(
        default=10, ge=0.1, le=600, examples=[10], description="the pause before the next try"
    )


class Limits(Section):
    """Bounds of the data plane."""

    max_header_bytes: Whole = Field(
        default=32768, ge=1024, le=_MIB, examples=[32768], description="request line and headers together"
    )
    max_body_bytes: Whole = Field(
        default=_MIB,
        ge=0,
        le=1024 * _MIB,
        examples=[1048576],
        description="a body, which is read and ignored",
    )
    max_token_bytes: Whole = Field(default=16384, ge=256, le=_MIB, examples=[16384], description="one credential")
    max_connections: Whole = Field(
        default=10_000, ge=1, le=1_000_000, examples=[10000], description="open connections, all workers together"
    )
    max_pipelined: Whole = Field(
        default=64, ge=1, le=10_000, examples=[64], description="unanswered requests of one connection"
    )
    idle_timeout_s: Seconds = Field(
        default=75, ge=1, le=3600, examples=[75], description="a connection unused for so long is closed"
    )
    header_timeout_s: Seconds = Field(
        default=10, ge=0.1, le=600, examples=[10], description="a request begun must be complete within"
    )
    drain_s: Seconds = Field(
        default=20, ge=0, le=600, examples=[20], description="how long a stop waits for requests under way"
    )


class Store(Section):
    """The embedded registry."""

    path: FilePath | None = Field(
        default=None,
        examples=["/var/lib/validator/state.db"],
        description="the SQLite file that keeps what the control plane writes",
    )


class Log(Section):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", examples=["info"], description="the least severe line that is written"
    )
    format: Literal["json", "console"] = Field(
        default="json", examples=["json"], description="json for machines, console for people"
    )
