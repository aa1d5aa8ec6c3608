"""What several processes count, as one.

Law of this file: what was counted is added up by label set; of each gauge it is said here what it is of all of
them. Nothing that was reported is changed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

_Labels = frozenset[tuple[str, str]]
_Rule = Callable[[float, float], float]

_COUNTED: Final = frozenset({"counter", "histogram"})
_BREAKER_STATE: Final = "validator_breaker_state"
_WORST_FIRST: Final = ("open", "half_open", "closed")


def _add(one: float, other: float) -> float:
    return one + other


def _first(one: float, _other: float) -> float:
    return one


GAUGES: Final[Mapping[str, _Rule]] = {
    "validator_connections": _add,
    "validator_cache_entries": _add,
    "validator_tasks": _add,
    "validator_ready": min,
    "validator_keys": min,
    "validator_keys_age_seconds": max,
    _BREAKER_STATE: max,  # and of the states that are left the worst: see _one_state
    "validator_redis_up": min,
    "validator_redis_stale_seconds": max,
    "validator_redis_clock_skew_seconds": _first,
    "validator_redis_records_waiting": _add,
    "validator_workers": _add,
    "validator_workers_configured": _add,
    "validator_build_info": _first,
    "python_info": _first,
    "process_virtual_memory_bytes": _add,
    "process_resident_memory_bytes": _add,
    "process_start_time_seconds": min,
    "process_open_fds": _add,
    "process_max_fds": _add,  # as those that are open, so that their ratio stays one
}
"""How two values of a gauge become one, by its name."""


def merge(reports: Iterable[Sequence[Metric]]) -> list[Metric]:
    """One report out of those of several processes; families, and samples in them, in the order of their first
    occurrence."""
    families: dict[str, tuple[Metric, dict[tuple[str, _Labels], Sample]]] = {}
    for report in reports:
        for family in report:
            _, samples = families.setdefault(family.name, (family, {}))
            rule = _add if family.type in _COUNTED else GAUGES.get(family.name, _add)
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                known = samples.get(key)
                value = sample.value if known is None else rule(known.value, sample.value)
                samples[key] = Sample(sample.name, sample.labels, value)
    return [_family(family, samples.values()) for family, samples in families.values()]


def absorb(retired: Sequence[Metric], last: Sequence[Metric]) -> list[Metric]:
    """What processes that are gone had counted, one more among them: without its gauges, which are of the living.

    Args:
        retired: what this returned before; empty at first.
        last: the last report of the process that is gone.
    """
    return merge((retired, [family for family in last if family.type in _COUNTED]))


def _family(family: Metric, samples: Iterable[Sample]) -> Metric:
    merged = Metric(family.name, family.documentation, family.type, family.unit)
    merged.samples = _one_state(list(samples)) if family.name == _BREAKER_STATE else list(samples)
    return merged


def _one_state(samples: Sequence[Sample]) -> list[Sample]:
    """A breaker that is in another state in each process is shown in the worst, and in one alone."""
    worst: dict[_Labels, int] = {}
    for sample in samples:
        if sample.value:
            breaker, rank = _breaker(sample), _rank(sample)
            worst[breaker] = min(rank, worst.get(breaker, rank))
    return [sample._replace(value=float(worst.get(_breaker(sample)) == _rank(sample))) for sample in samples]


def _rank(sample: Sample) -> int:
    """The worst is 0; a state that is not known here hides none that is."""
    state = sample.labels.get("state", "")
    return _WORST_FIRST.index(state) if state in _WORST_FIRST else len(_WORST_FIRST)


def _breaker(sample: Sample) -> _Labels:
    return frozenset((label, value) for label, value in sample.labels.items() if label != "state")
