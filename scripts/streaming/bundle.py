"""Makes one handler and one schema of the plugin's modules.

Law of this file: a function of the files' text alone, so that the same modules give the same bytes; what Kong's
streaming would refuse is refused here, all of it at once, with what to do. The modules stand in the handler as
they are, comments included: whoever puts the text into a control plane can read why it does what it does, and a
line of a stack trace is found by the table at the head. Each module is a function of its own, so that LuaJIT's
bounds (200 locals, 60 upvalues) hold for the whole as they hold for each file.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from streaming.lexer import LuaError
from streaming.names import Outside, Use, outside
from streaming.sandbox import HANDLER, REQUIRES, SCHEMA, is_given, is_writable

NAME = "credential-validator"
PREFIX = f"kong.plugins.{NAME}."

# Kong loads these by their name from a directory; a streamed plugin has none.
_BY_NAME = frozenset({"api", "daos", "dao", "migrations", "clustering", "status_api"})
_PHASES = frozenset({"init_worker"})
_VALIDATORS = frozenset({"custom_validator", "custom_entity_check", "fn"})
# No text of a module may end a YAML block or be read otherwise than it is written.
_UNPRINTABLE = re.compile(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]|[\u2028\u2029]")

_HEAD = """\
-- The Kong plugin credential-validator {version} in one file, for Kong's custom plugin streaming. Apache-2.0.
-- Made by scripts/stream-plugin from kong-plugin/kong/plugins/credential-validator/: change those files instead.
{table}

local installed = require
local modules, loaded = {{}}, {{}}

-- One of the modules below, opened when it is first asked for; or one of Kong's own.
local function require(name)
  local open = modules[name]
  if not open then
    return installed(name)
  end
  if loaded[name] == nil then
    loaded[name] = open(name)
  end
  return loaded[name]
end
"""
_SCHEMA_HEAD = "-- Made by scripts/stream-plugin from kong-plugin/kong/plugins/credential-validator/schema.lua.\n"


class BuildError(Exception):
    """The plugin cannot be streamed; a line for each reason."""


def build(plugin: Path) -> dict[str, str]:
    """The files of the streamed build by name, from the directory of the plugin's modules.

    Raises:
        BuildError: something in them cannot be streamed.
    """
    texts = _read(plugin)
    found: dict[str, Outside] = {}
    mistakes: list[str] = []
    for name, text in texts.items():
        try:
            found[name] = outside(text)
        except LuaError as error:
            mistakes.append(_at(name, error.line, f"{error}: this is no Lua that scripts/streaming understands"))
    for name, module in found.items():
        mistakes += _schema_mistakes(module) if name == "schema" else _module_mistakes(name, module, set(texts))
    if mistakes:
        raise BuildError("\n".join(mistakes))
    del found["schema"]
    handler = _handler(texts, _ordered(found))
    schema = _SCHEMA_HEAD + texts["schema"]
    return {"handler.lua": handler, "schema.lua": schema, "kong.yaml": _deck(handler, schema)}


# ---- reading --------------------------------------------------------------------------------------------------


def _read(plugin: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    mistakes: list[str] = []
    for path in sorted(plugin.glob("*.lua")):
        text = path.read_bytes().decode(errors="replace")
        if odd := _UNPRINTABLE.search(text):
            line = text.count("\n", 0, odd.start()) + 1
            mistakes.append(_at(path.stem, line, f"{odd[0]!r} cannot stand in YAML: write it as an escape"))
        texts[path.stem] = text if text.endswith("\n") else text + "\n"
    mistakes += [
        f"{needed}.lua: it is missing in {plugin.name}/: a plugin has both handler.lua and schema.lua"
        for needed in ("handler", "schema")
        if needed not in texts
    ]
    mistakes += [
        f"{name}.lua: Kong streams a handler and a schema alone: leave this file out of the plugin"
        for name in sorted(_BY_NAME & set(texts))
    ]
    folders = sorted(path.name for path in plugin.iterdir() if path.is_dir())
    mistakes += [f"{name}/: modules are taken from one directory alone: move its files up" for name in folders]
    if mistakes:
        raise BuildError("\n".join(mistakes))
    return texts


def _at(name: str, line: int, what: str) -> str:
    return f"{name}.lua:{line}: {what}"


# ---- what is refused ------------------------------------------------------------------------------------------


def _module_mistakes(name: str, module: Outside, known: set[str]) -> Iterator[str]:
    yield from _common_mistakes(name, module)
    for use in module.inner_requires + [use for use in module.tried_requires if use.name.startswith(PREFIX)]:
        yield _at(name, use.line, f"require {use.name!r} within a function: write it at the top of the file")
    for use in module.requires:
        own = use.name.removeprefix(PREFIX)
        if use.name.startswith(PREFIX) and own not in known - {"schema"}:
            yield _at(name, use.line, f"require {use.name!r}: there is no {own}.lua among the handler's modules")
        elif not use.name.startswith(PREFIX) and use.name not in REQUIRES:
            yield _at(
                name,
                use.line,
                f"require {use.name!r}: Kong's sandbox does not let a streamed handler have it: do without, or "
                "add it to scripts/streaming/sandbox.py if Kong does",
            )
    for use in _missing(module, HANDLER):
        yield _at(
            name,
            use.line,
            f"{use.name} is not among what Kong's sandbox gives to a streamed handler: do without, or add it to "
            "scripts/streaming/sandbox.py if Kong has it",
        )
    if name == "handler":
        for use in module.words:
            if use.name in _PHASES:
                yield _at(
                    name,
                    use.line,
                    f"a streamed handler cannot run in {use.name}: do its work on the first request",
                )


def _schema_mistakes(module: Outside) -> Iterator[str]:
    yield from _common_mistakes("schema", module)
    for use in module.requires + module.inner_requires + module.tried_requires:
        yield _at(
            "schema",
            use.line,
            f"require {use.name!r}: Konnect and streaming take none: write the field out",
        )
    for use in _missing(module, SCHEMA):
        yield _at(
            "schema",
            use.line,
            f"{use.name} is not there when Kong reads a streamed schema: use Lua's own names alone",
        )
    for use in module.words:
        if use.name in _VALIDATORS:
            yield _at(
                "schema",
                use.line,
                f"{use.name}: streaming takes no validator that is a function: use declarative checks",
            )


def _common_mistakes(name: str, module: Outside) -> Iterator[str]:
    for use in module.odd_requires:
        yield _at(name, use.line, 'require without a name that is written out: write require "name"')
    for use in module.writes:
        if not is_writable(use.name):
            yield _at(
                name, use.line, f"assignment to the global {use.name}: Kong's sandbox refuses it; make it a local"
            )


def _missing(module: Outside, names: frozenset[str]) -> list[Use]:
    return [use for use in module.reads if not use.tested and not is_given(use.name, names)]


# ---- what is made ---------------------------------------------------------------------------------------------


def _ordered(found: dict[str, Outside]) -> list[str]:
    """Each module after those that it requires; those that do not depend on each other by name."""
    order: list[str] = []

    def visit(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            circle = " -> ".join([*way[way.index(name) :], name])
            raise BuildError(
                f"the modules require each other in a circle: {circle}: move what both need into a third one"
            )
        if name in order:
            return
        for use in sorted(found[name].requires, key=lambda use: use.name):
            if use.name.startswith(PREFIX):
                visit(use.name.removeprefix(PREFIX), (*way, name))
        order.append(name)

    for name in sorted(found):
        visit(name, ())
    return order


def _handler(texts: dict[str, str], order: list[str]) -> str:
    version = re.search(r'\bVERSION = "([^"]+)"', texts["handler"])
    if not version:
        raise BuildError('handler.lua: it has no VERSION = "x.y.z", which Kong demands')
    head = _HEAD.format(version=version[1], table="\n".join("--" for _ in range(len(order) + 1)))
    line = head.count("\n") + 1
    table = ["-- The first line of each module is here line"]
    body = ""
    for name in order:
        opened = f'\nmodules["{PREFIX}{name}"] = function(...)\n'
        line += opened.count("\n")
        table.append(f"-- {line:5} {name}.lua")
        closed = "end\n"
        body += opened + texts[name] + closed
        line += (texts[name] + closed).count("\n")
    return (
        _HEAD.format(version=version[1], table="\n".join(table)) + body + f'\nreturn require "{PREFIX}handler"\n'
    )


def _deck(handler: str, schema: str) -> str:
    return (
        "# The plugin credential-validator for custom plugin streaming, made by scripts/stream-plugin.\n"
        "#   deck gateway apply --include-plugin-definitions kong.yaml\n"
        "# It needs custom_plugin_streaming_enabled = on, and untrusted_lua = lax, since it opens connections.\n"
        "# example.yaml beside this file puts it on a service.\n"
        '_format_version: "3.0"\n'
        "custom_plugins:\n"
        f"  - name: {NAME}\n"
        f"    schema: |\n{_block(schema)}"
        f"    handler: |\n{_block(handler)}"
    )


def _block(text: str) -> str:
    return "".join(f"      {line}\n" if line else "\n" for line in text.splitlines())
