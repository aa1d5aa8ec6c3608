"""A file and the environment become settings, or every mistake in them is told at once."""

import base64
import os
from pathlib import Path

import pytest

from validator.model import Application, Method, Origin, RegistrationStatus
from validator.settings import Address, Mistake, Settings, SettingsError, read

CONTRACT = """\
listen:
  data: 127.0.0.1:8100
  control: 127.0.0.1:8101
control:
  token_file: control-token
strategies:
  azure:
    idp: azure
    issuer: https://sts.windows.net/11111111-1111-1111-1111-111111111111
    credential_claim: [appid]
    audience: [api://orders]
    scopes: [api://orders/.default]
    auth_methods: [client_credentials, bearer, session]
  plain:
    idp: generic
    issuer: http://127.0.0.1:9400
    credential_claim: [client_id, azp]
    auth_methods: [client_credentials, bearer, session]
applications:
  - id: 3f0c1c9e-0000-4000-8000-000000000001
    name: Orders mobile
    strategy: plain
    client_id: orders-mobile
    registrations: [orders, {service: billing, status: pending}]
session:
  keys_file: session-keys
  cookie_name: __Host-session
  idle_ttl_s: 900
  absolute_ttl_s: 86400
cache:
  decision_ttl_s: 30
  negative_ttl_s: 5
  max_entries: 200000
store:
  path: /var/lib/validator/state.db
"""
STRATEGY = "strategies: {plain: {idp: generic, issuer: 'https://idp.example.com', audience: orders}}\n"
TOKEN = "canary-control-token-0123456789"
KEYS = [bytes([number]) * 32 for number in (1, 2)]


def write(directory: Path, text: str, name: str = "validator.yaml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def mistakes(path: Path, **environ: str) -> tuple[Mistake, ...]:
    with pytest.raises(SettingsError) as caught:
        read(path, environ)
    return caught.value.mistakes


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    write(tmp_path, f"{TOKEN}\n", "control-token")
    lines = [
        "# the first seals",
        base64.b64encode(KEYS[0]).decode(),
        "",
        base64.urlsafe_b64encode(KEYS[1]).decode(),
    ]
    write(tmp_path, "\n".join(lines).replace("=", ""), "session-keys")
    return write(tmp_path, CONTRACT)


def test_the_documented_file_reads_cleanly(contract: Path) -> None:
    settings = read(contract, {})
    assert settings.listen.data == Address("127.0.0.1", 8100)
    assert settings.control.token is not None
    assert settings.control.token.get_secret_value() == TOKEN
    assert [key.get_secret_value() for key in settings.session.keys] == KEYS
    azure = settings.strategies["azure"]
    assert azure.audience == ("api://orders",)
    assert azure.auth_methods == (Method.CLIENT_CREDENTIALS, Method.BEARER, Method.SESSION)
    assert settings.file_applications() == (
        Application(
            id="3f0c1c9e-0000-4000-8000-000000000001",
            name="Orders mobile",
            strategy="plain",
            client_id="orders-mobile",
            registrations={"orders": RegistrationStatus.APPROVED, "billing": RegistrationStatus.PENDING},
            active=True,
            origin=Origin.FILE,
        ),
    )
    # The one thing in it worth a warning: bearer tokens for every audience.
    assert [(warning.line, warning.where) for warning in settings.warnings] == [(14, "strategies.plain.audience")]


def test_defaults_follow_from_the_provider(tmp_path: Path) -> None:
    settings = read(
        write(tmp_path, "strategies: {o: {idp: okta, issuer: 'https://o.example/oauth2/default'}}"), {}
    )
    okta = settings.strategies["o"]
    assert okta.credential_claim == ("cid",)
    assert okta.token_endpoint_auth_method == "client_secret_basic"
    assert okta.discovery is True
    assert okta.provider.name == "okta"
    assert settings.log.format == "json"


def test_every_mistake_is_told_at_once_in_the_order_of_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
listen:
  data: nowhere
  control: 0.0.0.0:8101
redis: {}
strategies:
  plain:
    idp: genric
    isuer: https://idp.example.com
    leeway_s: "30"
applications:
  - {id: a, name: A, strategy: plane, client_id: one, registrations: [orders, orders]}
  - {id: a, name: A, strategy: plain, client_id: 7}
cache: {max_entries: 5}
""",
    )
    found = mistakes(path)
    assert [(mistake.line, mistake.where) for mistake in found] == [
        (2, "listen.data"),
        (3, "listen.control"),
        (4, "redis.url"),
        (6, "strategies.plain.issuer"),
        (7, "strategies.plain.idp"),
        (8, "strategies.plain.isuer"),
        (9, "strategies.plain.leeway_s"),
        (11, "applications.0.strategy"),
        (11, "applications.0.registrations.1"),
        (12, "applications.1.id"),
        (12, "applications.1.client_id"),
        (13, "cache.max_entries"),
    ]


def test_a_mistake_reads_as_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, "strategies:\n  plain:\n    idp: generic\n    issuer: http://idp.example.com\n")
    with pytest.raises(SettingsError) as caught:
        read(path, {})
    assert str(caught.value) == (
        f"{path}:4: strategies.plain.issuer: found 'http://idp.example.com', expected https, "
        "or http to loopback, or allow_insecure_http: true, for example https://idp.example.com"
    )


def test_what_one_strategy_says_is_not_held_against_another_named_like_a_setting(tmp_path: Path) -> None:
    path = write(tmp_path, "strategies:\n  issuer: {idp: nobody, issuer: 'https://idp.example.com'}\n")
    (found,) = mistakes(path)
    assert found.where == "strategies.issuer.idp"
    assert found.expected.startswith("one of azure, azure-v1")


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:9400", "http://[::1]:9400", "http://localhost/x"])
def test_http_to_loopback_is_allowed(tmp_path: Path, issuer: str) -> None:
    path = write(tmp_path, f"strategies: {{plain: {{idp: generic, issuer: '{issuer}'}}}}")
    assert read(path, {}).strategies["plain"].issuer == issuer


def test_insecure_http_can_be_allowed_and_is_warned_of(tmp_path: Path) -> None:
    text = "strategies:\n  p:\n    idp: generic\n    issuer: http://idp.test\n    allow_insecure_http: true\n"
    warnings = read(write(tmp_path, text), {}).warnings
    assert [w.line for w in warnings if "travel in clear" in w.text] == [4]


def test_what_should_be_known_is_warned_of_with_its_line(tmp_path: Path) -> None:
    text = "listen:\n  data: 0.0.0.0:8100\nstrategies:\n  p: {idp: generic, issuer: 'https://idp.example.com'}\n"
    warnings = read(write(tmp_path, text), {}).warnings
    assert [(warning.line, warning.where) for warning in warnings] == [
        (1, "session"),
        (1, "store"),
        (2, "listen.data"),
        (4, "strategies.p.audience"),
    ]


def test_sections_with_everything_commented_out_mean_their_defaults(tmp_path: Path) -> None:
    settings = read(write(tmp_path, STRATEGY + "session:\nlog:\napplications:\n"), {})
    assert settings.session.idle_ttl_s == 900
    assert settings.applications == ()


def test_a_missing_file_says_its_path(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path / "nowhere.yaml")
    assert str(tmp_path / "nowhere.yaml") in str(found)
    assert "does not exist" in str(found)


@pytest.mark.parametrize(
    ("content", "line"), [(b"\xff\xfel\x00", 1), (b"log:\n  level: \xe9\n", 2)], ids=["UTF-16", "Latin-1"]
)
def test_a_file_that_is_not_utf_8(tmp_path: Path, content: bytes, line: int) -> None:
    path = tmp_path / "validator.yaml"
    path.write_bytes(content)
    (found,) = mistakes(path)
    assert (found.line, found.found) == (line, "what is not UTF-8")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert mistakes(tmp_path / "pipe")[0].found == "what is not a regular file"


def test_aliases_repeat_and_do_not_explode(tmp_path: Path) -> None:
    text = "strategies:\n  a: &a {idp: generic, issuer: 'https://idp.example.com', audience: x}\n  b: *a\n"
    settings = read(write(tmp_path, text), {"VALIDATOR__STRATEGIES__A__SCOPES": "one"})
    assert settings.strategies["b"].issuer == settings.strategies["a"].issuer
    assert settings.strategies["b"].scopes == ()
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (found,) = mistakes(write(tmp_path, bomb))
    assert "aliases" in found.found


def test_nesting_is_bounded(tmp_path: Path) -> None:
    (found,) = mistakes(write(tmp_path, "a: " + "[" * 900 + "]" * 900))
    assert found.found == "more than 32 levels"


def test_many_mistakes_take_linear_time(tmp_path: Path) -> None:
    # Quadratic work over as many entries and names would run into the test's timeout.
    strategies = "".join(f"  s{n}: {{idp: generic, issuer: 'https://s{n}.example'}}\n" for n in range(2000))
    entries = "".join(f"  - {{id: a{n}, name: A, strategy: x{n}, client_id: c{n}}}\n" for n in range(10_000))
    found = mistakes(write(tmp_path, f"strategies:\n{strategies}applications:\n{entries}"))
    assert len(found) == 10_000
    assert len(str(found[0])) < 500


def test_client_ids_are_unique_within_a_strategy_as_the_registry_compares_them(tmp_path: Path) -> None:
    guid = "abcdefab-0000-4000-8000-000000000001"
    text = (
        STRATEGY
        + "applications:\n"
        + "".join(
            f"  - {{id: a{n}, name: A, strategy: plain, client_id: {client}}}\n"
            for n, client in enumerate([guid, guid.upper(), "One", "one"])
        )
    )
    assert [found.where for found in mistakes(write(tmp_path, text))] == ["applications.1.client_id"]


def test_settings_built_in_code_are_held_to_the_same_rules() -> None:
    strategy = {"idp": "generic", "issuer": "https://idp.example.com"}
    assert [warning.where for warning in Settings.model_validate({"strategies": {"p": strategy}}).warnings] == [
        "session",
        "strategies.p.audience",
        "store",
    ]
    for bad, words in (
        ({"listen": {"control": "0.0.0.0:1"}}, "demands a token"),
        ({"control": {"token_file": "/run/token"}}, "must be given as control.token"),
        ({"session": {"keys_file": "/run/keys"}}, "must be given as session.keys"),
        (
            {
                "strategies": {
                    "p": strategy | {"introspection": {"client_id": "g", "client_secret_file": "/run/x"}}
                }
            },
            "must be given as strategies.p.introspection.client_secret",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            Settings.model_validate({"strategies": {"p": strategy}} | bad)
