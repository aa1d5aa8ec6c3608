"""Secrets come from files and the environment, are judged, and are never shown."""

import base64
import re
import traceback
from pathlib import Path

import pytest

from validator.settings import Settings, SettingsError, read

STRATEGY = "strategies: {plain: {idp: generic, issuer: 'https://idp.example.com', audience: orders}}\n"
CANARY = "CANARYcanaryCANARYcanaryCANARYcanaryCANARY0"  # 43 characters: 32 bytes in base64
KEY = base64.b64encode(b"k" * 32).decode()


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def refused(path: Path, environ: dict[str, str]) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        read(path, environ)
    return caught.value


# Whatever is wrong with it and wherever it was put by mistake.
LEAKS = {
    "too short a token": ("control: {token: 'CANARY'}", {}),
    "token with a space": (f"control: {{token: '{CANARY} {CANARY}'}}", {}),
    "token in a list": (f"control: {{token: [{CANARY}]}}", {}),
    "token in a section": (f"control: {{token: {{value: {CANARY}}}}}", {}),
    "token as the section": (f"control: {CANARY}", {}),
    "token for its file": (f"control: {{token_file: {CANARY}}}", {}),
    "misspelt": (f"control: {{tokn: {CANARY}}}", {}),
    "key with a stray character": (f"session: {{keys: ['{CANARY}!']}}", {}),
    "key too long": (f"session: {{keys: {CANARY}{CANARY}}}", {}),
    "key for its file": (f"session: {{keys_file: {CANARY}}}", {}),
    "key as the section": (f"session: {CANARY}", {}),
    "in a strategy": (f"x: 1\nstrategies: {{p: {{client_secret: {CANARY}}}}}", {}),
    "in form parameters": (
        f"strategies: {{p: {{idp: okta, issuer: 'https://x', token_params: {{client_secret: {CANARY}}}}}}}",
        {},
    ),
    "in a URL": (f"x: 1\nstrategies: {{p: {{idp: okta, issuer: 'https://u:{CANARY}@x'}}}}", {}),
    "as an alias": (f"control: {{token: *{CANARY}}}", {}),
    "as a tag": (f"control: {{token: !{CANARY} x}}", {}),
    "beside a syntax error": (f"control: {{token: '{CANARY}", {}),
    "in the environment": ("", {"VALIDATOR__CONTROL__TOKEN": "CANARY"}),
    "below a scalar": ("", {"VALIDATOR__CONTROL__TOKEN": CANARY, "VALIDATOR__CONTROL__TOKEN__X": CANARY}),
    "in the environment, in quotes": ("", {"VALIDATOR__CONTROL": f'{{token: "{CANARY}'}),
    "keys in the environment": ("", {"VALIDATOR__SESSION__KEYS": f"{CANARY}!,{KEY}"}),
}


@pytest.mark.parametrize(("text", "environ"), LEAKS.values(), ids=LEAKS)
def test_no_mistake_shows_a_secret(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    base = "" if "strategies" in text else STRATEGY
    error = refused(write(tmp_path / "v.yaml", f"{base}{text}\n"), environ)
    everything = [str(error), repr(error), repr(error.mistakes), "".join(traceback.format_exception(error))]
    assert not re.search("CANARY", "\n".join(everything))


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    environ = {"VALIDATOR__CONTROL__TOKEN": CANARY, "VALIDATOR__SESSION__KEYS": f"{CANARY}, {KEY}"}
    settings = read(write(tmp_path / "v.yaml", STRATEGY), environ)
    raw = base64.b64decode(CANARY + "=")
    shown = [repr(settings), str(settings), settings.model_dump_json(), repr(settings.warnings)]
    shown += [repr(settings.control), repr(settings.session), repr(settings.model_dump())]
    assert not any(CANARY in text or repr(raw)[2:-1] in text for text in shown)
    # They are there all the same.
    assert settings.control.token is not None
    assert settings.control.token.get_secret_value() == CANARY
    assert [key.get_secret_value() for key in settings.session.keys] == [raw, b"k" * 32]


def test_a_refusal_in_code_does_not_echo_its_input() -> None:
    with pytest.raises(ValueError, match=r"control\.token") as caught:
        Settings.model_validate({"strategies": {}, "control": {"token": CANARY + " "}})
    assert CANARY not in str(caught.value)


def test_every_bad_key_is_told_with_its_line_in_its_file(tmp_path: Path) -> None:
    write(tmp_path / "keys", f"# keys\n{KEY}\nshort\n\n{KEY}=x # not base64\n{KEY}\n")
    error = refused(write(tmp_path / "v.yaml", STRATEGY + "session:\n  keys_file: keys\n"), {})
    assert [(mistake.line, mistake.found) for mistake in error.mistakes] == [
        (3, "a bad key in line 3 of that file"),
        (3, "a bad key in line 5 of that file"),
        (3, "a key a second time in line 6 of that file"),
    ]


def test_a_file_without_a_key(tmp_path: Path) -> None:
    write(tmp_path / "keys", "# none yet\n")
    error = refused(write(tmp_path / "v.yaml", STRATEGY + "session: {keys_file: keys}\n"), {})
    assert [mistake.found for mistake in error.mistakes] == ["a file without a key"]


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "an empty file"), ("short", "16 to 4096"), ("x" * 70_000, "more than 65536 bytes")],
)
def test_a_bad_token_file_is_told_at_its_setting(tmp_path: Path, content: str, words: str) -> None:
    write(tmp_path / "token", content)
    error = refused(write(tmp_path / "v.yaml", STRATEGY + "control:\n  token_file: token\n"), {})
    assert [mistake.line for mistake in error.mistakes] == [3]
    assert words in str(error)


def test_a_secret_is_given_once(tmp_path: Path) -> None:
    write(tmp_path / "token", CANARY)
    path = write(tmp_path / "v.yaml", STRATEGY + "control: {token_file: token}\n")
    error = refused(path, {"VALIDATOR__CONTROL__TOKEN": CANARY})
    assert [mistake.found for mistake in error.mistakes] == ["both token and token_file"]


def test_secrets_that_everyone_may_read_are_warned_of(tmp_path: Path) -> None:
    write(tmp_path / "token", CANARY, mode=0o644)
    path = write(
        tmp_path / "v.yaml",
        STRATEGY + f"control: {{token_file: token}}\nsession: {{keys: {KEY}}}\n",
        mode=0o644,
    )
    found = {(warning.line, warning.where) for warning in read(path, {}).warnings if "chmod" in warning.text}
    assert found == {(2, "control.token_file"), (3, "session.keys")}
    path.chmod(0o640)
    (tmp_path / "token").chmod(0o640)
    assert not [warning for warning in read(path, {}).warnings if "chmod" in warning.text]


def test_a_secret_in_the_environment_is_no_secret_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "v.yaml", STRATEGY, mode=0o644)
    warnings = read(path, {"VALIDATOR__CONTROL__TOKEN": CANARY}).warnings
    assert not [warning for warning in warnings if "chmod" in warning.text]


# The client that asks about opaque tokens

INTROSPECTING = """\
strategies:
  my-plain:
    {idp: generic, issuer: 'https://idp.example.com', audience: orders, introspection: {client_id: gateway%s}}
"""


def introspection_secret(settings: Settings) -> str:
    section = settings.strategies["my-plain"].introspection
    assert section is not None
    assert section.client_secret is not None
    return section.client_secret.get_secret_value()


def test_the_introspection_secret_comes_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    write(tmp_path / "secret", f"{CANARY}\n")
    path = write(tmp_path / "v.yaml", INTROSPECTING % ", client_secret_file: secret")
    settings = read(path, {})
    assert introspection_secret(settings) == CANARY
    assert CANARY not in repr(settings) + settings.model_dump_json() + repr(settings.warnings)
    assert not [warning for warning in settings.warnings if "introspection" in warning.where]


@pytest.mark.parametrize("secret", [CANARY, "12345", "[not: yaml", "'quoted"])
def test_the_introspection_secret_comes_from_the_environment_as_it_stands(tmp_path: Path, secret: str) -> None:
    path = write(tmp_path / "v.yaml", INTROSPECTING % "")
    environ = {"VALIDATOR__STRATEGIES__MY_PLAIN__INTROSPECTION__CLIENT_SECRET": secret}
    assert introspection_secret(read(path, environ)) == secret


def test_an_introspection_secret_that_everyone_may_read_is_worth_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "secret", CANARY, 0o644)
    path = write(tmp_path / "v.yaml", INTROSPECTING % ", client_secret_file: secret")
    (found,) = [warning for warning in read(path, {}).warnings if "introspection" in warning.where]
    assert (found.line, found.where) == (3, "strategies.my-plain.introspection.client_secret_file")
    path = write(tmp_path / "v.yaml", INTROSPECTING % f", client_secret: {CANARY}", 0o644)
    (found,) = [warning for warning in read(path, {}).warnings if "introspection" in warning.where]
    assert (found.line, found.where) == (3, "strategies.my-plain.introspection.client_secret")


@pytest.mark.parametrize(
    ("setting", "content", "words"),
    [
        ("client_secret_file: nowhere", CANARY, "does not exist"),
        (f"client_secret_file: {CANARY}", CANARY, "does not exist"),
        ("client_secret_file: secret", " \n", "an empty file"),
        ("client_secret_file: secret", f"{CANARY}\nCANARY", "printable"),
        (
            f"client_secret_file: secret, client_secret: {CANARY}",
            CANARY,
            "both client_secret and client_secret_file",
        ),
    ],
)
def test_a_bad_introspection_secret_is_one_mistake_that_does_not_show_it(
    tmp_path: Path, setting: str, content: str, words: str
) -> None:
    write(tmp_path / "secret", content)
    error = refused(write(tmp_path / "v.yaml", INTROSPECTING % f", {setting}"), {})
    (found,) = error.mistakes
    assert found.line == 3
    assert words in str(found)
    assert "CANARY" not in str(error) + repr(error.mistakes)


def test_the_example_of_a_secrets_file_is_named_after_what_it_is_for(tmp_path: Path) -> None:
    sections = "introspection: {client_id: g, client_secret_file: a}, registration: {initial_access_token_file: b}"
    text = f"strategies: {{p: {{idp: generic, issuer: 'https://idp.example.com', {sections}}}}}\n"
    found = refused(write(tmp_path / "v.yaml", text), {}).mistakes
    assert [mistake.example for mistake in found] == [
        "/run/secrets/introspection-secret",
        "/run/secrets/initial-access-token",
    ]
