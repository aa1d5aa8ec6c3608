"""Whatever stands in the file or the environment, reading it ends in settings or in a list of mistakes."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.settings import SettingsError, read

GOOD = """\
listen: {data: "127.0.0.1:8100", control: "[::1]:8101", dcr: "0.0.0.0:8102"}
control: {token: 0123456789-0123456789}
strategies:
  azure: &azure
    idp: azure
    issuer: https://sts.windows.net/11111111-1111-1111-1111-111111111111
    credential_claim: [appid]
    audience: [api://orders]
    auth_methods: [client_credentials, bearer, session]
    token_params: {resource: api://orders}
    leeway_s: 2.5
  other: *azure
  plain:
    idp: generic
    issuer: http://127.0.0.1:9400
    jwks_uri: http://127.0.0.1:9400/jwks
    token_endpoint: http://127.0.0.1:9400/token
    algorithms: [RS256, EdDSA]
    registration: {adapter: rfc7591, endpoint: "http://127.0.0.1:9400/register", initial_access_token: initial}
applications:
  - id: 3f0c1c9e-0000-4000-8000-000000000001
    name: Orders mobile
    strategy: plain
    client_id: orders-mobile
    registrations: [orders, {service: billing, status: pending}]
session: {keys: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=, idle_ttl_s: 900}
cache: {decision_ttl_s: 30}
store: {path: state.db}
redis: {url: "rediss+sentinel://one:26379,two/mymaster/1", password: one, sentinel_password: two, timeout_s: 0.02}
dcr:
  api_keys: [aaaaaaaaaaaa, bbbbbbbbbbbb]
  strategy: plain
  strategies: {93f8380e-7798-4566-99e3-2edf2b57d289: plain}
  services: {5f9fd312-a987-4628-b4c5-bb4f4fddd5f7: orders}
  sealing_keys: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=
"""
DATA = yaml.safe_load(GOOD)


def outcome(text: str, environ: dict[str, str] | None = None) -> SettingsError | None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "v.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            read(path, environ or {})
        except SettingsError as error:
            return error
    return None


def told_in_full(error: SettingsError | None) -> bool:
    return error is None or (
        bool(error.mistakes) and all(m.source and m.found and m.expected for m in error.mistakes)
    )


def test_the_document_that_is_mutated_is_good() -> None:
    assert outcome(GOOD) is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), st.text(max_size=6)), min_size=1, max_size=4)
)
def test_mutated_text(edits: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for start, length, new in edits:
        text = text[:start] + new + text[start + length :]
    assert told_in_full(outcome(text))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes(content: bytes) -> None:
    assert told_in_full(outcome(content.decode("latin-1")))


def _places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, item in entries for place in _places(item, (*path, key))]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(_places(DATA)), values), min_size=1, max_size=5))
def test_mutated_values(edits: list[tuple[tuple[str | int, ...], Any]]) -> None:
    data = copy.deepcopy(DATA)
    for place, value in edits:
        node = data
        try:
            for part in place[:-1]:
                node = node[part]
            node[place[-1]] = value
        except (TypeError, KeyError, IndexError):
            continue  # an earlier edit took the place away
    assert told_in_full(outcome(yaml.safe_dump(data, allow_unicode=True)))


names = st.lists(
    st.sampled_from(
        [
            "LISTEN",
            "DATA",
            "STRATEGIES",
            "PLAIN",
            "SCOPES",
            "APPLICATIONS",
            "0",
            "NAME",
            "KEYS",
            "DCR",
            "API_KEYS",
            "",
        ]
    ),
    min_size=1,
    max_size=5,
)
texts = st.text(st.characters(blacklist_characters="\0"), max_size=20) | st.sampled_from(
    ["[a", "{a: b}", "[]", "*x", "1e999"]
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(names.map(lambda parts: "VALIDATOR__" + "__".join(parts)), texts, min_size=1, max_size=4))
def test_any_environment(environ: dict[str, str]) -> None:
    assert told_in_full(outcome(GOOD, environ))
