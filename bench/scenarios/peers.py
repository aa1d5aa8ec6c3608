"""The sidecar beside programs that people use for the same: oauth2-proxy, Ory Oathkeeper, mod_auth_openidc.

Law of this file: all are sent the same tokens of the same identity provider on the same core, and what each lets
through is seen and shown beside what it costs.
"""

import contextlib
import statistics
from collections.abc import Mapping
from pathlib import Path

from bench import subjects
from bench.contest import WARM_UP_S, Contender, measure, table
from bench.findings import Findings, Plot, Table
from bench.rivals import mod_auth_openidc, oathkeeper, oauth2_proxy, tokens
from bench.rivals.rival import FACTS, Running
from bench.stage import Stage
from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

QUESTION = "What do others take for the same tokens, and what do they check?"
RIVALS = (oauth2_proxy.RIVAL, oathkeeper.RIVAL, mod_auth_openidc.RIVAL)
SEEN, UNSEEN = "this sidecar, token seen before", "this sidecar, token never seen before"
OUR_FACTS: Mapping[str, str] = {
    "asked as": "`/v1/authorize/{strategy}/{service}`",
    "algorithms": "configured; one for each key",
    "audience": "configured",
    "keys": "discovery, then the key set; refreshed ahead of time",
    "keeps results": "yes: until the token ends, a registration changes or it is revoked",
    "registrations": "yes: an approved one for the service",
}
UNSEEN_A_RUN, UNSEEN_A_QUICK_RUN = 6000, 2000
UNREGISTERED = "right, of a client that is not registered"


async def run(stage: Stage) -> Findings:
    findings = Findings()
    async with contextlib.AsyncExitStack() as running:
        idp = await running.enter_async_context(FakeIdp(clock=SystemClock(), audience=subjects.AUDIENCE))
        idp.metadata["authorization_endpoint"] = f"{idp.origin}/authorize"  # who logs people in demands one
        count = UNSEEN_A_QUICK_RUN if stage.quick else UNSEEN_A_RUN
        unseen = await tokens.unseen_files(stage, idp, stage.rounds, count)
        bearers = subjects.header_file(
            stage.folder / "bearers", map(subjects.bearer, subjects.tokens(idp, **tokens.valid_since()))
        )
        sidecar = await running.enter_async_context(subjects.sidecar(stage, subjects.configuration(idp.issuer)))
        ours = Running(sidecar.program, sidecar.port, subjects.PATH)
        asked = {"this sidecar": ours}
        for rival in RIVALS:
            if missing := rival.missing():
                findings.not_run.append(missing)
            else:
                asked[rival.name] = await running.enter_async_context(rival.started(stage, idp))
        findings.tables.append(await _verdicts(idp, asked, findings))
        base = Contender(SEEN, [ours.program.pid], ours.port, ours.path, bearers)
        contenders = [base, Contender(UNSEEN, base.pids, base.port, base.path, bearers, once=True)]
        contenders += [
            Contender(name, [each.program.pid], each.port, each.path, bearers, status=each.status)
            for name, each in asked.items()
            if each is not ours
        ]
        await _contest(stage, contenders, unseen)
    findings.tables.insert(0, _costs(contenders, base))
    findings.tables.append(_facts(asked))
    findings.plots.append(
        Plot(
            "peers",
            "CPU per request, one core each",
            "",
            "CPU µs per request",
            {each.name: [(0, statistics.median(each.cpu_us))] for each in contenders},
            bars=True,
        )
    )
    versions = ", ".join(rival.version() for rival in RIVALS if rival.name in asked)
    findings.notes.append(f"Versions: {versions}. Go programs run with `GOMAXPROCS=1`, since they have one core.")
    return findings


async def _contest(stage: Stage, contenders: list[Contender], unseen: list[Path]) -> None:
    """Alternating runs, each round with tokens of its own for who has not seen them."""
    for contender in contenders:
        if not (contender.once or (stage.quick and contender.name != SEEN)):
            await measure(stage, contender, WARM_UP_S)
    for number, file in enumerate(unseen, 1):
        stage.say(f"round {number} of {len(unseen)}: {', '.join(each.name for each in contenders)}")
        for contender in contenders:
            if contender.once:
                contender.headers = file
            cpu_us, counted = await measure(stage, contender, 1.0 if contender.once else stage.seconds)
            contender.cpu_us.append(cpu_us)
            contender.counted.append(counted)


async def _verdicts(idp: FakeIdp, asked: Mapping[str, Running], findings: Findings) -> Table:
    """Sends everybody one token of each kind.

    Raises:
        SystemExit: the right token is refused, so that there is nothing to compare.
    """
    right = {"right": idp.token(subjects.CLIENT, **tokens.valid_since())}
    stranger = {UNREGISTERED: idp.token(tokens.STRANGER, **tokens.valid_since())}
    rows = []
    for kind, token in {**right, **tokens.wrong(idp), **stranger}.items():
        row = [kind]
        for name, each in asked.items():
            status = await tokens.status(each.port, each.path, token)
            if kind == "right" and status != each.status:
                raise SystemExit(f"{name} answers {status} to the right token\n{each.program.log_end()}")
            row.append(f"{status} let through" if status == each.status else str(status))
            if kind != "right" and name == "this sidecar" and status not in (401, 403):
                findings.wrong.append(f"the sidecar answers {status} to a token that is wrong: {kind}")
        rows.append(row)
    return Table("What is let through (seen, not claimed)", ("token", *asked), rows)


def _costs(contenders: list[Contender], base: Contender) -> Table:
    """As everywhere, but for the throughput: who is sent each token once is not loaded to the end of the run."""
    costs = table("CPU time per request, the same tokens", contenders, base)
    head = (*costs.head[:-1], "requests per CPU second")
    rows = [
        (*row[:-1], f"{1e6 / statistics.median(each.cpu_us):,.0f}")
        for row, each in zip(costs.rows, contenders, strict=True)
    ]
    return Table(costs.title, head, rows)


def _facts(asked: Mapping[str, Running]) -> Table:
    facts = {"this sidecar": OUR_FACTS, **{rival.name: rival.facts for rival in RIVALS}}
    rows = [(fact, *(facts[name][fact] for name in asked)) for fact in FACTS]
    return Table("What each is, by its documentation and its code", ("", *asked), rows)
