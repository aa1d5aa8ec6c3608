"""The kinds of value that settings are made of: addresses, URLs, names, lists.

Law of this file: a value is accepted in one form that is written down here, or refused with a sentence that
says what to write instead.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeVar, Union
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    Strict,
)
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_after_validator_function

from validator.core import upstream

_MAX_PORT = 65535
_MAX_UNIX_PATH_BYTES = 107  # sun_path of Linux, without its closing NUL
_MAX_URL = 2048
_MAX_PATH = 4096


class Section(BaseModel):
    """What every part of the settings has in common: frozen, no unknown keys, no input echoed in an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False, str_max_length=8192
    )


def refusal(expected: str, example: str = "") -> PydanticCustomError:
    """The error of a validator here: the sentence is what was expected instead."""
    # Passed as values and not as the template, so that a brace in them stays a brace.
    return PydanticCustomError("refusal", "expected {expected}", {"expected": expected, "example": example})


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: ``host`` and ``port`` (0: any free one), or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str | None = None

    @classmethod
    def parse(cls, text: object) -> Self:
        """``127.0.0.1:8100``, ``[::1]:8100``, ``localhost:8100`` or ``unix:/run/validator/data.sock``.

        Raises:
            PydanticCustomError: it is none of these.
        """
        if isinstance(text, cls):
            return text
        if not isinstance(text, str):
            raise refusal("host:port or unix:/path, as text in quotes")
        if text.startswith("unix:"):
            return cls(path=_socket_path(text.removeprefix("unix:")))
        host, colon, port = text.rpartition(":")
        if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > _MAX_PORT:
            raise refusal("host:port with a port from 0 to 65535, or unix:/path")
        return cls(host=_host(host), port=int(port))

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it: a loopback address or a Unix socket."""
        return self.path is not None or is_loopback(self.host)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without brackets, is this machine's loopback."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_insecure(url: str) -> bool:
    """Whether a URL would carry secrets in clear over a network: http to anything but loopback."""
    try:
        parts = urlsplit(url)
        return parts.scheme.lower() == "http" and not is_loopback(parts.hostname or "")
    except ValueError:
        return False


def _socket_path(path: str) -> str:
    if not path.startswith("/") or "\0" in path or len(path.encode("utf-8", "replace")) > _MAX_UNIX_PATH_BYTES:
        raise refusal(
            f"unix: and an absolute path of at most {_MAX_UNIX_PATH_BYTES} bytes",
            example="unix:/run/validator/data.sock",
        )
    return path


def _host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise refusal("an IPv6 address within the brackets") from None
    if ":" in host:
        raise refusal("an IPv6 address in brackets", "[::1]:8100")
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise refusal("an IPv4 address of four numbers from 0 to 255") from None
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", host):
        raise refusal("a host name or an IP address before the colon; 0.0.0.0 for all interfaces")
    return host


def _url(text: str) -> str:
    """An absolute http or https URL that can be fetched as it stands. http itself is judged elsewhere."""
    if len(text) > _MAX_URL or not re.fullmatch(r"[\x21-\x7e]+", text) or set('"<>\\^`') & set(text):
        raise refusal(f"a URL of at most {_MAX_URL} ASCII characters without spaces")
    if "{" in text or "}" in text:
        raise refusal("a URL with the tenant's own id in the place of the braces")
    try:
        parts = urlsplit(text)
        usable = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise refusal("a URL that begins with https:// and a host name")
    if "@" in parts.netloc:
        raise refusal("a URL without a user name or a password in it")
    if "#" in text:
        raise refusal("a URL without a fragment (#)")
    return text


def _issuer(text: str) -> str:
    # OpenID Connect Discovery section 2: an issuer has no query; a pasted discovery URL may (Entra's appid).
    if "?" in text and "/.well-known/" not in text:
        raise refusal("an issuer without a query (?), or a full discovery URL")
    return _url(text)


def _file_path(text: str) -> str:
    if not 0 < len(text) <= _MAX_PATH or not text.isprintable():
        raise refusal("the path of a file")
    return text


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def one_or_many(kind: Any) -> BeforeValidator:
    """For a tuple of ``kind``: one text alone stands for a list of one."""
    return BeforeValidator(_listed, json_schema_input_type=Union[kind, list[kind]])  # noqa: UP007 -- not a type yet


def _words(value: object) -> object:
    return value.split() if isinstance(value, str) else value


def _header_name(name: str) -> str:
    if upstream.is_reserved(name):
        raise refusal(
            "a header's name that neither the sidecar, Kong nor HTTP itself gives a meaning", "X-Claim-Tenant"
        )
    return name


_T = TypeVar("_T")


def _once(values: tuple[_T, ...]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(values))


@dataclass(frozen=True, slots=True)
class Matching:
    """Text of one shape: checked by ``re.fullmatch``, shown to editors as a ``pattern``, told in words."""

    pattern: str
    expected: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        fullmatch, expected = re.compile(self.pattern).fullmatch, self.expected

        def check(text: str) -> str:
            if not fullmatch(text):
                raise refusal(expected)
            return text

        return no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}


Seconds = Annotated[float, Strict()]
Whole = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Listening = Annotated[Address, PlainValidator(Address.parse, json_schema_input_type=str), PlainSerializer(str)]
Url = Annotated[str, AfterValidator(_url)]
Issuer = Annotated[str, AfterValidator(_issuer)]
FilePath = Annotated[str, AfterValidator(_file_path)]

Identifier = Annotated[str, Matching(r"[A-Za-z0-9._:-]{1,128}", "1 to 128 letters, digits, or any of . _ : -")]
StrategyName = Annotated[
    str,
    Matching(r"[A-Za-z0-9._-]{1,64}", "a name of 1 to 64 letters, digits, or any of . _ -"),
]
# RFC 6749 appendix A.1: printable ASCII. Spaces at the ends would be lost in a header.
ClientId = Annotated[
    str,
    Matching(
        r"[\x21-\x7e]([\x20-\x7e]{0,254}[\x21-\x7e])?",
        "1 to 256 printable ASCII characters without spaces at the ends",
    ),
]
# Shown to upstreams in a header.
DisplayName = Annotated[
    str,
    Matching(
        r"(?! )[^\x00-\x1f\x7f-\x9f]{1,256}(?<! )", "1 to 256 characters without line breaks or outer spaces"
    ),
]
# One segment of the path that gateways call.
ServiceName = Annotated[
    str,
    Matching(r"[^\x00-\x20\x7f-\xa0/?#]{1,256}", "a service's name: 1 to 256 characters, no spaces, no / ? #"),
]
ClaimPath = Annotated[
    str,
    Matching(
        r"(?=.{1,256}$)(https?://\S+|[^.\s]+(\.[^.\s]+){0,7})",
        "the name of a claim, a dotted path of up to 8 names, or the name of a claim that is a URL",
    ),
]
Audience = Annotated[
    str,
    Matching(r"[^\x00-\x20\x7f]{1,1024}", "an audience: 1 to 1024 characters without spaces"),
]
# RFC 6749 section 3.3, scope-token.
Scope = Annotated[
    str,
    Matching(r"[\x21\x23-\x5b\x5d-\x7e]{1,512}", "one scope in each entry, without spaces or quotes"),
]
TokenType = Annotated[
    str,
    Matching(r"[A-Za-z0-9!#$&^_.+/-]{1,128}", "a media type, as in the `typ` of a token's header"),
]
# RFC 6265 section 4.1.1: a token of RFC 9110.
CookieName = Annotated[
    str,
    Matching(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", "a cookie's name: letters, digits, or any of !#$%&'*+-.^_`|~"),
]
# A claim of the token's own, not a path.
ClaimName = Annotated[str, Matching(r"[^\s]{1,256}", "the name of a claim, without spaces")]
ClaimValue = Annotated[str, Matching(r"[^\x00-\x1f\x7f]{1,1024}", "the claim's value, a text in quotes")]
FormName = Annotated[
    str,
    Matching(r"[A-Za-z0-9._-]{1,128}", "a form parameter's name: letters, digits, . _ -"),
]

# RFC 9110's token, but for what CGI and its heirs spell as they spell the hyphen.
HeaderName = Annotated[
    str,
    Matching(
        rf"[A-Za-z0-9-]{{1,{upstream.MAX_NAME_BYTES}}}",
        f"a header's name: 1 to {upstream.MAX_NAME_BYTES} letters, digits or hyphens",
    ),
    AfterValidator(_header_name),
]
# Several stand in one header, separated by commas.
GroupName = Annotated[
    str,
    Matching(
        r"[\x21-\x2b\x2d-\x7e]{1,128}", "a group: 1 to 128 visible ASCII characters, no spaces and no commas"
    ),
]

once = AfterValidator(_once)
ClaimPaths = Annotated[tuple[ClaimPath, ...], one_or_many(ClaimPath), once]
Issuers = Annotated[tuple[Issuer, ...], one_or_many(Issuer), once]
Audiences = Annotated[tuple[Audience, ...], one_or_many(Audience), once]
TokenTypes = Annotated[tuple[TokenType, ...], one_or_many(TokenType), once]
# As OAuth writes scopes, one text may hold several.
Scopes = Annotated[tuple[Scope, ...], BeforeValidator(_words, json_schema_input_type=str | list[Scope]), once]
