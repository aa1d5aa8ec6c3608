"""What Prometheus scrapes.

Law of this file: names, labels and help texts. The hot path writes plain integers; they are read here, at scrape.
Labels come from the configuration and from closed lists, never from a request.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from validator import __version__
from validator.caching import Caches, Tally
from validator.model import Endpoint

disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series, and no query uses them

_STATES = ("closed", "open", "half_open")
_JUDGEMENT_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5)
_IDP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True, slots=True)
class IssuerState:
    """One issuer at the moment of a scrape; ``breakers`` by the calls that they guard: ``keys`` or ``token``."""

    issuer: str
    keys: int
    keys_age_s: float | None
    breakers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PlaneState:
    """The data plane at the moment of a scrape.

    Attributes:
        connections: open ones, and those whose TLS handshake is under way.
        failed_handshakes: by cause.
    """

    connections: int
    refused_connections: int
    bad_requests: int
    failed_handshakes: Mapping[str, int]


class IdpMeter(Protocol):
    """Counts calls to identity providers."""

    def idp_call(self, issuer: str) -> Callable[[Endpoint, str, float], None]:
        """The observer of one identity provider's client."""


class IdpCalls:
    """``IdpMeter`` in a registry of metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "validator_idp_requests",
            "Calls to identity providers",
            ["issuer", "endpoint", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "validator_idp_request_seconds",
            "Duration of calls to identity providers",
            ["issuer", "endpoint"],
            buckets=_IDP_BUCKETS,
            registry=registry,
        )

    def idp_call(self, issuer: str) -> Callable[[Endpoint, str, float], None]:
        def observe(endpoint: Endpoint, outcome: str, seconds: float) -> None:
            self._requests.labels(issuer, endpoint.value, outcome).inc()
            self._seconds.labels(issuer, endpoint.value).observe(seconds)

        return observe


def process_collectors(registry: CollectorRegistry) -> None:
    """What a process says of itself."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)


def rendered(families: Iterable[Metric]) -> tuple[bytes, str]:
    """The text that Prometheus reads, and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(families)))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Collected(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class Metrics(Collector):
    """Collects at scrape what the running parts count.

    Attributes:
        tallies: by (strategy, method, outcome, reason).
        verifications: signatures checked, by strategy.
    """

    def __init__(
        self,
        caches: Caches,
        *,
        issuers: Callable[[], list[IssuerState]],
        plane: Callable[[], PlaneState],
    ) -> None:
        self.tallies: dict[tuple[str, str, str, str], Tally] = {}
        self.verifications: dict[str, int] = {}
        self._caches = caches
        self._issuers = issuers
        self._plane = plane
        self._registry = CollectorRegistry(auto_describe=False)
        self._judgements = [0] * (len(_JUDGEMENT_BUCKETS) + 1)
        self._judging_s = 0.0
        self._idp_calls = IdpCalls(self._registry)
        self._registry.register(self)
        process_collectors(self._registry)

    def families(self) -> list[Metric]:
        """Everything that is counted, as it stands now."""
        return list(self._registry.collect())

    def exposition(self) -> tuple[bytes, str]:
        """The text that Prometheus reads, and its content type."""
        return rendered(self.families())

    def judged(self, seconds: float) -> None:
        """One judgement, replays apart."""
        self._judgements[bisect_left(_JUDGEMENT_BUCKETS, seconds)] += 1
        self._judging_s += seconds

    def verified(self, strategy: str) -> None:
        """One signature checked."""
        self.verifications[strategy] = self.verifications.get(strategy, 0) + 1

    def idp_call(self, issuer: str) -> Callable[[Endpoint, str, float], None]:
        """The observer of one identity provider's client."""
        return self._idp_calls.idp_call(issuer)

    def collect(self) -> Iterator[Metric]:
        """Called by ``prometheus_client`` at each scrape."""
        yield from self._decisions()
        bounds = (*map(str, _JUDGEMENT_BUCKETS), "+Inf")
        yield HistogramMetricFamily(
            "validator_decision_seconds",
            "Time to judge a request whose answer could not be replayed",
            buckets=list(zip(bounds, accumulate(self._judgements), strict=True)),
            sum_value=self._judging_s,
        )
        yield from self._cache_state()
        yield from self._issuer_state()
        plane = self._plane()
        yield GaugeMetricFamily(
            "validator_connections", "Open data plane connections, TLS handshakes included", plane.connections
        )
        yield CounterMetricFamily(
            "validator_connections_refused", "Connections beyond max_connections", plane.refused_connections
        )
        handshakes = CounterMetricFamily(
            "validator_tls_handshake_failures", "Data plane TLS handshakes that failed", labels=["cause"]
        )
        for cause, count in plane.failed_handshakes.items():
            handshakes.add_metric([cause], count)
        yield handshakes
        yield CounterMetricFamily(
            "validator_bad_requests", "Data plane requests that were no requests", plane.bad_requests
        )
        yield GaugeMetricFamily(
            "validator_tasks", "Tasks of the event loop that are alive", len(asyncio.all_tasks())
        )
        info = GaugeMetricFamily("validator_build_info", "The running version", labels=["version"])
        info.add_metric([__version__], 1)
        yield info

    def _decisions(self) -> Iterator[CounterMetricFamily]:
        decisions = CounterMetricFamily(
            "validator_decisions",
            "Answers to gateways; reason is empty where the request was allowed",
            labels=["strategy", "method", "outcome", "reason"],
        )
        hits: Mapping[str, list[int]] = {"replies": [0, 0], "denials": [0, 0]}
        for labels, tally in list(self.tallies.items()):
            decisions.add_metric(labels, tally.judged + tally.replayed)
            cache = "replies" if labels[2] == "allowed" else "denials"
            hits[cache][0] += tally.replayed
            hits[cache][1] += tally.judged
        yield decisions
        verifications = CounterMetricFamily(
            "validator_signature_verifications", "Token signatures checked", labels=["strategy"]
        )
        for strategy, count in self.verifications.items():
            verifications.add_metric([strategy], count)
        yield verifications
        found = CounterMetricFamily("validator_cache_hits", "Answers from a cache", labels=["cache"])
        missed = CounterMetricFamily("validator_cache_misses", "Answers not in a cache", labels=["cache"])
        for cache, (hit, miss) in hits.items():
            found.add_metric([cache], hit)
            missed.add_metric([cache], miss)
        found.add_metric(["proofs"], self._caches.proof_hits)
        missed.add_metric(["proofs"], self._caches.proof_misses)
        yield found
        yield missed

    def _cache_state(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        entries = GaugeMetricFamily("validator_cache_entries", "Entries held", labels=["cache"])
        evictions = CounterMetricFamily(
            "validator_cache_evictions", "Entries dropped for want of room", labels=["cache"]
        )
        for name in ("replies", "denials", "proofs"):
            table = getattr(self._caches, name)
            entries.add_metric([name], len(table))
            evictions.add_metric([name], table.evictions)
        yield entries
        yield evictions

    def _issuer_state(self) -> Iterator[GaugeMetricFamily]:
        keys = GaugeMetricFamily("validator_keys", "Usable keys in force", labels=["issuer"])
        age = GaugeMetricFamily(
            "validator_keys_age_seconds", "Time since the keys in force were fetched", labels=["issuer"]
        )
        breaker = GaugeMetricFamily(
            "validator_breaker_state",
            "1 for the state that the breaker of these calls is in",
            labels=["issuer", "calls", "state"],
        )
        for state in self._issuers():
            keys.add_metric([state.issuer], state.keys)
            if state.keys_age_s is not None:
                age.add_metric([state.issuer], state.keys_age_s)
            for calls, present in state.breakers.items():
                for name in _STATES:
                    breaker.add_metric([state.issuer, calls, name], float(present == name))
        yield keys
        yield age
        yield breaker
