"""Requests whose right answers are known, sent over kept connections while something happens to the sidecars.

Law of this file: it asks and counts. What happens meanwhile and which counts are promised is the test's to say.
It knows nothing of pytest.
"""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gateway.gateway import Route
from gateway.stage import IDENTITY_HEADERS, SPOOFED, Answer, is_unavailable, spellings
from multidict import CIMultiDict, CIMultiDictProxy

PATIENCE_S = 30.0  # for a phase: a machine that is busy with other tests answers slowly
ONE, ONE_CACHED, TWO, TWO_CACHED = PATHS = ("/one/", "/one-cached/", "/two/", "/two-cached/")
HEALTHY = frozenset({TWO, TWO_CACHED})
WELL = "well"

PACE_S = 0.005  # between two requests: what is answered at once leaves some of the machine to what waits
CACHE_TTL_S = 0.3
CLAIM = "X-Claim-Tenant"
SESSION_COOKIE = "__Host-session"

TOLD = frozenset(name.lower() for name in (*IDENTITY_HEADERS, "X-Application-Groups", "X-Access-Token", CLAIM))
SPOOFED_LINES = "".join(
    f"{name}: evil\r\n" for name in [*SPOOFED, *spellings("X-Application-Groups"), *spellings(CLAIM)]
)


@dataclass(frozen=True, slots=True)
class Question:
    """One credential and its only right answer.

    Attributes:
        name: for people.
        headers: the credential.
        status: of the right answer.
        reason: in the problem body of a refusal.
        identity: all that the upstream may be told of whom an allowed request comes from, names in lower case.
    """

    name: str
    headers: Mapping[str, str]
    status: int
    reason: str = ""
    identity: Mapping[str, str] = field(default_factory=dict)

    def is_answered_by(self, answer: Answer) -> bool:
        """Whether the answer is right, and the upstream saw what it should."""
        if answer.status != self.status or b"evil" in answer.body:
            return False
        if self.status != 200:
            return bool(json.loads(answer.body)["reason"] == self.reason)
        seen = answer.upstream_headers
        told = {name: value for name, value in seen.items() if name in TOLD}
        hidden = "authorization" not in seen and SESSION_COOKIE not in seen.get("cookie", "")
        return told == self.identity and hidden


def allowed_as(name: str, headers: Mapping[str, str], application: str, method: str, **more: str) -> Question:
    """A question that the application passes; ``more`` is what the upstream is told besides, ``_`` for ``-``."""
    identity = {
        "x-application-id": f"app-{application}",
        "x-application-name": f"{application} app",
        "x-credential-identifier": application,
        "x-auth-method": method,
    }
    return Question(name, headers, 200, "", identity | {key.replace("_", "-"): more[key] for key in more})


def is_well_formed_503(answer: Answer) -> bool:
    """The generic one, or the sidecar's own word that the identity provider is at fault."""
    if is_unavailable(answer):
        return True
    return answer.status == 503 and bool(json.loads(answer.body).get("reason") == "idp_unavailable")


@dataclass(slots=True)
class Counts:
    """What became of the requests of one lane in one phase."""

    phase: str
    right: int = 0
    unavailable: int = 0
    wrong: list[str] = field(default_factory=list)
    reached: int = 0  # the upstream, each with exactly the identity that was expected
    slowest_s: float = 0.0

    @property
    def total(self) -> int:
        return self.right + self.unavailable + len(self.wrong)

    def add(self, other: "Counts") -> None:
        self.right += other.right
        self.unavailable += other.unavailable
        self.wrong += other.wrong
        self.reached += other.reached
        self.slowest_s = max(self.slowest_s, other.slowest_s)

    def judge(self, question: Question, answer: Answer) -> None:
        try:
            if question.is_answered_by(answer):
                self.right += 1
                self.reached += question.status == 200
            elif is_well_formed_503(answer):
                self.unavailable += 1
            else:
                self.wrong.append(f"{question.name}: {answer.status} {answer.body[:300]!r}")
        except (KeyError, ValueError) as error:
            self.wrong.append(f"{question.name}: malformed, {error!r}: {answer.status} {answer.body[:300]!r}")


class Connection:
    """A client's connection to the gateway: a request, its whole answer, the next."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, path: str, headers: Mapping[str, str]) -> Answer:
        """Spoofs every identity header on its way.

        Raises:
            OSError, EOFError: the connection was dropped.
            ValueError, KeyError: the answer is not HTTP.
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: gateway\r\n{SPOOFED_LINES}{lines}\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n")
        line, *fields = head.split("\r\n")
        found = CIMultiDict[str]()
        for name, value in (entry.split(": ", 1) for entry in fields):
            found.add(name, value)
        body = b""
        if "Content-Length" in found:
            body = await self._reader.readexactly(int(found["Content-Length"]))
        else:
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                body += (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readexactly(2)
        return Answer(int(line.split(" ")[1]), CIMultiDictProxy(found), body)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Lane:
    """The requests to one route: one after the other on each of some connections."""

    def __init__(self, port: int, path: str, questions: Sequence[Question], limit_s: float) -> None:
        self._port = port
        self._questions = questions
        self._limit_s = limit_s
        self._heard = asyncio.Event()
        self.path = path
        self.over = False
        self.phases = [Counts("")]

    async def work(self, number: int) -> None:
        connection = None
        for question in itertools.islice(itertools.cycle(self._questions), number, None):
            if self.over:
                break
            counts = self.phases[-1]  # of the moment at which it starts
            began = time.monotonic()
            try:
                async with asyncio.timeout(self._limit_s):
                    connection = connection or await Connection.open(self._port)
                    counts.judge(question, await connection.ask(self.path, question.headers))
            except (OSError, EOFError, ValueError, KeyError) as error:
                what = f"none within {self._limit_s} s" if isinstance(error, TimeoutError) else repr(error)
                counts.wrong.append(f"{question.name}: {what}")
                if connection:
                    await connection.close()
                connection = None
            counts.slowest_s = max(counts.slowest_s, time.monotonic() - began)
            self._heard.set()
            await asyncio.sleep(PACE_S)
        if connection:
            await connection.close()

    async def answered(self, counts: Counts, least: int) -> None:
        while counts.total < least:
            self._heard.clear()
            await self._heard.wait()

    @property
    def counts(self) -> Counts:
        """Of all phases."""
        whole = Counts("")
        for phase in self.phases:
            whole.add(phase)
        return whole


class Drill:
    """Load on several routes at once: ``async with Drill(port, paths, questions, limit_s=1.5) as drill:``.

    Args:
        limit_s: an answer that takes longer is a wrong one.
        connections: to each route.
    """

    def __init__(
        self,
        port: int,
        paths: Sequence[str],
        questions: Sequence[Question],
        *,
        limit_s: float,
        connections: int = 8,
    ) -> None:
        self._lanes = {path: Lane(port, path, questions, limit_s) for path in paths}
        self._connections = connections
        self._workers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for lane in self._lanes.values():
            self._workers += [asyncio.create_task(lane.work(number)) for number in range(self._connections)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lane in self._lanes.values():
            lane.over = True
        await asyncio.gather(*self._workers)

    async def phase(self, name: str, least: int) -> dict[str, Counts]:
        """Counts apart what starts from now on; returns once each route has answered ``least`` of these.

        Raises:
            TimeoutError: it takes too long.
        """
        for lane in self._lanes.values():
            lane.phases.append(Counts(name))
        counts = {path: lane.phases[-1] for path, lane in self._lanes.items()}
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(lane.answered(counts[path], least) for path, lane in self._lanes.items()))
        return counts

    @property
    def counts(self) -> dict[str, Counts]:
        """By path, all phases together."""
        return {path: lane.counts for path, lane in self._lanes.items()}

    async def until_unavailable(self, path: str) -> None:
        """What was decided before has run out; a right answer may be none of those any more. A decision that no
        question of a phase happened to meet may still be kept, so none is met for longer than any is."""
        last_right = time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            while time.monotonic() - last_right <= 2 * CACHE_TTL_S:
                if (await self.phase("unavailable", 40))[path].right:
                    last_right = time.monotonic()

    async def until_well(self) -> None:
        """The last phase: what happened is over, and nothing that is remembered of it may still count."""
        await self.phase(WELL, 50)

    def summary(self, title: str) -> str:
        """One line for each route."""
        return "\n".join(summary(title, path, counts) for path, counts in self.counts.items())

    def broken(self) -> list[str]:
        """What no route of ``lanes`` may do, whatever happens to the first sidecar; the first of each kind."""
        found = []
        for path, counts in self.counts.items():
            found += [f"{path} wrong: {wrong}" for wrong in counts.wrong[:3]]
            if not counts.reached:
                found.append(f"{path} nothing reached the upstream")
            if path in HEALTHY and counts.unavailable:
                found.append(f"{path} {counts.unavailable} unavailable, though another sidecar is healthy")
        for path, lane in self._lanes.items():
            late = sum(counts.unavailable for counts in lane.phases if counts.phase == WELL)
            if late:
                found.append(f"{path} {late} unavailable after all was well again")
        return found


def summary(title: str, path: str, counts: Counts) -> str:
    return (
        f"{title:<24} {path:<17} asked {counts.total:>5}  right {counts.right:>5}  unavailable "
        f"{counts.unavailable:>4}  wrong {len(counts.wrong):>2}  upstream exact {counts.reached:>5}  "
        f"slowest {counts.slowest_s:.2f} s"
    )


def lanes(url: str, fallback_url: str, timeout_ms: int) -> list[Route]:
    """``PATHS``: one sidecar, and the same with a healthy one behind it; each without and with decision cache."""
    alone = {"validator_url": url, "strategy": "plain", "timeout_ms": timeout_ms, "upstream_headers": [CLAIM]}
    both = alone | {"fallback_validator_urls": [fallback_url]}
    cached = {"decision_cache_ttl_s": CACHE_TTL_S}
    return [
        Route(ONE, "orders", alone),
        Route(ONE_CACHED, "orders", alone | cached),
        Route(TWO, "orders", both),
        Route(TWO_CACHED, "orders", both | cached),
    ]
