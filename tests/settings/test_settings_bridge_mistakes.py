"""Each thing that can be wrong with the settings of the HTTP DCR bridge: where it is told, and in which words."""

from pathlib import Path

import pytest
from support_bridge_settings import API_KEY, DCR, OKTA, PLAIN, SECOND, refused

# What is refused: text -> the line, the setting and words of the sentence.

BAD = {
    "listener without the section": (
        PLAIN % "" + "listen:\n  dcr: 127.0.0.1:8102\n",
        5,
        "listen.dcr",
        "a section dcr",
    ),
    "listener with an empty section": (
        PLAIN % "" + "dcr:\nlisten:\n  dcr: 127.0.0.1:8102\n",
        6,
        "listen.dcr",
        "a section dcr",
    ),
    "no key": (
        PLAIN % "" + "dcr:\n  registration_status: pending\n",
        4,
        "dcr",
        "dcr.api_keys_file or dcr.api_keys",
    ),
    "an empty section": (PLAIN % "" + "dcr: {}\n", 4, "dcr", "dcr.api_keys_file or dcr.api_keys"),
    "no key in the list": (PLAIN % "" + "dcr:\n  api_keys: []\n", 5, "dcr.api_keys", "nobody could call"),
    "key too short": (PLAIN % "" + f"dcr:\n  api_keys: {'k' * 11}\n", 5, "dcr.api_keys.0", "12 to 256 letters"),
    "key too long": (PLAIN % "" + f"dcr:\n  api_keys: {'k' * 257}\n", 5, "dcr.api_keys.0", "12 to 256 letters"),
    "key with a hyphen": (
        PLAIN % "" + f"dcr:\n  api_keys:\n  - {API_KEY}\n  - aaaaaa-bbbbbb\n",
        7,
        "dcr.api_keys.1",
        "12 to 256 letters, digits or _",
    ),
    "key in other digits": (
        PLAIN % ""
        + "dcr:\n  api_keys: '\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669\u0660\u0661\u0662'\n",
        5,
        "dcr.api_keys.0",
        "12 to 256 letters",
    ),
    "key as a number": (PLAIN % "" + "dcr:\n  api_keys: [123456789012]\n", 5, "dcr.api_keys.0", "as text"),
    "key twice": (PLAIN % "" + f"dcr:\n  api_keys: '{API_KEY},{API_KEY}'\n", 5, "dcr.api_keys", "each key once"),
    "too many keys": (
        PLAIN % "" + f"dcr:\n  api_keys: {','.join(f'key_number_{n:02}' for n in range(33))}\n",
        5,
        "dcr.api_keys",
        "at most 32 entries",
    ),
    "address": (PLAIN % "" + DCR + "listen:\n  dcr: x\n", 6, "listen.dcr", "host:port"),
    "address of the data plane": (
        PLAIN % "" + DCR + "listen:\n  dcr: 127.0.0.1:8100\n",
        6,
        "listen.dcr",
        "other than listen.data",
    ),
    "address of the control plane": (
        PLAIN % "" + DCR + "listen:\n  control: unix:/run/x\n  dcr: unix:/run/x\n",
        7,
        "listen.dcr",
        "other than listen.control",
    ),
    "default unknown": (
        PLAIN % "" + f"dcr:\n  api_keys: {API_KEY}\n  strategy: plane\n",
        6,
        "dcr.strategy",
        "did you mean plain?",
    ),
    "mapped to the unknown": (
        PLAIN % "" + f"dcr:\n  api_keys: {API_KEY}\n  strategies:\n    a: plain\n    b: plane\n",
        8,
        "dcr.strategies.b",
        "did you mean plain?",
    ),
    "which of several": (PLAIN % "" + SECOND + DCR, 5, "dcr", "dcr.strategy, or dcr.strategies"),
    "which of several, mapping nothing": (
        PLAIN % "" + SECOND + f"dcr: {{api_keys: {API_KEY}, strategies: {{}}}}\n",
        5,
        "dcr",
        "dcr.strategy, or dcr.strategies",
    ),
    "strategy id": (
        PLAIN % "" + f"dcr:\n  api_keys: {API_KEY}\n  strategies:\n    a b: plain\n",
        7,
        "dcr.strategies.a b",
        "1 to 128 letters",
    ),
    "service": (
        PLAIN % "" + f"dcr:\n  api_keys: {API_KEY}\n  services:\n    a: b/c\n",
        7,
        "dcr.services.a",
        "a service's name",
    ),
    "status": (
        PLAIN % "" + f"dcr:\n  api_keys: {API_KEY}\n  registration_status: revoked\n",
        6,
        "dcr.registration_status",
        "one of approved, pending",
    ),
    "retry window": (
        PLAIN % "" + f"dcr:\n  api_keys: {API_KEY}\n  retry_window_s: 86401\n",
        6,
        "dcr.retry_window_s",
        "from 0 to 86400",
    ),
    "unknown": (
        PLAIN % "" + f"dcr:\n  api_key: {API_KEY}\n  api_keys: {API_KEY}\n",
        5,
        "dcr.api_key",
        "mean api_keys?",
    ),
    "sealing key": (
        PLAIN % "" + f"dcr:\n  api_keys: {API_KEY}\n  sealing_keys: c2hvcnQ=\n",
        6,
        "dcr.sealing_keys.0",
        "this is 5 bytes",
    ),
    "nothing to seal with": (
        PLAIN % "" + "store: {path: state.db}\n" + DCR,
        5,
        "dcr",
        "registration access tokens could not be opened after a restart",
    ),
    "Okta without a token": (OKTA % "" + DCR, 2, "strategies.okta.registration", "API token of an Okta admin"),
    "Okta's adapter without a token": (
        PLAIN % ", registration: {adapter: okta}" + DCR,
        3,
        "strategies.plain.registration",
        "API token of an Okta admin",
    ),
    "nowhere to register": (
        PLAIN % ", discovery: false, jwks_uri: 'https://x/k', token_endpoint: 'https://x/t'" + DCR,
        2,  # the strategy's: it has no such section
        "strategies.plain.registration.endpoint",
        "discovery is off",
    ),
    "nowhere to register, by jwks_uri": (
        PLAIN % ", jwks_uri: 'https://x/k', token_endpoint: 'https://x/t', registration: {}" + DCR,
        3,
        "strategies.plain.registration.endpoint",
        "discovery is off",
    ),
    "registration in clear": (
        PLAIN % ", registration: {endpoint: 'http://idp.example.com/reg'}" + DCR,
        3,
        "strategies.plain.registration.endpoint",
        "allow_insecure_http: true",
    ),
    "adapter": (
        PLAIN % ", registration: {adapter: okto}" + DCR,
        3,
        "strategies.plain.registration.adapter",
        "did you mean okta?",
    ),
    "token with a space": (
        PLAIN % ", registration: {initial_access_token: 'a b'}" + DCR,
        3,
        "strategies.plain.registration.initial_access_token",
        "visible ASCII",
    ),
}


@pytest.mark.parametrize(("text", "line", "where", "words"), BAD.values(), ids=BAD)
def test_a_mistake_is_told_once_with_its_line(
    tmp_path: Path, text: str, line: int, where: str, words: str
) -> None:
    found = refused(tmp_path, text).mistakes
    assert [(mistake.line, mistake.where) for mistake in found] == [(line, where)]
    assert words in str(found[0])


def test_a_mistake_in_the_environment_is_told_by_its_variable(tmp_path: Path) -> None:
    for value, words in (("short", "12 to 256 letters"), ("", "no API key")):
        (found,) = refused(tmp_path, PLAIN % "", {"VALIDATOR__DCR__API_KEYS": value}).mistakes
        assert (found.source, found.line) == ("VALIDATOR__DCR__API_KEYS", None)
        assert words in str(found)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = PLAIN % "" + "dcr:\n  api_keys: x\n  strategy: none\n  retry_window_s: -1\nstore: {path: state.db}\n"
    assert [mistake.where for mistake in refused(tmp_path, text).mistakes] == [
        "dcr",
        "dcr.api_keys.0",
        "dcr.strategy",
        "dcr.retry_window_s",
    ]
