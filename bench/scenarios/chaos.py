"""What callers feel while the identity provider fails, and when the sidecar is killed.

Law of this file: every request's right answer is known beforehand. A lost request is a number; a wrong decision
fails the run.
"""

import asyncio
import base64
import contextlib
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from bench import subjects
from bench.findings import Findings, Plot, Table, Target
from bench.stage import Program, Stage, ask, free_ports
from bench.traffic import Kind, Outcome, Request, Seen, Traffic
from validator.adapters.clock import SystemClock
from validator.model import Endpoint
from validator.testing import FakeIdp, Fault, TokenMint

QUESTION = "What is lost while the IdP stalls, lies or is gone, or the sidecar is killed, and when is it over?"
STRATEGY = "all"
PATH = f"/v1/authorize/{STRATEGY}/{subjects.SERVICE}"
KNOWN_PAIRS = 20
HTML = b"<!doctype html><html><title>Scheduled maintenance</title></html>"
Act = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Chaos:
    """One thing that goes wrong, and the one that ends it."""

    name: str
    begins: Act
    ends: Act


@dataclass(frozen=True)
class Spell:
    """When it was; ``healed_s`` after its end all were answered right again, or ``None``: not within sight."""

    name: str
    began_at: float
    ended_at: float
    until: float
    healed_s: float | None


async def run(stage: Stage) -> Findings:
    lasts_s, quiet_s, patience_s = (0.7, 0.4, 4.0) if stage.quick else (8.0, 2.0, 25.0)
    per_second = 10 if stage.quick else 20
    fresh = round(per_second * (25 if stage.quick else 150))
    clients = {f"known-{n}": f"secret-{n}" for n in range(KNOWN_PAIRS)}
    clients |= {f"fresh-{n}": f"secret-{n}" for n in range(fresh)}
    clock = SystemClock()
    async with FakeIdp(clients, clock=clock, audience=subjects.AUDIENCE) as idp:
        idp.jwks_cache_control = "max-age=1"  # keys are fetched while it fails, not only pairs proved
        sidecar = Killable(stage, _configuration(idp, clients, quick=stage.quick))
        async with sidecar.running():
            cookie = await _cookie(sidecar)
            traffic = Traffic(stage, sidecar.port, _kinds(idp, cookie, per_second))
            spells: list[Spell] = []
            async with traffic:
                await asyncio.sleep(quiet_s + 1)
                for chaos in _all(idp, sidecar, quick=stage.quick):
                    stage.say(chaos.name)
                    spells.append(await _spell(chaos, traffic, lasts_s, quiet_s, patience_s))
    return _findings(traffic, spells)


class Killable:
    """A sidecar that is killed and started again on its ports."""

    def __init__(self, stage: Stage, config: dict[str, Any]) -> None:
        self._stage = stage
        self.port, self.control_port = free_ports(2)
        listen = {"data": f"127.0.0.1:{self.port}", "control": f"127.0.0.1:{self.control_port}"}
        self._path = stage.folder / "chaos.yaml"
        self._path.write_text(
            yaml.safe_dump({"listen": listen, "store": {"path": str(stage.folder / "chaos.db")}, **config})
        )
        self._exits = contextlib.AsyncExitStack()
        self._program: Program | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            await self.start()
            yield
        finally:
            await self._exits.aclose()

    async def start(self) -> None:
        command = (self._stage.validator, "serve", "--config", str(self._path))
        self._program = await self._exits.enter_async_context(self._stage.program(*command))
        await self._program.ready(self.control_port)

    async def kill(self) -> None:
        """kill -9: nothing is drained, nothing is written down."""
        if self._program is None:
            raise AssertionError("it was started")
        self._program.process.send_signal(signal.SIGKILL)
        await self._program.process.wait()


def _all(idp: FakeIdp, sidecar: Killable, *, quick: bool) -> list[Chaos]:
    def failing(fault: Fault, *where: str) -> Act:
        async def begin() -> None:
            idp.fail(fault, *where)

        return begin

    async def heal() -> None:
        idp.heal()

    html = Fault(200, HTML, {"Content-Type": "text/html"})
    no_keys = Fault.json_reply({"keys": []})
    return [
        Chaos("the IdP stalls", failing(Fault.stall()), heal),
        Chaos("the IdP answers 200 with HTML", failing(html), heal),
        *([] if quick else [Chaos("the IdP answers 500", failing(Fault.server_error()), heal)]),
        Chaos("the IdP's key set is empty", failing(no_keys, Endpoint.JWKS), heal),
        Chaos("the IdP is gone", idp.take_down, idp.bring_back),
        Chaos("the sidecar is killed (-9)", sidecar.kill, sidecar.start),
    ]


async def _spell(chaos: Chaos, traffic: Traffic, lasts_s: float, quiet_s: float, patience_s: float) -> Spell:
    began_at = time.monotonic()
    await chaos.begins()
    ended_at = began_at
    if "killed" not in chaos.name:  # that one is started again at once: the start is part of the healing
        await asyncio.sleep(lasts_s)
        ended_at = time.monotonic()
    await chaos.ends()
    healed_s = None
    while time.monotonic() < ended_at + patience_s:
        await asyncio.sleep(0.1)
        last = max(traffic.last_not_right(ended_at) or ended_at, ended_at)
        if time.monotonic() >= last + quiet_s and traffic.waiting_s() < quiet_s / 2:
            healed_s = last - ended_at
            break
    return Spell(chaos.name, began_at, ended_at, time.monotonic(), healed_s)


# -- who asks ------------------------------------------------------------------------------------------------


def _configuration(idp: FakeIdp, clients: dict[str, str], *, quick: bool) -> dict[str, Any]:
    strategy = subjects.configuration(idp.issuer)["strategies"][subjects.STRATEGY]
    return subjects.configuration(
        idp.issuer,
        strategies={STRATEGY: {**strategy, "auth_methods": ["bearer", "client_credentials", "session"]}},
        applications=[
            {**subjects.application(client, n), "strategy": STRATEGY}
            for n, client in enumerate([subjects.CLIENT, *clients], 1)
        ],
        keys={"min_refresh_s": 1},
        session={"idle_ttl_s": 36_000, "keys": [base64.b64encode(os.urandom(32)).decode()]},
        # The defaults, but where the whole run is to take seconds.
        outbound={"timeout_s": 0.4, "connect_timeout_s": 0.4, "breaker_reset_s": 0.3} if quick else {},
    )


async def _cookie(sidecar: Killable) -> str:
    name, _, value = subjects.pair("known-0", "secret-0").partition(": ")
    status, _, headers = await asyncio.to_thread(ask, sidecar.port, PATH, {name: value})
    if "Set-Cookie" not in headers:
        raise SystemExit(f"no session was opened: {status}")
    return headers["Set-Cookie"].partition(";")[0]


def _kinds(idp: FakeIdp, cookie: str, per_second: float) -> list[Kind]:
    known = [_bearer(token) for token in subjects.tokens(idp, 100)]
    pairs = [_pair(f"known-{n}", f"secret-{n}") for n in range(KNOWN_PAIRS)]
    strange = TokenMint(idp.issuer, SystemClock(), keyring="strange").current  # a key that was never published
    numbers = itertools.count()

    def bad() -> Iterator[Request]:
        """What must never pass, none of it twice."""
        for number in itertools.count():
            yield _bearer(subjects.spoiled(idp.token(subjects.CLIENT)), refused=True)
            yield _bearer(idp.token(subjects.CLIENT, exp=int(time.time()) - 60), refused=True)
            yield _bearer(idp.token("nobody"), refused=True)
            yield _bearer(idp.token(subjects.CLIENT, key=strange), refused=True)
            yield _pair(f"known-{number % KNOWN_PAIRS}", f"guess-{number}", refused=True)
            yield Request(PATH, {"Cookie": f"{cookie[:-6]}AAAAAA"}, refused=True)

    def new_pair() -> Request | None:
        number = next(numbers)
        client = f"fresh-{number}"
        return _pair(client, f"secret-{number}") if client in idp.clients else None

    refused = bad()
    bearers, basics = itertools.cycle(known), itertools.cycle(pairs)
    return [
        Kind("cached bearer", 8 * per_second, lambda: next(bearers)),
        Kind("new bearer", per_second, lambda: _bearer(idp.token(subjects.CLIENT))),
        Kind("cached Basic", 3 * per_second, lambda: next(basics)),
        Kind("new Basic", per_second, new_pair),
        Kind("session", 2 * per_second, lambda: Request(PATH, {"Cookie": cookie})),
        Kind("must be refused", 1.5 * per_second, lambda: next(refused)),
    ]


def _bearer(token: str, *, refused: bool = False) -> Request:
    return Request(PATH, {"Authorization": f"Bearer {token}"}, refused)


def _pair(client: str, secret: str, *, refused: bool = False) -> Request:
    return Request(PATH, {"Authorization": subjects.pair(client, secret).partition(": ")[2]}, refused)


# -- what came of it -----------------------------------------------------------------------------------------


def _findings(traffic: Traffic, spells: list[Spell]) -> Findings:
    kinds = [kind.name for kind in traffic.kinds]
    rows = [_row(traffic, spell, kinds) for spell in spells]
    head = (
        "what",
        "lasted",
        "requests",
        "503",
        "broken",
        *(f"lost: {kind}" for kind in kinds),
        "wrong",
        "healed after",
    )
    found = Findings(
        tables=[Table("Requests sent from the beginning of each until it was over", head, rows)],
        plots=[_plot(traffic, spell) for spell in spells if spell.name.endswith(("stalls", "(-9)"))],
        wrong=[f"{what}: {count} times" for what, count in traffic.wrong.items()],
    )
    decided = sum(each.outcome in (Outcome.RIGHT, Outcome.WRONG) for each in traffic.seen)
    refused = sum(each.kind == "must be refused" and each.outcome is Outcome.RIGHT for each in traffic.seen)
    found.targets.append(
        Target(
            "wrong decisions under chaos",
            "0",
            float(sum(traffic.wrong.values())),
            0,
            unit="",
            note=f"of {decided:,}",
        )
    )
    rates = ", ".join(f"{kind.name} {kind.per_second:g}/s" for kind in traffic.kinds)
    found.notes.append(
        f"Open loop: {rates}. Lost is a 503 or a broken connection, with nobody judged; healed is when the last "
        "such request was sent, counted from the fault's end (of a kill: from the kill, so that the start is in "
        f"it). What must be refused, and was {refused:,} times: forged, expired, foreign-key and unregistered "
        "tokens, wrong secrets, a spoiled cookie. A worker that is killed is the process: there is one."
    )
    for spell in spells:
        if spell.healed_s is None:
            found.notes.append(f"**Not healed within sight: {spell.name}.**")
    return found


def _row(traffic: Traffic, spell: Spell, kinds: list[str]) -> tuple[str, ...]:
    seen = traffic.between(spell.began_at, spell.until)
    outcomes = Counter(each.outcome for each in seen)
    lost = Counter(each.kind for each in seen if each.outcome in (Outcome.UNAVAILABLE, Outcome.BROKEN))
    return (
        spell.name,
        f"{spell.ended_at - spell.began_at:.1f} s" if spell.ended_at > spell.began_at else "-",
        f"{len(seen):,}",
        str(outcomes[Outcome.UNAVAILABLE]),
        str(outcomes[Outcome.BROKEN]),
        *(str(lost[kind]) for kind in kinds),
        str(outcomes[Outcome.WRONG]),
        "not yet" if spell.healed_s is None else f"{spell.healed_s:.1f} s",
    )


def _plot(traffic: Traffic, spell: Spell) -> Plot:
    """From two seconds before to two seconds after."""
    begin, end = spell.began_at - 2, spell.until

    def counted(wanted: Callable[[Seen], bool]) -> list[tuple[float, float]]:
        return [(x - 2, y) for x, y in traffic.per_second(begin, end, wanted)]

    lines: dict[str, list[tuple[float, float]]] = {}
    for kind in ("cached bearer", "new bearer", "new Basic"):
        right = (kind, Outcome.RIGHT)
        lines[f"{kind}: right"] = counted(lambda each, right=right: (each.kind, each.outcome) == right)  # type: ignore[misc]
    lines["all kinds: 503"] = counted(lambda each: each.outcome is Outcome.UNAVAILABLE)
    lines["all kinds: broken"] = counted(lambda each: each.outcome is Outcome.BROKEN)
    lasted = "" if "killed" in spell.name else f", from 0 to {spell.ended_at - spell.began_at:.0f} s"
    return Plot(
        f"chaos-{'killed' if 'killed' in spell.name else 'stalls'}",
        f"Answers while {spell.name}{lasted}",
        "seconds since it began, by when the request was sent",
        "requests per second",
        lines,
    )
