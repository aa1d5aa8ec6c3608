"""The streamed build is Lua that Kong can load: compiled, with Kong's names alone, readable in a stack trace."""

import re
import subprocess
from pathlib import Path

import pytest
from deploy_support import HERE, MODULES, ROOT, STREAMED
from streaming.bundle import build
from streaming.names import Outside, outside

pytestmark = pytest.mark.programs

# Guarded where they are read: nil in Kong's sandbox.
GUARDED = {"handler": {"rawget", "rawset"}, "schema": {"kong", "ngx"}}
LUA_FILES = sorted([*MODULES.glob("*.lua"), *(ROOT / "tests" / "gateway" / "lua").glob("*.lua")])


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["handler", "schema"])
def test_it_compiles(name: str) -> None:
    assert run("luajit", "-bl", STREAMED / f"{name}.lua")


@pytest.mark.parametrize("name", ["handler", "schema"])
def test_it_loads_with_the_names_of_the_sandbox_alone(name: str) -> None:
    said = run("luajit", HERE / "streamed_sandbox.lua", STREAMED / f"{name}.lua", name).splitlines()
    assert {line.removeprefix("missing ") for line in said if line.startswith("missing ")} <= GUARDED[name]
    assert not [line for line in said if line.startswith("written ")]
    assert not [line for line in said if "kong.plugins." in line]
    if name == "handler":
        assert "has VERSION 0.1.0" in said
        assert "has PRIORITY 1040" in said
        assert "has access function" in said
    else:
        assert "has name credential-validator" in said


def test_a_stack_trace_names_functions_and_lines_that_the_table_finds() -> None:
    said = run("luajit", HERE / "streamed_sandbox.lua", STREAMED / "handler.lua", "handler")
    (trace,) = [line for line in said.splitlines() if line.startswith("trace ")]
    frames = re.findall(r"handler\.lua:(\d+): in function '(\w+)'", trace)
    assert len(frames) > 1, trace
    text = (STREAMED / "handler.lua").read_text()
    lines = text.splitlines()
    starts = [(int(number), name) for number, name in re.findall(r"^-- +(\d+) (\w+\.lua)$", text, re.MULTILINE)]
    for place in (int(number) for number, _ in frames):
        start, name = max(entry for entry in starts if entry[0] <= place)
        assert lines[place - 1] == (MODULES / name).read_text().splitlines()[place - start]


def test_each_module_has_lua_s_bounds_for_itself(tmp_path: Path) -> None:
    """200 locals to a function: five modules of 190, each read by a function of 50 upvalues."""
    many = "".join(f"local v{number} = {number}\n" for number in range(190))
    reading = "return function() return " + " + ".join(f"v{number}" for number in range(50)) + " end\n"
    for name in "abcde":
        (tmp_path / f"{name}.lua").write_text(many + reading)
    (tmp_path / "handler.lua").write_text('return { VERSION = "1.0.0", PRIORITY = 1 }\n')
    (tmp_path / "schema.lua").write_text("return {}\n")
    built = tmp_path / "built.lua"
    built.write_text(build(tmp_path)["handler.lua"])
    assert run("luajit", "-bl", built)


def compiled_names(path: Path, instruction: str) -> set[str]:
    return set(re.findall(rf"\b{instruction}\b.*; (\w+)", run("luac5.1", "-l", "-p", path)))


def read_names(found: Outside) -> set[str]:
    names = {re.split(r"[.:]", use.name)[0] for use in found.reads}
    names |= {"require"} if found.requires or found.inner_requires or found.odd_requires else set()
    return names | ({"pcall"} if found.tried_requires else set())


@pytest.mark.parametrize("path", LUA_FILES, ids=lambda path: path.name)
def test_the_builder_sees_the_globals_that_lua_s_own_compiler_sees(path: Path) -> None:
    found = outside(path.read_text())
    members = {re.split(r"[.:]", use.name)[0] for use in found.writes if re.search(r"[.:]", use.name)}
    written = {use.name for use in found.writes if not re.search(r"[.:]", use.name)}
    assert compiled_names(path, "SETGLOBAL") == written
    # A local named require stands for the global one in the builder's eyes; a compiler sees one read of it.
    own = {"require", "pcall"}
    assert compiled_names(path, "GETGLOBAL") - own == (read_names(found) | members) - own
