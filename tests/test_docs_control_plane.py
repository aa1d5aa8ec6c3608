"""The command lines of docs/control-plane.md, run by a shell against real sidecars.

Law of this file: nothing is replaced but addresses and the token's file.
"""

import contextlib
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sidecar_process import ROOT, SidecarProcess

pytestmark = pytest.mark.programs

PAGE = (ROOT / "docs" / "control-plane.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
TOKEN = "t" * 32


def configuration(folder: Path) -> dict[str, Any]:
    return {
        "listen": {"data": f"unix:{folder}/data.sock", "control": "127.0.0.1:0"},
        "control": {"token_file": str(folder.parent / "control-token")},
        "strategies": {"plain": {"idp": "generic", "issuer": "http://127.0.0.1:9", "audience": ["orders"]}},
        "store": {"path": str(folder / "state.db")},
    }


@pytest.fixture
def sidecars() -> Iterator[tuple[Path, list[SidecarProcess]]]:
    with tempfile.TemporaryDirectory(prefix="control-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "control-token").write_text(TOKEN)
        started = []
        for own in ("one", "two"):
            (folder / own).mkdir()
            started.append(stack.enter_context(SidecarProcess(configuration(folder / own), folder / own)))
        yield folder, started


def run(folder: Path, sidecars: list[SidecarProcess], text: str) -> str:
    """What the lines print; every answer that is an error is one."""
    for there, here in (
        ("/run/secrets/control-token", str(folder / "control-token")),
        ("127.0.0.1:8101", sidecars[0].control),
        ("127.0.0.1:18101", sidecars[1].control),
        ("curl -s ", "curl -s --fail-with-body --noproxy '*' -w '\\n' "),
        ("curl -sS ", "curl -sS --noproxy '*' "),
    ):
        text = text.replace(there, here)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_lines_of_one_sidecar(sidecars: tuple[Path, list[SidecarProcess]]) -> None:
    applications, revocations, sessions, *_ = BLOCKS
    lines, _, deleting = applications.rpartition("curl")
    said = run(*sidecars, f"{lines}{revocations}{sessions}curl{deleting}")
    created, approved, listed, *_ = [json.loads(line) for line in said.splitlines() if line]
    assert created["registrations"][0] == {"service": "billing", "status": "pending"}
    assert approved["registrations"][0] == {"service": "billing", "status": "approved"}
    assert [application["id"] for application in listed["applications"]] == ["orders-mobile-app"]


def test_lines_for_several_sidecars_tell_each(sidecars: tuple[Path, list[SidecarProcess]]) -> None:
    header = next(line for line in BLOCKS[0].splitlines() if ">control-header" in line)
    creating = BLOCKS[0].partition("curl -s -X PUT")[0]
    revoking, copying = [block for block in BLOCKS if "for C in $SIDECARS" in block]
    assert header in creating
    run(*sidecars, f"{creating}{revoking}{copying}")
    every = "for C in $SIDECARS; do curl -s -H @control-header $C/v1/{}; done"
    shown = run(*sidecars, revoking.splitlines()[0] + "\n" + every.format("applications"))
    for line in shown.splitlines():
        assert [a["client_id"] for a in json.loads(line)["applications"]] == ["orders-mobile"]
    shown = run(*sidecars, revoking.splitlines()[0] + "\n" + every.format("revocations"))
    assert len(shown.splitlines()) == 2
    for line in shown.splitlines():
        assert [r["client_id"] for r in json.loads(line)["revocations"]] == ["orders-mobile"]


def test_every_line_that_needs_the_token_has_it_in_a_file() -> None:
    for block in BLOCKS:
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if "curl " in line:
                assert "-H @control-header" in line
    assert not re.search(r"-H \S*[\"'].*\$\(cat", PAGE)


def test_a_second_sidecar_on_the_same_file_refuses_to_start(sidecars: tuple[Path, list[SidecarProcess]]) -> None:
    folder, (first, _) = sidecars
    (folder / "third").mkdir()
    config = configuration(folder / "third") | {"store": {"path": str(folder / "one" / "state.db")}}
    third = SidecarProcess(config, folder / "third")
    third.launch()
    assert third.wait() == 1
    assert "belongs to another sidecar" in third.said()
    assert "belongs" not in first.said()
