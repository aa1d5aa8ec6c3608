"""The clients of the development identity provider, and how they prove themselves. FOR DEVELOPMENT ONLY.

Law of this file: client authentication by RFC 6749 section 2.3, to the letter, since our own side of it is
tested against this. No I/O.
"""

import hmac
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from validator.testing.mint import Absent


@dataclass(slots=True)
class FakeClient:
    """A registered client. All of it may be changed while the provider runs.

    Attributes:
        claims: changes to the claims of its tokens; ``ABSENT`` removes one.
        scopes: those it may have, and gets when it asks for none; ``None``: whatever it asks for.
        expires_in: what the token reply says, whatever the token itself says: a number, a string, ``ABSENT``;
            ``None``: the truth.
        opaque: its access tokens are random strings instead of JWTs.
        auth_methods: how it may authenticate (RFC 7591 ``token_endpoint_auth_method``).
        grants: those it may use (RFC 7591 ``grant_types``).
    """

    secret: str = field(repr=False)
    claims: dict[str, Any] = field(default_factory=dict)
    scopes: tuple[str, ...] | None = None
    expires_in: float | str | Absent | None = None
    opaque: bool = False
    auth_methods: frozenset[str] = frozenset({"client_secret_basic", "client_secret_post"})
    grants: frozenset[str] = frozenset({"client_credentials"})


class OAuthError(Exception):
    """An error of the token endpoint (RFC 6749 section 5.2)."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.description = description
        self.status = status


def authenticate(
    clients: Mapping[str, FakeClient],
    authorization: str | None,
    form: Mapping[str, str],
    *,
    failure_status: int,
) -> tuple[str, FakeClient]:
    """The client, proved by its secret in one way and in one only (RFC 6749 section 2.3).

    Raises:
        OAuthError: ``invalid_client`` with ``failure_status``, or ``invalid_request``.
    """
    if authorization is not None and "client_secret" in form:
        raise OAuthError("invalid_request", "more than one way of client authentication")
    client_id, method = method_of(authorization, form)
    secret = form.get("client_secret") if authorization is None else basic_pair(authorization)[1]
    client = clients.get(client_id or "")
    matches = hmac.compare_digest((client.secret if client else "").encode(), (secret or "").encode())
    if client is None or client_id is None or not secret or not matches or method not in client.auth_methods:
        raise OAuthError("invalid_client", "client authentication failed", failure_status)
    return client_id, client


def method_of(authorization: str | None, form: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The client id and the name of its way of authentication, unproved; ``None`` where there is none."""
    if authorization is not None:
        return basic_pair(authorization)[0], "client_secret_basic"
    return form.get("client_id"), "client_secret_post" if "client_secret" in form else None


def registered(clients: Mapping[str, str | FakeClient] | None) -> dict[str, FakeClient]:
    """The clients by their id, where a bare secret stands for a client without peculiarities."""
    return {
        client_id: FakeClient(client) if isinstance(client, str) else client
        for client_id, client in (clients or {}).items()
    }


def form_of(content_type: str, body: bytes) -> dict[str, str]:
    """The parameters of a token request (RFC 6749 section 3.2).

    Raises:
        OAuthError: ``invalid_request``.
    """
    if content_type != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "the body must be application/x-www-form-urlencoded")
    pairs = parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "a parameter is given more than once")
    return form


def basic_pair(authorization: str) -> tuple[str | None, str | None]:
    """RFC 6749 section 2.3.1: id and secret are form-urlencoded each, then joined as RFC 7617 has it."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None, None
    try:
        client_id, colon, secret = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None, None
    return (unquote_plus(client_id), unquote_plus(secret)) if colon else (None, None)
