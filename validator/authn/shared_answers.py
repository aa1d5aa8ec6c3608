"""What the members of a fleet tell each other about a credential, sealed under the secret that they share.

Law of this file: whoever reads what is shared, without that secret, learns neither a credential nor whom it speaks
for, and can test no guess; what was put elsewhere, altered, or found out before its client was forgotten is not
believed.
"""

import hashlib
import hmac
import json
import math
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from validator.core.registry import canonical_client_id
from validator.core.sealing import NONCE_BYTES, Sealer, SealError, derived_key
from validator.model import BearerToken, Method, Proof, Reason, UpstreamHeaders
from validator.ports import Slot

MAX_TEXT_CHARS: Final = 65_536  # sealed: a forwarded token, 16 headers of 1 kB, and JSON's way of writing them
LONGEST_S: Final = 86_000.0  # a little less than the marks of what was forgotten are kept
_DIGEST_BYTES: Final = 16
# The version is part of the purpose: members that write otherwise do not read each other.
_SEALED: Final = "shared answers 1"
_NAMED: Final = "names of shared answers 1"
_REASONS: Final = {reason.value: reason for reason in Reason}


class Unbelievable(Exception):
    """What stands in a slot is not to be gone by; says nothing of what it is."""


class FleetSecret:
    """What the members of a fleet have in common, and nobody else has.

    Args:
        keys: the session keys, 32 bytes each; the first seals and names, all open.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.sealer = Sealer([derived_key(key, _SEALED) for key in keys], purpose=_SEALED)
        self._naming = hmac.new(derived_key(keys[0], _NAMED), digestmod=hashlib.sha256)

    def __repr__(self) -> str:
        return "FleetSecret(<redacted>)"

    def name(self, *parts: bytes) -> str:
        """A digest that nobody else can make; no two lists of parts run together."""
        naming = self._naming.copy()
        for part in parts:
            naming.update(len(part).to_bytes(8, "big") + part)
        return urlsafe_b64encode(naming.digest()[:_DIGEST_BYTES]).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Question:
    """A credential that somebody would have to be asked about, without the credential.

    Attributes:
        client_key: the canonical client id that an answer is to name; ``None``: only the answer will tell.
        longest_s: seconds for which a proof is believed at most.
        still_holds: whether a proof stands here, its time apart.
        guess: whether failed tries stand in its way.
    """

    slot: Slot
    method: Method
    client_key: str | None
    longest_s: float
    still_holds: Callable[[Proof], bool] = lambda _: True
    guess: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal, and when it ends, in seconds since the epoch."""

    reason: Reason
    until: float


class Answers:
    """Seals and opens the answers about one strategy's credentials.

    Args:
        mark: of a client of this strategy, by its canonical id: another one once it, or everybody, was forgotten.
    """

    def __init__(self, strategy: str, secret: FleetSecret, mark: Callable[[str], str]) -> None:
        self._strategy = strategy
        self._sealer = secret.sealer
        self._mark = mark

    def sealed(self, question: Question, answer: Proof | Refused) -> str | None:
        """``None``: it is too long to be shared."""
        if isinstance(answer, Proof):
            client_key = canonical_client_id(answer.client_id)
            said: list[Any] = ["proof", self._mark(client_key), _written(answer)]
        else:
            said = ["refused", self._mark(question.client_key or ""), [answer.reason.value, answer.until]]
        text = self._sealer.seal(
            json.dumps(said, separators=(",", ":")),
            bound_to=_place(question),
            nonce=secrets.token_bytes(NONCE_BYTES),
        )
        return text if len(text) <= MAX_TEXT_CHARS else None

    def opened(self, question: Question, text: str, now: float) -> Proof | Refused:
        """The answer, if it may be gone by at this moment.

        Raises:
            Unbelievable: it may not.
        """
        if len(text) > MAX_TEXT_CHARS:
            raise Unbelievable
        try:
            kind, mark, said = json.loads(self._sealer.open(text, bound_to=_place(question)))
            answer = _read(said) if kind == "proof" else _refusal(said)
            return self._believed(question, answer, mark, now)
        except (SealError, ValueError, TypeError, KeyError, IndexError):
            raise Unbelievable from None

    def _believed(self, question: Question, answer: Proof | Refused, mark: object, now: float) -> Proof | Refused:
        if isinstance(answer, Refused):
            if now >= answer.until or mark != self._mark(question.client_key or ""):
                raise Unbelievable
            return answer
        client_key = canonical_client_id(answer.client_id)
        if (
            answer.strategy != self._strategy
            or answer.method is not question.method
            or (question.client_key is not None and client_key != question.client_key)
            or mark != self._mark(client_key)
            or now >= answer.good_until
            or not question.still_holds(answer)
        ):
            raise Unbelievable
        # The clock of whoever found it out may be ahead.
        return answer._replace(good_until=min(answer.good_until, now + question.longest_s))


def _place(question: Question) -> tuple[str, str]:
    return question.slot.tag, question.slot.name


def _written(proof: Proof) -> list[object]:
    """A proof without sessions: each member opens its own."""
    return [
        proof.strategy,
        proof.method.value,
        proof.client_id,
        proof.good_until,
        proof.ends_at,
        proof.token_id,
        proof.key_id,
        [list(header) for header in proof.upstream_headers],
        None if proof.minted is None else proof.minted.token.decode("ascii"),
    ]


def _read(said: list[Any]) -> Proof:
    strategy, method, client_id, good_until, ends_at, token_id, key_id, headers, minted = said
    upstream_headers: UpstreamHeaders = tuple((_text(name), _text(value)) for name, value in headers)
    return Proof(
        _text(strategy),
        Method(method),
        _text(client_id),
        _moment(good_until),
        _moment(ends_at),
        None if token_id is None else _text(token_id),
        None if key_id is None else _text(key_id),
        upstream_headers=upstream_headers,
        minted=None if minted is None else BearerToken(_text(minted).encode("ascii")),
    )


def _refusal(said: list[Any]) -> Refused:
    reason, until = said
    return Refused(_REASONS[reason], _moment(until))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _moment(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)
