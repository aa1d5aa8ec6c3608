"""Okta's client registration API (``/oauth2/v1/clients``).

Law of this file: that API and its error JSON, as Okta's reference has them; nothing of RFC 7592, which Okta does
not speak. Clients made here are clients at the token endpoint at once.
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web

from imitations.vendor import Refusal
from validator.ports import Clock
from validator.testing import FakeClient

_METHODS = ("client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none")
_TYPES = ("web", "native", "browser", "service")
_GENERATED = {"client_id", "client_secret", "client_id_issued_at", "client_secret_expires_at"}


def api_error(status: int, code: str, summary: str, causes: Iterable[str] = ()) -> Refusal:
    """An error of Okta's management APIs."""
    document = {
        "errorCode": code,
        "errorSummary": summary,
        "errorLink": code,
        "errorId": f"oae{secrets.token_hex(9)}",
        "errorCauses": [{"errorSummary": cause} for cause in causes],
    }
    return Refusal(status, document)


class OktaClients:
    """The API over the provider's clients.

    Attributes:
        metadata: by client id, what is registered; without secrets.
        events: what happened, in order: ``created``, ``updated``, ``deleted`` or ``newSecret``, and the client id.
    """

    def __init__(self, clients: dict[str, FakeClient], clock: Clock, ssws_tokens: frozenset[str]) -> None:
        self.metadata: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[str, str]] = []
        self._clients = clients
        self._clock = clock
        self._tokens = ssws_tokens

    def routes(self) -> Iterable[tuple[str, str, Callable[[web.Request], Awaitable[web.Response]]]]:
        yield "POST", "/oauth2/v1/clients", self._create
        yield "GET", "/oauth2/v1/clients/{client_id}", self._read
        yield "PUT", "/oauth2/v1/clients/{client_id}", self._replace
        yield "DELETE", "/oauth2/v1/clients/{client_id}", self._delete
        yield "POST", "/oauth2/v1/clients/{client_id}/lifecycle/newSecret", self._new_secret

    async def _create(self, request: web.Request) -> web.Response:
        self._authorize(request)
        sent = await _checked(request)
        client_id = f"0oa{secrets.token_hex(8)}{len(self.metadata)}"
        self.metadata[client_id] = {
            "client_id": client_id,
            "client_id_issued_at": int(self._clock.now()),
            "client_secret_expires_at": 0,
            **sent,
        }
        self._put(client_id, secrets.token_urlsafe(48))
        self.events.append(("created", client_id))
        return self._with_secret(client_id, 201)

    async def _read(self, request: web.Request) -> web.Response:
        client_id = self._known(request)
        return web.json_response(self.metadata[client_id])

    async def _replace(self, request: web.Request) -> web.Response:
        client_id = self._known(request)
        sent = await _checked(request)
        kept = {name: value for name, value in self.metadata[client_id].items() if name in _GENERATED}
        self.metadata[client_id] = {**kept, **sent}
        self._put(client_id, self._clients[client_id].secret)
        self.events.append(("updated", client_id))
        return web.json_response(self.metadata[client_id])

    async def _delete(self, request: web.Request) -> web.Response:
        client_id = self._known(request)
        del self.metadata[client_id]
        del self._clients[client_id]
        self.events.append(("deleted", client_id))
        return web.Response(status=204)

    async def _new_secret(self, request: web.Request) -> web.Response:
        client_id = self._known(request)
        self._clients[client_id].secret = secrets.token_urlsafe(48)
        self.events.append(("newSecret", client_id))
        return self._with_secret(client_id, 200)

    def _put(self, client_id: str, secret: str) -> None:
        metadata = self.metadata[client_id]
        self._clients[client_id] = FakeClient(
            secret,
            auth_methods=frozenset({metadata["token_endpoint_auth_method"]}),
            grants=frozenset(metadata["grant_types"]),
        )

    def _with_secret(self, client_id: str, status: int) -> web.Response:
        document = {**self.metadata[client_id], "client_secret": self._clients[client_id].secret}
        return web.json_response(document, status=status)

    def _authorize(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        matches = [hmac.compare_digest(token.encode(), known.encode()) for known in self._tokens]
        if scheme != "SSWS" or not any(matches):
            raise api_error(401, "E0000011", "Invalid token provided")

    def _known(self, request: web.Request) -> str:
        self._authorize(request)
        client_id = request.match_info["client_id"]
        if client_id not in self.metadata:
            text = f"Not found: Resource not found: {client_id} (PublicClientApp)"
            raise api_error(404, "E0000007", text)
        return client_id


async def _checked(request: web.Request) -> dict[str, Any]:
    try:
        document = await request.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise api_error(400, "E0000003", "The request body was not well-formed.")
    metadata = {
        "redirect_uris": [],
        "response_types": ["token"],
        "grant_types": ["authorization_code"],
        "token_endpoint_auth_method": "client_secret_basic",
        "application_type": "web",
        **{name: value for name, value in document.items() if name not in _GENERATED},
    }
    wrong = [f"{field}: {text}" for field, text in _mistakes(metadata)]
    if wrong:
        field = wrong[0].partition(":")[0]
        raise api_error(400, "E0000001", f"Api validation failed: {field}", wrong)
    return metadata


def _mistakes(metadata: dict[str, Any]) -> Iterable[tuple[str, str]]:
    grants = metadata["grant_types"]
    if not metadata.get("client_name"):
        yield "client_name", "The field cannot be left blank"
    if metadata["token_endpoint_auth_method"] not in _METHODS:
        yield "token_endpoint_auth_method", f"The value must be one of {', '.join(_METHODS)}."
    if metadata["application_type"] not in _TYPES:
        yield "application_type", f"The value must be one of {', '.join(_TYPES)}."
    elif not isinstance(grants, list) or not grants:
        yield "grant_types", "The field cannot be left blank"
    elif metadata["application_type"] == "service" and set(grants) != {"client_credentials"}:
        yield "grant_types", "A service application uses client_credentials and nothing else."
    elif "authorization_code" in grants and not metadata["redirect_uris"]:
        yield "redirect_uris", "At least one redirect URI is needed for authorization_code."
