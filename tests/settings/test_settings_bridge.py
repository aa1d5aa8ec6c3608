"""What is taken as settings of the HTTP DCR bridge, what is worth a warning; and the same for settings in code."""

from pathlib import Path

import pytest
from pydantic import SecretBytes, SecretStr
from support_bridge_settings import (
    API_KEY,
    DCR,
    OKTA,
    OTHER_KEY,
    PLAIN,
    SEALING_KEY,
    SECOND,
    TOKEN,
    settings_of,
    write,
)

from validator.settings import Address, Settings, SettingsError
from validator.settings.bridge import ClientRegistration, Dcr


def bridge(settings: Settings) -> Dcr:
    assert settings.dcr is not None
    return settings.dcr


def api_keys(settings: Settings) -> list[str]:
    return [key.get_secret_value() for key in bridge(settings).api_keys]


def registration(settings: Settings, strategy: str = "plain") -> ClientRegistration:
    found = settings.strategies[strategy].registration
    assert found is not None
    return found


# What is taken


def test_without_the_section_there_is_no_bridge(tmp_path: Path) -> None:
    for text in (PLAIN % "", PLAIN % "" + "dcr:\n"):  # a section of which only the name is left
        settings = settings_of(tmp_path, text)
        assert (settings.dcr, settings.listen.dcr) == (None, None)
        assert not [warning for warning in settings.warnings if "bridge" in warning.text]


def test_an_api_key_is_enough(tmp_path: Path) -> None:
    dcr = bridge(settings_of(tmp_path, PLAIN % "" + DCR))
    assert [key.get_secret_value() for key in dcr.api_keys] == [API_KEY]
    assert (dcr.strategy, dict(dcr.strategies), dict(dcr.services)) == (None, {}, {})
    assert (dcr.registration_status, dcr.sealing_keys, dcr.retry_window_s) == ("approved", (), 120)


def test_everything_about_the_bridge_in_files(tmp_path: Path) -> None:
    write(tmp_path / "api-keys", f"# this year's\n{API_KEY}\n\n  {OTHER_KEY}  # last year's\n")
    write(tmp_path / "sealing-keys", SEALING_KEY)
    write(tmp_path / "token", f"{TOKEN}\n")
    settings = settings_of(
        tmp_path,
        PLAIN % ", registration: {initial_access_token_file: token, endpoint: 'https://idp.example.com/reg'}"
        + SECOND
        + "listen: {dcr: '0.0.0.0:8102'}\n"
        + "store: {path: state.db}\n"
        + """\
dcr:
  api_keys_file: api-keys
  strategy: plain
  strategies: {93f8380e-7798-4566-99e3-2edf2b57d289: plain}
  services: {5f9fd312-a987-4628-b4c5-bb4f4fddd5f7: orders}
  registration_status: pending
  sealing_keys_file: sealing-keys
  retry_window_s: 0
""",
    )
    dcr = bridge(settings)
    assert settings.listen.dcr == Address("0.0.0.0", 8102)  # noqa: S104 - what is tested
    assert api_keys(settings) == [API_KEY, OTHER_KEY]
    assert [key.get_secret_value() for key in dcr.sealing_keys] == [b"s" * 32]
    assert dcr.strategies == {"93f8380e-7798-4566-99e3-2edf2b57d289": "plain"}
    assert dcr.services == {"5f9fd312-a987-4628-b4c5-bb4f4fddd5f7": "orders"}
    assert (dcr.registration_status, dcr.retry_window_s) == ("pending", 0)
    token = registration(settings).initial_access_token
    assert token is not None
    assert token.get_secret_value() == TOKEN
    assert registration(settings).endpoint == "https://idp.example.com/reg"
    assert not [warning for warning in settings.warnings if "dcr" in warning.where]


@pytest.mark.parametrize("separator", [",", " ", ", "])
def test_everything_secret_comes_from_the_environment_as_it_stands(tmp_path: Path, separator: str) -> None:
    settings = settings_of(
        tmp_path,
        PLAIN % ", registration: {adapter: rfc7591}" + "store: {path: state.db}\n",
        {
            "VALIDATOR__LISTEN__DCR": "[::1]:8102",
            "VALIDATOR__DCR__API_KEYS": f"{API_KEY}{separator}{OTHER_KEY}",
            "VALIDATOR__DCR__SEALING_KEYS": SEALING_KEY,
            "VALIDATOR__DCR__SERVICES": "{5f9fd312-a987-4628-b4c5-bb4f4fddd5f7: orders}",
            "VALIDATOR__STRATEGIES__PLAIN__REGISTRATION__INITIAL_ACCESS_TOKEN": "[0123456789",
        },
    )
    assert settings.listen.dcr == Address("::1", 8102)
    assert api_keys(settings) == [API_KEY, OTHER_KEY]
    assert len(bridge(settings).sealing_keys) == 1
    assert bridge(settings).services == {"5f9fd312-a987-4628-b4c5-bb4f4fddd5f7": "orders"}
    token = registration(settings).initial_access_token
    assert token is not None
    assert token.get_secret_value() == "[0123456789"


def test_an_api_key_of_digits_alone_is_text_in_the_environment(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, PLAIN % "", {"VALIDATOR__DCR__API_KEYS": "012345678901"})
    assert api_keys(settings) == ["012345678901"]


@pytest.mark.parametrize("length", [12, 256])
def test_the_bounds_of_an_api_key(tmp_path: Path, length: int) -> None:
    assert api_keys(settings_of(tmp_path, PLAIN % "" + f"dcr: {{api_keys: {'k' * length}}}")) == ["k" * length]


@pytest.mark.parametrize("address", ["127.0.0.1:0", "unix:/run/validator/dcr.sock"])
def test_where_konnect_may_call(tmp_path: Path, address: str) -> None:
    # Port 0 is another port each time, so that it may stand twice.
    text = PLAIN % "" + DCR + f"listen: {{data: '127.0.0.1:0', dcr: '{address}'}}\n"
    assert str(settings_of(tmp_path, text).listen.dcr) == address


@pytest.mark.parametrize(
    "text",
    [
        PLAIN % ", auth_methods: bearer" + DCR,
        PLAIN % "" + SECOND + f"dcr: {{api_keys: {API_KEY}, strategy: second}}\n",
        PLAIN % "" + SECOND + f"dcr: {{api_keys: {API_KEY}, strategies: {{some-id: second}}}}\n",
        PLAIN % ", jwks_uri: 'https://x/k', token_endpoint: 'https://x/t', registration: {endpoint: 'https://x/r'}"
        + DCR,
        OKTA % f", registration: {{initial_access_token: {TOKEN}}}" + DCR,
        OKTA % ", registration: {adapter: rfc7591}" + DCR,
        PLAIN % ", registration: {endpoint: 'http://127.0.0.1:9400/reg'}" + DCR,
        PLAIN % "" + DCR + f"store: {{path: state.db}}\nsession: {{keys: {SEALING_KEY}}}\n",
        PLAIN % "" + f"store: {{path: s.db}}\ndcr: {{api_keys: {API_KEY}, sealing_keys: {SEALING_KEY}}}\n",
    ],
)
def test_what_is_right_is_taken(tmp_path: Path, text: str) -> None:
    settings_of(tmp_path, text)


# Warnings


def test_without_a_store_the_clients_cannot_be_managed_after_a_restart(tmp_path: Path) -> None:
    (found,) = [w for w in settings_of(tmp_path, PLAIN % "" + DCR).warnings if w.where == "dcr"]
    assert found.line == 4
    assert "cannot be managed" in found.text


@pytest.mark.parametrize("dcr", ["", f"dcr: {{api_keys: {API_KEY}, strategy: second}}\n"])
def test_a_registration_that_the_bridge_does_not_use_is_worth_a_warning(tmp_path: Path, dcr: str) -> None:
    # Whatever it lacks: nobody is registered by it.
    text = PLAIN % ", registration: {adapter: okta}" + SECOND + dcr
    (found,) = [w for w in settings_of(tmp_path, text).warnings if "registration" in w.where]
    assert (found.line, found.where) == (3, "strategies.plain.registration")
    assert "no effect" in found.text


@pytest.mark.parametrize(
    "dcr", ["", "strategy: plain, ", "strategies: {some-id: plain}, "], ids=["only one", "default", "mapped"]
)
def test_a_registration_that_the_bridge_uses_is_worth_none(tmp_path: Path, dcr: str) -> None:
    text = PLAIN % ", registration: {}" + (SECOND if dcr else "") + f"dcr: {{{dcr}api_keys: {API_KEY}}}\n"
    assert not [w for w in settings_of(tmp_path, text).warnings if "registration" in w.where]


def test_a_mapping_alone_serves_no_strategy_but_those_it_names(tmp_path: Path) -> None:
    """No registration of a strategy that is not mapped, although it is the only one of the file."""
    mistaken = f"dcr: {{api_keys: {API_KEY}, strategies: {{some-id: plane}}}}\n"
    text = PLAIN % ", registration: {adapter: okta}" + mistaken
    # The adapter lacks its token, which matters only where clients are registered.
    with pytest.raises(SettingsError) as caught:
        settings_of(tmp_path, text)
    assert [mistake.where for mistake in caught.value.mistakes] == ["dcr.strategies.some-id"]


def test_registration_in_clear_is_worth_a_warning_where_it_is_allowed(tmp_path: Path) -> None:
    text = PLAIN % ", allow_insecure_http: true, registration: {endpoint: 'http://idp.example.com/reg'}" + DCR
    assert [w.where for w in settings_of(tmp_path, text).warnings if "clear" in w.text] == [
        "strategies.plain.registration.endpoint"
    ]


# Settings that are built in code

STRATEGIES = {"plain": {"idp": "generic", "issuer": "https://idp.example.com"}}


def test_settings_in_code_are_held_to_the_same_rules() -> None:
    settings = Settings.model_validate(
        {
            "strategies": STRATEGIES,
            "listen": {"dcr": "127.0.0.1:0"},
            "dcr": {
                "api_keys": [SecretStr(API_KEY), OTHER_KEY],
                "sealing_keys": [SecretBytes(b"s" * 32)],
                "strategy": "plain",
            },
            "store": {"path": "state.db"},
        }
    )
    assert api_keys(settings) == [API_KEY, OTHER_KEY]
    assert Settings.model_validate({"strategies": STRATEGIES, "dcr": None}).dcr is None


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"listen": {"dcr": "127.0.0.1:8102"}}, "a section dcr"),
        ({"dcr": {}}, "no API key"),
        ({"dcr": {"api_keys": [API_KEY, API_KEY]}}, "each key once"),
        ({"dcr": {"api_keys_file": "/x"}}, "must be given as dcr.api_keys"),
        ({"dcr": {"api_keys": [API_KEY], "sealing_keys_file": "/x"}}, "must be given as dcr.sealing_keys"),
        ({"dcr": {"api_keys": [API_KEY]}, "store": {"path": "x"}}, "no keys to seal with"),
        (
            {"strategies": {"plain": STRATEGIES["plain"] | {"registration": {"initial_access_token_file": "/x"}}}},
            "must be given as strategies.plain.registration.initial_access_token",
        ),
    ],
)
def test_settings_in_code_are_refused_by_the_same_rules(part: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Settings.model_validate({"strategies": STRATEGIES} | part)
    assert "CANARY" not in str(caught.value)
