"""The way to Redis: whichever server holds a key, asked within a bounded time.

Law of this file: every call ends in time, with an answer or with ``Unavailable`` whose detail says what to look at
and repeats no secret. Nothing is asked twice but what was not done (a redirection of a Cluster): only the caller
knows whether asking again is harmless. After any trouble the next call looks up anew who is to be asked.
"""

import asyncio
import contextlib
import inspect
import ssl
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

from redis.asyncio.connection import AbstractConnection, Connection, UnixDomainSocketConnection
from redis.exceptions import MovedError, ReadOnlyError, ResponseError

from validator.adapters.patience import Patience
from validator.adapters.redis_connections import Connections, Reply, Script, Session, discard
from validator.adapters.redis_errors import BUSY, FOREIGN, REFUSED, TIMEOUT, Trouble, trouble
from validator.adapters.redis_topology import Address, NobodyKnows, Routes, locate
from validator.core.redis_url import Host, RedisEndpoint, Topology, written
from validator.errors import Unavailable
from validator.model import Reason

__all__ = ["RedisEndpoint", "RedisLink", "Reply", "Script", "Session"]

Observe = Callable[[str, str, float], None]
T = TypeVar("T")

# redis-py would look its own version up, on the disk, for every connection.
_UNNAMED: Final[dict[str, None]] = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(AbstractConnection.__init__).parameters
    else {"lib_name": None, "lib_version": None}  # before version 7.2
)
_RETRY_S: Final = 1.0  # failovers take seconds, restarts less


class RedisLink:
    """Bound to the event loop of its first call; opens nothing before that.

    Args:
        endpoint: where Redis is.
        timeout_s: for a call that names none: from the call to its result.
        connect_timeout_s: for finding the server, and again for opening a connection with TLS and password; both
            go on when the caller's own time is over, and the next caller finds them done.
        look_every_s: so often Sentinels, or nodes of a Cluster, are asked without any reason, beside the calls.
        name: how the connections are called in Redis's CLIENT LIST.
        connections: to one server at most, beside one for calls that wait there.
        observe: told of every finished call: its name, outcome (``ok`` or one of ``redis_errors``) and seconds.

    Raises:
        ValueError: the files for TLS cannot be used. They are read here: construct it off the loop.
    """

    def __init__(
        self,
        endpoint: RedisEndpoint,
        *,
        timeout_s: float,
        connect_timeout_s: float = 1.0,
        look_every_s: float = 5.0,
        name: str = "validator",
        connections: int = 16,
        observe: Observe = lambda _call, _outcome, _seconds: None,
    ) -> None:
        if min(timeout_s, connect_timeout_s) <= 0 or connections < 1:
            raise ValueError("timeouts must be above 0 seconds, connections at least 1")
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._look_every_s = look_every_s
        self._look_at = 0.0  # by time.monotonic()
        self._name = name
        self._limit = connections
        self._observe = observe
        self._tls = _context(endpoint) if endpoint.tls else None
        self._routes: Routes | None = None
        self._known: tuple[Host, ...] = ()
        self._lookup: asyncio.Task[Routes] | None = None
        self._pools: dict[tuple[Address, bool], Connections] = {}
        self._closed = False

    @property
    def endpoint(self) -> RedisEndpoint:
        return self._endpoint

    async def call(
        self,
        name: str,
        work: Callable[[Session], Awaitable[T]],
        *,
        key: str,
        timeout_s: float | None = None,
        waiting: bool = False,
    ) -> T:
        """Runs ``work`` on a connection to the server that holds ``key``; on a Cluster it touches keys of the same
        slot only. It runs a second time only where a Cluster has sent the first command elsewhere.

        Args:
            name: what is called, for metrics.
            timeout_s: of silence, waiting for a connection included.
            waiting: it blocks on the server: it has a connection of its own, one at a time.

        Raises:
            Unavailable: (``store_unavailable``) no usable result in time. What was asked may have been done all
                the same (``sent``), unless it was refused.
            AuthError: what ``work`` itself raises.
        """
        started = time.monotonic()
        at = _At(self._endpoint.where)
        try:
            async with Patience(self._timeout_s if timeout_s is None else timeout_s):
                result = await self._run(work, key, at, waiting=waiting)
        except FOREIGN as error:
            failure = self._failed(error, at)
        else:
            self._observe(name, "ok", time.monotonic() - started)
            return result
        self._observe(name, failure.outcome, time.monotonic() - started)
        # Outside the except clause: a foreign exception, which may quote what was asked, becomes no __context__.
        raise Unavailable(
            Reason.STORE_UNAVAILABLE,
            f"Redis at {at.where}: {failure.told}",
            retry_after_s=_RETRY_S,
            sent=at.asked and failure.outcome != REFUSED,
        )

    async def close(self) -> None:
        """Cuts all connections; calls under way fail."""
        self._closed = True
        self._routes = None
        pools, self._pools = list(self._pools.values()), {}
        tasks: list[asyncio.Task[Any]] = [task for pool in pools for task in pool.close()]
        if self._lookup is not None:
            self._lookup.cancel()
            tasks.append(self._lookup)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what was cut is told so in the loop's next turn

    async def _run(self, work: Callable[[Session], Awaitable[T]], key: str, at: "_At", *, waiting: bool) -> T:
        while True:
            at.routes = await self._located()
            if (address := at.routes.address(key)) is None:
                raise NobodyKnows(None, "nobody in the Cluster holds this slot")
            pool = self._pool(address, waiting=waiting)
            at.go(address, pool)
            try:
                return await pool.run(partial(at.worked, work))
            except MovedError as error:
                if self._endpoint.topology is not Topology.CLUSTER or at.moved or at.answered:
                    raise
                at.moved = True
                self._follow(key, error, address)

    def _failed(self, error: BaseException, at: "_At") -> Trouble:
        failure = trouble(error, self._endpoint)
        if failure.outcome == TIMEOUT and not at.asked:
            # What is being looked up or opened goes on: the next caller has it.
            if at.pool is not None and at.pool.crowded:
                return Trouble(BUSY, "all connections are in use", lost=False)
            return Trouble(TIMEOUT, "no connection in time", lost=False)
        if failure.lost:
            if self._routes is at.routes:
                self._routes = None
            if at.pool is not None and at.pool.era == at.era:
                at.pool.clear()
        return failure

    def _pool(self, address: Address, *, waiting: bool) -> Connections:
        if (pool := self._pools.get((address, waiting))) is None:
            limit = 1 if waiting else self._limit
            pool = self._pools[address, waiting] = Connections(partial(self._open, address), limit=limit)
        return pool

    async def _located(self) -> Routes:
        if self._closed:
            raise ConnectionError(None, "closed")
        if self._routes is not None:
            # A master that was cut off from the others does not tell that there is another one by now.
            if self._endpoint.topology is not Topology.STANDALONE and time.monotonic() >= self._look_at:
                self._looking()
            return self._routes
        task = self._looking()
        await asyncio.wait({task})
        return task.result()

    def _looking(self) -> asyncio.Task[Routes]:
        if self._lookup is None or self._lookup.done():
            self._look_at = time.monotonic() + self._look_every_s
            self._lookup = asyncio.create_task(self._look_up())
            self._lookup.add_done_callback(_seen)
        return self._lookup

    async def _look_up(self) -> Routes:
        async with Patience(self._connect_timeout_s):
            routes = await locate(self._endpoint, self._known, self._ask)
        if self._endpoint.topology is Topology.CLUSTER:
            self._known = tuple(address for address in routes.addresses if isinstance(address, tuple))
        for (address, waiting), pool in list(self._pools.items()):
            if address not in routes.addresses:
                del self._pools[address, waiting]
                pool.clear()
        self._routes = routes
        return routes

    def _follow(self, key: str, error: MovedError, asked: Address) -> None:
        host = error.host or asked[0]
        if self._routes is not None:
            self._routes = self._routes.moved(key, (host, error.port))

    async def _ask(self, host: Host, question: Callable[[Session], Awaitable[Routes]]) -> Routes:
        connection = await self._open(host, asking=True)
        try:
            async with Patience(self._connect_timeout_s):
                return await question(Session(connection))
        finally:
            discard(connection)

    async def _open(self, address: Address, *, asking: bool = False) -> AbstractConnection:
        connection = self._made(address, sentinel=asking and self._endpoint.topology is Topology.SENTINEL)
        try:
            async with Patience(self._connect_timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]
                session = Session(connection)
                with contextlib.suppress(ResponseError):  # it is a courtesy, which an ACL may not permit
                    await session.command("CLIENT", "SETNAME", self._name)
                # A Sentinel may name a server that is not the master yet, or no longer.
                if self._endpoint.topology is Topology.SENTINEL and not asking:
                    await require_master(session)
        except BaseException:
            discard(connection)
            if not asking:  # perhaps nobody waits for it any more who would find out
                self._routes = None
            raise
        return connection

    def _made(self, address: Address, *, sentinel: bool) -> AbstractConnection:
        endpoint = self._endpoint
        options: dict[str, Any] = {
            **_UNNAMED,
            "db": 0 if sentinel else endpoint.db,
            "username": endpoint.sentinel_username if sentinel else endpoint.username,
            "password": endpoint.sentinel_password if sentinel else endpoint.password,
            "protocol": 2,  # version 3 would greet with the password in a command that errors quote
        }
        if isinstance(address, str):
            return UnixDomainSocketConnection(path=address, **options)
        host, port = address
        if self._tls is not None:
            return _TlsConnection(self._tls, host=host, port=port, socket_keepalive=True, **options)
        return Connection(host=host, port=port, socket_keepalive=True, **options)


async def require_master(session: Session) -> None:
    """Raises ``ReadOnlyError`` where it is a replica: what it knows may be of yesterday."""
    check_master(await session.command("ROLE"))


def check_master(role: Reply) -> None:
    """The same, of what ROLE has answered."""
    if role[0] != b"master":
        raise ReadOnlyError("a replica")


class _At:
    """How far a call has come."""

    __slots__ = ("answered", "asked", "era", "moved", "pool", "routes", "where")

    def __init__(self, where: str) -> None:
        self.where = where
        self.routes: Routes | None = None
        self.pool: Connections | None = None
        self.era = 0
        self.asked = self.answered = self.moved = False

    def go(self, address: Address, pool: Connections) -> None:
        self.where = address if isinstance(address, str) else written(address)
        self.pool, self.era = pool, pool.era

    async def worked(self, work: Callable[[Session], Awaitable[T]], session: Session) -> T:
        self.asked = True
        try:
            return await work(session)
        finally:
            self.answered = session.answered


class _TlsConnection(Connection):
    """With a context that was read before: redis-py's own reads its files in the middle of the loop, and trusts
    the system's authorities beside the one it is given."""

    def __init__(self, context: ssl.SSLContext, **options: Any) -> None:
        self._context = context
        super().__init__(**options)

    def _connection_arguments(self) -> dict[str, Any]:
        return {**super()._connection_arguments(), "ssl": self._context}


def _context(endpoint: RedisEndpoint) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
    except (OSError, ValueError) as error:
        raise ValueError(f"redis.ca_file cannot be used: {_why(error)}") from None
    if endpoint.certificate_file is not None:
        try:
            # Without a password here, an encrypted key would have it asked for on the terminal.
            context.load_cert_chain(endpoint.certificate_file, endpoint.key_file, password=str)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"redis.certificate_file and redis.key_file cannot be used together: {_why(error)}"
            ) from None
    return context


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is no PEM"
    return (isinstance(error, OSError) and error.strerror) or "it is no PEM"


def _seen(task: "asyncio.Task[Any]") -> None:
    """Whoever waited has been told; where nobody did, the next call looks again."""
    if not task.cancelled():
        task.exception()
