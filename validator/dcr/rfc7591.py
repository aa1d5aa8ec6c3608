"""Clients by RFC 7591, managed by RFC 7592.

Law of this file: the order in which the provider is asked, nothing of what is asked (``core.registration``).
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import structlog

from validator.core import registration
from validator.core.registration import Management, NewClient, RegisteredClient, RegistrationRefused
from validator.dcr.registrar import Changes, Keep, UnusableClient
from validator.errors import Unavailable
from validator.model import HttpRequest
from validator.ports import HttpClient

log = structlog.get_logger(__name__)

_CANNOT_ROTATE = (
    "the identity provider kept the client's secret when it was asked for another one (RFC 7592 section 2.2); let "
    "it issue a new secret to an update without client_secret, or delete the application and create it anew. "
    "Nothing has changed"
)

_ELSEWHERE = (
    "the identity provider's registration_client_uri is not at the host where clients are registered, and is not "
    "followed; correct the provider's public address"
)


class Rfc7591Registrar:
    """``ClientRegistrar`` by the standards.

    Args:
        http: for registration alone.
        endpoint: where clients are registered; asked each time, since it may stand in the issuer's metadata.
        initial_access_token: what the endpoint demands of who registers, or ``None``.
    """

    def __init__(
        self, http: HttpClient, *, endpoint: Callable[[], Awaitable[str]], initial_access_token: str | None
    ) -> None:
        self._http = http
        self._endpoint = endpoint
        self._initial_access_token = initial_access_token

    async def create(self, client: NewClient) -> RegisteredClient:
        endpoint = await self._endpoint()
        try:
            document = await self._register(client, endpoint)
        except registration.UnreadableReply as unreadable:
            raise UnusableClient(None, unreadable.description) from None
        except RegistrationRefused as refused:
            # A provider without refresh tokens refuses who asks for them; Konnect does for every web application.
            fewer = tuple(grant for grant in client.grant_types if grant != "refresh_token")
            if refused.error != "invalid_client_metadata" or fewer == client.grant_types:
                raise
            return await self.create(replace(client, grant_types=fewer))
        try:
            made = registration.read_client(document, None)
            uri = Management.unpacked(made.management).uri
            if not registration.at_home(uri, endpoint):
                raise RegistrationRefused("invalid_registration_reply", _ELSEWHERE)  # noqa: TRY301 - as any other
        except RegistrationRefused as refused:
            await self._discard(document, refused, endpoint)
            raise
        return made

    async def update(self, client_id: str, management: str, changes: Changes, keep: Keep) -> bool:
        known, document = await self._current(management, keep)
        wanted = {"client_name": changes.name, "redirect_uris": list(changes.redirect_uris)}
        if all(document.get(name) == value for name, value in wanted.items()):
            return True  # told again; an update could replace the secret
        changed = {**document, "client_id": client_id, **wanted}
        _, answered = await self._put(known, changed, keep)
        before, after = document.get("client_secret"), answered.get("client_secret")
        if before is None and after is not None:  # it may be the same or another one: nobody can tell
            log.warning("dcr_secret_perhaps_replaced", client_id=client_id)
        return before is None or after is None or before == after

    async def rotate_secret(self, client_id: str, management: str, keep: Keep) -> RegisteredClient:
        known, document = await self._current(management, keep)
        before = document.pop("client_secret", None)
        known, answered = await self._put(known, {**document, "client_id": client_id}, keep)
        rotated = registration.read_client(answered, known)
        if before is None:
            # It does not show secrets, so whether this one is new shows only when it is asked for once more.
            before = rotated.client_secret
            known, answered = await self._put(known, {**document, "client_id": client_id}, keep)
            rotated = registration.read_client(answered, known)
        if rotated.client_secret == before:
            raise RegistrationRefused(registration.SECRET_NOT_ROTATED, _CANNOT_ROTATE)
        return rotated

    async def delete(self, client_id: str, management: str) -> bool:
        del client_id  # the address names it
        reply = await self._http.send(registration.delete_request(Management.unpacked(management)))
        return registration.read_deletion(reply)

    async def _register(self, client: NewClient, endpoint: str) -> dict[str, Any]:
        request = registration.registration_request(endpoint, client, self._initial_access_token)
        return await self._ask(request, "register a client")

    async def _ask(self, request: HttpRequest, what: str) -> dict[str, Any]:
        return registration.read_document(await self._http.send(request), what)

    async def _current(self, management: str, keep: Keep) -> tuple[Management, dict[str, Any]]:
        """What the provider has now: an update replaces all of it."""
        known = Management.unpacked(management)
        document = await self._ask(registration.read_request(known), "read the client")
        return await _renewed(known, document, keep), document

    async def _put(
        self, known: Management, document: dict[str, Any], keep: Keep
    ) -> tuple[Management, dict[str, Any]]:
        answered = await self._ask(registration.update_request(known, document), "change the client")
        return await _renewed(known, answered, keep), answered

    async def _discard(self, document: dict[str, Any], refused: RegistrationRefused, endpoint: str) -> None:
        management = registration.management_of(document)
        client_id = registration.client_id_of(document)
        if management is None or not registration.at_home(management.uri, endpoint):
            raise UnusableClient(client_id, refused.description) from None
        try:
            registration.read_deletion(await self._http.send(registration.delete_request(management)))
        except (RegistrationRefused, Unavailable):
            raise UnusableClient(client_id, refused.description) from None


async def _renewed(known: Management, document: dict[str, Any], keep: Keep) -> Management:
    """How the client is managed after this reply, kept if it is another way than before."""
    management = registration.management_of(document, known) or known
    if not registration.at_home(management.uri, known.uri):  # not followed, but its token is the one that holds
        log.warning("dcr_managed_elsewhere", detail=_ELSEWHERE)
        management = Management(known.uri, management.token)
    if management != known:
        await keep(management.packed())
    return management
