"""Findings -> the Markdown page that a person reads first.

Law of this file: every target is a row, reached or not; nothing is rounded in anybody's favour.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.findings import Findings, Table, Target
from bench.plots import draw


def write(
    folder: Path,
    findings: Mapping[str, tuple[str, Findings]],
    *,
    machine: Sequence[tuple[str, str]],
    command: str,
    took_s: float,
) -> Path:
    """Writes ``report.md`` and its plots.

    Args:
        findings: scenario -> its question, and what it found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Benchmark report", "", f"`{command}`, {took_s / 60:.0f} minutes.", ""]
    lines += _table(Table("", ("machine", ""), machine))
    lines += ["## Targets", ""]
    rows = [_target(name, target) for name, (_, found) in findings.items() for target in found.targets]
    lines += _table(Table("", ("scenario", "what", "target", "measured", "reached", "note"), rows))
    for name, (question, found) in findings.items():
        lines += [f"## {name}", "", f"**{question}**", ""]
        for wrong in found.wrong:
            lines += [f"**WRONG: {wrong}**", ""]
        for each in found.tables:
            lines += [f"### {each.title}", "", *_table(each)]
        for plot in found.plots:
            lines += [f"![{plot.title}]({draw(plot, folder).name})", ""]
        lines += [line for note in found.notes for line in (note, "")]
        if found.not_run:
            lines += ["Not run here:", "", *(f"- {each}" for each in found.not_run), ""]
    path = folder / "report.md"
    path.write_text("\n".join(lines).rstrip() + "\n")
    return path


def _target(scenario: str, target: Target) -> tuple[str, ...]:
    reached = {True: "yes", False: "**no**", None: "not measured"}[target.reached]
    return scenario, target.row, target.asked, number(target), reached, target.note


def number(target: Target) -> str:
    """The measured number with three digits, rounded towards the worse where it stands for a promise."""
    if target.measured is None:
        return "–"
    value = target.measured
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    scale = 10**digits
    shown = math.ceil(value * scale - 1e-9) if target.at_most else math.floor(value * scale + 1e-9)
    return f"{shown / scale:,.{digits}f} {target.unit}".strip()


def _table(table: Table) -> list[str]:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (table.head, *table.rows)]
    head, *rows = [f"| {' | '.join(row)} |" for row in escaped]
    return [head, "|---" * len(table.head) + "|", *rows, ""]
