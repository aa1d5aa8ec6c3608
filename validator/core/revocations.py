"""Which revocations there can be, and when two of them name the same thing.

Law of this file: pure rules about one entry; what counts now is the registry's to say.
"""

from dataclasses import replace

from validator.core.registry import canonical_client_id
from validator.model import Revocation

KINDS = ("client_id", "application_id", "session_id", "jti", "sessions_of")


def normal_revocation(revocation: Revocation) -> Revocation:
    """The form under which revocations are compared: a client id in its canonical form.

    Raises:
        ValueError: an unknown kind, a strategy beside anything but a client's, or none beside its sessions.
    """
    if revocation.kind not in KINDS:
        raise ValueError(f"unknown kind of revocation {revocation.kind!r}; known: {', '.join(KINDS)}")
    if revocation.kind == "sessions_of" and revocation.strategy is None:
        raise ValueError("the sessions of a client are those under one strategy: name it")
    if revocation.kind in {"client_id", "sessions_of"}:
        return replace(revocation, value=canonical_client_id(revocation.value))
    if revocation.strategy is not None:
        raise ValueError("a strategy narrows a client_id alone")
    return revocation
