"""What the tests of packaging share.

Law of this file: it finds and reads files; it judges nothing.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DEPLOY = ROOT / "deploy"
KONG_PLUGIN = ROOT / "kong-plugin"
MODULES = KONG_PLUGIN / "kong" / "plugins" / "credential-validator"
STREAMED = DEPLOY / "konnect" / "streamed"
# This page's own folders; the others have tests of their own.
FOLDERS = ("docker", "kubernetes", "konnect", "deck")
NAME = "credential-validator"


def own_files(*suffixes: str) -> list[Path]:
    """The files of the install pages with one of these suffixes."""
    found = [
        path for folder in FOLDERS for path in sorted((DEPLOY / folder).rglob("*")) if path.suffix in suffixes
    ]
    return [*found, *(path for path in (KONG_PLUGIN / "kustomization.yaml",) if path.suffix in suffixes)]


def named(paths: Iterable[Path]) -> list[Any]:
    """The files as parameters of a test, by their paths in the repository."""
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


def documents(path: Path) -> list[Any]:
    """The YAML documents of a file."""
    return list(yaml.safe_load_all(path.read_text()))


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a Markdown page in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def plugin_configs(node: object) -> Iterator[Mapping[str, Any]]:
    """Every configuration of our plugin in a document: of decK (``name``) and of Kubernetes (``plugin``)."""
    if isinstance(node, Mapping):
        if NAME in (node.get("name"), node.get("plugin")) and "config" in node:
            yield node["config"]
        for member in node.values():
            yield from plugin_configs(member)
    elif isinstance(node, list):
        for member in node:
            yield from plugin_configs(member)


def as_lua(value: object) -> str:
    """``value`` as a Lua literal."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return '"' + "".join(f"\\{byte:03d}" for byte in value.encode()) + '"'
        case Mapping():
            return "{" + ",".join(f"[{as_lua(key)}]={as_lua(member)}" for key, member in value.items()) + "}"
        case Iterable():
            return "{" + ",".join(as_lua(member) for member in value) + "}"
        case _:
            raise TypeError(f"cannot be written as Lua: {value!r}")


def refused_configs(
    configs: Iterable[Mapping[str, Any]], directory: Path, schema: Path | None = None
) -> list[str]:
    """What Kong would say of these configurations, a line for each that it refuses."""
    given = directory / "configs.lua"
    given.write_text(f"return {as_lua(configs)}\n")
    command = ["luajit", HERE / "plugin_config.lua", schema or MODULES / "schema.lua", given]
    done = subprocess.run(
        command, cwd=ROOT / "tests" / "gateway" / "lua", capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
