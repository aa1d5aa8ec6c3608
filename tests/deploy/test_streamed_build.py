"""The streamed build: one handler and one schema of the modules, or every reason why there is none."""

import shutil
from pathlib import Path

import pytest
import yaml
from deploy_support import MODULES, STREAMED
from stream_plugin import main
from streaming.bundle import BuildError, build
from streaming.names import outside
from streaming.sandbox import HANDLER, is_given

PREFIX = "kong.plugins.credential-validator."
SMALL = {
    "handler": f'local one = require "{PREFIX}one"\nreturn {{ VERSION = "1.2.3", PRIORITY = 1, access = one }}\n',
    "one": f'local two = require "{PREFIX}two"\nreturn two\n',
    "two": "return function() return ngx.now() end\n",
    "schema": 'return { name = "credential-validator", fields = {} }\n',
}


def plugin(directory: Path, **changed: str | None) -> Path:
    """A plugin of few modules, some of them changed or, with None, left out."""
    folder = directory / "credential-validator"
    folder.mkdir()
    for name, text in {**SMALL, **changed}.items():
        if text is not None:
            (folder / f"{name}.lua").write_text(text)
    return folder


def test_the_committed_files_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--check"])
    assert status == 0, capsys.readouterr().err


def test_dedicated_cloud_gateways_take_both_files() -> None:
    """Their bound is 100 KB for each."""
    files = build(MODULES)
    assert all(len(files[name].encode()) < 100_000 for name in ("handler.lua", "schema.lua"))


def test_a_stale_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    with (tmp_path / "handler.lua").open("a") as handler:
        handler.write("-- changed\n")
    (tmp_path / "schema.lua").unlink()
    capsys.readouterr()
    assert main(["--check", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "handler.lua is out of date: run scripts/stream-plugin" in said
    assert "schema.lua is out of date" in said
    assert "kong.yaml" not in said
    assert not (tmp_path / "schema.lua").exists()


def test_a_failed_build_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_plugin.PLUGIN", plugin(tmp_path, one="x = 1\n"))
    assert main([str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()


def test_the_same_modules_give_the_same_bytes(tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    copied.mkdir()
    for path in sorted(MODULES.iterdir(), reverse=True):
        shutil.copyfile(path, copied / path.name)
    assert build(copied) == build(MODULES)


def test_the_deck_file_carries_both_texts_unchanged() -> None:
    files = build(MODULES)
    parsed = yaml.safe_load(files["kong.yaml"])
    assert parsed["_format_version"] == "3.0"
    (carried,) = parsed["custom_plugins"]
    assert carried == {
        "name": "credential-validator",
        "schema": files["schema.lua"],
        "handler": files["handler.lua"],
    }


def test_every_module_stands_in_the_handler_as_it_is_after_those_that_it_requires() -> None:
    handler = build(MODULES)["handler.lua"]
    places: dict[str, int] = {}
    for path in MODULES.glob("*.lua"):
        if path.stem != "schema":
            text = f'\nmodules["{PREFIX}{path.stem}"] = function(...)\n{path.read_text()}end\n'
            assert handler.count(text) == 1, path.name
            places[path.stem] = handler.index(text)
    for name, place in places.items():
        for use in outside((MODULES / f"{name}.lua").read_text()).requires:
            if use.name.startswith(PREFIX):
                assert places[use.name.removeprefix(PREFIX)] < place


def test_the_table_at_the_head_finds_each_module() -> None:
    lines = build(MODULES)["handler.lua"].splitlines()
    listed = {}
    for line in lines[: lines.index("local installed = require")]:
        match line.split():
            case ["--", number, name] if name.endswith(".lua") and number.isdigit():
                listed[name] = int(number)
    assert set(listed) == {path.name for path in MODULES.glob("*.lua")} - {"schema.lua"}
    for name, number in listed.items():
        assert lines[number - 1] == (MODULES / name).read_text().splitlines()[0]


def test_a_module_that_is_added_is_taken_up(tmp_path: Path) -> None:
    folder = plugin(tmp_path)
    before = build(folder)["handler.lua"]
    (folder / "three.lua").write_text('return "three"\n')
    (folder / "two.lua").write_text(f'local three = require "{PREFIX}three"\nreturn three\n')
    after = build(folder)["handler.lua"]
    assert "three" not in before
    assert after.index(f'modules["{PREFIX}three"]') < after.index(f'modules["{PREFIX}two"]')


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"two": "count = 1\n"}, "two.lua:1: assignment to the global count", id="global"),
        pytest.param(
            {"two": "\nfunction helper() end\n"}, "two.lua:2: assignment to the global helper", id="function"
        ),
        pytest.param({"two": "kong.log.err = nil\n"}, "assignment to the global kong.log.err", id="kong's member"),
        pytest.param({"two": 'local x = require "socket"\n'}, "two.lua:1: require 'socket': Kong's", id="unknown"),
        pytest.param({"two": f'local x = require "{PREFIX}no"\n'}, "there is no no.lua", id="missing module"),
        pytest.param({"two": f'local x = require "{PREFIX}schema"\n'}, "there is no schema.lua", id="schema"),
        pytest.param({"two": 'local x = require("a" .. "b")\n'}, "require without a name", id="dynamic"),
        pytest.param({"two": "local load = require\n"}, "require without a name", id="renamed require"),
        pytest.param(
            {"two": f'local function f() return require "{PREFIX}one" end\n'}, "at the top of the file", id="lazy"
        ),
        pytest.param({"two": f'local x = pcall(require, "{PREFIX}one")\n'}, "at the top of the file", id="tried"),
        pytest.param({"two": "local x = ngx.shared.kong\n"}, "two.lua:1: ngx.shared.kong is not", id="ngx.shared"),
        pytest.param({"two": "return setmetatable({}, {})\n"}, "setmetatable is not among", id="setmetatable"),
        pytest.param({"two": "ngx.timer.at(0, print)\n"}, "ngx.timer.at is not among", id="timer"),
        pytest.param({"two": "return kong.db.routes:select()\n"}, "kong.db.routes:select is not", id="method"),
        pytest.param({"two": f'local x = require "{PREFIX}one"\nreturn x\n'}, "one -> two -> one", id="circle"),
        pytest.param({"two": "return (\n"}, "two.lua:2: expected a name", id="no Lua"),
        pytest.param({"two": "return 'a\n"}, "two.lua:1: unexpected", id="no token"),
        pytest.param({"two": "return [[a\n"}, "[[ is never closed", id="open string"),
        pytest.param({"two": "return '\x0b'\n"}, "write it as an escape", id="control character"),
        pytest.param({"two": "return 1\r\n"}, "write it as an escape", id="carriage return"),
        pytest.param({"api": "return {}\n"}, "api.lua: Kong streams a handler and a schema alone", id="api"),
        pytest.param({"handler": None}, "handler.lua: it is missing", id="no handler"),
        pytest.param({"schema": None}, "schema.lua: it is missing", id="no schema"),
        pytest.param({"handler": "return {}\n"}, "handler.lua: it has no VERSION", id="no version"),
        pytest.param(
            {"handler": SMALL["handler"] + "local h = {}\nfunction h:init_worker() end\n"},
            "cannot run in init_worker",
            id="init_worker",
        ),
        pytest.param(
            {"schema": 'local t = require "kong.x"\n'}, "Konnect and streaming take none", id="schema require"
        ),
        pytest.param({"schema": "return ngx.re\n"}, "schema.lua:1: ngx.re is not there", id="schema global"),
        pytest.param({"schema": "return { custom_validator = 1 }\n"}, "use declarative checks", id="validator"),
    ],
)
def test_what_cannot_be_streamed_is_refused_with_what_to_do(
    tmp_path: Path, changed: dict[str, str | None], said: str
) -> None:
    with pytest.raises(BuildError) as refused:
        build(plugin(tmp_path, **changed))
    assert said in str(refused.value)


def test_a_folder_of_modules_is_refused(tmp_path: Path) -> None:
    folder = plugin(tmp_path)
    (folder / "more").mkdir()
    with pytest.raises(BuildError, match="more/: modules are taken from one directory alone"):
        build(folder)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as refused:
        build(plugin(tmp_path, one="x = 1\n", two="y = 1\n", schema='require "z"\n'))
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "one.lua",
        "schema.lua",
        "two.lua",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "local rawget = rawget or function(from, key) return from[key] end",
        "local null = ngx.timer and ngx.null",
        'local found, ssl = pcall(require, "ngx.ssl")',
        'local pcall, require = pcall, require\nlocal found, ssl = pcall(require, "ngx.ssl")',
        "kong.ctx.shared.x = 1 ngx.ctx.y = 2 ngx.status = 200 ngx.header.z = nil",
        "local consumer = kong.db.consumers:select_by_username('a') return kong.cache:get('k')",
        "kong.log('a') kong.log.err('b')",
        '-- x = 1\n--[[ y = 1 ]] --[==[ ]] z = 1 ]==]\nlocal s = \'x = 1\' .. "require \\"a\\"" .. [[ z = 1 ]]',
    ],
)
def test_what_kong_gives_is_taken(tmp_path: Path, text: str) -> None:
    build(plugin(tmp_path, two=text + "\nreturn 1\n"))


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("local x = x", ["x"]),
        ("local x = 1; return x", []),
        ("local function f(a, ...) return a, b end", ["b"]),
        ("do local a = 1 end return a", ["a"]),
        ("for i = a, 2 do local b = i end for k, v in pairs(t) do f(k, v) end", ["a", "f", "pairs", "t"]),
        ("repeat local done = 1 until done return done", ["done"]),
        ("if a then local c = 1 elseif b then return c else return c end", ["a", "b", "c", "c"]),
        ("local t = { a = b, [c] = d, e; f() }", ["b", "c", "d", "e", "f"]),
        ("local m = {} function m.n.o:p() return self, q end", ["q"]),
        ("local t = {} t.a.b[c] = d; (e):f(g).h = 1", ["c", "d", "e", "g"]),
        ("return a.b.c:d(e), f'g', h{i}.j", ["a.b.c:d", "e", "f", "h", "i"]),
        ("goto done ::done:: while not a do break end return -b ^ #c", ["a", "b", "c"]),
    ],
)
def test_scopes_are_lua_s(text: str, reads: list[str]) -> None:
    assert sorted(use.name for use in outside(text).reads) == reads


@pytest.mark.parametrize("path", ["kong", "kong.log", "ngx.re.find", "ngx.ctx.anything", "kong.ctx.shared.x.y"])
def test_the_sandbox_gives(path: str) -> None:
    assert is_given(path, HANDLER)


@pytest.mark.parametrize(
    "path", ["ngx.shared", "ngx.ssl", "kong.lo", "kong.tracing.active_span", "debug", "io.open"]
)
def test_the_sandbox_does_not_give(path: str) -> None:
    assert not is_given(path, HANDLER)


def test_the_committed_example_uses_the_plugin() -> None:
    example = yaml.safe_load((STREAMED / "example.yaml").read_text())
    assert example["services"][0]["plugins"][0]["name"] == "credential-validator"
