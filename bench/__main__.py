"""``scripts/bench``: runs the scenarios, shows where it is, and writes the report.

Law of this file: it knows the scenarios by their names and questions alone.
"""

import argparse
import asyncio
import datetime as dt
import importlib
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import ModuleType

from bench import machine, report
from bench.findings import Findings
from bench.stage import Stage

SCENARIOS = (
    *("hot", "cold", "start", "memory", "latency", "gateway"),
    *("peers", "growth", "ttl", "chaos", "fleet", "soak"),
)
RESULTS = Path(__file__).parent / "results"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0].partition(": ")[2])
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)} (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="two minutes for all: fewer and shorter runs")
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES", help="how long the soak runs")
    parser.add_argument(
        "--kong", default="", metavar="URL", help="a real Kong's proxy; bench/README.md says how to set it up"
    )
    parser.add_argument("--rounds", type=int, help="alternating runs of each contender (default: 5, quick: 1)")
    parser.add_argument("--seconds", type=float, help="length of one run (default: 3, quick: 1)")
    parser.add_argument("--out", type=Path, help="where the report goes (default: bench/results/<date>)")
    parser.add_argument("--validator", help="measure this command instead, such as another checkout's")
    args = parser.parse_args()
    unknown = [name for name in args.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    return args


async def attempt(scenario: ModuleType, stage: Stage) -> Findings:
    """What it found; one that breaks down is said so in the report, and spoils no other."""
    try:
        findings: Findings = await scenario.run(stage)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is in the report, and the others go on
        traceback.print_exception(error)
        return Findings(wrong=[f"the scenario broke down: {error}"])
    return findings


async def main() -> int:
    args = arguments()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("bench: needs two cores: one for what is measured, one for the load", file=sys.stderr)
        return 1
    os.sched_setaffinity(0, {cores[0]})
    names = args.scenarios or [name for name in SCENARIOS if name != "soak" or args.soak]
    if args.soak and "soak" not in names:
        names.append("soak")
    began = time.monotonic()
    out = args.out or RESULTS / "-".join(
        [dt.datetime.now(dt.UTC).date().isoformat(), *(["quick"] if args.quick else []), *args.scenarios]
    )
    command = " ".join(["scripts/bench", *sys.argv[1:]])
    findings: dict[str, tuple[str, Findings]] = {}
    for number, name in enumerate(names, 1):
        scenario = importlib.import_module(f"bench.scenarios.{name}")
        print(f"[{number}/{len(names)}] {name}: {scenario.QUESTION}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            stage = Stage(
                Path(folder),
                cores=(cores[0], cores[-1]),
                quick=args.quick,
                rounds=args.rounds or (1 if args.quick else 5),
                seconds=args.seconds or (1.0 if args.quick else 3.0),
                soak_minutes=args.soak or 10,
                kong_url=args.kong,
            )
            if args.validator:
                stage.validator = args.validator
            findings[name] = scenario.QUESTION, await attempt(scenario, stage)
        path = report.write(
            out, findings, machine=machine.description(), command=command, took_s=time.monotonic() - began
        )
    wrong = [f"{name}: {each}" for name, (_, found) in findings.items() for each in found.wrong]
    for name, (_, found) in findings.items():
        for target in found.targets:
            verdict = {True: "reached", False: "MISSED", None: "not measured"}[target.reached]
            print(f"{name:8} {target.row:44} {report.number(target):>12}  {target.asked}: {verdict}")
    print("\n".join([*(f"WRONG {each}" for each in wrong), f"The report: {path}"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
