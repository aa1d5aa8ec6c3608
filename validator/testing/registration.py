"""Dynamic registration of clients, and their management. FOR DEVELOPMENT ONLY.

Law of this file: RFC 7591 and RFC 7592 as a provider keeps them; the clients it makes are those of the token
endpoint. Everything that happened is written down for the tests.
"""

import hmac
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from validator.ports import Clock
from validator.testing.clients import FakeClient, OAuthError
from validator.testing.serving import NO_STORE, error_reply

_AUTH_METHODS: Final = {"client_secret_basic", "client_secret_post"}
_SERVERS_OWN: Final = {  # RFC 7592 section 2.2: these must not stand in an update
    "registration_access_token",
    "registration_client_uri",
    "client_secret_expires_at",
    "client_id_issued_at",
}
_EVENTS_KEPT: Final = 1000


@dataclass(frozen=True, slots=True)
class RegistrationEvent:
    """What happened. ``kind``: created, read, updated or deleted. ``metadata`` is what was sent, less secrets."""

    kind: str
    client_id: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Registered:
    """A client that came by registration."""

    metadata: dict[str, Any]
    issued_at: int
    registration_token: str = field(repr=False)


class Registration:
    """The registration endpoint of one provider.

    Args:
        clients: where new clients go, and deleted ones go from.
        clock: when a client was issued.
        on_delete: told the id of a client that was deleted.

    Attributes:
        initial_access_token: demanded of who creates (RFC 7591 section 3); ``None``: anybody may.
        rotates_secret_on_update: each PUT brings a new secret and ends the old one.
        rotates_registration_token: each PUT brings a new registration access token and ends the old one.
        registered: by client id, those that exist.
        events: the last thousand.
    """

    def __init__(self, clients: dict[str, FakeClient], clock: Clock, *, on_delete: Callable[[str], None]) -> None:
        self.initial_access_token: str | None = None
        self.rotates_secret_on_update = False
        self.rotates_registration_token = False
        self.registered: dict[str, Registered] = {}
        self.events: deque[RegistrationEvent] = deque(maxlen=_EVENTS_KEPT)
        self._clients = clients
        self._clock = clock
        self._on_delete = on_delete

    # -- RFC 7591 --------------------------------------------------------------------------------------------

    async def create(self, request: web.Request) -> web.Response:
        """``POST`` at the registration endpoint."""
        try:
            _demand(request, self.initial_access_token)
            metadata = _checked(await _object(request))
        except OAuthError as error:
            return error_reply(request, error)
        client_id = secrets.token_urlsafe(12)
        self._clients[client_id] = _client(secrets.token_urlsafe(32), metadata)
        issued_at = int(self._clock.now())
        self.registered[client_id] = Registered(metadata, issued_at, secrets.token_urlsafe(32))
        self.events.append(RegistrationEvent("created", client_id, metadata))
        return self._information(request, client_id, status=201)

    # -- RFC 7592 --------------------------------------------------------------------------------------------

    async def read(self, request: web.Request) -> web.Response:
        """``GET`` at the client configuration endpoint."""
        try:
            client_id = self._managed(request)
        except OAuthError as error:
            return error_reply(request, error)
        self.events.append(RegistrationEvent("read", client_id))
        return self._information(request, client_id)

    async def update(self, request: web.Request) -> web.Response:
        """``PUT``: the whole of the metadata anew."""
        try:
            client_id = self._managed(request)
            sent = await _object(request)
            secret = self._clients[client_id].secret
            if forbidden := sorted(_SERVERS_OWN & sent.keys()):
                raise OAuthError("invalid_request", f"not to be sent: {', '.join(forbidden)}")  # noqa: TRY301
            if sent.pop("client_id", None) != client_id or sent.pop("client_secret", secret) != secret:
                raise OAuthError("invalid_request", "client_id or client_secret is not this client's")  # noqa: TRY301
            metadata = _checked(sent)
        except OAuthError as error:
            return error_reply(request, error)
        if self.rotates_secret_on_update:
            secret = secrets.token_urlsafe(32)
        self._clients[client_id] = _client(secret, metadata)
        self.registered[client_id].metadata = metadata
        if self.rotates_registration_token:
            self.registered[client_id].registration_token = secrets.token_urlsafe(32)
        self.events.append(RegistrationEvent("updated", client_id, metadata))
        return self._information(request, client_id)

    async def delete(self, request: web.Request) -> web.Response:
        """``DELETE``: the client, its secret and its tokens are no more."""
        try:
            client_id = self._managed(request)
        except OAuthError as error:
            return error_reply(request, error)
        del self.registered[client_id]
        self._clients.pop(client_id, None)
        self._on_delete(client_id)
        self.events.append(RegistrationEvent("deleted", client_id))
        return web.Response(status=204, headers=NO_STORE)

    def _managed(self, request: web.Request) -> str:
        """The client of the path, if the token is its own.

        Raises:
            OAuthError: 401, also for a client that does not exist (RFC 7592 section 2).
        """
        client_id = request.match_info["client_id"]
        entry = self.registered.get(client_id)
        _demand(request, entry.registration_token if entry else secrets.token_urlsafe(32))
        return client_id

    def _information(self, request: web.Request, client_id: str, status: int = 200) -> web.Response:
        """The client information response (RFC 7591 section 3.2.1, RFC 7592 section 3)."""
        entry = self.registered[client_id]
        endpoint = request.path if "client_id" not in request.match_info else request.path.rpartition("/")[0]
        document = {
            **entry.metadata,
            "client_id": client_id,
            "client_secret": self._clients[client_id].secret,
            "client_id_issued_at": entry.issued_at,
            "client_secret_expires_at": 0,
            "registration_access_token": entry.registration_token,
            "registration_client_uri": f"{request.scheme}://{request.host}{endpoint}/{client_id}",
        }
        return web.json_response(document, status=status, headers=NO_STORE)


def _demand(request: web.Request, token: str | None) -> None:
    if token is None:
        return
    scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(sent.encode(), token.encode()):
        raise OAuthError("invalid_token", "the access token for the registration is missing or wrong", 401)


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        document = await request.json()
    except ValueError:
        document = None
    if request.content_type != "application/json" or not isinstance(document, dict):
        raise OAuthError("invalid_client_metadata", "the body must be a JSON object, sent as application/json")
    return document


def _checked(sent: dict[str, Any]) -> dict[str, Any]:
    """The metadata with the defaults of RFC 7591 section 2.

    Raises:
        OAuthError: ``invalid_client_metadata`` or ``invalid_redirect_uri``.
    """
    metadata = {
        "token_endpoint_auth_method": "client_secret_basic",
        "grant_types": ["authorization_code"],
        **{name: value for name, value in sent.items() if name not in {"client_id", "client_secret"}},
    }
    grants = metadata["grant_types"]
    if metadata["token_endpoint_auth_method"] not in _AUTH_METHODS:
        known = ", ".join(sorted(_AUTH_METHODS))
        raise OAuthError("invalid_client_metadata", f"token_endpoint_auth_method must be one of {known}")
    if not isinstance(grants, list) or not all(isinstance(grant, str) for grant in grants):
        raise OAuthError("invalid_client_metadata", "grant_types must be a list of strings")
    if not isinstance(metadata.get("scope", ""), str):
        raise OAuthError("invalid_client_metadata", "scope must be a string")
    if "authorization_code" in grants and not metadata.get("redirect_uris"):
        raise OAuthError("invalid_redirect_uri", "authorization_code demands redirect_uris")
    return metadata


def _client(secret: str, metadata: dict[str, Any]) -> FakeClient:
    return FakeClient(
        secret,
        scopes=tuple(metadata["scope"].split()) if "scope" in metadata else None,
        auth_methods=frozenset({metadata["token_endpoint_auth_method"]}),
        grants=frozenset(metadata["grant_types"]),
    )
