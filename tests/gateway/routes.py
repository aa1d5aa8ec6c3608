"""The routes of the test gateway, and how they are written down for nginx and for its Lua.

Law of this file: what a route can have, and no process.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another plugin of a route, imitated in ``lua/neighbours.lua``; Kong's priorities decide who runs first.

    Attributes:
        name: ``key-auth``, ``acl``, ``rate-limiting``, ``proxy-cache``, ``request-termination``, ``post-function``
            or ``broken``.
        config: its configuration; nothing checks it.
    """

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the gateway.

    Attributes:
        path: every request whose path begins with it takes this route.
        service: the name of the matched Gateway Service; ``None`` for one without a name.
        config: the plugin's configuration as an operator writes it; ``None`` for no plugin on this route.
        authenticated: what another plugin before this one has set: ``credential``, ``consumer``, ``headers``.
        bare: no Lua at all runs on this route: what nginx itself takes to proxy.
        plugins: what else runs on this route.
        log: every request leaves an entry that ``Gateway.logged`` returns. Without it, ``sampled`` and ``plugins``
            no Lua runs after the headers, not even a ``log`` of the plugin's own.
        sampled: where Kong traces, whether the requests of this route are sampled; ``None`` for no tracing.
        handshake: the handler's ``ws_handshake`` runs, if it has one, and its ``access`` does not.
    """

    path: str
    service: str | None
    config: Mapping[str, Any] | None = None
    authenticated: Mapping[str, Any] | None = None
    plugin_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    bare: bool = False
    plugins: Sequence[Neighbour] = ()
    log: bool = False
    sampled: bool | None = None
    handshake: bool = False

    @property
    def neighbours(self) -> list[Neighbour]:
        """All the other plugins of this route."""
        before = [] if self.authenticated is None else [Neighbour("key-auth", self.authenticated)]
        return [*before, *self.plugins]

    @property
    def watched(self) -> bool:
        """Whether Lua sees the request until its end."""
        return bool(self.log or self.sampled is not None or self.neighbours)

    @property
    def setup(self) -> dict[str, Any]:
        """What the gateway's Lua is told of this route."""
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, self.path)),
            "paths": [self.path],
            "service": {"name": self.service},
            "config": self.config,
            "plugin_id": self.plugin_id,
            "plugins": [{"name": other.name, "config": other.config} for other in self.neighbours],
            "log": self.log,
            "sampled": self.sampled,
            "handshake": self.handshake,
            "watched": self.watched,
        }


def as_lua(value: object) -> str:
    """``value`` as a Lua literal."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return '"' + "".join(f"\\{byte:03d}" for byte in value.encode()) + '"'
    if isinstance(value, Mapping):
        return "{" + ",".join(f"[{as_lua(key)}]={as_lua(member)}" for key, member in value.items()) + "}"
    if isinstance(value, Iterable):
        return "{" + ",".join(as_lua(member) for member in value) + "}"
    msg = f"cannot be written as Lua: {type(value).__name__}"
    raise TypeError(msg)


def location(number: int, route: Route) -> str:
    """The route's part of the nginx configuration; ``number`` is its place, from 1 on."""
    phases = {"access": str(number), "header_filter": ""}
    if route.watched:
        phases |= {"body_filter": "", "log": ""}
    lua = "".join(
        f'      {phase}_by_lua_block {{ require("gateway").{phase}({argument}) }}\n'
        for phase, argument in ({} if route.bare else phases).items()
    )
    return f'    location "{route.path}" {{\n{lua}      proxy_pass http://service;\n    }}\n'
