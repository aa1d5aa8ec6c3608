"""What a scenario found, as values; the report and the plots are made from these.

Law of this file: no measuring and no formatting, so that a scenario reads as what it does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Target:
    """One thing that was promised, and the number that came out.

    Attributes:
        row: what is measured, such as ``cached bearer``.
        asked: the promise in words, such as ``≤ 1.4 × nginx return 200``.
        measured: the number, or ``None`` where it could not be measured here.
        limit: the number that the promise names.
        at_most: whether smaller is better.
        unit: behind the number.
        note: what a reader must know about it.
    """

    row: str
    asked: str
    measured: float | None
    limit: float
    at_most: bool = True
    unit: str = "×"
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """``None``: not measured."""
        if self.measured is None:
            return None
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit


@dataclass(frozen=True)
class Table:
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Plot:
    """Lines over one axis; ``bars`` draws one bar for each series' only point instead."""

    name: str  # of the file, without its ending
    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    log_x: bool = False
    log_y: bool = False
    bars: bool = False


@dataclass
class Findings:
    """Everything that one scenario says."""

    targets: list[Target] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)  # what is missing here, and what to do about it
    wrong: list[str] = field(default_factory=list)  # wrong decisions: the run has failed
