"""What the inner floors ask of the outer ones, as protocols.

Law of this file: signatures and promises, and the values that only they speak of; nothing that runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from validator.model import (
    Application,
    Credential,
    HttpReply,
    HttpRequest,
    Proof,
    RegistrationStatus,
    Revocation,
)


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> float:
        """Seconds since the epoch (RFC 7519 NumericDate): what ``exp`` is compared with."""

    def monotonic(self) -> float:
        """Seconds that never run backwards: cooldowns, windows, timeouts."""


class HttpClient(Protocol):
    """Carries requests to one identity provider and judges nothing."""

    async def send(self, request: HttpRequest) -> HttpReply:
        """The reply, whatever its status.

        Raises:
            Unavailable: no complete reply within the bounds on time, size, redirects and parallel calls.
        """


class Authenticator(Protocol):
    """Judges one kind of credential under one strategy, unaware of registrations."""

    def prove_now(self, credential: Credential, now: float) -> Proof | None:
        """Whom the credential speaks for, or ``None`` where somebody would have to be asked first.

        Raises:
            AuthError: it speaks for nobody, or that cannot be known at the moment.
        """

    async def prove(self, credential: Credential) -> Proof:
        """The same, asking the identity provider where that is needed.

        Raises:
            AuthError: as above.
        """

    def still_holds(self, proof: Proof) -> bool:
        """Whether a proof of earlier still stands, its time apart."""

    def recognises(self, credential: Credential, claims: Mapping[str, Any] | None) -> bool | None:
        """Whether the credential says that it is this strategy's; nothing is verified, nobody is asked. ``None``:
        that cannot be known before the identity provider has said what it is called.

        Args:
            claims: what a bearer token says of itself, read once for all strategies; ``None``: it cannot be read.

        Raises:
            Unavailable: (``store_unavailable``) it could not be looked up.
        """

    async def find_out(self, credential: Credential, claims: Mapping[str, Any] | None) -> bool:
        """The same after asking the identity provider what it is called; the credential is shown to nobody.

        Raises:
            Unavailable: it does not say.
        """

    def disown(self, credential: Credential, now: float) -> NoReturn:
        """Refuses a credential that no strategy recognises; it is shown to nobody.

        Raises:
            AuthError: in any case.
        """


class Registry(Protocol):
    """Applications by (strategy, client id); read on the request's way, so it answers from memory."""

    def find(self, strategy: str, client_id: str) -> Application | None:
        """GUID-shaped client ids compare without regard to case, all others exactly.

        Raises:
            Unavailable: (``store_unavailable``) the registry could not be loaded.
        """


class Revocations(Protocol):
    """What no longer counts; read on the request's way, so it answers from memory."""

    def covers(self, proof: Proof, application: Application | None) -> bool:
        """Whether the client, the application, the token or the session of this proof has been revoked."""


class RegistryAdmin(Protocol):
    """What the control plane does to the registry. Every write is durable when the call returns, and then
    in force for the next request."""

    def get(self, application_id: str) -> Application | None: ...

    def list(
        self, *, strategy: str | None = None, client_id: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[Application]:
        """In order of id, those beyond ``after``."""

    async def create(self, application: Application) -> None:
        """Raises ``Conflict`` when the id, or the client id under its strategy, is taken."""

    async def replace(self, application: Application) -> None:
        """Raises ``NotFound``, ``ReadOnly`` (it stands in the file) or ``Conflict``."""

    async def delete(self, application_id: str) -> None:
        """Raises ``NotFound`` or ``ReadOnly``."""

    async def set_registration(
        self, application_id: str, service: str, status: RegistrationStatus | None
    ) -> Application:
        """``None`` removes it. Raises ``NotFound`` or ``ReadOnly``."""

    async def revoke(self, revocation: Revocation) -> None:
        """Writing the same one twice is no error."""

    async def unrevoke(self, revocation: Revocation) -> bool:
        """Whether there was one to lift."""

    def revocation(self, revocation: Revocation) -> Revocation | None:
        """The entry for the same thing, if it counts now."""

    def revocations(self, *, limit: int = 1000) -> Sequence[Revocation]: ...


@dataclass(frozen=True, slots=True, repr=False)
class ClientRecord:
    """A client that was registered dynamically.

    Attributes:
        sealed: how it is managed at the identity provider, sealed; "" once it is deleted.
        adopted: whether ``application_id`` is the one that Konnect named, and no longer one of our own.
    """

    strategy: str
    client_id: str
    application_id: str
    sealed: str
    adopted: bool = False
    deleted: bool = False

    def __repr__(self) -> str:
        return f"ClientRecord({self.strategy}, {self.client_id}, {self.application_id}, deleted={self.deleted})"


class ClientRecords(RegistryAdmin, Protocol):
    """What dynamic registration keeps beside the registry, and changes with it in one step. Every write is
    durable when the call returns; each raises ``Unavailable`` (``store_unavailable``) where it could not be."""

    async def records(self, client_id: str) -> Sequence[ClientRecord]:
        """One for each strategy that knows the client id, deleted ones among them."""

    async def record(self, application: Application, sealed: str) -> None:
        """Writes a new application and its client's record down. Raises ``Conflict``, also where the client id is
        blocked: an earlier client's tokens may live on."""

    async def reseal(self, strategy: str, client_id: str, sealed: str) -> None:
        """Replaces how the client is managed."""

    async def adopt(self, application_id: str, new_id: str, name: str) -> Application:
        """Gives an application another id and name. Raises ``NotFound``, ``ReadOnly`` or ``Conflict``."""

    async def forget(self, block: Revocation) -> None:
        """Removes the application of the client that ``block`` names by id and strategy, marks the client as
        deleted, and adds ``block``. That there is no such application any more is no error."""


class Epoch(Protocol):
    """Told of every change that may make a cached reply untrue; the narrower the call, the fewer replies are
    judged again."""

    def touch_client(self, strategy: str, client_id: str) -> None: ...

    def touch_id(self, identifier: str) -> None:
        """A token's ``jti`` or a session's id."""

    def touch_all(self) -> None: ...


class RegistryError(Exception):
    """A write that the registry refuses; the message is for the person who asked."""


class NotFound(RegistryError):
    """No such application."""


class Conflict(RegistryError):
    """Another application holds that id or that client id."""


class ReadOnly(RegistryError):
    """The application stands in the configuration file and is changed there."""
