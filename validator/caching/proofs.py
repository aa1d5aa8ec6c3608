"""Proofs as they are kept: bytes, which cost a third of the objects and which the collector does not follow.

Law of this file: what comes out is what went in.
"""

import marshal

from validator.model import BearerToken, Method, Proof, Session, UpstreamHeaders

_METHODS = {method.value: method for method in Method}


def packed(proof: Proof, epoch: int) -> bytes:
    """A proof and the epoch of the proofs at which it was kept."""
    parts = (
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
    if proof.upstream_headers or proof.minted is not None:  # few have any, and those without do not pay for it
        minted = None if proof.minted is None else proof.minted.token
        return marshal.dumps((*parts, proof.upstream_headers, minted))
    return marshal.dumps(parts)


def unpacked(kept: bytes) -> tuple[Proof, int]:
    """The inverse. Only what ``packed`` made in this process is ever read."""
    parts = marshal.loads(kept)  # noqa: S302 - it never leaves this process's memory
    epoch, strategy, method, client_id, good_until, ends_at, token_id, key_id, session, opens, *told = parts
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
    if told:
        headers, minted = told
        proof = proof._replace(upstream_headers=headers, minted=None if minted is None else BearerToken(minted))
    return proof, epoch


def _session_parts(session: Session | None) -> tuple[str | float | UpstreamHeaders | None, ...] | None:
    if session is None:
        return None
    parts = (
        session.id,
        session.strategy,
        session.client_id,
        session.opened_at,
        session.seen_at,
        session.ends_at,
        session.token_id,
    )
    return (*parts, session.upstream_headers) if session.upstream_headers else parts
