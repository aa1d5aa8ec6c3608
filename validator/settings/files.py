"""Files that settings name: secrets, certificates, and the configuration itself.

Law of this file: only regular files of a bounded size are read, what is in a secret's file is told to nobody,
and neither is its path, because people put the secret there instead.
"""

import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath

from pydantic_core import PydanticCustomError

from validator.settings import tls
from validator.settings.document import Document, Mapping
from validator.settings.mistakes import Caution, Path, Problem
from validator.settings.secret_values import api_key, session_key

_MAX_SECRET_BYTES = 64 * 1024
_MAX_BUNDLE_BYTES = 8 * 1024 * 1024
_OTHERS_READ = stat.S_IROTH


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of key: how it is read, and how it is told of."""

    read: Callable[[object], object]
    form: str
    example: str
    path: str


_IN_BASE64 = ("one key in base64", "the output of `openssl rand -base64 32`")

# Settings that are lists of keys; each may come from the file that the setting with ``_file`` behind names.
KEY_LISTS: dict[Path, _Kind] = {
    ("session", "keys"): _Kind(session_key, *_IN_BASE64, "/run/secrets/session-keys"),
    ("dcr", "api_keys"): _Kind(
        api_key, "one key", "the output of `openssl rand -hex 32`", "/run/secrets/dcr-api-keys"
    ),
    ("dcr", "sealing_keys"): _Kind(session_key, *_IN_BASE64, "/run/secrets/dcr-sealing-keys"),
}

# The secrets of a strategy, and where a file with each would stand.
_STRATEGY_SECRETS: dict[Path, str] = {
    ("introspection", "client_secret"): "/run/secrets/introspection-secret",
    ("registration", "initial_access_token"): "/run/secrets/initial-access-token",
}

# Those of the section ``redis``, likewise.
_REDIS_PASSWORDS = {
    "password": "/run/secrets/redis-password",
    "sentinel_password": "/run/secrets/redis-sentinel-password",
}


class FileError(Exception):
    """Why a file gives nothing: a phrase for ``found``, without its path or content."""


def read_file(path: FilePath, max_bytes: int) -> tuple[bytes, bool]:
    """The content of a regular file, and whether every user of the machine may read it.

    Raises:
        FileError: it is missing, unreadable, no regular file or longer than ``max_bytes``.
    """
    try:
        # Looked at before it is opened: opening a pipe would wait for a writer.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileError("what is not a regular file")
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise FileError("a file that does not exist") from None
    except PermissionError:
        raise FileError("a file that this user may not read") from None
    except (OSError, ValueError) as error:
        raise FileError(f"a file that cannot be read ({getattr(error, 'strerror', None) or 'bad path'})") from None
    if len(content) > max_bytes:
        raise FileError(f"a file of more than {max_bytes} bytes")
    return content, bool(status.st_mode & _OTHERS_READ)


def absorb(document: Document, base: FilePath) -> list[Problem | Caution]:
    """Reads the files that the settings name and puts the content of secrets in their place.

    Relative paths are taken from ``base``, the directory of the configuration file.
    """
    found: list[Problem | Caution] = []
    _absolute(document.data.get("store"), "path", base)
    found += _data_tls(document, base)
    strategies = document.data.get("strategies")
    for name, strategy in strategies.items() if isinstance(strategies, Mapping) else ():
        if path := _absolute(strategy, "ca_file", base):
            found += _bundle(("strategies", name, "ca_file"), path)
    if path := _absolute(section_at(document, ("redis",)), "ca_file", base):
        found += _bundle(("redis", "ca_file"), path)
    found += _tls(document, base, tls.REDIS)
    found += _text(document, base, ("control", "token_file"), "token", "/run/secrets/control-token")
    for keys in KEY_LISTS:
        found += _keys(document, base, keys)
    for password, example in _REDIS_PASSWORDS.items():
        found += _text(document, base, ("redis", f"{password}_file"), password, example)
    for secret in strategy_secrets(document):
        direct = str(secret[-1])
        example = _STRATEGY_SECRETS[secret[-2:]]
        found += _text(document, base, (*secret[:-1], f"{direct}_file"), direct, example)
    return found


def secrets(document: Document) -> list[Path]:
    """Where secrets are, or would be; the address of Redis only where there is one in it."""
    places: list[Path] = [("control", "token"), *KEY_LISTS, *strategy_secrets(document)]
    places += [("redis", name) for name in _REDIS_PASSWORDS]
    redis = section_at(document, ("redis",))
    if redis is not None and "@" in str(redis.get("url")):
        places.append(("redis", "url"))
    return places


def strategy_secrets(document: Document) -> list[Path]:
    """Where the secrets of the strategies are, or would be."""
    strategies = document.data.get("strategies")
    names = list(strategies) if isinstance(strategies, Mapping) else []
    return [("strategies", name, *secret) for name in names for secret in _STRATEGY_SECRETS]


def section_at(document: Document, path: Path) -> Mapping | None:
    """The section at ``path``, where there is one."""
    node: object = document.data
    for part in path:
        node = node.get(str(part)) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else None


def _absolute(section: object, name: str, base: FilePath) -> FilePath | None:
    value = section.get(name) if isinstance(section, Mapping) else None
    if not isinstance(section, Mapping) or not isinstance(value, str) or not value.isprintable() or not value:
        return None
    path = base / value
    section[name] = str(path)
    return path


def _bundle(at: Path, path: FilePath) -> list[Problem | Caution]:
    expected, example = "the path of a PEM file with certificates", "/etc/ssl/certs/ca-certificates.crt"
    shown = tls.shown_path(path) or "what may be a key and is not shown"
    try:
        content, _ = read_file(path, _MAX_BUNDLE_BYTES)
    except FileError as error:
        return [Problem(at, f"{error} ({shown})", expected, example)]
    if b"-----BEGIN CERTIFICATE-----" not in content:
        return [Problem(at, f"no certificate in {shown}", expected, example)]
    return []


def _data_tls(document: Document, base: FilePath) -> list[Problem | Caution]:
    listen, (*_, name) = section_at(document, tls.DATA.at[:1]), tls.DATA.at
    if listen is None or name not in listen:
        return []
    if (nothing := tls.without_files(listen[str(name)])) is not None:
        return [nothing]
    return _tls(document, base, tls.DATA)


def _tls(document: Document, base: FilePath, section: tls.TlsSection) -> list[Problem | Caution]:
    found: list[Problem | Caution] = []
    contents: dict[str, tuple[FilePath, bytes]] = {}
    for name in section.expected:
        path = _absolute(section_at(document, section.at), name, base)
        if path is None:
            continue
        try:
            content, exposed = read_file(path, _MAX_BUNDLE_BYTES)
        except FileError as error:
            found.append(tls.unreadable(section, name, error, path))
            continue
        contents[name] = path, content
        if exposed:
            found += tls.exposed_key(section, name)
    return found + tls.findings(section, contents)


def _text(document: Document, base: FilePath, at: Path, direct: str, example: str) -> list[Problem | Caution]:
    """A secret that is the whole text of its file, but for spaces and line ends around it."""
    content, found = _secret(document, base, at, direct, example)
    if content is None:
        return found
    expected = f"a file with the {direct.rpartition('_')[2]} alone"
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        return [*found, Problem(at, "a file that is not text", expected)]
    if not text:
        return [*found, Problem(at, "an empty file", expected)]
    _put(document, at, direct, text)
    return found


def _keys(document: Document, base: FilePath, path: Path) -> list[Problem | Caution]:
    """The list of keys at ``path`` out of its file, one a line, ``#`` for comments."""
    kind, direct = KEY_LISTS[path], str(path[-1])
    at: Path = (*path[:-1], f"{direct}_file")
    content, found = _secret(document, base, at, direct, kind.path)
    if content is None:
        return found
    keys: list[object] = []
    bad = False
    for number, line in enumerate(content.decode("ascii", "replace").splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            key = kind.read(text)
        except PydanticCustomError as error:
            expected = str((error.context or {}).get("expected"))
            found.append(Problem(at, f"a bad key in line {number} of that file", expected, kind.example))
            bad = True
            continue
        if key in keys:
            found.append(Problem(at, f"a key a second time in line {number} of that file", "each key once"))
        else:
            keys.append(key)
    if keys:
        _put(document, at, direct, keys)
    elif not bad:
        found.append(Problem(at, "a file without a key", f"{kind.form} a line", kind.example))
    return found


def _secret(
    document: Document, base: FilePath, at: Path, direct: str, example: str
) -> tuple[bytes | None, list[Problem | Caution]]:
    """The content of the file that the setting at ``at`` names, unless its value is also given ``direct``."""
    section = section_at(document, at[:-1])
    name = str(at[-1])
    path = _absolute(section, name, base)
    if path is None or section is None:
        return None, []
    if section.get(direct) is not None:
        return None, [Problem(at, f"both {direct} and {name}", "only one of them")]
    try:
        content, exposed = read_file(path, _MAX_SECRET_BYTES)
    except FileError as error:
        return None, [
            Problem(at, str(error), "the path of a file that holds the secret and that we may read", example)
        ]
    if exposed:
        return content, [Caution(at, "every user of the machine may read this file; chmod 0640 or stricter")]
    return content, []


def _put(document: Document, at: Path, direct: str, value: object) -> None:
    section = section_at(document, at[:-1])
    if section is not None:
        section[direct] = value
    document.aliases[(*at[:-1], direct)] = at
