"""Proofs as they are kept: bytes, which cost a third of the objects and which the collector does not follow.

Law of this file: what comes out is what went in.
"""

import marshal

from validator.model import Method, Proof, Session

_METHODS = {method.value: method for method in Method}


def packed(proof: Proof, epoch: int) -> bytes:
    """A proof and the epoch of the proofs at which it was kept."""
    return marshal.dumps(
        (
            epoch,
            proof.strategy,
            proof.method.value,
            proof.client_id,
            proof.good_until,
            proof.ends_at,
            proof.token_id,
            proof.key_id,
            _session_parts(proof.session),
            _session_parts(proof.opens),
        )
    )


def unpacked(kept: bytes) -> tuple[Proof, int]:
    """The inverse. Only what ``packed`` made in this process is ever read."""
    parts = marshal.loads(kept)  # noqa: S302 - it never leaves this process's memory
    epoch, strategy, method, client_id, good_until, ends_at, token_id, key_id, session, opens = parts
    proof = Proof(
        strategy,
        _METHODS[method],
        client_id,
        good_until,
        ends_at,
        token_id,
        key_id,
        None if session is None else Session(*session),
        None if opens is None else Session(*opens),
    )
    return proof, epoch


def _session_parts(session: Session | None) -> tuple[str | float | None, ...] | None:
    if session is None:
        return None
    return (
        session.id,
        session.strategy,
        session.client_id,
        session.opened_at,
        session.seen_at,
        session.ends_at,
        session.token_id,
    )
