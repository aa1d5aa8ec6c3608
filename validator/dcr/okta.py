"""Clients by Okta's own client API (``/oauth2/v1/clients`` of the org), which has no registration access tokens:
an API token of the org (SSWS) may do everything.

Law of this file: what Okta does its own way. It is the worked example of an adapter to a provider without RFC
7591; its documents are those of RFC 7591, so reading them is ``core.registration``'s.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from validator.core import registration
from validator.core.registration import Management, NewClient, RegisteredClient, RegistrationRefused
from validator.dcr.registrar import Changes, Keep, UnusableClient
from validator.errors import Unavailable
from validator.model import Endpoint, HttpRequest
from validator.ports import HttpClient

# A client that is gone is 404; 401 speaks of the API token, and says nothing about the client.
_GONE = (404, 410)
_UNUSED = Management("-", "-")  # nothing of a client needs to be kept
# What an update must not name, besides what RFC 7592 lists.
_READ_ONLY = ("client_secret", "_links", "created", "lastUpdated")


class OktaRegistrar:
    """``ClientRegistrar`` over Okta's client API.

    Args:
        clients: its URL, ``https://<org>/oauth2/v1/clients``.
        api_token: of an admin who may manage applications.
    """

    def __init__(self, http: HttpClient, *, clients: str, api_token: str) -> None:
        self._http = http
        self._clients = clients.rstrip("/")
        self._api_token = api_token

    async def create(self, client: NewClient) -> RegisteredClient:
        # Okta keeps a token endpoint's clients apart by type: a service takes no redirects, a web client does.
        service = client.grant_types == ("client_credentials",)
        metadata = client.metadata | {"application_type": "service" if service else "web"}
        if service:
            metadata["response_types"] = ["token"]  # Okta's own default for a service; it refuses none
        metadata.pop("scope", None)  # granted by the authorization server's policies, not to a client
        try:
            document = await self._ask("POST", self._clients, "register a client", metadata)
        except registration.UnreadableReply as unreadable:
            raise UnusableClient(None, unreadable.description) from None
        try:
            return registration.read_client(document, _UNUSED)
        except RegistrationRefused as refused:
            await self._discard(document, refused)
            raise

    async def update(self, client_id: str, management: str, changes: Changes, keep: Keep) -> bool:
        del management, keep  # nothing of them is ever replaced
        url = self._url(client_id)
        document = await self._ask("GET", url, "read the client")
        changed = {name: value for name, value in document.items() if name not in _READ_ONLY}
        changed |= {"client_name": changes.name, "redirect_uris": list(changes.redirect_uris)}
        request = registration.update_request(Management(url, ""), changed)
        await self._ask("PUT", url, "change the client", json.loads(request.body))
        return True  # Okta changes a secret by lifecycle/newSecret alone

    async def rotate_secret(self, client_id: str, management: str, keep: Keep) -> RegisteredClient:
        del management, keep
        url = f"{self._url(client_id)}/lifecycle/newSecret"
        document = await self._ask("POST", url, "make a new client secret")
        return registration.read_client({"client_id": client_id, **document}, _UNUSED)

    async def delete(self, client_id: str, management: str) -> bool:
        del management
        reply = await self._http.send(self._request("DELETE", self._url(client_id)))
        return registration.read_deletion(reply, gone=_GONE)

    def _url(self, client_id: str) -> str:
        return f"{self._clients}/{quote(client_id, safe='')}"

    async def _ask(
        self, method: str, url: str, what: str, document: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        return registration.read_document(await self._http.send(self._request(method, url, document)), what)

    def _request(self, method: str, url: str, document: Mapping[str, Any] | None = None) -> HttpRequest:
        headers = {
            "Accept": "application/json",
            "Authorization": f"SSWS {self._api_token}",
            "Connection": "close",
        }
        body = b""
        if document is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(document).encode()
        return HttpRequest(Endpoint.REGISTRATION, method, url, headers, body)

    async def _discard(self, document: Mapping[str, Any], refused: RegistrationRefused) -> None:
        client_id = registration.client_id_of(document)
        if client_id is None:
            raise UnusableClient(None, refused.description) from None
        try:
            await self.delete(client_id, "")
        except (RegistrationRefused, Unavailable):
            raise UnusableClient(client_id, refused.description) from None
