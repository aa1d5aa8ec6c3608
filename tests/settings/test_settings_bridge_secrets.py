"""The secrets of the HTTP DCR bridge come from files, are judged, and are never shown."""

import traceback
from pathlib import Path

import pytest
from support_bridge_settings import (
    API_KEY,
    DCR,
    OTHER_KEY,
    PLAIN,
    SEALING_KEY,
    SECOND,
    TOKEN,
    refused,
    settings_of,
    write,
)

from validator.settings import read

# Files of keys


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("# none yet\n\n", ["a file without a key"]),
        (f"{API_KEY}\nCANARY-CANARY-CANARY\n", ["a bad key in line 2 of that file"]),
        (
            f"CANARY\n{API_KEY} {OTHER_KEY}\n",
            ["a bad key in line 1 of that file", "a bad key in line 2 of that file"],
        ),
        (f"{API_KEY}\n# the same\n{API_KEY}\n", ["a key a second time in line 3 of that file"]),
        (f"{'k' * 256}\n" * 300, ["a file of more than 65536 bytes"]),
    ],
)
def test_a_bad_file_of_api_keys(tmp_path: Path, content: str, found: list[str]) -> None:
    write(tmp_path / "keys", content)
    error = refused(tmp_path, PLAIN % "" + "dcr:\n  api_keys_file: keys\n")
    assert [mistake.found for mistake in error.mistakes] == found
    assert {(mistake.line, mistake.where) for mistake in error.mistakes} == {(5, "dcr.api_keys_file")}
    assert "CANARY" not in str(error)


def test_too_many_keys_in_a_file_are_told_at_the_file(tmp_path: Path) -> None:
    write(tmp_path / "keys", "\n".join(f"key_number_{n:02}" for n in range(33)))
    (found,) = refused(tmp_path, PLAIN % "" + "dcr:\n  api_keys_file: keys\n").mistakes
    assert (found.line, found.expected) == (5, "at most 32 entries")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (PLAIN % "" + "dcr: {api_keys_file: nowhere}\n", "dcr.api_keys_file"),
        (PLAIN % "" + f"dcr: {{api_keys: {API_KEY}, sealing_keys_file: nowhere}}\n", "dcr.sealing_keys_file"),
        (
            PLAIN % ", registration: {initial_access_token_file: nowhere}" + DCR,
            "strategies.plain.registration.initial_access_token_file",
        ),
    ],
)
def test_a_file_that_is_missing_is_one_mistake(tmp_path: Path, text: str, where: str) -> None:
    (found,) = refused(tmp_path, text).mistakes
    assert (found.where, found.found) == (where, "a file that does not exist")


def test_each_secret_is_given_once(tmp_path: Path) -> None:
    for name in ("keys", "sealing", "token"):
        write(tmp_path / name, API_KEY)
    error = refused(
        tmp_path,
        PLAIN % f", registration: {{initial_access_token_file: token, initial_access_token: {TOKEN}}}"
        + f"dcr: {{api_keys: {API_KEY}, api_keys_file: keys, sealing_keys_file: sealing}}\n",
        {"VALIDATOR__DCR__SEALING_KEYS": SEALING_KEY},
    )
    assert {mistake.found for mistake in error.mistakes} == {
        "both api_keys and api_keys_file",
        "both sealing_keys and sealing_keys_file",
        "both initial_access_token and initial_access_token_file",
    }


def test_secrets_that_everyone_may_read_are_warned_of(tmp_path: Path) -> None:
    for name, content in (("keys", API_KEY), ("sealing", SEALING_KEY), ("token", TOKEN)):
        write(tmp_path / name, content, 0o644)
    files = PLAIN % ", registration: {initial_access_token_file: token}"
    files += "dcr:\n  api_keys_file: keys\n  sealing_keys_file: sealing\n"
    settings = read(write(tmp_path / "v.yaml", files, 0o644), {})
    assert {(w.line, w.where) for w in settings.warnings if "chmod" in w.text} == {
        (3, "strategies.plain.registration.initial_access_token_file"),
        (5, "dcr.api_keys_file"),
        (6, "dcr.sealing_keys_file"),
    }
    direct = PLAIN % f", registration: {{initial_access_token: {TOKEN}}}"
    direct += f"dcr:\n  api_keys: {API_KEY}\n  sealing_keys: {SEALING_KEY}\n"
    settings = read(write(tmp_path / "v.yaml", direct, 0o644), {})
    assert {(w.line, w.where) for w in settings.warnings if "chmod" in w.text} == {
        (3, "strategies.plain.registration.initial_access_token"),
        (5, "dcr.api_keys"),
        (6, "dcr.sealing_keys"),
    }
    (tmp_path / "v.yaml").chmod(0o640)
    assert not [w for w in read(tmp_path / "v.yaml", {}).warnings if "chmod" in w.text]


# Nothing is shown

LEAKS = {
    "a key too short": (PLAIN % "" + "dcr: {api_keys: CANARY}", {}),
    "a key with a space": (PLAIN % "" + "dcr: {api_keys: ['CANARY CANARY CANARY']}", {}),
    "a key for its file": (PLAIN % "" + f"dcr: {{api_keys_file: {API_KEY}}}", {}),
    "a key in a section": (PLAIN % "" + f"dcr: {{api_keys: {{value: {API_KEY}}}}}", {}),
    "a key as the section": (PLAIN % "" + f"dcr: {API_KEY}", {}),
    "a key misspelt": (PLAIN % "" + f"dcr: {{apikey: {API_KEY}}}", {}),
    "a key twice": (PLAIN % "" + f"dcr: {{api_keys: [{API_KEY}, {API_KEY}]}}", {}),
    "a sealing key": (PLAIN % "" + f"dcr: {{api_keys: {API_KEY}, sealing_keys: CANARY}}", {}),
    "a sealing key for its file": (PLAIN % "" + "dcr: {sealing_keys_file: CANARY}", {}),
    "a token": (PLAIN % ", registration: {initial_access_token: 'CANARY CANARY'}" + DCR, {}),
    "a token as a list": (PLAIN % ", registration: {initial_access_token: [CANARY]}" + DCR, {}),
    "a token for its file": (PLAIN % ", registration: {initial_access_token_file: CANARY}" + DCR, {}),
    "a token as the section": (PLAIN % ", registration: CANARY" + DCR, {}),
    "keys in the environment": (PLAIN % "", {"VALIDATOR__DCR__API_KEYS": f"{API_KEY},CANARY"}),
    "the section in the environment": (PLAIN % "", {"VALIDATOR__DCR": "CANARY"}),
    "beside other mistakes": (PLAIN % "" + SECOND + DCR + "store: {path: s.db}\nx: 1\n", {}),
}


@pytest.mark.parametrize(("text", "environ"), LEAKS.values(), ids=LEAKS)
def test_no_mistake_shows_a_secret(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    error = refused(tmp_path, text, environ)
    everything = [str(error), repr(error), repr(error.mistakes), "".join(traceback.format_exception(error))]
    assert "CANARY" not in "\n".join(everything)


def test_no_repr_or_dump_shows_a_secret(tmp_path: Path) -> None:
    text = PLAIN % f", registration: {{initial_access_token: {TOKEN}}}"
    text += f"dcr: {{api_keys: '{API_KEY} {OTHER_KEY}', sealing_keys: {SEALING_KEY}}}\n"
    settings = settings_of(tmp_path, text)
    strategy = settings.strategies["plain"]
    shown = [repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())]
    shown += [repr(settings.dcr), repr(strategy), strategy.model_dump_json(), repr(settings.warnings)]
    assert not any(secret in part for secret in ("CANARY", SEALING_KEY, "s" * 32) for part in shown)


# The variable of Kong's reference handler


@pytest.mark.parametrize("bridge", ["listen: {dcr: '127.0.0.1:0'}\n", "dcr: {registration_status: pending}\n"])
def test_konnects_own_variable_is_read_where_no_other_keys_are_given(tmp_path: Path, bridge: str) -> None:
    environ = {"KONG_API_TOKENS": f"{API_KEY},{OTHER_KEY}"}
    settings = settings_of(tmp_path, PLAIN % "" + bridge, environ)
    assert settings.dcr is not None
    assert [key.get_secret_value() for key in settings.dcr.api_keys] == [API_KEY, OTHER_KEY]


def test_it_adds_nothing_to_keys_that_are_given_and_opens_no_bridge(tmp_path: Path) -> None:
    environ = {"KONG_API_TOKENS": OTHER_KEY}
    settings = settings_of(tmp_path, PLAIN % "" + DCR, environ)
    assert settings.dcr is not None
    assert [key.get_secret_value() for key in settings.dcr.api_keys] == [API_KEY]
    assert settings_of(tmp_path, PLAIN % "", environ).dcr is None


def test_a_bad_key_in_it_is_told_with_its_name(tmp_path: Path) -> None:
    error = refused(tmp_path, PLAIN % "" + "listen: {dcr: '127.0.0.1:0'}\n", {"KONG_API_TOKENS": "CANARY-short"})
    assert {mistake.source for mistake in error.mistakes} == {"KONG_API_TOKENS"}
    assert "CANARY" not in str(error)
