"""The metrics of several workers as one: what is counted adds up, and each gauge has its rule."""

import pickle
import re
from collections import Counter as Count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from validator.caching import Caches, Tally
from validator.model import Endpoint
from validator.server import merging
from validator.server.merging import GAUGES, absorb, merge
from validator.server.metrics import IssuerState, Metrics, PlaneState, rendered

PACKAGE = Path(merging.__file__).parents[1]
GAUGE = r'Gauge(?:MetricFamily)?\(\s*"(\w+)"'
BREAKER = "validator_breaker_state"
STATES = ("closed", "open", "half_open")


def running(*, breaker: str = "closed", age_s: float = 5.0) -> Metrics:
    """A worker's metrics with something in every family."""
    metrics = Metrics(
        Caches(b"k" * 32, max_entries=100),
        issuers=lambda: [IssuerState("https://idp.example.com", 2, age_s, {"keys": breaker, "token": "closed"})],
        plane=lambda: PlaneState(3, 1, 2, {"tls": 4}),
    )
    metrics.tallies["plain", "bearer", "allowed", ""] = Tally()
    metrics.tallies["plain", "bearer", "allowed", ""].judged = 7
    metrics.verified("plain")
    metrics.judged(0.01)
    metrics.judged(1.0)
    metrics.idp_call("https://idp.example.com")(Endpoint.TOKEN, "ok", 0.2)
    return metrics


def values(families: list[Metric], name: str) -> dict[tuple[str, ...], float]:
    """By the values of the labels, which stand in the order of their names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


async def test_every_family_has_a_rule() -> None:
    families = running().families()
    gauges = {family.name for family in families if family.type not in {"counter", "histogram"}}
    made = {name for file in PACKAGE.rglob("*.py") for name in re.findall(GAUGE, file.read_text())}
    assert {name for name in gauges if name.startswith("validator_")} <= made
    assert gauges | made == set(GAUGES), "say in merging.GAUGES what a new gauge is of several workers"


async def test_reports_of_workers() -> None:
    reports = [running(age_s=1).families(), running(age_s=9).families()]
    merged = merge(reports)
    assert [family.name for family in merged] == [family.name for family in reports[0]]
    assert values(merged, "validator_decisions_total") == {("bearer", "allowed", "", "plain"): 14}
    assert values(merged, "validator_decision_seconds_count") == {(): 4}
    assert values(merged, "validator_decision_seconds_sum") == {(): pytest.approx(2.02)}
    assert values(merged, "validator_decision_seconds_bucket")["0.025",] == 2
    assert values(merged, "validator_idp_requests_total") == {("token", "https://idp.example.com", "ok"): 2}
    assert values(merged, "validator_connections") == {(): 6}
    assert values(merged, "validator_tls_handshake_failures_total") == {("tls",): 8}
    assert values(merged, "validator_keys") == {("https://idp.example.com",): 2}
    assert values(merged, "validator_keys_age_seconds") == {("https://idp.example.com",): 9}
    assert set(values(merged, "validator_build_info").values()) == {1}
    (one,) = values(reports[0], "process_start_time_seconds").values()
    assert values(merged, "process_start_time_seconds") == {(): one}
    assert values(merged, "process_open_fds")[()] > values(reports[0], "process_open_fds")[()]


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        (("closed", "closed"), "closed"),
        (("closed", "open"), "open"),
        (("half_open", "closed"), "half_open"),
        (("half_open", "open", "closed"), "open"),
    ],
)
async def test_a_breaker_is_in_one_state_and_the_worst_is_shown(states: tuple[str, ...], shown: str) -> None:
    found = values(merge([running(breaker=state).families() for state in states]), BREAKER)
    assert {key[2] for key, value in found.items() if key[0] == "keys" and value == 1} == {shown}
    assert sum(value for key, value in found.items() if key[0] == "keys") == 1
    assert {key[2] for key, value in found.items() if key[0] == "token" and value == 1} == {"closed"}


@pytest.mark.parametrize("labels", [{"breaker": "b", "state": "ajar"}, {"breaker": "b"}])
async def test_a_state_that_is_not_known_hides_none_that_is(labels: dict[str, str]) -> None:
    def report(*states: dict[str, str]) -> list[Metric]:
        family = Metric(BREAKER, "", "gauge")
        for state in states:
            family.add_sample(BREAKER, state, 1)
        return [family]

    (merged,) = merge([report(labels), report({"breaker": "b", "state": "open"})])
    assert [(sample.labels.get("state"), sample.value) for sample in merged.samples] == [
        (labels.get("state"), 0),
        ("open", 1),
    ]


async def test_a_report_crosses_a_process_boundary_and_is_not_changed() -> None:
    report = running().families()
    sent = pickle.loads(pickle.dumps(report))  # noqa: S301 - our own
    assert sent == report
    merge([sent, sent])
    assert sent == report


async def test_the_text_is_what_prometheus_reads() -> None:
    report = running().families()
    text, content_type = rendered(merge([report, report]))
    assert content_type.startswith("text/plain")
    parsed = list(text_string_to_metric_families(text.decode()))
    read = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parsed
        for sample in family.samples
    }
    assert len(read) == sum(len(family.samples) for family in report)
    assert {family.name: family.type for family in parsed} == {family.name: family.type for family in report}
    for family in report:
        for sample in family.samples if family.type in {"counter", "histogram"} else ():
            key = (sample.name, *sorted(sample.labels.items()))
            assert read[key] == pytest.approx(2 * sample.value)


async def test_one_report_is_its_own_merger() -> None:
    report = running().families()
    assert rendered(merge([report])) == rendered(report)


async def test_who_is_gone_leaves_what_it_counted_and_no_gauge() -> None:
    last = running().families()
    gone = absorb(absorb([], last), last)
    assert {family.type for family in gone} == {"counter", "histogram"}
    total = merge([last, gone])
    assert values(total, "validator_decisions_total") == {("bearer", "allowed", "", "plain"): 21}
    assert values(total, "validator_connections") == {(): 3}


# What is counted

labels = st.sampled_from(["a", "b", "c"])
counts = st.lists(st.dictionaries(labels, st.integers(0, 1000)), max_size=6)


def counter(numbers: dict[str, int]) -> Metric:
    family = CounterMetricFamily("x", "help", labels=["label"])
    for label, number in numbers.items():
        family.add_metric([label], number)
    return family


def histogram(numbers: dict[str, int]) -> Metric:
    family = HistogramMetricFamily("h", "help", labels=["label"])
    for label, number in numbers.items():
        buckets = [("1", number // 2), ("+Inf", number)]
        family.add_metric([label], buckets=buckets, sum_value=number * 3)
    return family


@given(counts)
def test_counters_and_histograms_add_up(reports: list[dict[str, int]]) -> None:
    merged = merge([[counter(numbers), histogram(numbers)] for numbers in reports])
    total: Count[str] = Count()
    low: Count[str] = Count()
    for numbers in reports:
        for label, number in numbers.items():
            total[label] += number
            low[label] += number // 2
    seen = {label for numbers in reports for label in numbers}
    assert values(merged, "x_total") == {(label,): total[label] for label in seen}
    assert values(merged, "h_sum") == {(label,): 3 * total[label] for label in seen}
    assert values(merged, "h_count") == {(label,): total[label] for label in seen}
    assert values(merged, "h_bucket") == {
        (label, le): number for label in seen for le, number in (("1", low[label]), ("+Inf", total[label]))
    }


@given(counts, st.randoms())
def test_neither_order_nor_grouping_matters(reports: list[dict[str, int]], random: object) -> None:
    families = [[counter(numbers)] for numbers in reports]
    whole = values(merge(families), "x_total")
    random.shuffle(families)  # type: ignore[attr-defined]
    assert values(merge(families), "x_total") == whole
    assert values(merge([merge(families[:2]), merge(families[2:])]), "x_total") == whole
    gone: list[Metric] = []
    for family in families:
        gone = absorb(gone, family)
    assert values(gone, "x_total") == whole


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.sampled_from(sorted(GAUGES)))
def test_gauges_follow_their_rule(numbers: list[int], name: str) -> None:
    if name == BREAKER:
        return
    merged = merge([[GaugeMetricFamily(name, "help", value=number)] for number in numbers])
    expected = {sum(numbers), min(numbers), max(numbers), numbers[0]}
    ((found,),) = [values(merged, name).values()]
    assert found in expected
    if name == "validator_ready":
        assert found == min(numbers)
