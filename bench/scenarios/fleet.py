"""Several sidecars as one: how soon a revocation holds everywhere, what is asked twice, what survives a kill.

Law of this file: all that it starts shares the two cores with the load that it is under, so its times are those of
a machine that is full; a wrong decision and a lost write fail the run.
"""

import contextlib
import secrets
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import workers
from bench.findings import Findings, Plot, Table, Target
from bench.fleets import (
    all_cores,
    fleet_faults,
    fleet_faults_ways,
    fleet_kills,
    fleet_measures,
    fleet_processes,
    fleet_scene,
    redis_faults,
    redis_servers,
)
from bench.stage import Stage
from validator.adapters.clock import SystemClock
from validator.model import Endpoint
from validator.testing import FakeIdp

QUESTION = "How soon does a revocation hold in a fleet, and what do faults of Redis and kill -9 of anything cost?"
SOON_MS = 50.0
BURST = 1000
_REVOKED_HEAD = (
    "where",
    "tries",
    "acknowledged: median",
    "max",
    "last allow: median",
    "max",
    "later allows",
    "load, requests/s",
)
_KILLS_HEAD = (
    "Redis",
    "seconds",
    "killed",
    "writes acknowledged",
    "not (503, broken)",
    "credentials ended",
    "answers",
    "allowed after that: wrong",
    "over 50 ms later",
    "lost or undone",
)


async def run(stage: Stage) -> Findings:
    found = Findings()
    with all_cores(stage):
        await _revocations(stage, found)
        await _first_requests(stage, found)
        await workers.measure(stage, found)
        if stage.quick:
            found.not_run.append("Sentinel, Cluster, four workers, the faults of Redis: without --quick")
        else:
            await _faults(stage, found)
        await _kills(stage, found)
    found.notes.append(
        "Sidecars, Redis, the identity provider and the load share two cores, and every time has the waiting for "
        "a processor in it. Latencies are counted by the load's own clock, from when the revocation was posted."
    )
    return found


# -- revocations ---------------------------------------------------------------------------------------------


async def _revocations(stage: Stage, found: Findings) -> None:
    tries, few = (6, 0) if stage.quick else (100, 20)
    rows, lines = [], {}
    ways: list[tuple[str, int, int, int]] = [("one Redis", tries, 3, 2)]
    if few:
        ways += [("Sentinel", few, 3, 2), ("Cluster", few, 3, 2), ("no Redis", few, 1, 4)]
    for name, count, size, each in ways:
        stage.say(f"revocations: {name}")
        revoked, per_second = await _revoked(stage.folder / name, name, count, size, each)
        where = f"{name}: {size} × {each} workers"
        rows.append(_revoked_row(where, revoked, per_second))
        last = sorted(one.last_allow_s * 1000 for one in revoked)
        lines[where] = [(100 * (rank + 1) / len(last), value) for rank, value in enumerate(last)]
        found.wrong += _wrong(where, revoked)
        if name == "one Redis":
            _targets(found, revoked)
    found.tables.append(Table("A revocation under load, all caches hot, in ms", _REVOKED_HEAD, rows))
    title = "The last allow anywhere after a revocation was posted"
    found.plots.append(Plot("fleet-revocations", title, "share of the tries, %", "ms", lines))


@contextlib.contextmanager
def _server(name: str) -> Iterator[Mapping[str, Any] | None]:
    """The section ``redis`` of a configuration."""
    if name == "no Redis":
        yield None
        return
    makes = {"Sentinel": redis_servers.sentinels, "Cluster": redis_servers.cluster}
    with makes.get(name, redis_servers.one)() as server:
        yield {"url": server.url}


async def _revoked(
    folder: Path, name: str, tries: int, size: int, each: int
) -> tuple[list[fleet_measures.Revoked], float]:
    """With how many requests a second there were."""
    clients = {f"c{n}": "secret" for n in range(tries)} | {"other": "secret"}
    with _server(name) as redis:
        async with FakeIdp(clients, clock=SystemClock(), audience="api://default") as idp:
            config = fleet_processes.configuration(idp.issuer, redis or {}, list(clients))
            if redis is None:
                del config["redis"]
            async with fleet_processes.fleet(config, folder, size=size, workers=each) as running:
                victims = [(c, fleet_processes.bearer(idp.token(c))) for c in clients if c != "other"]
                others = {"other": fleet_processes.bearer(idp.token("other"))}
                revoked = await fleet_measures.revocations(
                    running, victims, others, connections=24 // size, pause_s=0.01
                )
    return revoked, statistics.median(one.per_second for one in revoked)


def _revoked_row(where: str, revoked: Sequence[fleet_measures.Revoked], per_second: float) -> tuple[str, ...]:
    acknowledged = [one.acknowledged_s * 1000 for one in revoked]
    last = [one.last_allow_s * 1000 for one in revoked]
    numbers = [statistics.median(acknowledged), max(acknowledged), statistics.median(last), max(last)]
    later = sum(one.later for one in revoked)
    return (where, str(len(revoked)), *(f"{number:.1f}" for number in numbers), str(later), f"{per_second:,.0f}")


def _wrong(where: str, revoked: Sequence[fleet_measures.Revoked]) -> list[str]:
    there, again = sum(one.there for one in revoked), sum(one.again for one in revoked)
    said = [f"{where}: allowed {there} times where the revocation had been acknowledged"] if there else []
    return said + ([f"{where}: allowed {again} times after a refusal"] if again else [])


def _targets(found: Findings, revoked: Sequence[fleet_measures.Revoked]) -> None:
    last = [one.last_allow_s * 1000 for one in revoked]
    note = f"median {statistics.median(last):.1f} ms of {len(last)} tries"
    slowest = max(last)
    found.targets += [
        Target("last allow after a revocation, max", "< 50 ms", slowest, SOON_MS, unit="ms", note=note),
        Target("allows later than that", "0", float(sum(one.later for one in revoked)), 0, unit=""),
    ]


# -- first requests ------------------------------------------------------------------------------------------


async def _first_requests(stage: Stage, found: Findings) -> None:
    stage.say("a thousand first requests of a pair")
    pairs = 2 if stage.quick else 10
    clients = {f"c{n}": "secret" for n in range(2 * pairs)}
    rows = []
    asked: dict[str, list[int]] = {"right": [], "wrong": []}
    with redis_servers.one() as redis:
        async with FakeIdp(clients, clock=SystemClock(), audience="api://default") as idp:
            config = fleet_processes.configuration(idp.issuer, {"url": redis.url}, list(clients))
            async with fleet_processes.fleet(config, stage.folder / "burst") as running:
                for number, client in enumerate(clients):
                    which = "wrong" if number % 2 else "right"
                    headers = fleet_processes.basic(client, "secret" if which == "right" else "guess")
                    before = idp.calls[Endpoint.TOKEN]
                    answers = await fleet_measures.burst(running, headers, BURST)
                    asked[which].append(idp.calls[Endpoint.TOKEN] - before)
                    if set(answers) != {200 if which == "right" else 401}:
                        found.wrong.append(f"first requests with a {which} secret were answered {dict(answers)}")
    for which, calls in asked.items():
        rows.append((f"{which} secret", str(len(calls)), str(min(calls)), f"{max(calls)}", str(calls)))
    found.tables.append(
        Table(
            f"{BURST:,} first requests of a pair at once, over 3 × 2 workers: calls at the identity provider",
            ("pair", "tries", "fewest", "most", "each"),
            rows,
        )
    )
    most = max(max(calls) for calls in asked.values())
    found.targets.append(Target("calls for 1,000 first requests, most", "≤ 2", float(most), 2, unit=""))


# -- faults and kills ----------------------------------------------------------------------------------------


async def _faults(stage: Stage, found: Findings) -> None:
    drilled = []
    with redis_servers.one() as server, redis_faults.FaultProxy(("127.0.0.1", server.port)) as proxy:
        async with fleet_scene.scene(proxy.url, stage.folder / "faults") as on:
            for fault in (*fleet_faults_ways.of_the_way(proxy), *fleet_faults_ways.of_the_server(server)):
                stage.say(f"fault: {fault.name}")
                drilled.append(await fleet_faults.drill(on, fault))
    with redis_servers.sentinels() as sentinels:
        async with fleet_scene.scene(sentinels.url, stage.folder / "sentinels") as on:
            stage.say("fault: Sentinel fails over")
            drilled.append(await fleet_faults.drill(on, fleet_faults_ways.sentinels_lose(sentinels)))
    with redis_servers.cluster() as cluster:
        async with fleet_scene.scene(cluster.url, stage.folder / "cluster") as on:
            stage.say("fault: the Cluster fails over")
            drilled.append(await fleet_faults.drill(on, fleet_faults_ways.cluster_loses(cluster)))
    head, *rows = fleet_faults.rows(drilled)
    found.tables.append(Table("Faults of Redis under load, two sidecars with two workers each", head, rows))
    found.wrong += [f"{row.fault}: {mistake}" for row in drilled for mistake in row.mistakes]
    wrong, failed = sum(row.wrong for row in drilled), sum(row.failed for row in drilled)
    found.targets += [
        Target("wrong decisions while Redis fails", "0", float(wrong), 0, unit=""),
        Target("failed that needed no Redis", "0", float(failed), 0, unit=""),
    ]


async def _kills(stage: Stage, found: Findings) -> None:
    seconds, pause_s = (3.0, (0.3, 1.0)) if stage.quick else (150.0, (0.5, 3.0))
    came = []
    for appendonly in (True,) if stage.quick else (False, True):
        seed = secrets.randbelow(1_000_000)
        stage.say(f"kill -9 for {seconds:g} s, appendonly {'yes' if appendonly else 'no'}, seed {seed}")
        folder = stage.folder / f"kills-{appendonly}"
        came.append(await fleet_kills.run(seconds, seed, folder, appendonly=appendonly, pause_s=pause_s))
    found.tables.append(
        Table(
            "kill -9 at random moments, three sidecars with two workers",
            _KILLS_HEAD,
            [_kills_row(c) for c in came],
        )
    )
    wrong, lost = sum(len(each.wrong) for each in came), sum(len(each.lost) for each in came)
    found.targets += [
        Target("allowed after their end, under kill -9", "0", float(wrong), 0, unit=""),
        Target("acknowledged writes lost, under kill -9", "0", float(lost), 0, unit=""),
    ]
    for each in came:
        found.wrong += [f"kill -9, seed {each.seed}: {late}" for late in each.wrong[:10]]
        found.wrong += [f"kill -9, seed {each.seed}: {lost}" for lost in each.lost[:10]]
        found.wrong += [f"kill -9, seed {each.seed}: {count} × {what}" for what, count in each.denied.items()]
        found.notes.append(
            f"Seed {each.seed}: the latest allow after an acknowledgement elsewhere was asked for "
            f"{each.latest_s * 1000:.1f} ms after it; no worker outlived its supervisor by more than "
            f"{each.orphan_s:.2f} s; starts that failed: {len(each.failed_starts)}."
        )


def _kills_row(each: fleet_kills.Found) -> tuple[str, ...]:
    answers = ", ".join(f"{status or 'broken'} {count:,}" for status, count in sorted(each.answers.items()))
    acknowledged = each.writes["acknowledged"]
    return (
        f"appendonly {'yes' if each.appendonly else 'no'}",
        f"{each.seconds:.0f}",
        ", ".join(f"{what} {count}" for what, count in sorted(each.kills.items())),
        f"{acknowledged:,}",
        f"{each.writes.total() - acknowledged:,}",
        f"{each.closed:,}",
        answers,
        str(len(each.wrong)),
        str(len(each.not_soon)),
        str(len(each.lost)),
    )
