"""What ``validator check --online`` says of the Redis that several sidecars share.

Law of this file: Redis is reached by the same part as in the sidecar, each question within a bound, and nothing in
it is changed. Nothing is printed from here.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from validator.adapters.redis_link import RedisLink, Reply, Session
from validator.core.redis_url import RedisEndpoint, Topology
from validator.errors import Unavailable
from validator.inspecting.findings import Findings, Inspected
from validator.settings import Settings
from validator.words import clean

_TIMEOUT_S: Final = 2.0  # a person waits, and wants to know of a Redis that is slow too
_NAME: Final = "redis"

Info = Mapping[str, str]


async def inspect_redis(settings: Settings) -> Inspected | None:
    """What was found of it; ``None`` where nothing is shared."""
    if settings.redis is None:
        return None
    endpoint = settings.redis.endpoint()
    report = Findings([f"{_NAME} {clean(endpoint.where)} ({_topology(endpoint)})"])
    try:
        link = await asyncio.to_thread(RedisLink, endpoint, timeout_s=_TIMEOUT_S, connect_timeout_s=_TIMEOUT_S)
    except ValueError as error:
        report.say(f"NOT REACHED: {error}")
        return Inspected(_NAME, report.lines, works=False)
    key = f"{{{settings.redis.prefix}}}:records"
    try:
        info = _read(await _asked(link, key, "INFO"))
        save = await _configured(link, key, "save")
    except Unavailable as error:
        report.say(f"NOT REACHED: {clean(error.detail)}")
        return Inspected(_NAME, report.lines, works=False)
    finally:
        await link.close()
    return Inspected(_NAME, report.lines, works=_tell(report, settings, endpoint, info, save))


async def _asked(link: RedisLink, key: str, *words: str) -> Reply:
    async def work(session: Session) -> Reply:
        return await session.command(*words)

    return await link.call("check", work, key=key)


async def _configured(link: RedisLink, key: str, name: str) -> str | None:
    """``None``: this user may not ask, as in many a hosted Redis."""
    try:
        reply = await _asked(link, key, "CONFIG", "GET", name)
    except Unavailable:
        return None
    pair = [part.decode("utf-8", "replace") for part in reply if isinstance(part, bytes)]
    return pair[1] if len(pair) > 1 else None


def _read(reply: Reply) -> Info:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else ""
    lines = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name: clean(value) for name, _, value in lines}


def _topology(endpoint: RedisEndpoint) -> str:
    kinds = {Topology.STANDALONE: "one server", Topology.SENTINEL: f"the master {endpoint.master} of sentinels"}
    return f"{kinds.get(endpoint.topology, 'a Cluster')}, {'TLS' if endpoint.tls else 'no TLS'}"


def _tell(report: Findings, settings: Settings, endpoint: RedisEndpoint, info: Info, save: str | None) -> bool:
    """Says what was read; whether a sidecar can work with it."""
    replicas = info.get("connected_slaves", "0")
    role = {"slave": "replica"}.get(info.get("role", ""), info.get("role", "unknown"))
    version = info.get("redis_version", "unknown")
    report.say(f"version {version}, role {role}, {replicas} connected replica{'' if replicas == '1' else 's'}")
    _tell_persistence(report, settings, info, save)
    _tell_memory(report, info)
    if role != "master":
        report.say("NOT A MASTER: nothing can be written here; name the master, or the sentinels that know it")
        return False
    if info.get("cluster_enabled") == "1" and endpoint.topology is not Topology.CLUSTER:
        report.say("PART OF A CLUSTER: its keys are on several nodes; write redis+cluster:// or rediss+cluster://")
        return False
    return True


def _tell_persistence(report: Findings, settings: Settings, info: Info, save: str | None) -> None:
    appends = info.get("aof_enabled") == "1"
    points = "not to be seen with this user's rights" if save is None else clean(save) or "off"
    report.say(f"persistence: appendonly {'on' if appends else 'off'}, save {points}")
    if any(info.get(name, "ok") != "ok" for name in ("rdb_last_bgsave_status", "aof_last_write_status")):
        report.say("note: its last write to the disk has failed; see its log", 2)
    if appends or save:
        return
    if settings.store.path is None:
        lost = "and no sidecar keeps any either: set store.path, and appendonly yes in Redis"
    else:
        lost = "and sidecars restore it from their stores; with appendonly yes they need not"
    if save is None:
        report.say(f"note: if save is off too, a restart of Redis loses what is shared, {lost}", 2)
    else:
        report.say(f"note: a restart of Redis loses what is shared, {lost}", 2)


def _tell_memory(report: Findings, info: Info) -> None:
    limit, policy = info.get("maxmemory", "0"), info.get("maxmemory_policy", "unknown")
    used = info.get("used_memory_human", "unknown")
    if limit == "0":
        report.say(f"memory: {used} used, no limit (maxmemory 0), policy {policy}")
    else:
        report.say(f"memory: {used} used of {info.get('maxmemory_human', limit)}, policy {policy}")
    if policy.startswith("allkeys-"):
        report.say(
            "note: under that policy Redis drops the registry when its memory is full; set maxmemory-policy "
            "noeviction, or volatile-ttl so that only shared proofs make room",
            2,
        )
