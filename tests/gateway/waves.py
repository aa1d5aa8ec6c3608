"""Requests that carry identity headers of a client's own making, in every spelling.

Law of this file: it makes them, and sends none. What may come of them is a test's to say.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gateway.stage import CLAIM, IDENTITY_HEADERS, SPOOFED, SPOOFED_CLAIM, spellings

NAMES = (*IDENTITY_HEADERS, CLAIM)
SPELLED = (*SPOOFED, *SPOOFED_CLAIM)
CASES: tuple[Callable[[str], str], ...] = (
    str,
    str.lower,
    str.upper,
    lambda name: "".join(char.upper() if at % 2 else char.lower() for at, char in enumerate(name)),
)
PADDING = tuple((f"X-Pad-{number}", "1") for number in range(100))
READ = 100  # lines: what has more is not judged
BESIDE = 3  # lines of every request over HTTP/1.1: Host, Connection and the credential

Lines = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Wave:
    """The spoofed lines of one request; whether it has more lines than the plugin reads."""

    lines: Lines
    many: bool = False

    @property
    def spoofed(self) -> int:
        return sum(value.startswith("evil") for _, value in self.lines)


def evil(names: Iterable[str]) -> Lines:
    return tuple((name, "evil") for name in names)


def pairs() -> Iterator[tuple[str, str]]:
    for name in NAMES:
        hyphens, *others = spellings(name)
        for number, other in enumerate(others):
            yield (hyphens, other) if number % 2 else (other, hyphens)


def waves() -> list[Wave]:
    together = [evil([case(name) for name in SPELLED]) for case in CASES]
    halves = [SPELLED[::2], SPELLED[1::2]]
    twice = [tuple((name, value) for name in half for value in ("evil", "evil-too")) for half in halves]
    alone = [evil([case(name)]) for name, case in zip(SPELLED, itertools.cycle(CASES), strict=False)]
    both = [
        evil([case(name) for name in pair]) for pair, case in zip(pairs(), itertools.cycle(CASES), strict=False)
    ]
    border = [PADDING[: READ - BESIDE - 1 + at] + evil(["X_Consumer_ID"]) for at in (-1, 0, 1)]
    return [
        *(Wave(lines) for lines in (*together, *twice, *alone, *both)),
        *(Wave((*PADDING, *lines), many=True) for lines in together),
        *(Wave(lines, many=BESIDE + len(lines) >= READ) for lines in border),
    ]


WAVES = waves()
# Names are in lower case there, whatever was written.
HTTP2_WAVES = [
    wave for wave in WAVES if len(wave.lines) > 2 and all(name == name.lower() for name, _ in wave.lines)
]
HTTP2_WAVES += [
    Wave(tuple((name.lower(), value) for name, value in wave.lines), many=wave.many)
    for wave in WAVES
    if wave.many or any(value == "evil-too" for _, value in wave.lines)
]
