"""The section of the Redis that several sidecars share.

Law of this file: data and bounds. What one value says about another is judged in ``redis_checks``.
"""

from typing import Annotated, Literal

from pydantic import Field

from validator.core.redis_url import RedisEndpoint
from validator.settings.secret_values import RedisPassword, RedisUrl
from validator.settings.values import FilePath, Matching, Seconds, Section

_DAY_S = 86400.0

UserName = Annotated[
    str, Matching(r"[\x21-\x7e]{1,256}", "the name of an ACL user: 1 to 256 visible ASCII characters")
]
Prefix = Annotated[str, Matching(r"[A-Za-z0-9._:-]{1,64}", "1 to 64 letters, digits, or any of . _ : -")]


class Redis(Section):
    """What several sidecars share: the registry, revocations, and what was proved."""

    url: RedisUrl = Field(
        examples=["rediss://redis.example.com:6379"],
        description="where Redis is, as a URL that begins with redis://, rediss:// (TLS), unix:// or "
        "redis+sentinel://, rediss+sentinel://, redis+cluster://, rediss+cluster://",
    )
    username: UserName | None = Field(
        default=None, examples=["validator"], description="the ACL user; by default Redis's default user"
    )
    password: RedisPassword | None = Field(
        default=None,
        examples=["the output of `openssl rand -hex 32`"],
        description="the user's password; meant for the environment",
    )
    password_file: FilePath | None = Field(
        default=None, examples=["/run/secrets/redis-password"], description="a file that holds the user's password"
    )
    sentinel_username: UserName | None = Field(
        default=None, examples=["validator"], description="the ACL user at the sentinels, where they have any"
    )
    sentinel_password: RedisPassword | None = Field(
        default=None,
        examples=["the output of `openssl rand -hex 32`"],
        description="the password at the sentinels; meant for the environment",
    )
    sentinel_password_file: FilePath | None = Field(
        default=None,
        examples=["/run/secrets/redis-sentinel-password"],
        description="a file that holds the password at the sentinels",
    )
    ca_file: FilePath | None = Field(
        default=None,
        examples=["/etc/validator/redis-ca.crt"],
        description="a PEM file of CAs, one of which signed Redis's certificate; by default the system's",
    )
    certificate_file: FilePath | None = Field(
        default=None,
        examples=["/etc/validator/redis-client.crt"],
        description="a PEM file with the certificate that Redis asks of its clients",
    )
    key_file: FilePath | None = Field(
        default=None,
        examples=["/run/secrets/redis-client.key"],
        description="a PEM file with that certificate's private key, without a passphrase",
    )
    prefix: Prefix = Field(
        default="validator", examples=["validator"], description="what every key in Redis begins with"
    )
    timeout_s: Seconds = Field(
        default=0.01,
        ge=0.001,
        le=1,
        examples=[0.01],
        description="how long a request may wait for Redis before the sidecar goes on alone",
    )
    max_stale_s: Seconds = Field(
        default=30,
        ge=1,
        le=_DAY_S,
        examples=[30],
        description="how long Redis may be out of reach before /readyz says so",
    )
    when_stale: Literal["serve", "refuse"] = Field(
        default="serve",
        examples=["serve"],
        description="beyond max_stale_s: serve by what is known, or refuse everything with 503",
    )
    start_timeout_s: Seconds = Field(
        default=5,
        ge=0,
        le=600,
        examples=[5],
        description="how long a start waits for Redis before it goes on with what is durable here",
    )

    def endpoint(self) -> RedisEndpoint:
        """Where Redis is, and as whom it is spoken to."""
        password, sentinel_password = self.password, self.sentinel_password
        return RedisEndpoint.parse(
            self.url.get_secret_value(),
            username=self.username,
            password=password.get_secret_value() if password else None,
            sentinel_username=self.sentinel_username,
            sentinel_password=sentinel_password.get_secret_value() if sentinel_password else None,
            ca_file=self.ca_file,
            certificate_file=self.certificate_file,
            key_file=self.key_file,
        )
