"""What several sidecars have found out about credentials, in Redis.

Law of this file: one script, and so one way there and back, for each step; all keys of one in the same slot of a
Cluster. What it holds was sealed and named elsewhere; what comes back is believed in no other shape than it was
written in. After a failure nobody waits for the server until it has had time to recover.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from validator.adapters.breaker import BreakerState, CircuitBreaker
from validator.adapters.patience import Patience
from validator.adapters.redis_link import RedisLink, Reply, Script, Session
from validator.errors import Unavailable
from validator.model import Reason
from validator.ports import (
    Answered,
    Clock,
    Exhausted,
    Leave,
    OutOfReach,
    Settled,
    Slot,
    Standing,
    Taken,
)

_MAX_TEXT_BYTES: Final = 65_536  # more than any answer has; what somebody else left there is not fetched
_PROVEN_S: Final = 86_000.0  # a day, as without sharing, and less than what was forgotten is remembered
_OUTAGE_S: Final = 1.0
_MAX_RETRY_S: Final = 300.0
_REST_S: Final = 1.0
_LATE_S: Final = 1.0
_LATE_AT_ONCE: Final = 4
_LATE_KEPT: Final = 32
_AT_ONCE: Final = 8  # less than a link has connections: who waited for one there would take it for Redis's silence

T = TypeVar("T")

# KEYS: answer, asking, outage, proven, and one for each counter, which is a hash of n (tries), w (whose try began
# the window) and a field for each owner whose try is counted: so a try counts once, and is given back once,
# whatever became of the answers. What would last for ever, which only a restored copy of old keys can, is given an
# end.
_BEGIN: Final = Script("""
local size = redis.call('STRLEN', KEYS[1])
if size > 0 and size <= tonumber(ARGV[1]) then
  return {'answered', redis.call('GET', KEYS[1])}
end
local since, owner = tonumber(ARGV[5]), ARGV[2]
local outage = since > 0 and redis.call('HMGET', KEYS[3], 'at', 'retry_ms')
if outage and outage[1] and tonumber(outage[1]) >= since then
  return {'out of reach', tonumber(outage[2])}
end
if redis.call('PTTL', KEYS[2]) > 0 then
  local now = redis.call('TIME')
  return {'taken', now[1] * 1000000 + now[2]}
end
local proven = redis.call('EXISTS', KEYS[4])
if ARGV[4] == '1' and proven == 0 then
  for i = 5, #KEYS do
    if tonumber(redis.call('HGET', KEYS[i], 'n') or 0) >= tonumber(ARGV[i + 2]) then
      local rest = redis.call('PTTL', KEYS[i])
      if rest < 0 then
        redis.call('PEXPIRE', KEYS[i], ARGV[6])
        rest = tonumber(ARGV[6])
      end
      return {'exhausted', rest}
    end
  end
end
local found = {'leave', proven}
for i = 5, #KEYS do
  if redis.call('HINCRBY', KEYS[i], 'n', 1) == 1 then
    redis.call('HSET', KEYS[i], 'w', owner)
    redis.call('PEXPIRE', KEYS[i], ARGV[6])
  end
  redis.call('HSET', KEYS[i], 'by:' .. owner, '')
  found[i - 2] = redis.call('HGET', KEYS[i], 'w')
end
redis.call('SET', KEYS[2], owner, 'PX', ARGV[3])
return found
""")

# A try that was counted is given back unless it failed; one that was not counted counts if it failed; and nothing
# is done about it where that is not known yet. The turn is given back first: that succeeds where there is no
# memory for anything else.
_SETTLE: Final = Script("""
local owner = ARGV[1]
if redis.call('GET', KEYS[2]) == owner then
  redis.call('DEL', KEYS[2])
  if ARGV[4] ~= '' then
    local now = redis.call('TIME')
    redis.call('HSET', KEYS[3], 'at', now[1] * 1000000 + now[2], 'retry_ms', ARGV[4])
    redis.call('PEXPIRE', KEYS[3], ARGV[5])
  end
end
if ARGV[6] == '0' then redis.call('DEL', KEYS[4]) end
if ARGV[6] == '1' then redis.call('SET', KEYS[4], '1', 'PX', ARGV[7]) end
if ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
for i = 5, #KEYS do
  local window = ARGV[i + 5] or ''
  local own = 'by:' .. owner
  if ARGV[8] == '0' and redis.call('HDEL', KEYS[i], own) == 1 then
    if redis.call('HINCRBY', KEYS[i], 'n', -1) <= 0 then redis.call('DEL', KEYS[i]) end
  elseif ARGV[8] == '1' and window == '' and redis.call('HSET', KEYS[i], own, '') == 1 then
    if redis.call('HINCRBY', KEYS[i], 'n', 1) == 1 then
      redis.call('HSET', KEYS[i], 'w', owner)
      redis.call('PEXPIRE', KEYS[i], ARGV[9])
    end
  end
end
return 'settled'
""")


class RedisProofs:
    """``ports.SharedProofs``.

    Args:
        prefix: what the names of all keys begin with.
        clock: times the pauses after a failure.
        timeout_s: of Redis's silence, for each call; as long again may be spent in line behind other calls.
    """

    def __init__(self, link: RedisLink, *, prefix: str, clock: Clock, timeout_s: float) -> None:
        self._link = link
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._breaker = CircuitBreaker(clock, threshold=1, reset_s=_REST_S)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._held: set[str] = set()  # owners of turns that were given, or may have been
        self._late: set[asyncio.Task[None]] = set()
        self._late_slots = asyncio.Semaphore(_LATE_AT_ONCE)

    @property
    def state(self) -> BreakerState:
        """Whether Redis is asked at all; for a metric."""
        return self._breaker.state

    async def warm(self, timeout_s: float) -> bool:
        """Opens the connections that the first calls would have to wait for, and tells whether that was possible;
        raises nothing."""

        async def work(session: Session) -> None:
            await session.command("EXISTS", key)

        key = f"{self._prefix}:proofs:none"
        calls = (self._link.call("proofs_warm", work, key=key, timeout_s=timeout_s) for _ in range(_AT_ONCE))
        results = await asyncio.gather(*calls, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, Unavailable):
                raise result
        return not any(results)

    async def begin(self, slot: Slot, owner: str, *, lease_s: float, guess: bool, since: int | None) -> Standing:
        keys = self._keys(slot)
        bounds = [bound for _, bound in slot.counters]
        words: tuple[str | int, ...] = (
            _MAX_TEXT_BYTES,
            owner,
            _ms(lease_s),
            int(guess),
            since or 0,
            _ms(slot.window_s),
            *bounds,
        )

        async def work(session: Session) -> Standing:
            return _standing(await session.script(_BEGIN, keys, words), len(bounds))

        try:
            standing = await self._call("proofs_begin", work, keys[0])
        except Unavailable as error:
            if error.sent:
                self._held.add(owner)
                # Nobody is to wait for the turn; what the try was worth is known when it is settled.
                self._finish(_settling(keys, owner, (), None, slot.window_s), keys[0])
            raise
        if isinstance(standing, Leave):
            self._held.add(owner)
        return standing

    async def settle(self, slot: Slot, owner: str, windows: Sequence[str], outcome: Settled) -> None:
        keys = self._keys(slot)
        held = owner in self._held
        self._held.discard(owner)
        work = _settling(keys, owner, windows, outcome, slot.window_s)
        try:
            await self._call("proofs_settle", work, keys[0])
        except Unavailable as error:
            if held or error.sent:
                self._finish(work, keys[0])
            raise

    async def vouch(self, slot: Slot) -> None:
        proven = self._keys(slot)[3]

        async def work(session: Session) -> None:
            await session.command("SET", proven, "1", "PX", _ms(_PROVEN_S))

        await self._call("proofs_vouch", work, proven)

    def _finish(self, work: Callable[[Session], Awaitable[None]], key: str) -> None:
        """Settles soon, and on nobody's way: whoever was not told so in time may have been given the turn, for
        which others would wait until it runs out, and his try may have been counted. Settling once more does not
        do it twice."""
        if len(self._late) >= _LATE_KEPT:
            return

        async def finish() -> None:
            # What is not done runs out by itself.
            with contextlib.suppress(Unavailable):
                async with self._late_slots:
                    await self._link.call("proofs_settle", work, key=key, timeout_s=_LATE_S)

        task = asyncio.create_task(finish())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _call(self, name: str, work: Callable[[Session], Awaitable[T]], key: str) -> T:
        await self._line_up()
        try:
            return await self._ask(name, work, key)
        finally:
            self._slots.release()

    async def _line_up(self) -> None:
        """Too long a line is our own doing and says nothing about Redis."""
        try:
            async with Patience(self._timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "too many calls to Redis at once") from None

    async def _ask(self, name: str, work: Callable[[Session], Awaitable[T]], key: str) -> T:
        permit = self._breaker.admit()
        if permit is None:
            raise Unavailable(
                Reason.STORE_UNAVAILABLE,
                "Redis did not serve a moment ago",
                retry_after_s=self._breaker.retry_after_s,
            )
        try:
            result = await self._link.call(name, work, key=key, timeout_s=self._timeout_s)
        except Unavailable:
            permit.failed()
            raise
        except BaseException:
            permit.abandoned()
            raise
        permit.succeeded()
        return result

    def _keys(self, slot: Slot) -> list[str]:
        place = f"{self._prefix}:proofs:{{{slot.tag}}}"
        own = [f"{place}:{slot.name}:{what}" for what in ("answer", "asking", "outage", "proven")]
        return own + [f"{place}:{counter}:tries" for counter, _ in slot.counters]


def _settling(
    keys: Sequence[str], owner: str, windows: Sequence[str], known: Settled | None, window_s: float
) -> Callable[[Session], Awaitable[None]]:
    """``known``: what came of it; ``None``: that is still to be found out."""
    outcome = known or Settled()
    text = outcome.text if outcome.text_s > 0 and len(outcome.text) <= _MAX_TEXT_BYTES else ""
    words: tuple[str | int, ...] = (
        owner,
        text,
        _ms(outcome.text_s),
        "" if outcome.retry_after_s is None else _ms(outcome.retry_after_s),
        _ms(_OUTAGE_S),
        "" if outcome.right is None else int(outcome.right),
        _ms(_PROVEN_S),
        "" if known is None else int(known.failed),
        _ms(window_s),
        *windows,
    )

    async def work(session: Session) -> None:
        await session.script(_SETTLE, keys, words)

    return work


def _standing(reply: Reply, counters: int) -> Standing:
    """Raises ``ValueError`` or ``TypeError`` where it is no answer of the script's."""
    match reply:
        case [b"answered", bytes(text)]:
            return Answered(text.decode("ascii"))
        case [b"out of reach", int(retry_ms)]:
            return OutOfReach(min(max(retry_ms, 0) / 1000, _MAX_RETRY_S))
        case [b"taken", int(since)] if since > 0:
            return Taken(since)
        case [b"exhausted", int(rest_ms)]:
            return Exhausted(max(rest_ms, 0) / 1000)
        case [b"leave", int(proven), *windows] if len(windows) == counters:
            return Leave(proven == 1, [_window(window) for window in windows])
    raise ValueError


def _window(value: object) -> str:
    if not isinstance(value, bytes):
        raise TypeError
    return value.decode("ascii")


def _ms(seconds: float) -> int:
    """At least one: Redis takes no time of zero."""
    return max(1, int(seconds * 1000))
