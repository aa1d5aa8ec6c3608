"""The identity providers that are reached, through reloads.

Law of this file: strategies of one issuer share it, and with it its keys, its cooldown and its bounds; nobody
who has begun a call loses it to a reload; and what is known of a place is not forgotten for a changed timeout.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from validator.adapters.idp import IdpClient
from validator.issuers import Freshness, Issuer, IssuerPlace
from validator.ports import Clock
from validator.server.metrics import IdpMeter, IssuerState
from validator.settings import Settings, Strategy
from validator.wiring import parts

_TEND_AT_MOST_S = 1.0  # a fetch that failed on a request's way may have brought the next one forward

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Provider:
    """One issuer that is reached: what is known of it, and a client for each kind of call, so that trouble at the
    token endpoint or at introspection, which callers can provoke, stops none of the others."""

    issuer: Issuer
    keys_http: IdpClient
    token_http: IdpClient
    introspection_http: IdpClient
    registration_http: IdpClient

    async def close(self) -> None:
        await self.issuer.close()
        for http in (self.keys_http, self.token_http, self.introspection_http, self.registration_http):
            await http.close()


class Providers:
    """All of them.

    Args:
        changed: called when an issuer's keys have changed.
    """

    def __init__(self, clock: Clock, *, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._known: dict[str, Provider] = {}
        self._tending: dict[str, asyncio.Task[None]] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._ending = asyncio.Event()

    async def get(self, strategy: Strategy, place: IssuerPlace, settings: Settings, metrics: IdpMeter) -> Provider:
        """One of a strategy's issuers, made where it is not known yet.

        Raises:
            ValueError: its ``ca_file`` cannot be used.
        """
        key = _key(strategy, place, settings)
        provider = self._known.get(key)
        if provider is None:
            # Off the loop: reading certificates takes its time.
            keys_http, token_http, introspection_http, registration_http = [
                await asyncio.to_thread(parts.new_client, strategy, settings, self._clock, metrics)
                for _ in range(4)
            ]
            issuer = Issuer(
                place,
                http=keys_http,
                clock=self._clock,
                freshness=Freshness(**settings.keys.model_dump()),
                changed=self._changed,
            )
            for known in self._known.values():
                if known.issuer.place == issuer.place:
                    issuer.adopt(known.issuer)
            provider = self._known[key] = Provider(
                issuer, keys_http, token_http, introspection_http, registration_http
            )
        return provider

    def tend(self) -> None:
        """Begins to fetch, in the background, the keys of those that nobody tends yet."""
        for key in self._known.keys() - self._tending.keys():
            self._tending[key] = asyncio.create_task(_tend_forever(self._known[key].issuer))

    def retire_unused(self, settings: Settings) -> None:
        """Nobody is sent to those that ``settings`` does not name; the calls under way there may end."""
        used = {
            _key(strategy, trusted.place, settings)
            for strategy in settings.strategies.values()
            for trusted in parts.trusted_places(strategy)
        }
        for key in self._known.keys() - used:
            self._retire(key, 3 * settings.outbound.timeout_s)

    def missing(self, settings: Settings) -> list[str]:
        """The strategies that cannot judge yet, and why."""
        return [
            f"strategy {name}: {why}"
            for name, strategy in settings.strategies.items()
            for why in self._missing(strategy, settings)
        ]

    def _missing(self, strategy: Strategy, settings: Settings) -> list[str]:
        issuers = [
            self._known[_key(strategy, trusted.place, settings)].issuer
            for trusted in parts.trusted_places(strategy)
        ]
        missing = {issuer: why for issuer in issuers if (why := issuer.missing())}
        there_is_one = len(missing) < len(issuers)
        return [why for issuer, why in missing.items() if not (issuer.absent and there_is_one)]

    def states(self) -> list[IssuerState]:
        """For the metrics."""
        return [
            IssuerState(
                p.issuer.place.issuer,
                len(p.issuer.keys.keys) if p.issuer.keys else 0,
                p.issuer.keys_age_s,
                {
                    "keys": p.keys_http.breaker_state.value,
                    "token": p.token_http.breaker_state.value,
                    "introspection": p.introspection_http.breaker_state.value,
                },
            )
            for p in self._known.values()
            if not p.issuer.absent
        ]

    async def close(self) -> None:
        """Ends all calls and background fetches."""
        self._ending.set()
        for key in list(self._known):
            self._retire(key, 0)
        await asyncio.gather(*self._retiring)

    def _retire(self, key: str, seconds: float) -> None:
        provider = self._known.pop(key)
        tending = self._tending.pop(key, None)
        if tending is not None:
            tending.cancel()
        task = asyncio.create_task(self._close_later(provider, seconds))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _close_later(self, provider: Provider, seconds: float) -> None:
        # Told and not cancelled: a task that is cancelled before its first step closes nothing.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        await provider.close()


async def _tend_forever(issuer: Issuer) -> None:
    while True:
        wait_s = _TEND_AT_MOST_S
        try:
            await issuer.tend()
            wait_s = min(wait_s, max(issuer.wait_s(), 0.01))
        except Exception:
            log.exception("tending an issuer failed")
        await asyncio.sleep(wait_s)


def _key(strategy: Strategy, place: IssuerPlace, settings: Settings) -> str:
    return repr((place, strategy.ca_file, strategy.allow_insecure_http, settings.keys, settings.outbound))
