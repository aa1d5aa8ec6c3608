"""The kinds of secret that settings hold.

Law of this file: a secret is judged without being repeated; the sentence says what to write instead.
"""

import base64
import binascii
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Secret, SecretBytes, SecretStr

from validator.core.redis_url import RedisEndpoint
from validator.settings.values import refusal

_MIN_TOKEN = 16
_MAX_TOKEN = 4096
_KEY_BYTES = 32  # AES-256
_USERINFO = re.compile(r"(?s)//.*@")  # to the last @, wherever the URL is none
_API_KEY = re.compile(r"[A-Za-z0-9_]{12,256}")  # what Konnect takes as a DCR provider's api_key


def _control_token(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not _MIN_TOKEN <= len(text) <= _MAX_TOKEN or not re.fullmatch(r"[\x21-\x7e]+", text):
        raise refusal(
            f"a secret of {_MIN_TOKEN} to {_MAX_TOKEN} visible ASCII characters without spaces, "
            "such as `openssl rand -hex 32` prints"
        )
    return secret


def _client_secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not 0 < len(text) <= _MAX_TOKEN or not text.isprintable():  # RFC 6749 appendix A.2
        raise refusal(f"a client's secret of 1 to {_MAX_TOKEN} printable characters")
    return secret


def _redis_password(secret: SecretStr) -> SecretStr:
    if not 0 < len(secret.get_secret_value()) <= _MAX_TOKEN:
        raise refusal(f"a password of 1 to {_MAX_TOKEN} characters")
    return secret


class SecretUrl(Secret[str]):
    """A URL that may hold a password; it is shown without."""

    def _display(self) -> str:
        return _USERINFO.sub("//***@", self.get_secret_value())


def _redis_url(secret: SecretUrl) -> SecretUrl:
    try:
        RedisEndpoint.parse(secret.get_secret_value())
    except ValueError as error:
        why = str(error)
        phrase = why.removeprefix("expected ")
        raise refusal(phrase if phrase != why else f"a URL of Redis: {why}") from None
    return secret


def _initial_access_token(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not 0 < len(text) <= _MAX_TOKEN or not re.fullmatch(r"[\x21-\x7e]+", text):
        raise refusal(f"a token of 1 to {_MAX_TOKEN} visible ASCII characters without spaces")
    return secret


def api_key(value: object) -> str:
    """One key of the HTTP DCR bridge.

    Raises:
        PydanticCustomError: Konnect would not take it; the sentence does not repeat it.
    """
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if not isinstance(value, str) or not _API_KEY.fullmatch(value):
        raise refusal("12 to 256 letters, digits or _, as text", "the output of `openssl rand -hex 32`")
    return value


def _distinct(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if len(set(keys)) != len(keys):
        raise refusal("each key once")
    return keys


def session_key(value: object) -> bytes:
    """The 32 bytes of a session key, given as such or in base64 or base64url, padded or not.

    Raises:
        PydanticCustomError: it is something else; the sentence does not repeat it.
    """
    how = "32 bytes in base64"
    if isinstance(value, SecretBytes):
        value = value.get_secret_value()
    if isinstance(value, bytes) and len(value) == _KEY_BYTES:
        return value
    if not isinstance(value, str):
        raise refusal(how)
    plain = value.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise refusal(f"{how}; this is not base64") from None
    if len(key) != _KEY_BYTES:
        raise refusal(f"{how}; this is {len(key)} bytes")
    return key


def _split_keys(value: object) -> object:
    return value.replace(",", " ").split() if isinstance(value, str) else value


ClientSecret = Annotated[SecretStr, AfterValidator(_client_secret)]
ControlToken = Annotated[SecretStr, AfterValidator(_control_token)]
SessionKey = Annotated[SecretBytes, BeforeValidator(session_key, json_schema_input_type=str)]
SessionKeys = Annotated[
    tuple[SessionKey, ...], BeforeValidator(_split_keys, json_schema_input_type=str | list[str])
]
InitialAccessToken = Annotated[SecretStr, AfterValidator(_initial_access_token)]
ApiKey = Annotated[SecretStr, BeforeValidator(api_key, json_schema_input_type=str)]
ApiKeys = Annotated[
    tuple[ApiKey, ...],
    BeforeValidator(_split_keys, json_schema_input_type=str | list[str]),
    AfterValidator(_distinct),
]
RedisPassword = Annotated[SecretStr, AfterValidator(_redis_password)]
RedisUrl = Annotated[SecretUrl, AfterValidator(_redis_url)]
