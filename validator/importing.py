"""``validator import konnect``: application auth strategies of Konnect as YAML for the configuration file.

Law of this file: it reads, prints and decides nothing; what a body means is decided in ``settings``.
"""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import yaml

from validator.settings import Imported, Mistake, SettingsError, read_konnect
from validator.settings.document import scalar
from validator.settings.expansion import MAX_BODY_BYTES
from validator.settings.files import FileError, read_file
from validator.settings.konnect import WHAT

DONE, NO = 0, 1

_STDIN = "standard input"
_WIDTH = 115
# What a remark about something else than a setting is put before.
_ABOUT = {"strategy_type": "idp", "dcr_provider": "idp", "name": "idp", "display_name": "idp"}


def konnect(files: Sequence[str], stdin: BinaryIO, *, idp: str | None, name: str | None) -> int:
    """Prints the strategies of all files, or every mistake in them; returns the exit code.

    Args:
        files: paths; ``-`` is ``stdin``.
        idp, name: in place of what the bodies say.
    """
    mistakes: list[Mistake] = []
    found: dict[str, tuple[str, Imported]] = {}
    for file in files:
        source = _STDIN if file == "-" else file
        try:
            strategy = read_konnect(_content(file, stdin), source, idp=idp, name=name)
        except FileError as error:
            mistakes.append(Mistake(source, None, "", str(error), f"a file with {WHAT}"))
            continue
        except SettingsError as error:
            mistakes += error.mistakes
            continue
        first, _ = found.setdefault(strategy.name, (source, strategy))
        if found[strategy.name][1] is not strategy:
            expected = f"a name that {first} does not have already; or import them one by one with --name"
            mistakes.append(Mistake(source, strategy.line, "name", repr(strategy.name), expected))
    if mistakes:
        for mistake in mistakes:
            print(mistake, file=sys.stderr)  # noqa: T201 - as said
        return NO
    print("strategies:")  # noqa: T201 - the answer
    for source, strategy in found.values():
        print("\n".join(_lines(source, strategy)))  # noqa: T201 - the answer
    return DONE


def _content(file: str, stdin: BinaryIO) -> bytes:
    if file != "-":
        return read_file(Path(file), MAX_BODY_BYTES)[0]
    content = stdin.read(MAX_BODY_BYTES + 1)
    if len(content) > MAX_BODY_BYTES:
        raise FileError(f"more than {MAX_BODY_BYTES} bytes")
    return content


def _lines(source: str, imported: Imported) -> Iterator[str]:
    """One strategy, each remark above the setting that it is about, or at the end."""
    remarks = [(_ABOUT.get(setting, setting), text) for setting, text in imported.remarks]
    yield f"  # from {source if source.isprintable() else repr(source)}"
    yield f"  {_yaml(imported.name)}:"
    for setting, value in imported.strategy.items():
        for about, text in remarks:
            if about == setting:
                yield from _comment(text)
        yield f"    {setting}: {_yaml(value)}"
    for about, text in remarks:
        if about not in imported.strategy:
            yield from _comment(f"{about}: {text}" if about and not text.startswith(about) else text)


class _Dumper(yaml.SafeDumper):
    """YAML as the configuration reads it, in which other texts are numbers than in YAML 1.1."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = scalar(text) if text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, None if isinstance(plain, str) else '"')


_Dumper.add_representer(str, _text)


def _yaml(value: object) -> str:
    """On one line."""
    dumped = yaml.dump(
        list(value) if isinstance(value, list) else value,
        Dumper=_Dumper,
        default_flow_style=True,
        width=float("inf"),
        allow_unicode=True,
    )
    return str(dumped).removesuffix("\n").removesuffix("\n...")


def _comment(text: str) -> list[str]:
    # A comment of YAML ends at more characters than a line of Python does.
    text = "".join(char if char.isprintable() else "?" for char in text)
    return [f"    # {line}" for line in textwrap.wrap(text, _WIDTH - 6, break_long_words=False)]
