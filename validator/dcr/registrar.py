"""What the bridge asks of an adapter to an identity provider.

Law of this file: the interface alone. An adapter speaks to one provider, keeps nothing, and says what happened;
the order of steps, what is stored and what is undone are the bridge's business. ``docs/dcr-bridge.md`` says how to
write another one.

An adapter asks for ``Connection: close``: a request on a connection that was used before may meet its end, and
whether it had its effect is then anybody's guess.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from validator.core.registration import NewClient, RegisteredClient

__all__ = ["Changes", "ClientRegistrar", "Keep", "NewClient", "RegisteredClient", "UnusableClient"]

# Called with how the client is managed from now on, as soon as a reply says it anew and before anything else is
# asked: a registration access token that was replaced and is then lost cannot be had again.
Keep = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Changes:
    """What an event changes of a client; all else stays as the provider has it."""

    name: str
    redirect_uris: tuple[str, ...]


class UnusableClient(Exception):
    """A client was made that cannot be used, and could not be deleted again either.

    Args:
        client_id: for the log; ``None`` where the provider's answer does not say it.
        description: what is wrong with it.
    """

    def __init__(self, client_id: str | None, description: str) -> None:
        super().__init__(client_id, description)
        self.client_id = client_id
        self.description = description


class ClientRegistrar(Protocol):
    """One identity provider's way to make, change and delete clients.

    Every method raises ``RegistrationRefused`` where the provider said no, and ``Unavailable`` where nobody knows
    what happened. ``management`` is what the provider's last reply led the adapter to return.
    """

    async def create(self, client: NewClient) -> RegisteredClient:
        """A new client with a secret. What was made and cannot be used is deleted again by the adapter; where that
        fails it raises ``UnusableClient``."""

    async def update(self, client_id: str, management: str, changes: Changes, keep: Keep) -> bool:
        """Whether the client still has the secret it had."""

    async def rotate_secret(self, client_id: str, management: str, keep: Keep) -> RegisteredClient:
        """The client with another secret; the one before has ended. Raises ``RegistrationRefused`` where this
        provider cannot do that."""

    async def delete(self, client_id: str, management: str) -> bool:
        """Whether there was one to delete."""
