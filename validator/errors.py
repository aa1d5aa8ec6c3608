"""The tree of refusals.

AuthError
├── Denied        the caller's fault: 401, 403, 404 or 429
└── Unavailable   ours or the identity provider's: 503, never turned into a denial and never into an allow

Law of this file: an error carries its data (reason, how long to wait); the status and the challenge follow
from the reason. ``detail`` is for the operator's log alone and never holds a secret. The pipeline is the sole
catcher; adapters translate foreign exceptions at their edge.
"""

from validator.model import Reason

_MAX_DETAIL = 300  # characters: a log line stays a line whatever an attacker wrote into a header


class AuthError(Exception):
    """A request that does not pass.

    Args:
        reason: one of the closed list.
        detail: what an operator needs to know, without secrets; cut to 300 characters.
        retry_after_s: seconds after which asking again makes sense; ``None`` where waiting does not help.
    """

    def __init__(self, reason: Reason, detail: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(reason.value, detail)
        self.reason = reason
        self.detail = detail[:_MAX_DETAIL]
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value


class Denied(AuthError):
    """The credential does not open this door."""


class Unavailable(AuthError):
    """The question could not be answered; nothing is known about the credential.

    Attributes:
        sent: whether what was asked may have arrived, and taken effect, all the same.
    """

    def __init__(
        self, reason: Reason, detail: str = "", *, retry_after_s: float = 5.0, sent: bool = False
    ) -> None:
        super().__init__(reason, detail, retry_after_s=retry_after_s)
        self.sent = sent
