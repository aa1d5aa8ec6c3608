"""What supervisor and worker say to each other, and how it is written.

Law of this file: a worker faces gateways, the supervisor owns the truth: so what comes from a worker is JSON,
which can only be data, and only what goes to one is pickled. Both sides run the same version.
"""

import json
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.metrics_core import Metric

from validator.core.changes import Change
from validator.model import ClientCredentials, Knowledge
from validator.settings import Settings


@dataclass(frozen=True, slots=True, repr=False)
class Hello:
    """The first one to a worker.

    Attributes:
        number: of its place among the workers, from 0.
        workers: how many there are.
        sockets: descriptors of the data plane's listening sockets.
        board: descriptor of what all of them see of each other's connections.
        session_key: seals sessions where no keys are configured.
    """

    number: int
    workers: int
    sockets: Sequence[int]
    board: int
    settings: Settings
    session_key: bytes
    knowledge: Knowledge


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A portion of all that is known."""

    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Complete:
    """The last portion was sent. The worker answers ``READY`` or ``FAILED``."""


@dataclass(frozen=True, slots=True)
class Serve:
    """Requests may be accepted."""


@dataclass(frozen=True, slots=True)
class Apply:
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Know:
    knowledge: Knowledge


@dataclass(frozen=True, slots=True)
class Vouch:
    strategy: str
    pair: ClientCredentials


@dataclass(frozen=True, slots=True)
class FailedElsewhere:
    """A try that failed in another worker; the same comes up as ``FAILED_TRY``."""

    strategy: str
    client_id: str
    registered: bool


@dataclass(frozen=True, slots=True, repr=False)
class Reload:
    """Settings to go by, as ``packed``: written once for all workers, and read where nothing else waits for it."""

    packed: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """What is missing, and what was counted."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Accept no more, answer what was accepted within so many seconds, and end.

    Attributes:
        rest: also what waits in the kernel, for all workers end.
    """

    seconds: float
    rest: bool


Down = Hello | Snapshot | Complete | Serve | Apply | Know | Vouch | FailedElsewhere | Reload | Report | Drain
Up = Mapping[str, Any]

# Kinds of what comes up. DONE and REFUSED answer the message of that number.
READY: Final = "ready"
FAILED: Final = "failed"
DONE: Final = "done"
REFUSED: Final = "refused"
FAILED_TRY: Final = "failed_try"

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def down(message: Down, number: int = 0) -> bytes:
    """A frame to a worker; ``number``: of what it is to answer to, 0: nothing."""
    return pickle.dumps((number, message), protocol=5)


def read_down(frame: bytes) -> tuple[int, Down]:
    """The inverse. To be used in a worker alone, and of what its supervisor sent alone."""
    number, message = pickle.loads(frame)  # noqa: S301 - from the process that started this one
    return number, message


def packed(settings: Settings) -> bytes:
    """For ``Reload``. A configuration with many applications takes long: for a thread."""
    return pickle.dumps(settings, protocol=5)


def unpacked(settings: bytes) -> Settings:
    """The inverse; as ``read_down``."""
    found: Settings = pickle.loads(settings)  # noqa: S301 - from the process that started this one
    return found


def up(kind: str, number: int = 0, **more: object) -> bytes:
    """A frame to the supervisor."""
    return json.dumps({"kind": kind, "number": number, **more}).encode()


def read_up(frame: bytes) -> Up:
    """The inverse.

    Raises:
        ValueError: it is none.
    """
    try:
        message: Any = json.loads(frame)
    except RecursionError:
        raise ValueError("nested too deep") from None
    match message:
        case {"kind": str(), "number": int()}:
            return dict(message)
    raise ValueError("no message")


def failed_try(message: Up) -> FailedElsewhere:
    """What a ``FAILED_TRY`` says to the other workers.

    Raises:
        ValueError: nothing.
    """
    match message:
        case {"strategy": str(strategy), "client_id": str(client_id), "registered": bool(registered)}:
            return FailedElsewhere(strategy, client_id, registered)
    raise ValueError("no failed try")


def plain_families(families: Sequence[Metric]) -> list[Any]:
    """Metrics as JSON can hold them."""
    return [
        [f.name, f.documentation, f.type, f.unit, [[s.name, s.labels, s.value] for s in f.samples]]
        for f in families
    ]


def read_report(answer: Up) -> tuple[list[Metric], list[str]]:
    """What was counted, and what is missing, in the answer to ``Report``.

    Raises:
        ValueError: it is none.
    """
    match answer:
        case {"families": list(plain), "missing": list(missing)}:
            return read_families(plain), [str(why) for why in missing]
    raise ValueError("no report")


def read_families(plain: object) -> list[Metric]:
    """The inverse.

    Raises:
        ValueError: it is none.
    """
    families = []
    try:
        for name, documentation, kind, unit, samples in plain:  # type: ignore[attr-defined]
            family = Metric(_word(name), str(documentation), kind, str(unit))
            for sample, labels, value in samples:
                family.add_sample(_word(sample), {_word(k): str(v) for k, v in labels.items()}, float(value))
            families.append(family)
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no metrics: {error}") from None
    return families


def _word(name: object) -> str:
    """A name as Prometheus writes it: it stands there as it is."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise ValueError("no metrics: a name that is none")
