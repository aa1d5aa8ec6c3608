"""Where Redis is: one URL and what stands beside it, read into one value.

Law of this file: text in, a value out; nothing is opened and no name is looked up. A secret is in no ``repr`` and
in no sentence, so the URL, which may hold one, is never repeated.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self
from urllib.parse import unquote

_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_MAX_HOSTS: Final = 32
_MAX_DB: Final = 65535  # servers have 16 unless told otherwise; the server itself refuses what it does not have
_MAX_PORT: Final = 65535
_MAX_URL: Final = 4096  # characters

_HOST: Final = re.compile(
    r"\[(?P<six>[0-9A-Fa-f:.]+(?:%[\w.]+)?)\](?P<end>.*)|(?P<name>[^:\[\]]*)(?P<rest>.*)", re.DOTALL
)
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")
_MASTER: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")  # what Sentinel itself takes
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODE: Final = "in a username or password, write characters such as : / @ # ? % percent-encoded"


class Topology(StrEnum):
    """How the server is found that holds a key."""

    STANDALONE = "standalone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_SCHEMES: Final = {
    "redis": (Topology.STANDALONE, False),
    "rediss": (Topology.STANDALONE, True),
    "unix": (Topology.STANDALONE, False),
    "redis+sentinel": (Topology.SENTINEL, False),
    "rediss+sentinel": (Topology.SENTINEL, True),
    "redis+cluster": (Topology.CLUSTER, False),
    "rediss+cluster": (Topology.CLUSTER, True),
}
SCHEMES: Final = tuple(f"{scheme}://" for scheme in _SCHEMES)

Host = tuple[str, int]


@dataclass(frozen=True, slots=True, repr=False)
class RedisEndpoint:
    """Where Redis is, and as whom it is spoken to.

    Attributes:
        hosts: name and port of the server, the Sentinels, or some of the Cluster's nodes; none with ``path``.
        path: of a Unix socket.
        master: the name that Sentinel knows the master by.
        tls: on every connection, those to Sentinels among them.
        username: ``None`` with a password: the server's default user.
        ca_file: PEM certificates to trust instead of the system's.
        certificate_file: PEM certificate of our own, where the server asks for one.
    """

    topology: Topology
    hosts: tuple[Host, ...]
    path: str | None = None
    db: int = 0
    master: str | None = None
    tls: bool = False
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def __repr__(self) -> str:
        secured = ", tls" if self.tls else ""
        return f"RedisEndpoint({self.topology.value}, {self.where}, db={self.db}{secured})"

    @property
    def where(self) -> str:
        """The address, for a person."""
        if self.path is not None:
            return self.path
        return ",".join(written(host) for host in self.hosts)

    @classmethod
    def parse(
        cls,
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
        ca_file: str | None = None,
        certificate_file: str | None = None,
        key_file: str | None = None,
    ) -> Self:
        """Args:
            username: goes before the URL's.
            password: goes before the URL's.

        Raises:
            ValueError: it names no place to connect to; the sentence says what to write and repeats no secret.
        """
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in _SCHEMES:
            raise ValueError(f"expected a URL that begins with one of {', '.join(SCHEMES)}")
        if len(url) > _MAX_URL or not url.isprintable() or " " in url:
            raise ValueError(f"expected a URL without spaces, of {_MAX_URL} characters at most; {_ENCODE}")
        if "#" in rest or ("?" in rest and scheme != "unix"):
            raise ValueError(f"a URL of Redis has no part behind ? or # here; {_ENCODE}")
        topology, tls = _SCHEMES[scheme]
        url_username, url_password, rest = _userinfo(rest)
        found = _socket(rest) if scheme == "unix" else _hosts(rest, topology)
        username = username or url_username
        password = password or url_password
        _check_pair("", username, password)
        if topology is not Topology.SENTINEL and (sentinel_username or sentinel_password):
            raise ValueError("sentinel_username and sentinel_password go with a URL of redis+sentinel:// only")
        _check_pair("sentinel_", sentinel_username, sentinel_password)
        _check_files(tls=tls, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file)
        hosts, path, master, db = found
        return cls(
            topology,
            hosts,
            path,
            db,
            master,
            tls,
            username or None,
            password or None,
            sentinel_username or None,
            sentinel_password or None,
            ca_file,
            certificate_file,
            key_file,
        )


def written(host: Host) -> str:
    """As in a URL."""
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


_Found = tuple[tuple[Host, ...], str | None, str | None, int]  # hosts, path, master, db


def _userinfo(rest: str) -> tuple[str | None, str | None, str]:
    authority, slash, path = rest.partition("/")
    userinfo, at, hosts = authority.rpartition("@")
    if "@" in userinfo or "@" in path:
        raise ValueError(f"expected one @ at most; {_ENCODE}")
    if not at:
        return None, None, rest
    username, _, password = userinfo.partition(":")
    return _decoded(username), _decoded(password), f"{hosts}{slash}{path}"


def _decoded(text: str) -> str | None:
    if _BROKEN_ESCAPE.search(text):
        raise ValueError(f"% is followed by two hexadecimal digits; {_ENCODE}")
    try:
        return unquote(text, errors="strict") or None
    except UnicodeDecodeError:
        raise ValueError("what is percent-encoded is no UTF-8") from None


def _socket(rest: str) -> _Found:
    text, _, query = rest.partition("?")
    path = _decoded(text)
    if path is None or not path.startswith("/") or path.endswith("/"):
        raise ValueError("expected the absolute path of a socket, such as unix:///run/redis/redis.sock")
    db = 0
    if query:
        name, _, value = query.partition("=")
        if name != "db":
            raise ValueError("a unix:// URL takes only the database behind it, as in unix:///run/redis.sock?db=0")
        db = _number(value)
    return (), path, None, db


def _hosts(rest: str, topology: Topology) -> _Found:
    authority, _, path = rest.partition("/")
    default = _SENTINEL_PORT if topology is Topology.SENTINEL else _REDIS_PORT
    hosts = tuple(_host(text, default) for text in authority.split(","))
    if topology is Topology.STANDALONE and len(hosts) > 1:
        raise ValueError("several hosts go with redis+sentinel:// or redis+cluster:// only")
    if len(hosts) > _MAX_HOSTS or len(set(hosts)) < len(hosts):
        raise ValueError(f"expected {_MAX_HOSTS} hosts at most, each once")
    master = None
    if topology is Topology.SENTINEL:
        name, _, path = path.partition("/")
        if not _MASTER.fullmatch(name):
            raise ValueError(
                "expected the master's name behind the Sentinels, as in redis+sentinel://host:26379/mymaster/0"
            )
        master = name
    db = _number(path.removesuffix("/")) if path.removesuffix("/") else 0
    if topology is Topology.CLUSTER and db:
        raise ValueError("a Cluster has database 0 only: leave the number away")
    return hosts, None, master, db


def _host(text: str, default: int) -> Host:
    found = _HOST.fullmatch(text)
    if found is None:
        raise ValueError(f"expected host:port, or [IPv6 address]:port; {_ENCODE}")
    name, rest = (found["six"], found["end"]) if found["six"] else (found["name"], found["rest"])
    if not name or not (found["six"] or _NAME.fullmatch(name)):
        raise ValueError(f"expected the name or address of a host; {_ENCODE}")
    port = rest.removeprefix(":")
    if not rest:
        return name, default
    if len(port) == len(rest) or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= _MAX_PORT:
        raise ValueError(f"expected a port from 1 to {_MAX_PORT}; {_ENCODE}")
    return name, int(port)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > _MAX_DB:
        raise ValueError(f"expected the number of a database, 0 to {_MAX_DB}, as in redis://host:6379/0")
    return int(text)


def _check_pair(kind: str, username: str | None, password: str | None) -> None:
    if username and not password:
        raise ValueError(f"{kind}username needs {kind}password (or {kind}password_file) beside it")


def _check_files(*, tls: bool, **files: str | None) -> None:
    given = [name for name, path in files.items() if path]
    if given and not tls:
        raise ValueError(f"{', '.join(given)}: only with TLS, which a URL of rediss:// asks for")
    if bool(files["certificate_file"]) != bool(files["key_file"]):
        raise ValueError("certificate_file and key_file go together")
