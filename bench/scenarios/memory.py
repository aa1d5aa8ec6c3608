"""How much memory one more cached credential takes.

Law of this file: what the kernel says that the process holds, before and after; that nothing was evicted in
between is read from the metrics, and every request that put something there was answered 200.
"""

import contextlib
import re

from bench import many, subjects
from bench.accounting import resident_bytes
from bench.findings import Findings, Table, Target
from bench.stage import Stage

QUESTION = "How much memory does a cached credential take?"
WARM = 1000  # requests before the base is read, so that everything that is allocated once has been
ENTRIES, QUICK_ENTRIES, SESSION_ENTRIES = 1_000_000, 30_000, 100_000
LIMIT_BYTES = 700


async def run(stage: Stage) -> Findings:
    count = QUICK_ENTRIES if stage.quick else ENTRIES
    per_entry, row, wrong = await _fill(stage, count, ["bearer"], "bearer")
    findings = Findings(wrong=wrong)
    rows = [row]
    if not stage.quick:
        _, row, wrong = await _fill(stage, SESSION_ENTRIES, ["bearer", "session"], "bearer, sessions opened")
        rows.append(row)
        findings.wrong += wrong
    note = "" if count == ENTRIES else f"at {count:,} entries: the promise is about {ENTRIES:,}"
    findings.targets.append(
        Target(
            "memory per cached credential",
            f"≤ {LIMIT_BYTES} bytes",
            per_entry,
            LIMIT_BYTES,
            unit="bytes",
            note=note,
        )
    )
    head = ("credentials", "first seen", "replies held", "proofs held", "base MB", "after MB", "bytes each")
    findings.tables.append(Table("Resident memory (PSS)", head, rows))
    findings.notes.append(
        "A cached credential has an entry in both tables: the reply that is replayed, and the proof from which it "
        "is judged again when something it rests on has changed. The credential itself is not kept, so its length "
        "does not matter. Tables double as they grow, so the number depends on where between two doublings it is "
        "read."
    )
    return findings


async def _fill(
    stage: Stage, count: int, methods: list[str], label: str
) -> tuple[float, tuple[str, ...], list[str]]:
    """Bytes for each credential, its row, and what was wrong."""
    async with contextlib.AsyncExitStack() as running:
        idp = await running.enter_async_context(many.quick_idp())
        config = subjects.configuration(
            idp.issuer,
            # A table drops its older half when the younger has half of the bound.
            cache={"max_entries": 4 * (WARM + count)},
        )
        config["strategies"][subjects.STRATEGY]["auth_methods"] = methods
        sidecar = await running.enter_async_context(subjects.sidecar(stage, config, name=f"memory-{len(methods)}"))
        tokens = many.Tokens(idp)

        async def send(numbers: range) -> None:
            await many.send_all(sidecar.port, many.gets(subjects.PATH, tokens.bearers(numbers)))

        await send(range(WARM))
        base = resident_bytes(sidecar.pid)
        stage.say(f"{count:,} credentials never seen before ({label})")
        step = max(1, count // 10)
        for begin in range(WARM, WARM + count, step):
            await send(range(begin, min(begin + step, WARM + count)))
            if not stage.quick:
                stage.say(f"{begin + step - WARM:,} of {count:,}")
        after = resident_bytes(sidecar.pid)
        metrics = await sidecar.metrics()
    held = {table: cache_metric(metrics, "entries", table) for table in ("replies", "proofs")}
    wrong = [
        f"{label}: {table} holds {number:,} entries where {WARM + count:,} were put"
        for table, number in held.items()
        if number != WARM + count
    ]
    each = (after - base) / count
    stage.say(f"{label}: {each:,.0f} bytes each")
    row = (
        label,
        f"{count:,}",
        *(f"{number:,}" for number in held.values()),
        *(f"{size / 1e6:,.1f}" for size in (base, after)),
        f"{each:,.0f}",
    )
    return each, row, wrong


def cache_metric(metrics: str, name: str, table: str) -> int:
    """One of the sidecar's ``validator_cache_*`` numbers.

    Raises:
        SystemExit: there is no such number.
    """
    found = re.search(rf'^validator_cache_{name}\{{cache="{table}"\}} (\S+)$', metrics, re.MULTILINE)
    if found is None:
        raise SystemExit(f"the metrics have no validator_cache_{name} of {table}")
    return int(float(found[1]))
