"""Addresses, paths and certificates."""

from pathlib import Path

import pytest

from validator.model import Method
from validator.settings import Address, Settings, SettingsError, Strategy, read
from validator.settings.document import load

STRATEGY = "strategies:\n  plain: {idp: generic, issuer: 'https://idp.example.com', audience: orders}\n"


@pytest.mark.parametrize(
    ("text", "address", "local"),
    [
        ("127.0.0.1:8100", Address("127.0.0.1", 8100), True),
        ("127.9.9.9:0", Address("127.9.9.9", 0), True),
        ("[::1]:8100", Address("::1", 8100), True),
        ("localhost:8100", Address("localhost", 8100), True),
        ("unix:/run/validator/data.sock", Address(path="/run/validator/data.sock"), True),
        ("0.0.0.0:8100", Address("0.0.0.0", 8100), False),  # noqa: S104 -- nothing binds to it
        ("[::]:8100", Address("::", 8100), False),
        ("localhost.example.com:8100", Address("localhost.example.com", 8100), False),
        ("10.0.0.1:65535", Address("10.0.0.1", 65535), False),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, address: Address, *, local: bool) -> None:
    assert Address.parse(text) == address
    assert str(address) == text
    assert address.is_local is local


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1",
        "x",
        "x:",
        "x:-1",
        "x:1x",
        "[::1]",
        "[x]:1",
        "::1:1",
        "1.2.3:1",
        "1.2.3.4.5:1",
        "a b:1",
        "unix:",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Address.parse(text)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_relative_paths_are_taken_from_the_files_directory(tmp_path: Path) -> None:
    write(tmp_path / "ca.pem", "-----BEGIN CERTIFICATE-----\n")
    text = STRATEGY.replace("}", ", ca_file: ca.pem}") + "store: {path: data/state.db}\n"
    settings = read(write(tmp_path / "v.yaml", text), {})
    assert settings.strategies["plain"].ca_file == str(tmp_path / "ca.pem")
    assert settings.store.path == str(tmp_path / "data/state.db")


def test_a_bundle_without_a_certificate_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "ca.pem", "-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(SettingsError, match=r"v\.yaml:2: strategies\.plain\.ca_file: found no certificate"):
        read(write(tmp_path / "v.yaml", STRATEGY.replace("}", ", ca_file: ca.pem}")), {})


def test_a_token_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff" * 32)
    with pytest.raises(SettingsError, match="not text"):
        read(write(tmp_path / "v.yaml", STRATEGY + "control: {token_file: token}\n"), {})


def test_the_environment_can_add_to_a_list(tmp_path: Path) -> None:
    path = write(tmp_path / "v.yaml", STRATEGY + "applications: []\n")
    entry = "{id: a, name: A, strategy: plain, client_id: one}"
    environ = {"VALIDATOR__APPLICATIONS__0": entry, "VALIDATOR__APPLICATIONS__0__REGISTRATIONS__0": "orders"}
    with pytest.raises(SettingsError, match="found a setting"):
        read(path, {**environ, "VALIDATOR__APPLICATIONS__0__NAME__X": "y"})
    environ["VALIDATOR__APPLICATIONS__0"] = entry.replace("}", ", registrations: []}")
    assert read(path, environ).file_applications()[0].registrations == {"orders": "approved"}


def test_a_method_that_is_off_is_not_allowed() -> None:
    strategy = Strategy(idp="generic", issuer="https://idp.example.com", auth_methods=(Method.BEARER,))
    assert strategy.allows(Method.BEARER)
    assert not strategy.allows(Method.CLIENT_CREDENTIALS)


SCALARS = {
    "yes": "yes",
    "010": 10,
    "0x10": 16,
    "0o10": 8,
    "1_000": "1_000",
    "12:30:45": "12:30:45",
    "2026-01-01": "2026-01-01",
    "'1'": "1",
    "1e2": 100.0,
    "-.inf": float("-inf"),
    "~": None,
}


@pytest.mark.parametrize(("text", "value"), SCALARS.items())
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    assert load(f"key: {text}")[0] == {"key": value}


def test_an_application_without_a_name_goes_by_its_client_id() -> None:
    settings = Settings.model_validate(
        {
            "strategies": {"plain": {"idp": "generic", "issuer": "https://idp.example.com", "audience": ["a"]}},
            "applications": [{"id": "a1", "strategy": "plain", "client_id": "orders"}],
        }
    )
    assert [application.name for application in settings.file_applications()] == ["orders"]
