"""Strategies that are given in Konnect's form become ours before anything else is looked at.

Law of this file: where such a form is found, how its text is read, and which place in it each setting points to.
What it means is decided in ``konnect``.
"""

import itertools
import re
from pathlib import Path as FilePath
from typing import Final

from validator.settings import konnect
from validator.settings.document import Document, Mapping, UnreadableError, load
from validator.settings.files import FileError, read_file
from validator.settings.mistakes import Caution, Path, Problem, shown
from validator.settings.model import Settings
from validator.settings.strategies import Strategy

MAX_BODY_BYTES: Final = 1024 * 1024

_FILE: Final = "konnect_file"
_EXAMPLE: Final = "azure-auth.json"
# What the documents print is a whole command; the body is what stands in quotes behind one of these.
_CURL: Final = re.compile(r"\bcurl\b")
_FIRST_LINE: Final = re.compile(r"^[ \t]*[^\s#].*", re.MULTILINE)
_COMMAND: Final = re.compile(r"[ \t]*(\$ +)?curl\s")
_DATA: Final = re.compile(r"(?:--data(?:-raw|-binary|-ascii)?|--json|-d)(?:\s+|=)(['\"])(?=\s*\{)")
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|[{}]', re.DOTALL)
_MAX_COMMANDS: Final = 32  # a page of the documents has two or three
_SURROGATES: Final = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


def read_body(text: str) -> tuple[Mapping, list[tuple[Path, int]]]:
    """The body in a text: the text itself, or what the command line of a ``curl`` in it sends.

    Returns:
        the body, with its lines in ``text``, and the paths and lines of keys that are written twice.

    Raises:
        UnreadableError: there is none.
    """
    try:
        data, duplicates = load(json_text(_sent(text)))
    except UnreadableError as error:
        raise no_json(error, konnect.WHAT) from None
    if not isinstance(data, Mapping):
        found = "an empty file" if data is None else "a list" if isinstance(data, list) else "a single value"
        raise UnreadableError(1, found, konnect.WHAT)
    return data, duplicates


def no_json(error: UnreadableError, expected: str) -> UnreadableError:
    """The error in the words of a person who wrote JSON."""
    if not error.syntax:
        return error
    found = f"what is neither JSON nor YAML ({error.syntax})"
    return UnreadableError(error.line, found, f"{expected}; look for a missing comma, brace or quote")


def is_command(text: str) -> bool:
    """Whether a text begins with the command line of a ``curl``, blank lines and comments aside."""
    first = _FIRST_LINE.search(text)
    return first is not None and bool(_COMMAND.match(first[0]))


def read_sent(text: str) -> tuple[Mapping, list[tuple[Path, int]]]:
    """The strategy that a command line creates; as ``read_body``.

    Raises:
        UnreadableError: it creates none.
    """
    body, duplicates = read_body(text)
    refused = konnect.refusal(body)
    if refused is not None:
        raise UnreadableError(1, f"a curl command with {refused.found}", refused.expected)
    return body, duplicates


def json_text(text: str) -> str:
    """JSON as YAML reads it. Two things differ: tabs between values, and characters beyond 16 bits as a pair of
    escapes."""
    if not text.lstrip().startswith("{"):
        return text

    def joined(pair: re.Match[str]) -> str:
        return bytes.fromhex(pair[1] + pair[2]).decode("utf-16-be")

    # JSON has no bare tab within a text, so that all of them stand between values.
    return _SURROGATES.sub(joined, text.replace("\t", " "))


def _sent(text: str) -> str:
    """Of a command line, what it sends; the lines before it are kept as empty ones."""
    if text.lstrip().startswith("{") or not _CURL.search(text):
        return text
    bodies = []
    commands = list(itertools.islice(_DATA.finditer(text), _MAX_COMMANDS))
    if not commands:
        raise UnreadableError(1, "a command line that sends no JSON", konnect.WHAT)
    ends = [*(command.start() for command in commands[1:]), len(text)]
    for found, end in zip(commands, ends, strict=True):
        # Within single quotes a shell knows no escapes; a quote is written as '\''.
        rest = text[found.end() : end]
        rest = rest.replace(r"'\''", "'") if found[1] == "'" else re.sub(r'\\(["\\$`])', r"\1", rest)
        bodies.append("\n" * text.count("\n", 0, found.end()) + _object(rest))
    return next((body for body in bodies if '"configs"' in body), bodies[0])


def _object(text: str) -> str:
    """The JSON object that ``text`` begins with, or all of it where that does not end."""
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return text[: token.end()]
    return text


def nest(document: Document) -> list[Caution]:
    """A file that is such a body itself is a configuration of one strategy, named by the body's ``name``."""
    data = document.data
    if "configs" not in data or "strategies" in data:
        return []
    body = Mapping(data.line)
    cautions = []
    for key in [key for key in data if key not in Settings.model_fields]:
        value, line = data.pop(key), data.lines.get(key, data.line)
        if key in konnect.MEMBERS or key in Strategy.model_fields:
            body[key], body.lines[key] = value, line
        else:
            document.elsewhere[key,] = (document.source, line)
            cautions.append(Caution((key,), "not read"))
    strategies = Mapping(data.line)
    name = konnect.slug(body) or "konnect"
    strategies[name], strategies.lines[name] = body, data.line
    data["strategies"], data.lines["strategies"] = strategies, data.line
    return cautions


def expand(document: Document, base: FilePath) -> list[Problem | Caution]:
    """Puts a strategy of ours in the place of each that is given as a file or as a body.

    Relative paths are taken from ``base``, the directory of the configuration file.
    """
    found: list[Problem | Caution] = []
    strategies = document.data.get("strategies")
    for name, strategy in strategies.items() if isinstance(strategies, Mapping) else ():
        if not isinstance(strategy, Mapping):
            continue
        at: Path = ("strategies", name)
        if _FILE in strategy:
            found += _from_file(document, at, strategy, base)
        elif "configs" in strategy:
            body = Mapping(strategy.line)
            body.lines = strategy.lines
            body.update((key, value) for key, value in strategy.items() if key in konnect.MEMBERS)
            found += replace(document, at, strategy, body, document)
    return found


def _from_file(document: Document, at: Path, strategy: Mapping, base: FilePath) -> list[Problem | Caution]:
    where: Path = (*at, _FILE)
    document.elsewhere[where] = document.locate(where)
    value = strategy.pop(_FILE)
    if "configs" in strategy:
        for member in konnect.MEMBERS & strategy.keys():
            del strategy[member]
        return _refuse(strategy, Problem(where, f"both {_FILE} and configs", "only one of them", _EXAMPLE))
    expected = f"the path of a file with {konnect.WHAT}"
    if not isinstance(value, str) or not value or not value.isprintable():
        return _refuse(strategy, Problem(where, shown(where, value), expected, _EXAMPLE))
    try:
        content, _ = read_file(base / value, MAX_BODY_BYTES)
        body, duplicates = read_body(content.decode("utf-8-sig"))
    except FileError as error:
        return _refuse(strategy, Problem(where, f"{error} ({value[:60]!r})", expected, _EXAMPLE))
    except UnicodeDecodeError:
        return _refuse(strategy, Problem(where, f"what is not UTF-8 ({value[:60]!r})", expected, _EXAMPLE))
    except UnreadableError as error:
        document.elsewhere[where] = (_shown_path(document, value), error.line)
        return _refuse(strategy, Problem(where, error.found, error.expected))
    source = Document(_shown_path(document, value), body)
    found = replace(document, at, strategy, body, source)
    return [*twice(document, at, source, duplicates), *found]


def twice(
    document: Document, at: Path, source: Document, duplicates: list[tuple[Path, int]]
) -> list[Problem | Caution]:
    """The keys of a body that are written twice, as mistakes of the strategy at ``at``."""
    for path, line in duplicates:
        document.elsewhere[*at, *path] = (source.source, line)
    return [
        Problem((*at, *path), f"the key {str(path[-1])[:60]!r} a second time", "each key once")
        for path, _ in duplicates
    ]


def _shown_path(document: Document, value: str) -> str:
    return str(FilePath(document.source).parent / value)


def _refuse(strategy: Mapping, problem: Problem) -> list[Problem | Caution]:
    # Stand-ins, so that one mistake is told once; nothing is ever served with them.
    strategy.setdefault("idp", "generic")
    strategy.setdefault("issuer", "https://refused.invalid")
    return [problem]


def replace(
    document: Document, at: Path, strategy: Mapping, body: Mapping, source: Document
) -> list[Problem | Caution]:
    """Completes the strategy at ``at`` by what a body says.

    Args:
        source: where the lines of the body are known: its own file, or the document itself.
    """
    own = source is document
    beside = {key: value for key, value in strategy.items() if not own or key not in konnect.MEMBERS}
    converted = konnect.convert(body, beside)

    def place(path: Path) -> tuple[str, int | None]:
        return source.locate((*at, *path) if own else path)

    places: dict[Path, tuple[str, int | None]] = {(*at, *item.path): place(item.path) for item in converted.found}
    if "issuer" not in beside:
        places[*at, "issuer"] = place(konnect.CONFIG)  # where it is missing, if it is
    for key in converted.strategy:
        places[*at, key] = place(converted.taken_from.get(key, ()))
    if own:
        for key in konnect.MEMBERS & strategy.keys():
            del strategy[key]
    document.elsewhere |= places
    strategy.update(converted.strategy)
    return [
        Problem((*at, *item.path), item.found, item.expected, item.example)
        if isinstance(item, Problem)
        else Caution((*at, *item.path), item.text)
        for item in converted.found
    ]
