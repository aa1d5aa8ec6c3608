"""What is known of one issuer, and when it is asked again.

Law of this file: everything that decides when discovery and keys are fetched lives here: in the background
before they age, behind a cooldown for unknown keys, one fetch in flight, and the last good keys through an
outage up to a stated age. Fetching never makes anybody wait who holds a token of a known key.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

import structlog

from validator.core.discovery import IssuerPlace, Metadata, discovery_urls, parse_metadata, typed_issuer_differs
from validator.core.jwks import KeySet, VerificationKey, fitting, parse_key_set, refresh_interval, select
from validator.errors import Unavailable
from validator.model import Endpoint, HttpRequest, Reason
from validator.ports import Clock, HttpClient
from validator.singleflight import SingleFlight

__all__ = ["Freshness", "Issuer", "IssuerPlace"]

_OK, _NOT_FOUND = 200, 404
_FIRST_RETRY_S = 1.0
_MAX_RETRY_S = 30.0
_DISCOVERY_AGE_S = 3600.0  # endpoints move seldom, and a failing key fetch asks for them anyway
_EARLY = 0.9  # of the interval, so that a fetch is over before the keys have aged
_LEARNT = (
    "_metadata", "_metadata_due", "_keys", "_fetched_at", "_due", "_failures", "_last_failure", "_cooled_at",
    "_unknown_fetch_failed", "_not_found",
)  # fmt: skip
_JSON = {"Accept": "application/json"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Freshness:
    """When to fetch, in seconds; the meaning of each stands in the configuration's ``keys`` section."""

    refresh_s: float = 600.0
    min_refresh_s: float = 60.0
    unknown_key_cooldown_s: float = 10.0
    last_known_good_s: float = 86400.0


class Issuer:
    """One issuer's metadata and keys.

    Args:
        changed: called when the set of keys has changed, after the new one is in force.
    """

    def __init__(
        self,
        place: IssuerPlace,
        *,
        http: HttpClient,
        clock: Clock,
        freshness: Freshness,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.place = place
        self._http = http
        self._clock = clock
        self._freshness = freshness
        self._changed = changed
        self._flight: SingleFlight[str, None] = SingleFlight()
        self._metadata: Metadata | None = None
        self._metadata_due = 0.0
        self._keys: KeySet | None = None
        self._fetched_at = 0.0
        self._due = 0.0
        self._failures = 0
        self._last_failure = ""
        self._cooled_at = 0.0  # when an unknown key may cause a fetch again
        self._unknown_fetch_failed = False
        self._not_found = False
        if not place.discovery:
            self._metadata = Metadata(
                place.issuer,
                place.jwks_uri,
                place.token_endpoint,
                introspection_endpoint=place.introspection_endpoint,
                registration_endpoint=place.registration_endpoint,
            )

    def adopt(self, other: "Issuer") -> None:
        """Takes over what another knows of the same place, so that a reload during an outage forgets no keys."""
        vars(self).update({name: vars(other)[name] for name in _LEARNT})

    @property
    def metadata(self) -> Metadata | None:
        return self._metadata

    @property
    def absent(self) -> bool:
        """Whether this issuer, which follows from another, turned out not to exist."""
        return self.place.implied and self._not_found and self._metadata is None

    @property
    def keys(self) -> KeySet | None:
        return self._keys

    @property
    def keys_age_s(self) -> float | None:
        """Seconds since the keys in force were fetched; ``None`` without keys."""
        return None if self._keys is None else self._clock.monotonic() - self._fetched_at

    def missing(self) -> str | None:
        """Why this issuer is not ready to be judged by, or ``None``: fresh or last-known-good keys will do."""
        if self._keys is not None and not self._too_old():
            return None
        return self._last_failure or "its keys have not been fetched yet"

    def holds(self, thumbprint: str) -> bool:
        """Whether that key is still among the published ones."""
        return self._keys is not None and any(key.thumbprint == thumbprint for key in self._keys.keys)

    def key(self, kid: str | None, alg: str) -> VerificationKey | None:
        """The one key that a header names, or ``None`` where the issuer is worth asking first.

        Raises:
            Denied: ``key_unknown``.
            Unavailable: the keys are missing or too old, or it cannot be known whether the key is a new one.
        """
        now = self._clock.monotonic()
        if self._keys is None or now - self._fetched_at > self._freshness.last_known_good_s:
            self._refuse_until_due(now)
            return None
        candidates = fitting(self._keys, kid, alg)
        if not candidates:
            if len(self._flight) or now >= self._cooled_at:
                return None
            if self._unknown_fetch_failed:
                self._cannot_know(self._cooled_at - now)
        return select(candidates, kid, alg)

    async def fetch_key(self, kid: str | None, alg: str) -> VerificationKey:
        """The same after asking, which an unknown key may cause once in a cooldown.

        Raises:
            Denied: ``key_unknown``.
            Unavailable: as above.
        """
        found = self.key(kid, alg)
        if found is None and len(self._flight):  # begun perhaps before the key was published
            await self._fetch_once()
            found = self.key(kid, alg)
        if found is not None:
            return found
        first = self._keys is None or self._too_old()
        if not first:
            self._cooled_at = self._clock.monotonic() + self._freshness.unknown_key_cooldown_s
        await self._fetch_once()
        if self._keys is None:
            self._cannot_know(_FIRST_RETRY_S)
        return select(fitting(self._keys, kid, alg), kid, alg)

    async def known(self) -> Metadata:
        """The issuer's metadata, fetched where it is missing.

        Raises:
            Unavailable: the issuer cannot be reached.
        """
        if self._metadata is None:
            self._refuse_until_due(self._clock.monotonic())
            try:
                await self._fetch_once()
            except Unavailable:
                if self._metadata is None:
                    raise
        if self._metadata is None:
            self._cannot_know(_FIRST_RETRY_S)
        return self._metadata

    async def tend(self) -> None:
        """Fetches what is due; to be called again after ``wait_s``. Never raises for a failing issuer."""
        if self._clock.monotonic() >= self._due:
            try:
                await self._fetch_once()
            except Unavailable as error:
                if self.absent:
                    return
                log.warning(
                    "issuer unreachable",
                    issuer=self.place.issuer,
                    detail=error.detail,
                    keys_age_s=self.keys_age_s,
                    retry_in_s=round(self.wait_s(), 1),
                )

    def wait_s(self) -> float:
        """Seconds until something is due."""
        return max(0.0, self._due - self._clock.monotonic())

    async def close(self) -> None:
        await self._flight.close()

    def _too_old(self) -> bool:
        return self._clock.monotonic() - self._fetched_at > self._freshness.last_known_good_s

    def _refuse_until_due(self, now: float) -> None:
        if self._failures and now < self._due and not len(self._flight):
            self._cannot_know(self._due - now)

    def _cannot_know(self, retry_after_s: float) -> NoReturn:
        why = self._last_failure or "it was not asked yet"
        raise Unavailable(
            Reason.IDP_UNAVAILABLE, f"{self.place.issuer}: {why}", retry_after_s=max(1.0, retry_after_s)
        )

    async def _fetch_once(self) -> None:
        await self._flight.run("fetch", self._fetch)

    async def _fetch(self) -> None:
        try:
            await self._fetch_metadata()
            await self._fetch_keys()
        except Unavailable as error:
            self._failures += 1
            self._last_failure = error.detail
            self._unknown_fetch_failed = True
            self._metadata_due = 0.0
            wait = min(_MAX_RETRY_S, _FIRST_RETRY_S * 2 ** min(self._failures - 1, 10))
            self._due = self._clock.monotonic() + wait
            raise
        self._failures = 0
        self._last_failure = ""
        self._unknown_fetch_failed = False

    async def _fetch_metadata(self) -> None:
        now = self._clock.monotonic()
        if not self.place.discovery or (self._metadata is not None and now < self._metadata_due):
            return
        try:
            found = await self._discover()
        except Unavailable:
            if self._metadata is None:
                raise
            return  # the endpoints of yesterday are better than none
        before, place = self._metadata, self.place
        renamed = before is None or before.issuer != found.issuer
        if renamed and typed_issuer_differs(place.issuer, found.issuer):
            log.warning("issuer names another", configured=place.issuer, discovered=found.issuer)
        self._metadata = replace(
            found,
            jwks_uri=place.jwks_uri or found.jwks_uri,
            token_endpoint=place.token_endpoint or found.token_endpoint,
            introspection_endpoint=place.introspection_endpoint or found.introspection_endpoint,
            registration_endpoint=place.registration_endpoint or found.registration_endpoint,
        )
        self._metadata_due = now + _DISCOVERY_AGE_S
        if renamed and before is not None:
            self._changed()

    async def _discover(self) -> Metadata:
        failures: list[str] = []
        statuses: set[int] = set()
        for url in discovery_urls(self.place):
            reply = await self._http.send(HttpRequest(Endpoint.DISCOVERY, "GET", url, _JSON))
            statuses.add(reply.status)
            if reply.status != _OK:
                failures.append(f"{url} answered {reply.status}")
                continue
            try:
                return replace(parse_metadata(reply.body, secure=url.startswith("https:")), document=url)
            except ValueError as error:
                failures.append(f"{url}: {error}")
        self._not_found = statuses == {_NOT_FOUND}
        raise Unavailable(Reason.IDP_UNAVAILABLE, "; ".join(failures))

    async def _fetch_keys(self) -> None:
        uri = self._metadata.jwks_uri if self._metadata else None
        if uri is None:
            raise Unavailable(
                Reason.IDP_UNAVAILABLE, "the discovery document names no jwks_uri; configure jwks_uri"
            )
        reply = await self._http.send(HttpRequest(Endpoint.JWKS, "GET", uri, _JSON))
        if reply.status != _OK:
            raise Unavailable(Reason.IDP_UNAVAILABLE, f"{uri} answered {reply.status}")
        try:
            keys = parse_key_set(reply.body, self._metadata.issuer if self._metadata else "")
        except ValueError as error:  # nothing good was learnt, so what is good stays
            raise Unavailable(Reason.IDP_UNAVAILABLE, f"{uri}: {error}") from None
        now = self._clock.monotonic()
        changed = self._keys is not None and self._keys.thumbprints != keys.thumbprints
        first_ignored = keys.ignored if self._keys is None or self._keys.ignored != keys.ignored else ()
        self._keys = keys
        self._fetched_at = now
        self._due = now + _EARLY * refresh_interval(
            reply.headers.get("cache-control", ""),
            minimum_s=self._freshness.min_refresh_s,
            maximum_s=self._freshness.refresh_s,
        )
        for why in first_ignored:
            log.info("key ignored", jwks_uri=uri, detail=why)
        if changed:
            self._cooled_at = 0.0  # the cooldown is for fetches that were for nothing
            log.info("keys changed", jwks_uri=uri, keys=len(keys.keys))
            self._changed()
