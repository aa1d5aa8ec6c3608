"""One member of a fleet asks the identity provider, and the others go by its answer.

Law of this file: what is shared spares questions and decides nothing that an answer of our own would decide
otherwise; where nothing can be known of it, the question is asked here, as if there were no others. Who waits for
another member waits no longer than that member may take.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from validator.authn.shared_answers import LONGEST_S, Answers, FleetSecret, Question, Refused, Unbelievable
from validator.authn.throttle import Throttle, Try
from validator.core.registry import canonical_client_id
from validator.errors import Denied, Unavailable
from validator.model import ClientCredentials, Method, Proof, Reason
from validator.ports import (
    Answered,
    Clock,
    Exhausted,
    Leave,
    OutOfReach,
    Settled,
    SharedProofs,
    Slot,
    Standing,
    Taken,
)

Ask = Callable[[Try, bool], Awaitable[Proof]]
"""Asks the identity provider, and says in the ``Try`` what came of it.

Args:
    proven: whether the credential proved right at another member of late, so that this is no guess.
"""

_OWNER_BYTES: Final = 8
_FIRST_DELAY_S, _LONGEST_DELAY_S, _GROWTH = 0.005, 0.1, 1.5


class Sharing:
    """What one strategy shares with the same strategy elsewhere.

    Args:
        fingerprint: changes with anything that a proof under this strategy depends on.
        mark: of a client of this strategy, by its canonical id ("": of everybody): another one once it was
            forgotten.
        moment: another one once anybody was forgotten here.
        lease_s: how long a member may take to ask; after that others do.
        negative_ttl_s: how long a refusal is shared.
        sleep: between two looks at what another member has found out.
    """

    def __init__(
        self,
        strategy: str,
        shared: SharedProofs,
        *,
        secret: FleetSecret,
        fingerprint: bytes,
        clock: Clock,
        mark: Callable[[str], str],
        moment: Callable[[], object],
        lease_s: float,
        negative_ttl_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._strategy = strategy.encode()
        self._shared = shared
        self._secret = secret
        self._fingerprint = fingerprint
        self._clock = clock
        self._mark = mark
        self._moment = moment
        self._lease_s = lease_s
        self._negative_ttl_s = negative_ttl_s
        self._sleep = sleep
        self._answers = Answers(strategy, secret, mark)
        self._vouching: set[asyncio.Task[None]] = set()

    def pair(
        self, pair: ClientCredentials, throttle: Throttle, *, registered: bool, guess: bool, longest_s: float
    ) -> Question:
        """A client id and secret. Those of one client stand together, so that one step looks at all that concerns
        them; those of unregistered ids do all, since they share a counter.

        Args:
            throttle: whose bounds hold for the fleet as a whole, too.
        """
        client_key = canonical_client_id(pair.client_id)
        own = self._secret.name(b"client", self._strategy, client_key.encode())
        counters = [(own, throttle.max_failures)]
        tag = own
        if not registered:
            tag = self._secret.name(b"unregistered", self._strategy)
            counters.append((tag, throttle.max_unregistered))
        name = self._name(b"pair", client_key, pair.client_id.encode(), pair.client_secret.encode())
        slot = Slot(tag, name, counters, throttle.window_s)
        return Question(slot, Method.CLIENT_CREDENTIALS, client_key, longest_s, guess=guess)

    def token(self, token: bytes, *, longest_s: float, still_holds: Callable[[Proof], bool]) -> Question:
        """A token that only its issuer can read."""
        name = self._name(b"token", "", token)
        return Question(Slot(name, name), Method.BEARER, None, longest_s, still_holds)

    async def prove(self, question: Question, ask: Ask) -> Proof:
        """Whom the credential speaks for, by another member's answer or by our own.

        Raises:
            AuthError: what ``ask`` or another member was told; ``too_many_attempts`` by the fleet's own count.
        """
        owner = secrets.token_hex(_OWNER_BYTES)
        match await self._standing(question, owner):
            case Answered(text):
                try:
                    answer = self._answers.opened(question, text, self._clock.now())
                except Unbelievable:
                    return await self._ask(question, ask, owner, Leave(False, ()))
                if isinstance(answer, Proof):
                    return answer
                # Said, so that nobody keeps a refusal for longer than whoever was told it.
                left_s = min(answer.until - self._clock.now(), self._negative_ttl_s)
                raise Denied(answer.reason, "refused a moment ago, elsewhere in the fleet", retry_after_s=left_s)
            case Exhausted(rest_s):
                raise Denied(
                    Reason.TOO_MANY_ATTEMPTS,
                    "too many failed tries in the whole fleet",
                    retry_after_s=max(1.0, min(rest_s, question.slot.window_s)),
                )
            case OutOfReach(retry_after_s):
                raise Unavailable(
                    Reason.IDP_UNAVAILABLE,
                    "the member of the fleet that asked got no answer; its log says why",
                    retry_after_s=retry_after_s,
                )
            case Leave() as leave:
                return await self._ask(question, ask, owner, leave)
            case _:  # nothing can be known, or whoever asks takes too long
                return await self._ask(question, ask, owner, Leave(False, ()))

    def vouch(self, question: Question) -> None:
        """Whoever presents this credential anywhere is not guessing. Done soon, if it can be done."""
        task = asyncio.ensure_future(self._vouch(question.slot))
        self._vouching.add(task)
        task.add_done_callback(self._vouching.discard)

    async def _standing(self, question: Question, owner: str) -> Standing | None:
        """How it stands once nobody is to be waited for; ``None``: on our own."""
        since: int | None = None
        give_up = self._clock.monotonic() + self._lease_s
        delay_s = _FIRST_DELAY_S
        try:
            while True:
                found = await self._shared.begin(
                    question.slot, owner, lease_s=self._lease_s, guess=question.guess, since=since
                )
                left_s = give_up - self._clock.monotonic()
                if not isinstance(found, Taken):
                    return found
                if left_s <= 0:
                    return None
                since = found.since if since is None else since
                await self._sleep(min(delay_s, left_s))
                delay_s = min(delay_s * _GROWTH, _LONGEST_DELAY_S)
        except Unavailable:
            return None

    async def _ask(self, question: Question, ask: Ask, owner: str, leave: Leave) -> Proof:
        begun = self._moment()
        attempt = Try()
        outcome = Settled()
        try:
            proof = await ask(attempt, leave.proven)
            outcome = self._proved(question, proof, begun, attempt)
        except Denied as denied:
            outcome = self._refused(question, denied, begun, attempt)
            raise
        except Unavailable as error:
            retry_after_s = error.retry_after_s or 0.0
            outcome = Settled(attempt.failed, attempt.right, retry_after_s=retry_after_s)
            raise
        finally:  # also where the asking was given up: nobody is to wait for it
            await self._settle(question.slot, owner, leave, outcome)
        return proof

    def _proved(self, question: Question, proof: Proof, begun: object, attempt: Try) -> Settled:
        good_s = min(proof.good_until - self._clock.now(), LONGEST_S)
        text = self._sealed(question, proof, begun) if good_s > 0 else ""
        return Settled(attempt.failed, attempt.right, text, good_s)

    def _refused(self, question: Question, denied: Denied, begun: object, attempt: Try) -> Settled:
        ttl_s = self._negative_ttl_s
        text = ""
        if ttl_s > 0 and denied.reason is not Reason.TOO_MANY_ATTEMPTS:  # our own count says nothing of it
            text = self._sealed(question, Refused(denied.reason, self._clock.now() + ttl_s), begun)
        return Settled(attempt.failed, attempt.right, text, ttl_s)

    def _sealed(self, question: Question, answer: Proof | Refused, begun: object) -> str:
        """Empty where it is not to be shared: what was found out before something was forgotten may rest on what
        is over."""
        if begun != self._moment():
            return ""
        return self._answers.sealed(question, answer) or ""

    async def _settle(self, slot: Slot, owner: str, leave: Leave, outcome: Settled) -> None:
        try:
            await self._shared.settle(slot, owner, leave.windows, outcome)
        except Unavailable:  # the lease ends by itself
            return

    async def _vouch(self, slot: Slot) -> None:
        try:
            await self._shared.vouch(slot)
        except Unavailable:
            return

    def _name(self, kind: bytes, client_key: str, *credential: bytes) -> str:
        """Under the mark, so that whoever asks after something was forgotten waits for no asking of before."""
        mark = self._mark(client_key).encode()
        return self._secret.name(kind, self._fingerprint, self._strategy, mark, *credential)
