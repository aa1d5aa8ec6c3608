"""`validator import konnect`: what the documents print comes out as YAML that `validator check` accepts, or
nothing comes out and every mistake is told."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from validator import importing
from validator.cli import main
from validator.settings import read, read_konnect

PRINTED = Path(__file__).parent / "settings" / "konnect"
BODIES = [PRINTED / "azure-auth.json", PRINTED / "okta-auth.json"]


def imported(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["import", "konnect", *map(str, arguments)])
    told = capsys.readouterr()
    return code, told.out, told.err


def write(path: Path, **members: Any) -> Path:
    config = {"issuer": "https://idp.example.com", **members.pop("config", {})}
    path.write_text(json.dumps({"name": "Orders", "configs": {"openid-connect": config}, **members}))
    return path


def test_the_documents_strategies_become_yaml_that_check_accepts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = imported(capsys, *BODIES)
    assert (code, err) == (0, "")
    path = tmp_path / "v.yaml"
    path.write_text(out)
    strategies = read(path, {}).strategies  # as check does
    assert {name: strategy.idp for name, strategy in strategies.items()} == {
        "azure-auth": "azure",
        "okta-auth-strategy": "auth0",
    }
    azure = strategies["azure-auth"]
    assert azure.scopes == ("https://graph.microsoft.com/.default",)
    assert azure.trust_token_response is True
    # A remark stands above what it is about.
    lines = [line.strip() for line in out.splitlines()]
    assert "[appid, azp]" in lines[lines.index("credential_claim: [client_id]") - 1]
    assert lines[lines.index("idp: auth0") - 1].startswith("# strategy_type 'okta' says okta")
    assert max(map(len, out.splitlines())) <= 115


@pytest.mark.parametrize("name", ["azure", "okta"])
def test_the_documents_command_says_the_same_as_its_body(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    outs = [
        imported(capsys, PRINTED / f"{name}-{kind}")[1].splitlines()[2:] for kind in ("auth.json", "command.txt")
    ]
    assert outs[0] == outs[1] != []


def test_standard_input_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    content = BODIES[0].read_bytes()
    assert importing.konnect(["-"], io.BytesIO(content), idp=None, name=None) == 0
    assert "# from standard input\n  azure-auth:" in capsys.readouterr().out
    assert importing.konnect(["-"], io.BytesIO(b" " * 1_048_577), idp=None, name=None) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("standard input: found more than 1048576 bytes")


def test_name_and_idp_are_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = imported(capsys, BODIES[1], "--name", "orders", "--idp", "azure-v1")
    assert code == 0
    assert "\n  orders:\n    idp: azure-v1\n" in out


def test_every_mistake_of_every_file_is_told_and_nothing_is_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad = write(tmp_path / "bad.json", config={"issuer": "nowhere", "credential_claim": ["a.b"]})
    org = write(tmp_path / "org.json", config={"issuer": "https://my-issuer.okta.com/default"})
    code, out, err = imported(capsys, bad, BODIES[0], org, tmp_path / "none.json")
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"{bad}:1: ")
    assert f"{org}:1: issuer: found 'https://my-issuer.okta.com/default'" in lines[2]
    assert lines[3].startswith(f"{tmp_path / 'none.json'}: found a file that does not exist")


def test_two_of_one_name_are_a_mistake(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    other = write(tmp_path / "other.json", name="AZURE  auth")
    code, out, err = imported(capsys, BODIES[0], other)
    assert (code, out) == (1, "")
    assert err.startswith(f"{other}:1: name: found 'azure-auth', expected a name that {BODIES[0]} does not have")


@pytest.mark.parametrize("name", [None, 7, "", "日本"])
def test_a_body_without_a_name_asks_for_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: object
) -> None:
    path = write(tmp_path / "x.json", name=name)
    code, _, err = imported(capsys, path)
    assert code == 1
    assert "--name" in err
    assert imported(capsys, path, "--name", "orders")[0] == 0


def test_a_name_that_no_path_can_hold_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = imported(capsys, BODIES[0], "--name", "a/b")
    assert (code, out) == (1, "")
    assert "letters, digits" in err


@pytest.mark.parametrize(
    "arguments",
    [("import",), ("import", "konnect"), ("import", "kong", "x"), ("import", "konnect", "a", "b", "--name", "x")],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "value",
    ["a: b # c", "- x", "'", '"', "\u2028", "a\nb", "{x}", "*x", "&x", "!x", "~", "true", "1e3", "0x10", "@x"],
)
def test_what_is_printed_is_read_back_as_it_was(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, value: str
) -> None:
    """Whatever a body holds, the YAML says that, or there is none."""
    config = {"credential_claim": [value], "scopes": [value], "token_endpoint": value, value: value}
    path = write(tmp_path / "x.json", config=config, strategy_type=value, display_name=value)
    code, out, _ = imported(capsys, path)
    if code == 0:
        kept = tmp_path / "v.yaml"
        kept.write_text(out)
        (strategy,) = read(kept, {}).strategies.values()
        assert (strategy.credential_claim, strategy.scopes) == ((value,), (value,))


def test_no_remark_leaves_its_comment(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", config={f"a{mark}injected: b": 1 for mark in "\n\r\x85\u2028\u2029"})
    code, out, _ = imported(capsys, path)
    assert code == 0
    assert out.count("injected") == 5
    assert list(yaml.safe_load(out)["strategies"]["orders"]) == ["idp", "issuer"]


def test_a_header_with_a_token_of_konnects_is_not_repeated(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = (PRINTED / "azure-command.txt").read_text().replace("$KPAT", "Bearer kpat_canary")
    for text in (command, command.replace('"name"', '"name":'), command.partition("--data")[0]):
        path = tmp_path / "command.txt"
        path.write_text(text)
        _, out, err = imported(capsys, path)
        assert "canary" not in out + err


def test_the_library_gives_the_same() -> None:
    found = read_konnect(BODIES[0].read_bytes(), "x")
    assert (found.name, found.line, found.strategy["idp"]) == ("azure-auth", 2, "azure")


def test_json_with_a_slip_is_told_in_words_of_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "slip.json"
    path.write_text(BODIES[0].read_text().replace('",\n', '"\n', 1))
    code, out, err = imported(capsys, path)
    assert (code, out) == (1, "")
    assert err.startswith(f"{path}:3: found what is neither JSON nor YAML (")
    assert "expected the JSON body of Konnect's POST" in err
    assert "look for a missing comma, brace or quote" in err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, ":1: configs: found no application auth strategy, expected "),
        ({"data": [{"name": "x"}]}, ":1: data: found a list of Konnect's GET, expected one strategy; save one"),
    ],
)
def test_what_is_no_strategy_is_called_that(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: dict[str, Any], words: str
) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    code, out, err = imported(capsys, path)
    assert (code, out) == (1, "")
    assert err.startswith(f"{path}{words}")
    assert err.count("\n") == 1
