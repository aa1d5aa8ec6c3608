"""A file and the environment -> settings, and Konnect's JSON -> a strategy, or every mistake in them at once.

Law of this file: the order of the steps. No step stops another from finding its mistakes, except that text
which is no YAML has only the one.
"""

from collections.abc import Iterable
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TypeVar

from pydantic import ValidationError

from validator.settings import konnect
from validator.settings.checks import findings
from validator.settings.document import Document, Mapping, UnreadableError, load
from validator.settings.environment import overlay
from validator.settings.expansion import (
    expand,
    is_command,
    json_text,
    nest,
    no_json,
    read_body,
    read_sent,
    replace,
    twice,
)
from validator.settings.files import FileError, absorb, read_file, secrets, section_at
from validator.settings.mistakes import Caution, Mistake, Notice, Path, Problem, SettingsError, dotted
from validator.settings.model import Checked, Settings
from validator.settings.wording import problems

# 100,000 applications are about 20 MB; more belongs into the registry.
MAX_FILE_BYTES = 64 * 1024 * 1024

_Told = TypeVar("_Told", Mistake, Notice)


def read(path: str | FilePath, environ: AnyMapping[str, str]) -> Settings:
    """The settings of a YAML file with the variables ``VALIDATOR__*`` of ``environ`` laid over it.

    Args:
        path: the file; relative paths within it are taken from its directory.
        environ: the environment, ``os.environ`` in a running program.

    Raises:
        SettingsError: with every mistake, in the order of their lines.
    """
    document, exposed, mistakes = _document(FilePath(path))
    found: list[Problem | Caution] = [*nest(document)]
    mistakes += overlay(document, environ)
    found += expand(document, _base(path))
    found += [*_exposed_secrets(document, exposed), *absorb(document, _base(path))]
    found += findings(document.data)
    _drop_empty(document.data)
    cautions = [item for item in found if isinstance(item, Caution)]
    notices = [Notice(*document.locate(item.path), dotted(item.path), item.text) for item in cautions]
    warnings = tuple(_in_order(notices, document.source))
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(document.data, context=Checked(warnings))
    except ValidationError as error:
        found += problems(error)
    mistakes += [
        document.mistake(item.path, item.found, item.expected, item.example)
        for item in found
        if isinstance(item, Problem)
    ]
    if mistakes or settings is None:
        raise SettingsError(_in_order(mistakes, document.source))
    return settings


@dataclass(frozen=True, slots=True)
class Imported:
    """A strategy out of Konnect's.

    Attributes:
        line: where it is named.
        strategy: its settings, as they would stand in the file.
        remarks: what should be known, by the setting that it is about.
    """

    name: str
    line: int | None
    strategy: AnyMapping[str, object]
    remarks: tuple[tuple[str, str], ...]


def read_konnect(content: bytes, source: str, *, name: str | None = None, idp: str | None = None) -> Imported:
    """The strategy of one body of Konnect's ``POST /v2/application-auth-strategies``.

    Args:
        source: what mistakes call the content.
        name: of the strategy, in place of the body's own.
        idp: whose ways apply, in place of what the body says.

    Raises:
        SettingsError: with every mistake, in the order of their lines.
    """
    try:
        body, duplicates = read_body(_text(content, source))
    except UnreadableError as error:
        raise SettingsError([Mistake(source, error.line, "", error.found, error.expected)]) from None
    known = Document(source, body)
    named = name or konnect.slug(body)
    if not named and konnect.refusal(body) is None:
        raise SettingsError([known.mistake(("name",), "no name", "one that begins with a letter, or --name")])
    named = named or "konnect"
    strategy, strategies, data = Mapping(body.line), Mapping(body.line), Mapping(body.line)
    if idp is not None:
        strategy["idp"] = idp
    data["strategies"], strategies[named] = strategies, strategy
    document, at = Document(source, data), ("strategies", named)
    found = [*twice(document, at, known, duplicates), *replace(document, at, strategy, body, known)]
    found += [item for item in findings(data) if item.path[:2] == at]
    try:
        Settings.model_validate(data, context=Checked(()))
    except ValidationError as error:
        found += problems(error)
    mistakes = [
        Mistake(*document.locate(item.path), dotted(item.path[2:]), item.found, item.expected, item.example)
        for item in found
        if isinstance(item, Problem)
    ]
    if mistakes:
        raise SettingsError(_in_order(mistakes, source))
    remarks = [(_setting(item.path[2:]), item.text) for item in found if isinstance(item, Caution)]
    return Imported(named, known.locate(("name",))[1], strategy, tuple(dict.fromkeys(remarks)))


def _setting(path: Path) -> str:
    """The setting that a path in a body, or in a strategy, is about."""
    inner = path[2:] if path[:1] == ("configs",) else path
    return str(inner[0]) if inner else ""


def _base(path: str | FilePath) -> FilePath:
    return FilePath(path).absolute().parent


def _document(path: FilePath) -> tuple[Document, bool, list[Mistake]]:
    source = str(path)
    try:
        content, exposed = read_file(path, MAX_FILE_BYTES)
    except FileError as error:
        raise SettingsError([Mistake(source, None, "", str(error), "a readable configuration file")]) from None
    text = _text(content, source)
    try:
        data, duplicates = read_sent(text) if is_command(text) else load(json_text(text))
    except UnreadableError as error:
        told = no_json(error, "valid JSON") if text.lstrip().startswith("{") else error
        raise SettingsError([Mistake(source, told.line, "", told.found, told.expected)]) from None
    if not isinstance(data, Mapping):
        found = "an empty file" if data is None else "a list" if isinstance(data, list) else "a single value"
        expected = f"a mapping with keys out of: {', '.join(Settings.model_fields)}"
        raise SettingsError([Mistake(source, 1, "", found, expected, "strategies:")])
    return Document(source, data), exposed, [
        Mistake(source, line, dotted(at), f"the key {str(at[-1])[:60]!r} a second time", "each key once")
        for at, line in duplicates
    ]  # fmt: skip


def _text(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError([Mistake(source, line, "", "what is not UTF-8", "text in UTF-8")]) from None


def _exposed_secrets(document: Document, exposed: bool) -> list[Caution]:
    """A warning for each secret that stands in a configuration file which everyone may read."""
    cautions = []
    for path in secrets(document):
        part = section_at(document, path[:-1])
        inside = part is not None and part.get(str(path[-1])) is not None
        if exposed and inside and document.locate(path)[1] is not None:
            text = "a secret in a file that every user of the machine may read; chmod 0640 or stricter"
            cautions.append(Caution(path, text))
    return cautions


def _drop_empty(data: Mapping) -> None:
    """Sections of which only the name is left, everything in them commented out, mean their defaults."""
    for name, field in Settings.model_fields.items():
        if name in data and data[name] is None and not field.is_required():
            del data[name]


def _in_order(told: Iterable[_Told], source: str) -> list[_Told]:
    """By line, those of ``source`` before those of the files that it names and of the environment."""
    return sorted(dict.fromkeys(told), key=lambda one: (one.source != source, one.source, one.line or 0))
