"""One call for all who ask at once; whoever gives up takes nobody along; nothing is kept."""

import asyncio
import gc
from typing import Any

import pytest
from support_http import turns, until

from validator.errors import Unavailable
from validator.model import Reason
from validator.singleflight import SingleFlight


class Call:
    """A slow call that counts itself."""

    def __init__(self, outcome: object = "done") -> None:
        self.started = 0
        self.gate = asyncio.Event()
        self.outcome = outcome

    async def __call__(self) -> Any:
        self.started += 1
        await self.gate.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def flight() -> SingleFlight[str, Any]:
    return SingleFlight()


def asking(
    flight: SingleFlight[str, Any], call: Call, count: int = 1, key: str = "key"
) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(flight.run(key, call)) for _ in range(count)]


async def test_a_thousand_who_ask_at_once_share_one_call(flight: SingleFlight[str, Any]) -> None:
    call = Call()
    waiting = asking(flight, call, 1000)
    await until(lambda: call.started == 1)
    call.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"done"}
    assert call.started == 1
    await until(lambda: len(flight) == 0)


async def test_another_key_is_another_call(flight: SingleFlight[str, Any]) -> None:
    one, two = Call(1), Call(2)
    waiting = asking(flight, one, key="one") + asking(flight, two, key="two")
    one.gate.set()
    two.gate.set()
    assert await asyncio.gather(*waiting) == [1, 2]


async def test_the_call_outlives_the_one_who_caused_it(flight: SingleFlight[str, Any]) -> None:
    call = Call()
    leader, follower = asking(flight, call, 2)
    await until(lambda: call.started == 1)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    late = asking(flight, call)[0]
    call.gate.set()
    assert await asyncio.gather(follower, late) == ["done", "done"]
    assert call.started == 1


async def test_a_leader_cancelled_before_the_call_began_takes_nobody_along(flight: SingleFlight[str, Any]) -> None:
    call = Call()
    leader, follower = asking(flight, call, 2)
    await asyncio.sleep(0)  # both wait; the call has not had its turn
    leader.cancel()
    call.gate.set()
    assert await follower == "done"
    assert call.started == 1


async def test_a_waiter_who_gives_up_disturbs_nobody(flight: SingleFlight[str, Any]) -> None:
    call = Call()
    leader, follower = asking(flight, call, 2)
    await until(lambda: call.started == 1)
    follower.cancel()
    with pytest.raises(asyncio.CancelledError):
        await follower
    call.gate.set()
    assert await leader == "done"


async def test_all_see_an_exception_and_nobody_after_them(flight: SingleFlight[str, Any]) -> None:
    failing = Call(LookupError("no"))
    failing.gate.set()
    outcomes = await asyncio.gather(*asking(flight, failing, 3), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LookupError] * 3
    again = Call("yes")
    again.gate.set()
    assert await flight.run("key", again) == "yes"


async def test_a_result_is_not_kept(flight: SingleFlight[str, Any]) -> None:
    call = Call()
    call.gate.set()
    for count in (1, 2):
        await flight.run("key", call)
        await until(lambda: len(flight) == 0)
        assert call.started == count


async def test_an_exception_that_nobody_waits_for_is_seen(flight: SingleFlight[str, Any]) -> None:
    """Otherwise the loop would complain of it, once for each outage and client that went away."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    failing = Call(LookupError("no"))
    leader = asking(flight, failing)[0]
    await until(lambda: failing.started == 1)
    leader.cancel()
    await asyncio.gather(leader, return_exceptions=True)
    failing.gate.set()
    await until(lambda: len(flight) == 0)
    del leader  # its traceback holds the call's task
    gc.collect()
    await turns()
    assert complaints == []


async def test_a_call_given_up_at_the_close_is_an_outage_to_those_who_wait(flight: SingleFlight[str, Any]) -> None:
    """Their own tasks were not cancelled, and each of them has somebody to answer."""
    call = Call()
    waiting = asking(flight, call, 3)
    await until(lambda: call.started == 1)
    await flight.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
    assert {outcome.reason for outcome in outcomes} == {Reason.IDP_UNAVAILABLE}
    assert len(flight) == 0


async def test_a_waiter_cancelled_with_the_call_is_cancelled(flight: SingleFlight[str, Any]) -> None:
    call = Call()
    waiter = asking(flight, call)[0]
    await until(lambda: call.started == 1)
    flight._flights["key"].add_done_callback(lambda _: waiter.cancel())
    await flight.close()
    with pytest.raises(asyncio.CancelledError):
        await waiter
