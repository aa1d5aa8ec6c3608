"""Which entry of the list of revocations a credential is blocked by.

Law of this file: that it is blocked was decided elsewhere; here the entry is found that an operator can lift.
"""

from collections.abc import Callable

from validator.model import Application, Proof, Revocation

Find = Callable[[Revocation], Revocation | None]


def blocking(find: Find, proof: Proof, application: Application | None) -> list[Revocation]:
    """Those that count, of all that can name the client, the application, the token or the session.

    Args:
        find: the entry for the same thing, if it counts now.
    """
    named = [
        Revocation("client_id", proof.client_id),
        Revocation("client_id", proof.client_id, proof.strategy),
    ]
    if application is not None:
        named.append(Revocation("application_id", application.id))
    if proof.token_id is not None:
        named.append(Revocation("jti", proof.token_id))
    session = proof.session
    if session is None:
        return _found(find, named)
    named.append(Revocation("session_id", session.id))
    if session.token_id is not None:
        named.append(Revocation("jti", session.token_id))
    # Those of a client end together, and those that it opened later are none of them.
    return _found(find, named) or _found(find, [Revocation("sessions_of", proof.client_id, proof.strategy)])


def _found(find: Find, named: list[Revocation]) -> list[Revocation]:
    return [entry for asked in named if (entry := find(asked)) is not None]
