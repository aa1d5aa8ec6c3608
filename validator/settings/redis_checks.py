"""What the settings of the shared Redis and the others say about each other.

Law of this file: as in ``checks``. Nothing of the URL is repeated.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from validator.core.redis_url import RedisEndpoint, Topology
from validator.settings.mistakes import Caution, Path, Problem
from validator.settings.values import is_loopback

Finding = Problem | Caution
Section = Mapping[str, Any]

_AT: Path = ("redis",)
_URL: Path = (*_AT, "url")
_TLS_FILES = ("ca_file", "certificate_file", "key_file")
_SENTINEL_SETTINGS = ("sentinel_username", "sentinel_password", "sentinel_password_file")


def shares(document: Section) -> bool:
    """Whether the document has a Redis to share."""
    return isinstance(document.get("redis"), Mapping)


def redis_findings(document: Section) -> Iterator[Finding]:
    """Everything about the section that is wrong, or worth a warning."""
    section = document.get("redis")
    if not isinstance(section, Mapping):
        return
    yield from _paired(section)
    endpoint = _endpoint(section)
    if endpoint is not None:
        yield from _credentials(section, endpoint)
        yield from _tls(section, endpoint)
        yield from _in_clear(section, endpoint)
    yield from _kept(document)


def _endpoint(section: Section) -> RedisEndpoint | None:
    url = section.get("url")
    try:
        return RedisEndpoint.parse(url) if isinstance(url, str) else None
    except ValueError:
        return None  # told where the URL itself is judged


def _given(section: Section, *names: str) -> list[str]:
    return [name for name in names if section.get(name) not in (None, "", (), [])]


def _paired(section: Section) -> Iterator[Finding]:
    for user, password in (("username", "password"), ("sentinel_username", "sentinel_password")):
        if _given(section, user) and not _given(section, password, f"{password}_file"):
            yield Problem((*_AT, user), f"{user} without {password}", f"{password}_file or {password} beside it")
    names = _given(section, "certificate_file", "key_file")
    if len(names) == 1:
        other = "key_file" if names[0] == "certificate_file" else "certificate_file"
        yield Problem((*_AT, names[0]), f"{names[0]} without {other}", "both of them, or neither")


def _credentials(section: Section, endpoint: RedisEndpoint) -> Iterator[Finding]:
    if endpoint.username is not None or endpoint.password is not None:
        # The content of a file stands in the place of ``password``, which knows whose line it is.
        for name in _given(section, "username", "password"):
            yield Problem(
                (*_AT, name),
                f"a user name or a password in redis.url, and {name} beside it",
                "them in one place: not in redis.url",
                "url: rediss://redis.example.com:6379",
            )
    if endpoint.topology is not Topology.SENTINEL:
        for name in _given(section, *_SENTINEL_SETTINGS):
            if name == "sentinel_password" and _given(section, "sentinel_password_file"):
                continue  # one mistake for one thing written
            yield Problem(
                (*_AT, name),
                f"{name} without sentinels",
                "a URL that begins with redis+sentinel:// or rediss+sentinel://, or not this",
            )


def _tls(section: Section, endpoint: RedisEndpoint) -> Iterator[Finding]:
    if endpoint.tls:
        return
    for name in _given(section, *_TLS_FILES):
        yield Problem(
            (*_AT, name),
            f"{name} without TLS",
            "a URL that begins with rediss://, rediss+sentinel:// or rediss+cluster://, or not this",
        )


def _in_clear(section: Section, endpoint: RedisEndpoint) -> Iterator[Finding]:
    if endpoint.tls or all(is_loopback(host) for host, _ in endpoint.hosts):
        return
    secret = endpoint.password is not None or _given(section, "password", "password_file")
    what = "the password and what is shared travel" if secret else "what is shared travels"
    yield Caution(_URL, f"without TLS {what} to Redis in clear: use rediss://, or keep others off that network")


def _kept(document: Section) -> Iterator[Finding]:
    session, store = (document.get(name) for name in ("session", "store"))
    if not isinstance(session, Mapping) or not _given(session, "keys", "keys_file"):
        yield Caution(
            _AT,
            "session.keys_file is not set: each sidecar makes a random key at its start, so a session counts only "
            "at the sidecar that opened it, and proofs, failed tries and the lock that lets one sidecar at a time "
            "ask about a client are not shared",
        )
    if not isinstance(store, Mapping) or store.get("path") is None:
        yield Caution(
            _AT,
            "store.path is not set: what is registered, and what is revoked, lasts only as long as Redis keeps it",
        )
