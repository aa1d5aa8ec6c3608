"""deploy/systemd: the unit's commands are the program's, its folders the configuration's, and the sidecar runs so.

Law of this file: no systemd is started; what the unit says is read, and its commands are run as plain processes.
"""

import functools
import re
import shlex
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from deploy_support import DEPLOY, ROOT, documents
from sidecar_process import SidecarProcess, command

from validator import cli
from validator.settings import Settings, read

FOLDER = DEPLOY / "systemd"
UNIT = FOLDER / "validator.service"
TEXT = UNIT.read_text()
CONFIG = FOLDER / "validator.yaml"
PROGRAM = "/opt/validator/bin/validator"
ETC = "/etc/validator"


def settings_of(text: str) -> dict[str, list[str]]:
    """What the unit says, by name; a name may come several times."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


SAID = settings_of(TEXT)


def placed(folder: Path) -> str:
    """The configuration with its addresses and folders here, and its secrets made."""
    for name in ("control-token", "session-keys"):
        secret = folder / name
        secret.write_text("0123456789abcdef" * 4 if name == "control-token" else f"{'A' * 43}=\n")
        secret.chmod(0o640)
    text = CONFIG.read_text()
    for there, here in (
        (ETC, str(folder)),
        ("/run/validator", str(folder)),
        ("/var/lib/validator", str(folder)),
        ("127.0.0.1:8101", "127.0.0.1:0"),
        ("https://idp.example.com", "http://127.0.0.1:9"),
    ):
        assert there in text
        text = text.replace(there, here)
    return text


def defaults(folder: Path) -> Settings:
    config = folder / "validator.yaml"
    config.write_text(placed(folder))
    return read(config, environ={})


def test_every_line_is_of_a_section() -> None:
    assert re.findall(r"^\[(.*)\]$", TEXT, re.MULTILINE) == ["Unit", "Service", "Install"]
    for line in TEXT.splitlines():
        assert re.fullmatch(r"|#.*|\[\w+\]|[A-Z]\w+=.*", line), line


def test_its_commands_are_the_program_s(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, Any]] = []

    def noted(name: str, arguments: Any) -> int:
        seen.append((name, arguments))
        return 0

    for name in ("serve", "check"):
        monkeypatch.setattr(cli, f"_{name}", functools.partial(noted, name))
    (serve,) = SAID["ExecStart"]
    check, hang_up = SAID["ExecReload"]
    for line in (serve, check):
        program, *arguments = shlex.split(line)
        assert program == PROGRAM
        assert cli.main(arguments) == 0
    assert [(name, str(arguments.config)) for name, arguments in seen] == [
        ("serve", f"{ETC}/validator.yaml"),
        ("check", f"{ETC}/validator.yaml"),
    ]
    assert hang_up == "/bin/kill -HUP $MAINPID"


def test_its_folders_are_those_of_the_configuration() -> None:
    (said,) = documents(CONFIG)
    assert said["listen"]["data"] == f"unix:/run/{SAID['RuntimeDirectory'][0]}/data.sock"
    assert said["store"]["path"] == f"/var/lib/{SAID['StateDirectory'][0]}/state.db"
    assert SAID["Group"] == SAID["User"] == ["validator"]
    # Kong's workers, members of the group, reach the socket, and nobody but the sidecar the store.
    assert (SAID["RuntimeDirectoryMode"], SAID["StateDirectoryMode"]) == (["0750"], ["0700"])
    secrets = {said["control"]["token_file"], said["session"]["keys_file"]}
    made = set(re.findall(r" >([\w-]+)", TEXT.partition(f"cd {ETC};")[2].splitlines()[0]))
    assert {f"{ETC}/{name}" for name in made} == secrets


def test_its_bounds_are_above_the_sidecar_s(tmp_path: Path) -> None:
    limits = defaults(tmp_path).limits
    assert int(SAID["TimeoutStopSec"][0]) > limits.drain_s
    assert int(SAID["LimitNOFILE"][0]) > limits.max_connections * 1.5


def test_signals_are_the_supervisor_s_and_a_dead_worker_is_not_the_end() -> None:
    """By systemd's defaults SIGTERM would go to the workers too, and one that is out of memory would stop all."""
    assert (SAID["KillMode"], SAID["OOMPolicy"], SAID["Restart"]) == (["mixed"], ["continue"], ["always"])


def test_the_option_that_its_comment_shows_is_the_program_s(monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = re.findall(r"`(--workers \d+)`", TEXT)
    monkeypatch.setattr(cli, "_serve", lambda arguments: int(arguments.workers))
    (serve,) = SAID["ExecStart"]
    assert cli.main(shlex.split(f"{serve} {shown}")[1:]) == 4


def test_the_files_that_its_comments_name_are_there() -> None:
    for page in (TEXT, (ROOT / "README.md").read_text()):
        assert "pip install --require-hashes -r requirements.lock -r requirements-build.lock" in page
        assert "pip install --no-deps --no-build-isolation ." in page
        for named in re.findall(r"-r ([\w.-]+)|\b(deploy/[\w./-]+)", page):
            assert (ROOT / (named[0] or named[1])).exists(), named


def test_what_is_the_reader_s_own_is_marked() -> None:
    for line in CONFIG.read_text().splitlines():
        if re.search(r"example\.com|client_id: |audience: ", line):
            assert "# yours: " in line


def test_the_index_names_both() -> None:
    index = (DEPLOY / "README.md").read_text()
    assert {f"[{path.relative_to(DEPLOY)}]({path.relative_to(DEPLOY)})" in index for path in FOLDER.iterdir()} == {
        True
    }


@pytest.mark.programs
def test_the_sidecar_runs_with_it_and_a_bad_file_makes_the_reload_fail() -> None:
    with tempfile.TemporaryDirectory(
        prefix="systemd-"
    ) as name:  # a socket's path has no room for pytest's folders
        folder = Path(name)
        text = placed(folder)
        with SidecarProcess(text, folder) as sidecar:
            assert sidecar.data == f"unix:{folder}/data.sock"
            assert stat.S_IMODE((folder / "data.sock").stat().st_mode) == 0o660
            assert (folder / "state.db").is_file()
            check = [word.replace(ETC, name) for word in shlex.split(SAID["ExecReload"][0])[1:]]
            good = command(*check)
            assert good.code == 0, good.out
            before = sidecar.reconfigure(text.replace("idp: generic", "idp: generous"))
            assert command(*check).code == 1
            sidecar.wait_for(lambda event: event.get("event") == "configuration refused", after=before)


@pytest.mark.programs
def test_with_workers_the_supervisor_s_end_is_the_end_of_all() -> None:
    with tempfile.TemporaryDirectory(prefix="systemd-") as name:
        folder = Path(name)
        with SidecarProcess(placed(folder), folder, arguments=["--workers", "2"]) as sidecar:
            children = Path(f"/proc/{sidecar.pid}/task/{sidecar.pid}/children").read_text().split()
            assert len(children) == 2
            assert sidecar.terminate() == 0
            assert not any(Path(f"/proc/{child}").exists() for child in children)
