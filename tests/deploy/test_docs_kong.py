"""The page for Kong's users names every field, file and line of the log, and what it prints can be applied."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from deploy_support import DEPLOY, MODULES, ROOT, blocks, own_files, plugin_configs, refused_configs

RE_LINES = re.DOTALL | re.MULTILINE
PATH = ROOT / "docs" / "kong.md"
PAGE = PATH.read_text()
SCHEMA = (MODULES / "schema.lua").read_text()
INDEX = DEPLOY / "README.md"


def section(title: str) -> str:
    """What stands between this heading and the next of its level."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of the rows of the tables in a text."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def fields() -> dict[str, str | None]:
    """The schema's fields in their order with their defaults."""
    config = SCHEMA[SCHEMA.index("{ config = {") :]
    _, *found = re.split(r"^        \{ (\w+) = ", config, flags=re.MULTILINE)
    defaults = [re.search(r'\bdefault = "?([^\s,"]+)', text) for text in found[1::2]]
    return {name: default and default[1] for name, default in zip(found[::2], defaults, strict=True)}


def test_every_field_is_described_in_the_schema_s_order_with_its_default() -> None:
    told = {name: row for row in rows(section("Configuration")) for name in re.findall(r"`(\w+)`", row[0])}
    assert list(told) == list(fields())
    for name, default in fields().items():
        said = told[name][1].strip("`")
        assert said == default if default else said not in ("true", "false", "0"), name
    required = re.findall(
        r"^        \{ (\w+) = (?:(?!^        \{).)*?required = true(?!, default)", SCHEMA, RE_LINES
    )
    assert {name for name in told if told[name][1] == "required"} == {
        name for name in required if not fields()[name]
    }


def test_the_priority_is_the_handler_s() -> None:
    priority = re.search(r"PRIORITY = (\d+)", (MODULES / "handler.lua").read_text())
    assert priority is not None
    text = section("Where it stands among Kong's plugins")
    assert f"**{priority[1]}**" in text
    order = [cells for cells in rows(text) if cells[1].isdigit()]
    assert all(int(cells[1]) > int(priority[1]) for cells in order)
    assert all(int(cells[-1].split(",")[0]) < int(priority[1]) for cells in order)


def test_every_line_of_the_log_in_the_table_is_one_of_the_plugin_s() -> None:
    code = "\n".join(path.read_text() for path in MODULES.glob("*.lua"))
    said = re.sub(r'"\s*\.\.\s*"|"\s*,\s*"|\s+', " ", code).replace('" .. ', " ")
    table = rows(section("Troubleshooting").partition("| what you see")[0])[2:]
    foreign = {
        "no such file or directory",
        "permission denied",
        "connection refused",
        "timeout",
    }  # nginx's own words
    for line, *_ in table:
        for words in re.split(r"…|'|: |custom_id|;", line.strip("`")):
            text = words.strip()
            if text and text not in foreign:
                assert text in said, line


@pytest.mark.parametrize(
    "page",
    [PATH, INDEX, ROOT / "kong-plugin" / "README.md", DEPLOY / "kubernetes" / "README.md"],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{target}#{anchor}"


def test_no_command_deletes_what_is_not_in_the_file() -> None:
    assert "gateway sync" not in "".join(blocks(PAGE, "sh"))


def test_files_that_commands_name_are_there() -> None:
    for block in blocks(PAGE, "sh"):
        for named in re.findall(r"\b((?:deploy|kong-plugin|scripts)/[\w./-]+)", block):
            assert (ROOT / named).exists(), named


@pytest.mark.programs
@pytest.mark.parametrize("page", [PATH, DEPLOY / "kubernetes" / "README.md"], ids=lambda path: path.parent.name)
def test_commands_are_shell(page: Path) -> None:
    for block in blocks(page.read_text(), "sh"):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.programs
def test_yaml_blocks_parse_and_the_plugin_takes_them(tmp_path: Path) -> None:
    found = [yaml.safe_load(block) for block in blocks(PAGE, "yaml")]
    configs = [config for block in found for config in plugin_configs(block)]
    configs += [block["config"] for block in found if "config" in block]
    assert len(configs) > 3
    assert refused_configs(configs, tmp_path) == []


def test_the_index_names_every_file() -> None:
    text = INDEX.read_text()
    for path in own_files(".yaml", ".sh", "", ".lua"):
        if path.is_file() and path.is_relative_to(DEPLOY):
            named = f"]({path.relative_to(DEPLOY)})" in text
            assert named or (path.parent.name == "streamed" and f"`{path.name}`" in text), path
