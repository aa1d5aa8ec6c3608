"""What is told to the person who wrote the configuration.

Law of this file: every mistake says where it is, what was found, what was expected and what a right value
looks like; and no secret is ever part of what was found.
"""

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Path = tuple[str | int, ...]

_MAX_SHOWN = 60  # characters of a found value: enough to recognise it, short enough to stay on a line
_MAX_CANDIDATES = 200  # names that a suggestion is searched among; keeps many mistakes cheap
_MAX_LISTED = 40  # names that are listed in full
# What stands here may be a secret, even where a file's path or a whole section is expected.
_SECRET_PLACES: tuple[Path, ...] = (
    ("control",), ("session", "keys"), ("session", "keys_file"), ("listen", "data_tls", "key_file"),
    ("listen", "data_tls", "certificate_file"), ("listen", "data_tls", "client_ca_file"),
    ("redis", "url"), ("redis", "ca_file"), ("redis", "certificate_file"), ("redis", "key_file"),
)  # fmt: skip
# A bare value in the place of one is likely a key, or an address with a password; a wrong duration in it is not.
_SECRET_SECTIONS: tuple[Path, ...] = (("session",), ("dcr",), ("redis",))
# What people call a secret when they put it where none belongs.
_SECRET_NAME = re.compile(
    r"secret|password|passwd|passphrase|assertion|api_?key|private_?key|sealing_?key|access_?token", re.IGNORECASE
)
_USERINFO = re.compile(r"//[^/@]*@")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to correct.

    Attributes:
        source: the file, or the environment variable, that holds it.
        line: its line in that file, from 1; ``None`` for an environment variable or a whole file.
        where: the dotted path of the setting, or "" for the whole document.
        found: what stands there, shortened; never a secret.
        expected: what should stand there.
        example: a right value, or "".
    """

    source: str
    line: int | None
    where: str
    found: str
    expected: str
    example: str = ""

    def __str__(self) -> str:
        # A suggestion in ``expected`` is the better example.
        given = self.example and not self.expected.endswith("?")
        example = f", for example {self.example}" if given else ""
        place = _place(self.source, self.line, self.where)
        return f"{place}found {self.found}, expected {self.expected}{example}"


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning: the configuration can be served, but this should be known. Fields as in ``Mistake``."""

    source: str
    line: int | None
    where: str
    text: str

    def __str__(self) -> str:
        return f"{_place(self.source, self.line, self.where)}{self.text}"


class SettingsError(Exception):
    """A configuration that cannot be served, with every mistake in it."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(self.mistakes)

    def __str__(self) -> str:
        return "\n".join(map(str, self.mistakes))


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake that does not yet know its line."""

    path: Path
    found: str
    expected: str
    example: str = ""


@dataclass(frozen=True, slots=True)
class Caution:
    """A warning that does not yet know its line."""

    path: Path
    text: str


def dotted(path: Path) -> str:
    """The path as a person writes it."""
    return ".".join(map(str, path))


def shown(path: Path, value: object) -> str:
    """What was found at ``path``, shortened; a secret is not shown at all."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list | tuple):
        return "a list"
    if is_secret(path):
        return "a value that is not shown"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if isinstance(value, str):
        # A URL with a password in it is refused, and its password must not be in the refusal.
        text = repr(_USERINFO.sub("//...@", text))
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def is_secret(path: Path) -> bool:
    """Whether a value at ``path`` may be a secret."""
    return (
        path in _SECRET_SECTIONS
        or (path[:1] == ("strategies",) and path[2:] == ("registration",))
        or any(path[: len(place)] == place for place in _SECRET_PLACES)
        or any(isinstance(part, str) and _SECRET_NAME.search(part) for part in path)
    )


def one_of(names: Iterable[str], found: object = None) -> str:
    """The phrase for a choice among ``names``, with a suggestion when ``found`` comes close to one."""
    known = list(itertools.islice(names, _MAX_CANDIDATES + 1))
    listed = ", ".join(known[:_MAX_LISTED]) + (", ..." if len(known) > _MAX_LISTED else "")
    phrase = f"one of {listed}" if known else "nothing here"
    close = _closest(known, found)
    return f"{phrase}; did you mean {close}?" if close else phrase


def _closest(known: Sequence[str], found: object) -> str:
    if not isinstance(found, str) or len(found) > _MAX_SHOWN or len(known) > _MAX_CANDIDATES:
        return ""
    plain = {name.lower().replace("-", "_"): name for name in known}
    matches = difflib.get_close_matches(found.lower().replace("-", "_"), plain, n=1)
    return plain[matches[0]] if matches else ""


def _place(source: str, line: int | None, where: str) -> str:
    return f"{source}{f':{line}' if line is not None else ''}: {f'{where}: ' if where else ''}"
