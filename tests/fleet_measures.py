"""What is measured of a fleet, by the tests a few times and by the benchmark often.

Law of this file: times are read off what clients were answered, with the clock of this one process. No pytest.
"""

import asyncio
import http
import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet_probes import Probes, Seen
from fleet_processes import AUTHORIZE, Fleet

_VICTIM = "victim"
_AFTERWARDS_S = 0.25
SOON_S = 0.05
_BURST_S = 30.0
_ALLOWED = http.HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class Revoked:
    """One revocation under load; seconds from when it was posted.

    Attributes:
        acknowledged_s: when the control plane had answered.
        last_allow_s: when the last request anywhere was answered 200; 0 where none was.
        refusals: answers of 401 to the revoked credential within sight.
        by_member: how many of them each member gave.
        later: allows that were asked for more than ``SOON_S`` after the acknowledgement.
        there: allows that were asked for after it at the member that gave it.
        again: allows over a connection that had been answered 401 before.
        per_second: requests of the load meanwhile.
    """

    acknowledged_s: float
    last_allow_s: float
    refusals: int
    by_member: Mapping[int, int]
    later: int
    there: int
    again: int
    per_second: float


async def revocations(
    fleet: Fleet,
    victims: Sequence[tuple[str, Mapping[str, str]]],
    others: Mapping[str, Mapping[str, str]],
    *,
    connections: int = 8,
    pause_s: float = 0.004,
) -> list[Revoked]:
    """Revokes one client after the other, each at another member, while all are asked for it.

    Args:
        victims: client ids, and the headers of a credential of each.
        others: credentials that are asked for beside, and go on passing.
    """
    credentials: dict[str, Mapping[str, str]] = dict(others)
    ports = [member.data for member in fleet.members]
    found = []
    async with Probes(ports, credentials, connections=connections, pause_s=pause_s) as probes:
        for number, (client, headers) in enumerate(victims):
            credentials[_VICTIM] = headers
            await probes.next_round(3)  # hot in every cache that these connections lead to
            probes.seen.clear()
            found.append(await _revoke(fleet, number, client, probes))
            del credentials[_VICTIM]
    return found


async def _revoke(fleet: Fleet, number: int, client: str, probes: Probes) -> Revoked:
    where = number % len(fleet.members)
    posted_at, asked = time.monotonic(), probes.answers()
    answer = await fleet.members[where].call("POST", "/v1/revocations", {"client_id": client})
    acknowledged_at = time.monotonic()
    if answer.status != http.HTTPStatus.CREATED:
        raise AssertionError(f"not revoked: {answer}")
    await asyncio.sleep(_AFTERWARDS_S)
    await probes.next_round(2)
    seen = [each for each in probes.seen if each.credential == _VICTIM and each.answered_at > posted_at]
    allows = [each for each in seen if each.status == _ALLOWED]
    refused = [each for each in seen if each.status == http.HTTPStatus.UNAUTHORIZED]
    return Revoked(
        acknowledged_at - posted_at,
        max((each.answered_at - posted_at for each in allows), default=0.0),
        len(refused),
        _by_member(refused),
        later=sum(each.sent_at > acknowledged_at + SOON_S for each in allows),
        there=sum(each.sent_at > acknowledged_at and each.member == where for each in allows),
        again=_again(seen),
        per_second=(probes.answers() - asked) / (time.monotonic() - posted_at),
    )


def _again(seen: Sequence[Seen]) -> int:
    refused: set[tuple[int, int]] = set()
    count = 0
    for each in sorted(seen, key=lambda one: one.sent_at):
        where = (each.member, each.connection)
        if each.status == http.HTTPStatus.UNAUTHORIZED:
            refused.add(where)
        count += each.status == _ALLOWED and where in refused
    return count


def _by_member(seen: Sequence[Seen]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for each in seen:
        counts[each.member] = counts.get(each.member, 0) + 1
    return counts


async def burst(fleet: Fleet, headers: Mapping[str, str], count: int) -> Counter[int]:
    """So many first requests at once, spread over all members, each over a connection of its own that is open
    already; how they were answered."""
    ports = itertools.cycle([member.data for member in fleet.members])
    return await _asked_at_once(list(itertools.islice(ports, count)), headers)


async def everywhere(fleet: Fleet, headers: Mapping[str, str], *, connections: int = 8) -> set[int]:
    """How all members answer a request over each of so many connections that are open at once: workers share what
    is open at once, so that each is asked."""
    return set(await _asked_at_once([m.data for m in fleet.members for _ in range(connections)], headers))


async def _asked_at_once(ports: Sequence[int], headers: Mapping[str, str]) -> Counter[int]:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET {AUTHORIZE} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode()
    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    try:
        for port in ports:
            opened.append(await asyncio.open_connection("127.0.0.1", port))  # noqa: PERF401 - closed in any case
        for _, writer in opened:
            writer.write(request)
        async with asyncio.timeout(_BURST_S):
            heads = await asyncio.gather(*(reader.readuntil(b"\r\n\r\n") for reader, _ in opened))
    finally:
        for _, writer in opened:
            writer.transport.abort()
    return Counter(int(head[9:12]) for head in heads)
