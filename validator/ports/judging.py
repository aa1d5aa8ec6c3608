"""What judging a request asks for: time, the outside, authenticators, and what is known of applications."""

from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

from validator.model import Application, Credential, HttpReply, HttpRequest, Knowledge, Proof


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

    @property
    def knowledge(self) -> Knowledge:
        """How far what is found, or not found, may be relied on."""

    def find(self, strategy: str, client_id: str) -> Application | None:
        """GUID-shaped client ids compare without regard to case, all others exactly.

        Raises:
            Unavailable: (``store_unavailable``) the registry could not be loaded.
        """


class Revocations(Protocol):
    """What no longer counts; read on the request's way, so it answers from memory."""

    def covers(self, proof: Proof, application: Application | None) -> bool:
        """Whether the client, the application, the token or the session of this proof has been revoked."""


class Epoch(Protocol):
    """Told of every change that may make a cached reply untrue; the narrower the call, the fewer replies are
    judged again."""

    def touch_client(self, strategy: str, client_id: str) -> None: ...

    def touch_id(self, identifier: str) -> None:
        """A token's ``jti`` or a session's id."""

    def touch_all(self) -> None: ...
