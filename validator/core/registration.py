"""Requests that register a client and manage it, and their replies.

Law of this file: everything that decides how an identity provider is asked for a client, and what its answer
means, lives here (RFC 7591 section 3, RFC 7592 section 2). Nothing is sent from here, and nothing is kept.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from validator.core.jws import read_json_object
from validator.model import Endpoint, HttpReply, HttpRequest

SECRET_NOT_ROTATED = "secret_not_rotated"  # noqa: S105 - an error's code
_OK, _CREATED, _NO_CONTENT = 200, 201, 204
_GONE = frozenset({401, 404, 410})  # RFC 7592 section 2.3 names 401 for a client that does not exist any more
# RFC 7592 section 2.2: an update must not name these.
_SERVERS_OWN = (
    "registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at",
)  # fmt: skip
_MAX_ID_CHARS, _MAX_SECRET_CHARS, _MAX_TOKEN_CHARS, _MAX_URL_CHARS = 256, 2048, 8192, 2048
_MAX_EPOCH_S = 10**11
# RFC 7591 section 3.2.2, or Okta's own. Narrow: what a provider writes there must not carry a secret further.
_CODE = re.compile(r"[a-z]{2,20}(?:_[a-z]{1,20}){0,3}|E[0-9]{7}")


class RegistrationRefused(Exception):
    """The identity provider said no, or something that cannot be used; nothing is known to have changed unless the
    message says so.

    Args:
        error: the code of RFC 7591 section 3.2.2, or one like it.
        description: for the admin who reads it; holds no secret.
    """

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error, description)
        self.error = error
        self.description = description


class UnreadableReply(RegistrationRefused):
    """It said yes, and what it did can only be guessed: there may be a client of whom nothing is known."""


@dataclass(frozen=True, slots=True)
class NewClient:
    """What a client is registered with (RFC 7591 section 2)."""

    name: str
    grant_types: tuple[str, ...]
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...]
    auth_method: str

    @property
    def metadata(self) -> dict[str, Any]:
        """As the registration endpoint takes it. What is empty is sent as such where leaving it out would mean the
        authorization code flow (``response_types``), and left out where the server has a default."""
        metadata: dict[str, Any] = {
            "client_name": self.name,
            "grant_types": list(self.grant_types),
            "response_types": ["code"] if "authorization_code" in self.grant_types else [],
            "redirect_uris": list(self.redirect_uris),
            "token_endpoint_auth_method": self.auth_method,
        }
        return metadata | ({"scope": " ".join(self.scopes)} if self.scopes else {})


@dataclass(frozen=True, slots=True, repr=False)
class RegisteredClient:
    """A client as the identity provider made it or changed it.

    Attributes:
        issued_at, expires_at: seconds since the epoch, of the client id and the secret; 0 for the latter: never.
        management: how it is managed from now on, in a form that only the adapter reads. A secret.
    """

    client_id: str
    client_secret: str
    issued_at: int | None
    expires_at: int
    management: str

    def __repr__(self) -> str:
        return f"RegisteredClient({self.client_id}, <secrets redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class Management:
    """RFC 7592 section 1.3: where a client is managed, and the token that may."""

    uri: str
    token: str

    def __repr__(self) -> str:
        return f"Management({self.uri}, <redacted>)"

    def packed(self) -> str:
        return json.dumps([self.uri, self.token])

    @classmethod
    def unpacked(cls, text: str) -> "Management":
        uri, token = json.loads(text)
        return cls(uri, token)


def at_home(uri: str, home: str) -> bool:
    """Whether a client is managed where clients are registered. A reply must not send us, and the token that it
    brings, anywhere else."""
    try:
        ours, theirs = urlsplit(home), urlsplit(uri)
        return "@" not in theirs.netloc and _origin(ours) == _origin(theirs)
    except ValueError:
        return False


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def registration_request(url: str, client: NewClient, initial_access_token: str | None) -> HttpRequest:
    """RFC 7591 section 3.1."""
    return _request("POST", url, initial_access_token, client.metadata)


def read_request(management: Management) -> HttpRequest:
    """RFC 7592 section 2.1."""
    return _request("GET", management.uri, management.token)


def update_request(management: Management, document: Mapping[str, Any]) -> HttpRequest:
    """RFC 7592 section 2.2: the whole of what the client is to be; members that only the server sets are left out.
    With the secret in ``document`` the server is asked to keep it, without to decide."""
    sent = {name: value for name, value in document.items() if name not in _SERVERS_OWN}
    return _request("PUT", management.uri, management.token, sent)


def delete_request(management: Management) -> HttpRequest:
    """RFC 7592 section 2.3."""
    return _request("DELETE", management.uri, management.token)


def read_document(reply: HttpReply, what: str) -> dict[str, Any]:
    """The client information of a reply (RFC 7591 section 3.2.1), to a request that was to do ``what``.

    Raises:
        RegistrationRefused: it is an error (section 3.2.2).
        UnreadableReply: it is a success without a JSON object.
    """
    document = _document(reply)
    if reply.status not in (_OK, _CREATED) or "error" in document:
        raise refusal(reply, what)
    if not document:
        raise UnreadableReply(
            "invalid_registration_reply",
            f"asked to {what}, the identity provider answered {reply.status} without a JSON object",
        )
    return document


def read_client(document: Mapping[str, Any], known: Management | None) -> RegisteredClient:
    """A client out of its information; how it is managed as ``known`` where the reply does not say it anew.

    Raises:
        RegistrationRefused: a member is missing or cannot be used.
    """
    client_id = client_id_of(document)
    if client_id is None:
        raise _unusable("client_id", "1 to 256 printable ASCII characters without a colon")
    secret = document.get("client_secret")
    if not isinstance(secret, str) or not 0 < len(secret) <= _MAX_SECRET_CHARS or not secret.isprintable():
        raise _unusable(
            "client_secret", "a text; let clients authenticate with client_secret_basic or client_secret_post"
        )
    management = management_of(document, known)
    if management is None:
        raise _unusable(
            "registration_client_uri and registration_access_token",
            "both, or the client could never be changed again; switch client management (RFC 7592) on",
        )
    return RegisteredClient(
        client_id,
        secret,
        _epoch(document.get("client_id_issued_at")),
        _epoch(document.get("client_secret_expires_at")) or 0,
        management.packed(),
    )


def client_id_of(document: Mapping[str, Any]) -> str | None:
    """The client id, if it can be one (RFC 6749 appendix A.1); no colon, which Basic (RFC 7617) cannot carry."""
    value = document.get("client_id")
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_ID_CHARS:
        return None
    fits = value.isascii() and value.isprintable() and ":" not in value and value.strip() == value
    fits = fits and value.strip(".") != ""  # a path of its own in an address
    return value if fits else None


def management_of(document: Mapping[str, Any], known: Management | None = None) -> Management | None:
    """Where and by which token the client is managed from now on; each may be named anew by every reply."""
    uri = document.get("registration_client_uri", known.uri if known else None)
    token = document.get("registration_access_token", known.token if known else None)
    if not isinstance(uri, str) or not isinstance(token, str):
        return None
    fits = 0 < len(uri) <= _MAX_URL_CHARS and 0 < len(token) <= _MAX_TOKEN_CHARS
    return Management(uri, token) if fits and token.isascii() and token.isprintable() else None


def read_deletion(reply: HttpReply, *, gone: Sequence[int] = tuple(_GONE)) -> bool:
    """Whether there was a client to delete; a status of ``gone`` says that there is none any more.

    Raises:
        RegistrationRefused: the client is still there.
    """
    if reply.status in (_OK, _NO_CONTENT):
        return True
    if reply.status in gone:
        return False
    raise refusal(reply, "delete the client")


def refusal(reply: HttpReply, what: str) -> RegistrationRefused:
    """What an error reply means. The provider's own words are not repeated: they may quote what was sent."""
    document = _document(reply)
    error = document.get("error", document.get("errorCode"))
    code = error if isinstance(error, str) and _CODE.fullmatch(error) else ""
    advice = _ADVICE.get(code) or _ADVICE.get(str(reply.status)) or "its own log says more"
    said = f"{reply.status} ({code})" if code else str(reply.status)
    return RegistrationRefused(
        code or "registration_refused", f"asked to {what}, the identity provider answered {said}: {advice}"
    )


_ADVICE = {
    "invalid_redirect_uri": "it does not take a redirect URI of the application; change it in the portal",
    "invalid_client_metadata": "it does not take the application's grant types, scopes or authentication method; "
    "compare them with what its registration allows",
    "invalid_software_statement": "it demands a software statement, which Konnect does not send",
    "unapproved_software_statement": "it demands a software statement, which Konnect does not send",
    "invalid_scope": "it does not know a scope of the application",
    "401": "the token it was sent does not count (any more); for a new client check the strategy's "
    "registration.initial_access_token_file, an existing one is gone there or its own token was replaced",
    "403": "the token it was sent may not do this; check its rights there",
    "404": "there is no such endpoint or client; check the strategy's registration.endpoint",
    "405": "it has no client management (RFC 7592); switch it on there",
}


def _request(method: str, url: str, token: str | None, document: Mapping[str, Any] | None = None) -> HttpRequest:
    headers = {"Accept": "application/json", "Connection": "close"}  # a used one may end with it: done or not?
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    body = b""
    if document is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(document).encode()
    return HttpRequest(Endpoint.REGISTRATION, method, url, headers, body)


def _document(reply: HttpReply) -> dict[str, Any]:
    try:
        return read_json_object(reply.body)
    except ValueError:
        return {}


def _unusable(member: str, expected: str) -> RegistrationRefused:
    return RegistrationRefused(
        "invalid_registration_reply", f"the identity provider's reply needs {member}: {expected}"
    )


def _epoch(value: object) -> int | None:
    """Seconds since the epoch, as a number or, as some write it, in a string."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < len(str(_MAX_EPOCH_S)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_EPOCH_S:
        return None
    return int(value)
