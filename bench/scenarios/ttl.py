"""What the caches' times buy and cost: the plots that an SRE reads to choose them (docs/tuning.md).

Law of this file: the product's own pipeline and caches decide, by a clock of hand; no number here is a time that
this machine took.
"""

import asyncio
from dataclasses import dataclass, field

from bench import zipf
from bench.findings import Findings, Plot, Table
from bench.stage import Stage
from bench.zipf import Block, Exposure, World

QUESTION = "How do `decision_ttl_s` and the proof TTL trade hits and IdP calls against revocation exposure?"
RATES = (100.0, 1000.0)
BUSY = RATES[-1]
DECISION_TTLS = (1, 3, 10, 30, 100, 300, 1000, 3600)
PROOF_TTLS = (10, 30, 60, 100, 300, 600, 1000, 3600, 10_000)
QUICK_TTLS = (1, 10, 30, 300, 3600)
BOUNDS = (20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000)
DEFAULT_DECISION_TTL_S, DEFAULT_PROOF_TTL_S = 30, 300
Lines = dict[str, list[tuple[float, float]]]


async def run(stage: Stage) -> Findings:
    """The simulation has no await in it; a thread keeps the loop free for whoever else lives there."""
    return await asyncio.to_thread(_Study(stage, *_sizes(stage)).findings)


def _sizes(stage: Stage) -> tuple[list[Block], int, int, int, int, int]:
    if stage.quick:
        return zipf.blocks(alone=10, per_decade=12), 8, 3, 150, 2, 400
    return zipf.blocks(alone=30, per_decade=40), 20, 8, 1500, 3, 100


@dataclass
class _Study:
    """Sizes, and what is gathered on the way.

    Attributes:
        cycles, proof_cycles: of every credential's own, for hits and for calls.
        draws: clients that are revoked.
        hours, scale: simulated for evictions, and how much smaller that world is.
    """

    stage: Stage
    population: list[Block]
    cycles: int
    proof_cycles: int
    draws: int
    hours: int
    scale: int
    days: float = 0.0
    unlike: int = 0
    hits: Lines = field(default_factory=dict)
    calls: Lines = field(default_factory=dict)

    def findings(self) -> Findings:
        self._hits()
        self._calls()
        exposure, bearer, told, untold = self._exposure()
        by_ttl = Table(
            f"A revoked client that keeps asking is let in for so long, in seconds ({BUSY:,.0f} requests/s)",
            ("TTL", "revoked here, gateway caches: mean", "worst", "at the provider, Basic: mean", "worst"),
            [(str(ttl), *_cells(told.get(ttl)), *_cells(untold.get(ttl))) for ttl in sorted({*told, *untold})],
        )
        found = Findings(tables=[self._defaults(told, untold, bearer), by_ttl, self._evictions()])
        found.plots = [
            Plot(
                "ttl-hits",
                "Requests that a kept answer serves: 1,000,000 credentials, Zipf",
                "cache.decision_ttl_s (seconds)",
                "hit ratio (%)",
                self.hits,
                log_x=True,
            ),
            Plot(
                "ttl-idp-calls",
                "Calls at the identity provider; no proof outlives the token's hour",
                "cache.proof_ttl_s or introspection.ttl_s (seconds)",
                "calls per second",
                self.calls,
                log_x=True,
            ),
            Plot(
                "ttl-exposure",
                "How long a revoked client that keeps asking is let in",
                "cache.proof_ttl_s, or cache.decision_ttl_s where revoked here (seconds)",
                "seconds",
                exposure,
                log_x=True,
                log_y=True,
            ),
        ]
        found.notes.append(
            f"{zipf.CREDENTIALS:,} credentials, Zipf exponent {zipf.EXPONENT:g}, Poisson arrivals, up to "
            f"{self.days:,.0f} simulated days. {len(self.population)} credentials stand for their neighbours, "
            f"each weighted by its block's requests and watched over {self.cycles} cycles of its own (hits) or "
            f"{self.proof_cycles} (calls). Tokens last an hour, and a client's next one is a new credential. "
            "Parallel first requests, which the product makes one call, are one request here."
        )
        if self.unlike:
            found.wrong.append(f"{self.unlike} replays before their deadline were not the answer that was kept")
        return found

    def _some(self, ttls: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(ttl for ttl in ttls if not self.stage.quick or ttl in QUICK_TTLS)

    def _share(self, world: World, rate: float, cycles: int, settle_s: float) -> zipf.Share:
        share = zipf.shares(world, self.population, rate, cycles, settle_s)
        self.days = max(self.days, share.days)
        self.unlike += world.unlike
        return share

    def _hits(self) -> None:
        for kind, named, bound_s in (("bearer", "bearer", 3600), ("basic", "Basic, proof_ttl_s 300", 300)):
            for rate in RATES:
                self.stage.say(f"hit ratio, {named}, {rate:,.0f} requests/s")
                points = self.hits[f"{named}: {rate:,.0f}/s"] = []
                for ttl in self._some(DECISION_TTLS):
                    world = World(kind, ttl, DEFAULT_PROOF_TTL_S)
                    share = self._share(world, rate, self.cycles, min(ttl, bound_s))
                    points.append((ttl, 100 * share.hits))

    def _calls(self) -> None:
        for kind, named, longest in (("basic", "Basic", 86400), ("introspected", "introspected tokens", 3600)):
            for rate in RATES if kind == "basic" else (BUSY,):
                self.stage.say(f"calls at the identity provider, {named}, {rate:,.0f} requests/s")
                points = self.calls[f"{named}: {rate:,.0f}/s"] = []
                for ttl in self._some(PROOF_TTLS):
                    if ttl <= longest:
                        # What a proof costs does not depend on how often it is judged by; longer is faster here.
                        share = self._share(World(kind, 300, ttl), rate, self.proof_cycles, min(ttl, 3600))
                        points.append((ttl, rate * share.proofs))

    def _exposure(self) -> tuple[Lines, Exposure, dict[int, Exposure], dict[int, Exposure]]:
        self.stage.say("revocation exposure")
        told = {
            ttl: zipf.exposure(World("bearer", ttl, 0), BUSY, self.draws, gateway=True)
            for ttl in self._some(DECISION_TTLS)
        }
        untold = {
            ttl: zipf.exposure(World("basic", DEFAULT_DECISION_TTL_S, ttl), BUSY, self.draws)
            for ttl in self._some(PROOF_TTLS)
        }
        bearer = zipf.exposure(World("bearer", DEFAULT_DECISION_TTL_S, zipf.TOKEN_LIFETIME_S), BUSY, self.draws)
        lines: Lines = {
            "JWT of an hour, client deleted at the provider: worst": [(ttl, bearer.worst_s) for ttl in untold],
            "Basic, secret changed at the provider: worst": [(ttl, seen.worst_s) for ttl, seen in untold.items()],
            "Basic, secret changed at the provider: mean": [(ttl, seen.mean_s) for ttl, seen in untold.items()],
            "revoked here, gateway keeps decisions: mean": [(ttl, seen.mean_s) for ttl, seen in told.items()],
        }
        return lines, bearer, told, untold

    def _evictions(self) -> Table:
        rows: list[tuple[str, ...]] = []
        for bound in (20_000, 200_000, 2_000_000) if self.stage.quick else BOUNDS:
            self.stage.say(f"max_entries {bound:,}")
            cells = [f"{bound:,}"]
            for kind, ttl in (("bearer", 3600.0), ("basic", 300.0), ("basic", 3600.0)):
                seen = zipf.bounded(kind, bound, BUSY, proof_ttl_s=ttl, hours=self.hours, scale=self.scale)
                cells += [f"{BUSY * seen.proofs:,.0f}", f"{seen.evicted_per_s:,.0f}"]
            rows.append(tuple(cells))
        head = (
            *("cache.max_entries", "bearer: signatures/s", "evicted/s"),
            *("Basic, proof_ttl_s 300: IdP calls/s", "evicted/s"),
            *("Basic, proof_ttl_s 3600: IdP calls/s", "evicted/s"),
        )
        return Table(f"The bound, at {BUSY:,.0f} requests/s (a world {self.scale} times smaller)", head, rows)

    def _defaults(self, told: dict[int, Exposure], untold: dict[int, Exposure], bearer: Exposure) -> Table:
        rows: list[tuple[str, str]] = []
        for rate in RATES:
            named = f"{rate:,.0f}/s"
            hit = dict(self.hits[f"bearer: {named}"])[DEFAULT_DECISION_TTL_S]
            called = dict(self.calls[f"Basic: {named}"])[DEFAULT_PROOF_TTL_S]
            rows.append((f"hit ratio at {named}, bearer", f"{hit:.0f} %"))
            rows.append((f"IdP calls at {named}, all Basic", f"{called:,.0f} /s"))
        for what, seen in (
            ("revoked here, a gateway that keeps decisions", told[DEFAULT_DECISION_TTL_S]),
            ("secret changed at the provider", untold[DEFAULT_PROOF_TTL_S]),
            ("client deleted at the provider, its JWT of an hour lives on", bearer),
        ):
            rows.append((f"{what}: let in for, mean and worst", f"{seen.mean_s:,.0f} s, {seen.worst_s:,.0f} s"))
        return Table("The defaults: decision_ttl_s 30, proof_ttl_s 300", ("what", "comes to"), rows)


def _cells(seen: Exposure | None) -> tuple[str, str]:
    return (f"{seen.mean_s:,.1f}", f"{seen.worst_s:,.0f}") if seen else ("-", "-")
