"""The one place that names concrete classes and builds the running thing from settings.

Law of this file: it decides nothing about a request. What survives a reload (caches, registry, issuers whose
configuration stayed, the random session key) is kept here; everything else is built anew and swapped in.
"""

import asyncio
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from aiohttp import web

from validator.adapters.clock import SystemClock
from validator.adapters.memory import MemoryRegistry
from validator.adapters.sqlite_clients import SqliteClients
from validator.authn.basic import BasicAuthenticator
from validator.authn.throttle import Throttle
from validator.caching import Caches
from validator.core.sealing import KEY_BYTES
from validator.core.sessions import KeyRing
from validator.core.telling import Tell, nobody
from validator.dcr.bridge import Bridge
from validator.model import ClientCredentials, Method, Proof
from validator.pipeline import Lifetimes, Pipeline, Strategy
from validator.ports import Clock
from validator.server.bridge import bridge_application
from validator.server.control import control_application
from validator.server.dataplane import Plane
from validator.server.listening import identity, remove_own, tcp, unix
from validator.server.metrics import Metrics, PlaneState
from validator.server.runner import ControlRunner
from validator.server.tls import Listeners, TlsFiles
from validator.settings import Address, Settings
from validator.singleflight import SingleFlight
from validator.wiring import parts
from validator.wiring.bridge import DcrBridge
from validator.wiring.providers import Providers
from validator.wiring.strategies import Shared, build

_SECRET_BYTES = 32
_SWEEP_S = 1.0
_ACCEPT_TURNS = 5
_CLOCK_STEP_S = 0.5  # more than slewing does between two sweeps

log = structlog.get_logger(__name__)


class Sidecar:
    """The whole program but for its command line: ``start``, then ``reload`` at will, then ``stop``.

    Args:
        tell: hears of every step of every judgement; for ``explain``.

    Attributes:
        data_address: where the data plane listens; known once started.
        control_address: the same of the control plane.
        dcr_address: the same of the bridge; "" where it has none of its own.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None, tell: Tell = nobody) -> None:
        self._settings = settings
        self._tell = tell
        self._clock = clock or SystemClock()
        self._caches = Caches(secrets.token_bytes(_SECRET_BYTES), max_entries=settings.cache.max_entries)
        self.registry = MemoryRegistry(
            clock=self._clock, epoch=self._caches.epoch, strategies=tuple(settings.strategies)
        )
        self._providers = Providers(self._clock, changed=self._caches.epoch.touch_all)
        self._metrics = Metrics(
            self._caches,
            issuers=self._providers.states,
            plane=self._plane_state,
            ready=lambda: not self._providers.missing(self._settings),
        )
        self._own_session_key = secrets.token_bytes(KEY_BYTES)
        self._flight: SingleFlight[bytes, Proof] = SingleFlight()
        self._throttle = self._new_throttle(settings)
        self._clock_offset = self._clock.now() - self._clock.monotonic()
        self._background: list[asyncio.Task[None]] = []
        self._data: Listeners | None = None
        self.strategies: dict[str, Strategy] = {}
        self.plane: Plane | None = None
        self.store: SqliteClients | None = None
        self._control: ControlRunner | None = None
        self._socket_files: list[tuple[str, tuple[int, int]]] = []
        self._bridge: DcrBridge | None = None
        self._dcr_listener: ControlRunner | None = None
        self.data_address = ""
        self.control_address = ""
        self.dcr_address = ""

    @property
    def metrics(self) -> Metrics:
        return self._metrics

    @property
    def caches(self) -> Caches:
        return self._caches

    def now(self) -> float:
        """Seconds since the epoch, by the clock that everything here is judged by."""
        return self._clock.now()

    async def prepare(self, *, own: bool = False) -> SqliteClients:
        """Everything but listening and fetching: enough to judge one credential by hand.

        Args:
            own: whether no other sidecar may have the store at the same time.

        Raises:
            StoreError: the store cannot be used.
            ValueError: an issuer's ``ca_file`` cannot be used.
        """
        settings = self._settings
        path = settings.store.path
        self.store = await SqliteClients.open(
            Path(path) if path else None, memory=self.registry, clock=self._clock, own=own
        )
        self._load_file(settings)
        self.strategies = await self._strategies(settings)
        return self.store

    async def start(self) -> None:
        """Opens the store, listens, and begins to fetch keys; does not wait for any issuer.

        Raises:
            StoreError: the store cannot be used.
            OSError: an address cannot be listened on.
            ValueError: the files of ``listen.data_tls`` cannot be served with.
        """
        store = await self.prepare(own=True)
        settings = self._settings
        context = await _tls_context(settings)
        self.plane = Plane(
            self._pipeline(settings, self.strategies),
            settings.session.cookie_name,
            bounds=parts.bounds(settings),
            clock=self._clock,
        )
        self._providers.tend()
        self._background.append(asyncio.create_task(self._sweep(self.plane)))
        data = self._listening(settings.listen.data)
        self._data = Listeners(self.plane, data)
        await self._data.serve(context, settings.limits.header_timeout_s)
        self.data_address = _shown(settings.listen.data, data)
        await self._open_bridge(store)
        self._control = ControlRunner(
            control_application(
                registry=store,
                clock=self._clock,
                strategies=lambda: tuple(self._settings.strategies),
                ready=self._missing,
                metrics=self._metrics.exposition,
                clear_cache=self._caches.forget,
                token=self._control_token,
                session_ttl_s=lambda: self._settings.session.absolute_ttl_s,
                bridge=self._bridge_here(),
            )
        )
        await self._control.setup()
        control = self._listening(settings.listen.control)
        for listener in control:
            await web.SockSite(self._control, listener).start()
        self.control_address = _shown(settings.listen.control, control)
        await self._listen_for_konnect()
        for notice in settings.warnings:
            log.warning("configuration", detail=str(notice))
        log.info("listening", data=self.data_address, control=self.control_address, dcr=self.dcr_address or None)

    async def reload(self, settings: Settings) -> None:
        """Puts another configuration in force without dropping a request. What is bound to sockets, files and
        table sizes stays as it was until the next start, and the log says so.

        Raises:
            ValueError: the file's applications contradict each other, or a ``ca_file`` or the files of
                ``listen.data_tls`` cannot be used; nothing has changed then.
        """
        assert self.plane is not None  # noqa: S101 - reloading what was not started is a mistake of the caller
        assert self._data is not None  # noqa: S101 - as above
        old = self._settings
        context = await _tls_context(settings) if self._data.secured else None
        throttle = self._throttle
        if settings.throttle != old.throttle:
            self._throttle = self._new_throttle(settings)
        try:
            strategies = await self._strategies(settings)
            self._load_file(settings)
            if self._bridge is not None:
                await self._bridge.configure(settings, self._providers, self._metrics)
        except ValueError:
            self._throttle = throttle
            self._providers.retire_unused(old)
            raise
        self._settings = settings
        self.strategies = strategies
        self.plane.bounds = parts.bounds(settings)
        self.plane.replace(self._pipeline(settings, strategies), settings.session.cookie_name)
        self._caches.begin_anew()
        self._providers.retire_unused(settings)
        self._providers.tend()
        if context is not None:
            self._data.renew(context, settings.limits.header_timeout_s)
        fixed = {
            "listen": _bound(settings) != _bound(old),
            "store": settings.store != old.store,
            "dcr": (settings.dcr is None) != (old.dcr is None),
            "dcr.retry_window_s": _retry_window(settings) != _retry_window(old),
            "cache.max_entries": settings.cache.max_entries != old.cache.max_entries,
            "log": settings.log != old.log,
        }
        for notice in settings.warnings:
            log.warning("configuration", detail=str(notice))
        log.info("reloaded", needs_restart=[name for name, changed in fixed.items() if changed])

    async def stop(self) -> None:
        """Stops listening, answers what was accepted, and closes everything, within ``limits.drain_s``."""
        if self.plane is not None:
            self.plane.begin_to_drain()
            for _ in range(_ACCEPT_TURNS):  # what the kernel has accepted already is not to be reset
                await asyncio.sleep(0)
        if self._data is not None:
            self._data.close()
            await self._data.finish(self._settings.limits.drain_s)
        if self.plane is not None:
            await self.plane.drain(self._settings.limits.drain_s)
        await self._stop_control()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._flight.close()
        await self._providers.close()
        if self.store is not None:
            await self.store.close()
        while self._socket_files:
            await asyncio.to_thread(remove_own, *self._socket_files.pop())

    async def _stop_control(self) -> None:
        for runner in (self._dcr_listener, self._control):
            if runner is not None:
                await runner.cleanup()
        if self._bridge is not None:
            await self._bridge.bridge.close()

    # The HTTP DCR bridge: on an address of its own, or on the control plane

    async def _open_bridge(self, store: SqliteClients) -> None:
        settings = self._settings
        if settings.dcr is not None:
            self._bridge = DcrBridge(
                settings.dcr, store=store, clock=self._clock, caches=self._caches, vouch=self._vouch
            )
            await self._bridge.configure(settings, self._providers, self._metrics)

    def _vouch(self, strategy: str, pair: ClientCredentials) -> None:
        known = self.strategies.get(strategy)
        basic = known.authenticators[Method.CLIENT_CREDENTIALS] if known is not None else None
        if isinstance(basic, BasicAuthenticator):
            basic.vouch(pair)

    def _bridge_here(self) -> tuple[Bridge, Callable[[], Sequence[str]]] | None:
        if self._bridge is None or self._settings.listen.dcr is not None:
            return None
        return self._bridge.bridge, self._bridge.api_keys

    async def _listen_for_konnect(self) -> None:
        address = self._settings.listen.dcr
        if self._bridge is None or address is None:
            return
        self._dcr_listener = ControlRunner(
            bridge_application(self._bridge.bridge, self._bridge.api_keys, clock=self._clock)
        )
        await self._dcr_listener.setup()
        listeners = self._listening(address)
        for listener in listeners:
            await web.SockSite(self._dcr_listener, listener).start()
        self.dcr_address = _shown(address, listeners)

    def _listening(self, address: Address) -> list[socket.socket]:
        sockets = _sockets(address)
        if address.path:
            self._socket_files.append((address.path, identity(address.path)))
        return sockets

    # Building

    def _pipeline(self, settings: Settings, strategies: dict[str, Strategy]) -> Pipeline:
        return Pipeline(
            strategies,
            registry=self.registry,
            revocations=self.registry,
            caches=self._caches,
            lifetimes=Lifetimes(settings.cache.decision_ttl_s, settings.cache.negative_ttl_s),
            clock=self._clock,
            tallies=self._metrics.tallies,
            flight=self._flight,
            observe=self._metrics.judged,
        )

    async def _strategies(self, settings: Settings) -> dict[str, Strategy]:
        keys = [key.get_secret_value() for key in settings.session.keys] or [self._own_session_key]
        shared = Shared(
            settings, self._clock, self._caches, self.registry, self._throttle, self._metrics, self._tell
        )
        return {
            name: build(
                name,
                strategy,
                [
                    await self._providers.get(strategy, trusted.place, settings, self._metrics)
                    for trusted in parts.trusted_places(strategy)
                ],
                KeyRing(keys, bound_to=parts.session_binding(strategy)),
                shared,
            )
            for name, strategy in settings.strategies.items()
        }

    def _new_throttle(self, settings: Settings) -> Throttle:
        return Throttle(self._clock, **settings.throttle.model_dump(exclude={"max_inactive_tokens"}))

    def _load_file(self, settings: Settings) -> None:
        self.registry.load_file(settings.file_applications(), strategies=tuple(settings.strategies))
        for shadowed in self.registry.shadowed():
            log.warning(
                "application shadowed",
                stored=shadowed.stored.id,
                by=shadowed.by.id,
                detail="the configuration file holds its id or its client id; the stored one is out of force",
            )

    # Running

    async def _sweep(self, plane: Plane) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_S, plane.bounds.header_timeout_s, plane.bounds.idle_timeout_s))
            plane.sweep()
            self.check_clock()

    def check_clock(self) -> None:
        """Forgets everything when the machine's clock was set back: deadlines are moments of that clock, and
        what was to last seconds would last as long as the step was."""
        offset = self._clock.now() - self._clock.monotonic()
        if offset < self._clock_offset - _CLOCK_STEP_S:
            log.warning("clock set back", seconds=round(self._clock_offset - offset, 3), detail="caches forgotten")
            self._caches.forget()
        self._clock_offset = offset

    # What the control plane asks

    def _control_token(self) -> str | None:
        token = self._settings.control.token
        return token.get_secret_value() if token is not None else None

    async def _missing(self) -> Sequence[str]:
        missing = self._providers.missing(self._settings)
        if self.store is None or not await self.store.healthy():
            missing.append("the store does not answer")
        return missing

    def _plane_state(self) -> PlaneState:
        plane, data = self.plane, self._data
        if plane is None or data is None:
            return PlaneState(0, 0, 0, {})
        return PlaneState(plane.count, plane.refused_connections, plane.bad_requests, data.failures)


async def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    section = settings.listen.data_tls
    if section is None:
        return None
    files = TlsFiles(section.certificate_file, section.key_file, section.client_ca_file)
    return await asyncio.to_thread(files.context)


def _bound(settings: Settings) -> tuple[Address, Address, Address | None, bool]:
    """What of ``listen`` lasts until the next start."""
    listen = settings.listen
    return listen.data, listen.control, listen.dcr, listen.data_tls is not None


def _retry_window(settings: Settings) -> float | None:
    return settings.dcr.retry_window_s if settings.dcr is not None else None


def _sockets(address: Address) -> list[socket.socket]:
    try:
        return [unix(address.path)] if address.path else tcp(address.host, address.port)
    except OSError as error:
        raise OSError(f"cannot listen on {address}: {error.strerror or error}") from None


def _shown(address: Address, sockets: list[socket.socket]) -> str:
    if address.path:
        return f"unix:{address.path}"
    host, port = sockets[0].getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
