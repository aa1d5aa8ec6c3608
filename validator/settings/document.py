"""YAML text -> plain data that remembers its lines.

Law of this file: one pass over the parser's events, bounded in size, depth and expansion; nothing is executed
and nothing is guessed. Scalars follow the core schema of YAML 1.2, so ``yes`` is text and ``010`` is ten, as
editors with a YAML language server see them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import yaml

from validator.settings.mistakes import Mistake, Path, dotted

_MAX_DEPTH = 32  # the configuration itself is six deep
_MAX_EXPANDED = 100_000  # values that aliases may add; a few kilobytes of them can mean billions
_MAX_NUMBER = 32  # characters; a longer one is text, and no bound here lets it through as such
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it


class Mapping(dict[str, object]):
    """A mapping that knows its line and those of its keys."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


class Sequence(list[object]):
    """A sequence that knows its line and those of its items."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: list[int] = []


class UnreadableError(Exception):
    """Text from which no data can be had.

    Attributes:
        syntax: what the parser says, where the text is no YAML at all.
    """

    def __init__(self, line: int | None, found: str, expected: str, syntax: str = "") -> None:
        super().__init__(found)
        self.line, self.found, self.expected, self.syntax = line, found, expected, syntax


@dataclass
class Document:
    """Data and where each part of it was written.

    Attributes:
        source: the file's name as it was given.
        origins: paths whose value came from elsewhere, and the name of where (an environment variable).
        aliases: paths whose value was put in for another setting (the content of a file for its path).
        elsewhere: paths whose value follows from another place: its source and line.
    """

    source: str
    data: Mapping
    origins: dict[Path, str] = field(default_factory=dict)
    aliases: dict[Path, Path] = field(default_factory=dict)
    elsewhere: dict[Path, tuple[str, int | None]] = field(default_factory=dict)

    def locate(self, path: Path) -> tuple[str, int | None]:
        """Source and line of the value at ``path``, or of the nearest thing around it that was written."""
        path = self.aliases.get(path, path)
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]], None
            if path[:length] in self.elsewhere:
                return self.elsewhere[path[:length]]
        node: object = self.data
        line = self.data.line
        for part in path:
            if isinstance(node, Mapping) and isinstance(part, str) and part in node:
                line, node = node.lines.get(part, line), node[part]
            elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.lines):
                line, node = node.lines[part], node[part]
            else:
                break
        return self.source, line

    def mistake(self, path: Path, found: str, expected: str, example: str = "") -> Mistake:
        """A mistake at ``path``, with its line."""
        return Mistake(*self.locate(path), dotted(path), found, expected, example)


def load(text: str) -> tuple[object, list[tuple[Path, int]]]:
    """The one document of a YAML text, and the paths and lines of keys that are written twice.

    Raises:
        UnreadableError: a syntax error, a second document, a tag, an alias to nothing, or a bound exceeded.
    """
    try:
        loader = _LOADER(text)
        try:
            return _Builder(loader).build()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(filter(None, (error.problem, error.context)))
        raise UnreadableError(
            mark.line + 1 if mark else None,
            f"what is not YAML ({what})",
            "valid YAML; check the indentation, and quotes around values with special characters",
            syntax=what,
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else None
        raise UnreadableError(line, "a character that YAML does not allow", "printable text") from None
    except UnicodeEncodeError as error:
        raise UnreadableError(text.count("\n", 0, error.start) + 1, "what is not UTF-8", "text in UTF-8") from None


def scalar(text: str) -> object:
    """The value of a plain (unquoted) scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "0123456789+-." and len(text) <= _MAX_NUMBER:
        if _INT.fullmatch(text):
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if _FLOAT.fullmatch(text):
            # Python writes infinity and not-a-number without YAML's dot.
            return float(text.replace(".", "") if text[-1] in "fFnN" else text)
    return text


class _Discard:
    """The key of a value that is not kept."""


_Key = str | _Discard | None
_DISCARD = _Discard()


class _Builder:
    """Consumes the events of one document, with its own stack: no recursion, whatever the nesting."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self._next: Callable[[], yaml.Event | None] = loader.get_event
        self._stack: list[Mapping | Sequence] = []
        self._keys: list[_Key] = []
        self._anchors: list[str | None] = []
        self._known: dict[str, object] = {}
        self._expanded = 0
        self._root: object = None
        self._rooted = False
        self._duplicates: list[tuple[Path, int]] = []

    def build(self) -> tuple[object, list[tuple[Path, int]]]:
        while (event := self._next()) is not None:
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._close()
            elif isinstance(event, yaml.CollectionStartEvent):
                self._open(event)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.DocumentStartEvent) and self._rooted:
                raise UnreadableError(_line(event), "a second document (---)", "one document")
        return self._root, self._duplicates

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        line = _line(event)
        top = self._stack[-1] if self._stack else None
        if isinstance(top, Mapping) and self._keys[-1] is None:
            self._key(top, event.value, line)
            return
        _refuse_tag(event.tag, line)
        value = scalar(event.value) if event.tag is None and event.implicit[0] else event.value
        if event.anchor is not None:
            self._known[event.anchor] = value
        self._put(value, line)

    def _key(self, top: Mapping, key: str, line: int) -> None:
        if key in top.lines:
            self._duplicates.append(((*self._path(), key), line))
            self._keys[-1] = _DISCARD
        else:
            top.lines[key] = line
            self._keys[-1] = key

    def _path(self) -> Path:
        """The path of the innermost open container."""
        return tuple(
            len(container) if isinstance(container, Sequence) else str(key)
            for container, key in zip(self._stack[:-1], self._keys[:-1], strict=True)
        )

    def _put(self, value: object, line: int) -> None:
        if not self._stack:
            self._root, self._rooted = value, True
            return
        top = self._stack[-1]
        if isinstance(top, Sequence):
            top.append(value)
            top.lines.append(line)
            return
        key = self._keys[-1]
        if isinstance(key, str):
            top[key] = value
        self._keys[-1] = None

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        line = _line(event)
        _refuse_tag(event.tag, line)
        self._refuse_as_key(line)
        if len(self._stack) >= _MAX_DEPTH:
            raise UnreadableError(line, f"more than {_MAX_DEPTH} levels", "a flatter document")
        self._stack.append(Mapping(line) if isinstance(event, yaml.MappingStartEvent) else Sequence(line))
        self._keys.append(None)
        self._anchors.append(event.anchor)

    def _close(self) -> None:
        done = self._stack.pop()
        self._keys.pop()
        anchor = self._anchors.pop()
        if anchor is not None:
            self._known[anchor] = done
        self._put(done, done.line)

    def _alias(self, event: yaml.AliasEvent) -> None:
        line = _line(event)
        self._refuse_as_key(line)
        if event.anchor not in self._known:
            raise UnreadableError(line, "an alias (*) to what is not defined before it", "an anchor (&) above it")
        self._put(self._copy(self._known[event.anchor], line), line)

    def _copy(self, value: object, line: int) -> object:
        # Copied, so that an environment variable for one place does not change the other.
        self._expanded += 1
        if self._expanded > _MAX_EXPANDED:
            raise UnreadableError(line, f"aliases that stand for over {_MAX_EXPANDED} values", "fewer aliases")
        if isinstance(value, Mapping):
            mapping = Mapping(value.line)
            mapping.lines = value.lines
            mapping.update((key, self._copy(item, line)) for key, item in value.items())
            return mapping
        if isinstance(value, Sequence):
            sequence = Sequence(value.line)
            sequence.lines = value.lines
            sequence.extend(self._copy(item, line) for item in value)
            return sequence
        return value

    def _refuse_as_key(self, line: int) -> None:
        if self._stack and self._keys[-1] is None and isinstance(self._stack[-1], Mapping):
            raise UnreadableError(
                line, "a key that is not plain text", "keys of plain text; quote values with [ or {"
            )


def _refuse_tag(tag: str | None, line: int) -> None:
    if tag not in {None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
        raise UnreadableError(line, "a tag (!)", "plain values; put quotes around text that begins with !")


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return mark.line + 1 if mark else 1
