"""Everything that changes, changing all the time: does the sidecar stay right, and does it stay the same size?

Law of this file: what each request must be answered is known from what was told to the sidecar before; and what
grows is read from the kernel.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench import subjects
from bench.accounting import descriptors, resident_bytes
from bench.findings import Findings, Plot, Table, Target
from bench.scraping import samples
from bench.stage import Stage, ask
from bench.subjects import Sidecar
from bench.traffic import Kind, Outcome, Request, Traffic
from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

QUESTION = "While keys, tokens, registrations and the file change all the time: is it right, and is it flat?"
STRATEGY = "all"
PATH = f"/v1/authorize/{STRATEGY}/{subjects.SERVICE}"
CLIENTS = 40
TOKEN_LIFETIME_S = 20
MARGIN_S = 1.5  # around a token's end nothing is expected
WRITES_PER_S = 5
ROTATE_S, RELOAD_S = 15.0, 10.0
KEYS_AGE_S = 1  # the key set's max-age
TASKS = "validator_tasks"  # read where the sidecar says it
_random = random.Random(4)  # noqa: S311 - draws of a load test
FLAT = 0.05  # of its mean: what the second half may grow by


@dataclass
class Client:
    """What the sidecar has been told of one client.

    Attributes:
        version: odd while something is being changed.
    """

    name: str
    number: int
    approved: bool = True
    revoked: bool = False
    version: int = 0
    cookie: str = ""

    @property
    def allowed(self) -> bool:
        return self.approved and not self.revoked

    @property
    def application(self) -> dict[str, Any]:
        return {**subjects.application(self.name, self.number), "strategy": STRATEGY}

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        self.version += 1
        yield
        self.version += 1

    def request(
        self, headers: dict[str, str], *, refused: bool = False, until: float = float("inf")
    ) -> Request | None:
        """With the expectation of this moment, which counts if it is still the same in the end."""
        if self.version % 2:
            return None
        version = self.version
        return Request(
            PATH,
            headers,
            refused or not self.allowed,
            still=lambda: self.version == version and time.time() < until,
        )


@dataclass(frozen=True)
class Sample:
    """The process at one moment, seconds from the beginning."""

    at: float
    megabytes: float
    descriptors: int  # without those of the callers' own connections
    connections: int
    threads: int
    tasks: float | None
    entries: float


@dataclass
class Soak:
    """One run's parts."""

    stage: Stage
    idp: FakeIdp
    sidecar: Sidecar
    clients: list[Client]
    taken: list[Sample] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    tokens: deque[tuple[str, Client, float]] = field(default_factory=lambda: deque(maxlen=2000))
    began_at: float = field(default_factory=time.monotonic)

    # -- what is asked ---------------------------------------------------------------------------------------

    def kinds(self) -> list[Kind]:
        refused = self._bad()
        return [
            Kind("known bearer", 100, self._known_token),
            Kind("new bearer", 20, self._new_token),
            Kind("Basic", 40, self._pair),
            Kind("session", 40, self._session),
            Kind("must be refused", 10, lambda: next(refused)),
        ]

    def _new_token(self) -> Request | None:
        client = _random.choice(self.clients)
        now = time.time()
        token = self.idp.token(client.name)
        self.tokens.append((token, client, int(now) + TOKEN_LIFETIME_S))
        return client.request(_bearer(token))

    def _known_token(self) -> Request | None:
        """Also expired ones, which stay in the pool for a while."""
        if not self.tokens:
            return None
        token, client, ends_at = _random.choice(self.tokens)
        now = time.time()
        if now > ends_at + MARGIN_S:
            return client.request(_bearer(token), refused=True)
        if now > ends_at - MARGIN_S:
            return None
        return client.request(_bearer(token), until=ends_at - 0.1)

    def _pair(self) -> Request | None:
        client = _random.choice(self.clients)
        return client.request(_basic(client.name, f"secret of {client.name}"))

    def _session(self) -> Request | None:
        client = _random.choice(self.clients)
        return client.request({"Cookie": client.cookie}) if client.cookie else None

    def _bad(self) -> Iterator[Request]:
        for number in itertools.count():
            client = _random.choice(self.clients)
            yield Request(PATH, _bearer(subjects.spoiled(self.idp.token(client.name))), refused=True)
            yield Request(PATH, _bearer(self.idp.token("nobody")), refused=True)
            yield Request(PATH, _basic("victim", f"guess {number}"), refused=True)

    # -- what changes ----------------------------------------------------------------------------------------

    def changes(self, control: aiohttp.ClientSession) -> list[Awaitable[None]]:
        return [
            self._every(1 / WRITES_PER_S, "registry writes and revocations", lambda: self._write(control)),
            self._every(ROTATE_S, "keys rotated", self._rotate),
            self._every(RELOAD_S, "reloads", self._reload),
            self._every(1, "scrapes", self._sample),
        ]

    async def _every(self, seconds: float, name: str, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await act()
            self.done[name] = self.done.get(name, 0) + 1

    async def _write(self, control: aiohttp.ClientSession) -> None:
        client = _random.choice(self.clients)
        which = _random.random()
        with client.changing():
            if client.revoked or which < 0.2:
                verb = control.delete if client.revoked else control.post
                await _done(verb("/v1/revocations", json={"client_id": client.name, "strategy": STRATEGY}))
                client.revoked = not client.revoked
            elif not client.approved or which < 0.5:
                status = "pending" if client.approved else "approved"
                place = f"/v1/applications/{client.application['id']}/registrations/{subjects.SERVICE}"
                await _done(control.put(place, json={"status": status}))
                client.approved = not client.approved
            else:
                passing = {**subjects.application("passing", 9999), "strategy": STRATEGY}
                await _done(control.post("/v1/applications", json=passing))
                await _done(control.delete(f"/v1/applications/{passing['id']}"))

    async def _rotate(self) -> None:
        """As providers do it: published before it signs, withdrawn when nothing that it signed lives."""
        mint = self.idp.mint
        old, new = mint.current, mint.add_key("ES256")
        await asyncio.sleep(4 * KEYS_AGE_S)
        mint.current = new
        loop = asyncio.get_running_loop()
        loop.call_later(TOKEN_LIFETIME_S + 2 * MARGIN_S + 1, mint.retire, old.kid)

    async def _reload(self) -> None:
        os.kill(self.sidecar.pid, signal.SIGHUP)

    async def _sample(self) -> None:
        metrics = samples(await self.sidecar.metrics())
        pid = self.sidecar.pid
        sample = Sample(
            time.monotonic() - self.began_at,
            resident_bytes(pid) / 1e6,
            descriptors(pid) - int(metrics["validator_connections"]),
            int(metrics["validator_connections"]),
            _threads(pid),
            metrics.get(TASKS),
            sum(value for name, value in metrics.items() if name.startswith("validator_cache_entries")),
        )
        self.taken.append(sample)
        if len(self.taken) % 30 == 0:
            self.stage.say(
                f"{sample.at / 60:.1f} min: {sample.megabytes:.1f} MB, {sample.descriptors} descriptors, "
                f"{sample.entries:.0f} entries"
            )


def _threads(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())


async def run(stage: Stage) -> Findings:
    clients = [Client(f"soak-{n}", n + 1) for n in range(CLIENTS)]
    secrets = {client.name: f"secret of {client.name}" for client in clients} | {"victim": "nobody knows it"}
    async with contextlib.AsyncExitStack() as running:
        idp = await running.enter_async_context(
            FakeIdp(
                secrets,
                clock=SystemClock(),
                alg="ES256",
                audience=subjects.AUDIENCE,
                lifetime_s=TOKEN_LIFETIME_S,
            )
        )
        idp.jwks_cache_control = f"max-age={KEYS_AGE_S}"
        sidecar = await running.enter_async_context(subjects.sidecar(stage, _configuration(idp)))
        soak = Soak(stage, idp, sidecar, clients)
        control = await running.enter_async_context(
            aiohttp.ClientSession(f"http://127.0.0.1:{sidecar.control_port}")
        )
        for client in clients:
            await _done(control.post("/v1/applications", json=client.application))
            client.cookie = await _cookie(sidecar, client)
        traffic = await running.enter_async_context(Traffic(stage, sidecar.port, soak.kinds()))
        changing = asyncio.gather(*soak.changes(control))
        with contextlib.suppress(TimeoutError):  # it ends by itself only when something failed
            await asyncio.wait_for(changing, stage.soak_minutes * 60)
        await asyncio.sleep(1)
    return _findings(soak, traffic)


def _configuration(idp: FakeIdp) -> dict[str, Any]:
    strategy = subjects.configuration(idp.issuer)["strategies"][subjects.STRATEGY]
    return subjects.configuration(
        idp.issuer,
        strategies={STRATEGY: {**strategy, "auth_methods": ["bearer", "client_credentials", "session"]}},
        applications=[{**subjects.application("victim", 5000), "strategy": STRATEGY}],
        cache={"decision_ttl_s": 5, "max_entries": 1000},  # so small that it is full before the half is over
        keys={"min_refresh_s": 1},
        session={"outlive_token": True},
        log={"level": "warning"},
    )


async def _cookie(sidecar: Sidecar, client: Client) -> str:
    pair = _basic(client.name, f"secret of {client.name}")
    status, _, headers = await asyncio.to_thread(ask, sidecar.port, PATH, pair)
    if "Set-Cookie" not in headers:
        raise SystemExit(f"no session was opened for {client.name}: {status}")
    return headers["Set-Cookie"].partition(";")[0]


async def _done(call: Any) -> None:
    async with call as answer:
        if answer.status >= 400:
            raise SystemExit(f"the control plane: {answer.status} {json.dumps(await answer.text())[:300]}")


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _basic(client: str, secret: str) -> dict[str, str]:
    return {"Authorization": subjects.pair(client, secret).partition(": ")[2]}


# -- what came of it -----------------------------------------------------------------------------------------


def _growth(taken: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """By how much the line of least squares through the second half rises from its begin to its end."""
    half = taken[len(taken) // 2 :]
    if len(half) < 2:
        return 0.0
    slope = statistics.linear_regression([each.at for each in half], [value(each) for each in half]).slope
    return slope * (half[-1].at - half[0].at)


def _findings(soak: Soak, traffic: Traffic) -> Findings:
    taken = soak.taken
    mean = statistics.fmean(each.megabytes for each in taken)
    memory = _growth(taken, lambda each: each.megabytes) / mean
    said = [each.tasks for each in taken if each.tasks is not None]
    outcomes = {outcome: sum(each.outcome is outcome for each in traffic.seen) for outcome in Outcome}
    span = f"{taken[-1].at / 60:.1f} minutes"
    found = Findings(
        targets=[
            Target(
                "memory in the second half", "flat: at most + 5 %", 100 * memory, 100 * FLAT, unit="%", note=span
            ),
            Target(
                "file descriptors but callers' own, in the second half",
                "flat: at most + 5",
                _growth(taken, lambda each: each.descriptors),
                5,
                unit="",
                note=span,
            ),
            Target(
                "tasks in the second half",
                "flat: at most + 5",
                _growth(taken, lambda each: each.tasks or 0.0) if said else None,
                5,
                unit="",
                note=span
                if said
                else f"the sidecar has no metric {TASKS}; threads and descriptors stand for them",
            ),
            Target(
                "wrong decisions in the soak",
                "0",
                float(sum(traffic.wrong.values())),
                0,
                unit="",
                note=f"of {outcomes[Outcome.RIGHT] + outcomes[Outcome.WRONG]:,}",
            ),
        ],
        wrong=[f"{what}: {count} times" for what, count in traffic.wrong.items()],
    )
    kinds = [kind.name for kind in traffic.kinds]
    found.tables.append(
        Table(
            "Answers",
            ("", *Outcome),
            [
                (
                    kind,
                    *(
                        f"{sum((each.kind, each.outcome) == (kind, outcome) for each in traffic.seen):,}"
                        for outcome in Outcome
                    ),
                )
                for kind in kinds
            ],
        )
    )
    ends = {"begin": taken[0], "half": taken[len(taken) // 2], "end": taken[-1]}
    head = ("", "PSS, MB", "other descriptors", "callers' connections", "threads", "cache entries")
    rows = [
        (name, f"{s.megabytes:.1f}", str(s.descriptors), str(s.connections), str(s.threads), f"{s.entries:,.0f}")
        for name, s in ends.items()
    ]
    found.tables.append(Table("The process", head, rows))
    found.plots += [
        _plot("memory", "Memory (PSS)", "MB", taken, lambda each: each.megabytes),
        _plot("descriptors", "File descriptors and threads", "count", taken, lambda each: each.descriptors),
    ]
    found.notes.append(
        f"In {span}: {', '.join(f'{count} {name}' for name, count in soak.done.items())}. Tokens live "
        f"{TOKEN_LIFETIME_S} s. The caches are bounded so low that they are full before the second half, if "
        "the soak lasts two minutes. What the second half grew by is the rise of the line of least squares "
        "through its samples, one a second."
    )
    return found


def _plot(name: str, title: str, unit: str, taken: Sequence[Sample], value: Callable[[Sample], float]) -> Plot:
    lines = {title.partition(" and ")[0]: [(each.at / 60, value(each)) for each in taken]}
    if name == "descriptors":
        lines["threads"] = [(each.at / 60, float(each.threads)) for each in taken]
    return Plot(f"soak-{name}", f"{title} during the soak", "minutes", unit, lines)
