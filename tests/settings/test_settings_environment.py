"""Every setting can come from the environment, and no variable with the prefix is ignored."""

from pathlib import Path

import pytest

from validator.settings import Address, SettingsError, read

FILE = """\
strategies:
  orders-idp.eu: {idp: generic, issuer: 'https://idp.example.com', audience: orders}
applications:
  - {id: a, name: A, strategy: orders-idp.eu, client_id: one}
cache:
  decision_ttl_s: 10
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "v.yaml"
    path.write_text(FILE)
    return path


def test_values_are_laid_over_the_file(path: Path) -> None:
    settings = read(
        path,
        {
            "VALIDATOR__LISTEN__DATA": "[::1]:8100",
            "VALIDATOR__CACHE__DECISION_TTL_S": "20",
            "validator__cache__negative_ttl_s": "2.5",
            "VALIDATOR__SESSION__OUTLIVE_TOKEN": "true",
            "VALIDATOR__STRATEGIES__ORDERS_IDP_EU__LEEWAY_S": "5",
            "VALIDATOR__STRATEGIES__ORDERS_IDP_EU__SCOPES": "[a, b]",
            "VALIDATOR__STRATEGIES__ORDERS_IDP_EU__REQUIRED_SCOPES": "a b",
            "VALIDATOR__STRATEGIES__SECOND__IDP": "okta",
            "VALIDATOR__STRATEGIES__SECOND__ISSUER": "https://second.example/oauth2/default",
            "VALIDATOR__APPLICATIONS__0__CLIENT_ID": '"17"',
            "VALIDATOR__LOG": "{level: error, format: console}",
            "VALIDATOR__LOG__LEVEL": "debug",
            "VALIDATOR_PORT": "tcp://10.0.0.1:80",  # what Kubernetes sets for a service of that name
            "PATH": "/bin",
        },
    )
    assert settings.listen.data == Address("::1", 8100)
    assert (settings.cache.decision_ttl_s, settings.cache.negative_ttl_s) == (20, 2.5)
    assert settings.session.outlive_token is True
    first, second = settings.strategies["orders-idp.eu"], settings.strategies["second"]
    assert (first.leeway_s, first.scopes, first.required_scopes) == (5, ("a", "b"), ("a", "b"))
    assert second.idp == "okta"
    assert settings.applications[0].client_id == "17"
    assert (settings.log.level, settings.log.format) == ("debug", "console")


BAD = {
    "unknown section": ("VALIDATOR__CHACHE__X", "1", "chache", "did you mean cache?"),
    "unknown setting": (
        "VALIDATOR__CACHE__DECISION_TTL",
        "1",
        "cache.decision_ttl",
        "did you mean decision_ttl_s?",
    ),
    "no setting": ("VALIDATOR__", "1", "", "names no setting"),
    "no name": ("VALIDATOR__CACHE__", "1", "", "names no setting"),
    "too deep": ("VALIDATOR__CACHE__DECISION_TTL_S__X", "1", "", "has no parts"),
    "bad value": ("VALIDATOR__CACHE__DECISION_TTL_S", "soon", "cache.decision_ttl_s", "from 0 to 3600"),
    "quoted number": ("VALIDATOR__CACHE__DECISION_TTL_S", "'20'", "cache.decision_ttl_s", "without quotes"),
    "empty": ("VALIDATOR__CACHE__DECISION_TTL_S", "", "cache.decision_ttl_s", "found nothing"),
    "empty secret": ("VALIDATOR__CONTROL__TOKEN", "", "control.token", "16 to 4096"),
    "not YAML": ("VALIDATOR__CACHE", "{decision_ttl_s: 1", "", "not YAML"),
    "key twice": ("VALIDATOR__LOG", "{level: info, level: info}", "", "each key once"),
    "not UTF-8": ("VALIDATOR__LOG__LEVEL", "\udcff", "", "not UTF-8"),
    "no such entry": ("VALIDATOR__APPLICATIONS__7__NAME", "x", "", "a number from 0 to 1"),
    "strategy in part": ("VALIDATOR__STRATEGIES__NEW__IDP", "okta", "strategies.new.issuer", "found nothing"),
    "no URL": ("VALIDATOR__REDIS__URL", "[redis]", "redis.url", "a URL that begins with"),
}


@pytest.mark.parametrize(("name", "value", "where", "words"), BAD.values(), ids=BAD)
def test_a_mistake_names_its_variable(path: Path, name: str, value: str, where: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(path, {name: value})
    assert [(mistake.source, mistake.line, mistake.where) for mistake in caught.value.mistakes] == [
        (name, None, where)
    ]
    assert words in str(caught.value)


def test_two_variables_for_one_setting(path: Path) -> None:
    with pytest.raises(SettingsError, match="one variable for a setting"):
        read(path, {"VALIDATOR__LOG__LEVEL": "info", "validator__log__level": "info"})


def test_a_name_that_fits_two_strategies(path: Path) -> None:
    path.write_text(
        FILE.replace("applications:", "  orders-idp-eu: {idp: okta, issuer: 'https://x.example'}\napplications:")
    )
    with pytest.raises(SettingsError, match=r"orders-idp\.eu and orders-idp-eu"):
        read(path, {"VALIDATOR__STRATEGIES__ORDERS_IDP_EU__LEEWAY_S": "5"})
