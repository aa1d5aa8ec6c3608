"""The rock has every module, and LuaRocks makes and packs it."""

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from deploy_support import KONG_PLUGIN, MODULES, documents

(ROCKSPEC,) = KONG_PLUGIN.glob("*.rockspec")
NAME = "kong-plugin-credential-validator"
FILES = {path.name for path in MODULES.glob("*.lua")}


def test_the_rockspec_lists_every_module() -> None:
    listed = dict(re.findall(r'\["([\w.-]+)"\] = "([\w./-]+)"', ROCKSPEC.read_text()))
    assert listed == {
        f"kong.plugins.credential-validator.{path.stem}": f"kong/plugins/credential-validator/{path.name}"
        for path in MODULES.glob("*.lua")
    }


def test_its_version_is_the_handler_s() -> None:
    version = re.search(r'VERSION = "([^"]+)"', (MODULES / "handler.lua").read_text())
    assert version is not None
    assert ROCKSPEC.name == f"{NAME}-{version[1]}-1.rockspec"
    assert f'version = "{version[1]}-1"' in ROCKSPEC.read_text()


def test_the_config_map_has_every_module() -> None:
    (kustomization,) = documents(KONG_PLUGIN / "kustomization.yaml")
    (generator,) = kustomization["configMapGenerator"]
    assert generator["files"] == sorted(f"kong/plugins/credential-validator/{name}" for name in FILES)


@pytest.mark.programs
def test_luarocks_makes_and_packs_it(tmp_path: Path) -> None:
    source, tree = tmp_path / "source", tmp_path / "tree"
    shutil.copytree(KONG_PLUGIN, source)

    def luarocks(*arguments: str) -> None:
        command = ["luarocks", "--lua-version", "5.1", "--tree", tree, *arguments]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stdout + done.stderr

    luarocks("make", ROCKSPEC.name)
    installed = tree / "share" / "lua" / "5.1" / "kong" / "plugins" / "credential-validator"
    assert {path.name: path.read_text() for path in installed.iterdir()} == {
        name: (MODULES / name).read_text() for name in FILES
    }
    luarocks("pack", NAME)
    (rock,) = source.glob("*.rock")
    with zipfile.ZipFile(rock) as packed:
        inside = {name.rpartition("/")[2] for name in packed.namelist() if name.startswith("lua/kong/")} - {""}
    assert inside == FILES
