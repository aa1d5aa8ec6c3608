"""What writing to the registry asks for, and how a write is refused."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from validator.core.changes import Change
from validator.model import Application, ClientRecord, RegistrationStatus, Revocation

T = TypeVar("T")


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

    async def forget_cached(self, strategy: str | None = None, client_id: str | None = None) -> None:
        """Nothing that is cached anywhere of this client (both ``None``: of anybody) is used again."""


Plan = Callable[[], tuple[Sequence[Change], T]]
"""Judges a write by what is in force now and says what it changes, and what its caller gets; called again when
others have written in between. Raises ``RegistryError``; does not await."""


class Journal(Protocol):
    """Makes changes durable, and then has them applied, one write after the other."""

    async def commit(self, plan: Plan[T], *, urgent: bool = False) -> T:
        """Durable, and in force wherever this process is heard, when it returns.

        Args:
            urgent: it only closes doors: it is in force here at once, also where it cannot be shared.

        Raises:
            RegistryError: the plan's own.
            Unavailable: (``store_unavailable``) it could not be made durable, or (but for what is ``urgent``)
                nothing has changed for all that is known.
        """


Apply = Callable[[Sequence[Change]], Awaitable[None]]
"""Puts changes in force. In this process's memory that is done before anything is awaited; when it returns, nobody
who is told by this process goes by what was before."""


class RegistryError(Exception):
    """A write that the registry refuses; the message is for the person who asked."""


class NotFound(RegistryError):
    """No such application."""


class Conflict(RegistryError):
    """Another application holds that id or that client id."""


class ReadOnly(RegistryError):
    """The application stands in the configuration file and is changed there."""
