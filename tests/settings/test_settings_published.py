"""What is published about the settings, the schema and the page, says what the code does."""

import base64
import json
import re
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import pytest
from pydantic.fields import FieldInfo
from tls_support import Authority

from validator.core.providers import PROVIDERS, Provider
from validator.settings import Settings, json_schema, read
from validator.settings.strategies import ALGORITHMS, Algorithm, ProviderName
from validator.settings.values import Section

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "configuration.md").read_text()


def section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(section_in, get_args(annotation))), None)


def entry(name: str, annotation: Any) -> str:
    """What stands between a field and those of the section within it."""
    if isinstance(annotation, UnionType) or section_in(annotation) is annotation:
        return ""
    return ".*" if name == "strategies" else "[]"


def fields(model: type[Section] = Settings, prefix: str = "") -> list[tuple[str, FieldInfo]]:
    found = []
    for name, field in model.model_fields.items():
        found.append((prefix + name, field))
        inner = section_in(field.annotation)
        if inner is not None:
            found += fields(inner, f"{prefix}{name}{entry(name, field.annotation)}.")
    return found


FIELDS = dict(fields())


def test_the_published_schema_is_generated() -> None:
    published = json.loads((DOCS / "configuration.schema.json").read_text())
    assert published == json_schema(), "run: python -m validator.settings > docs/configuration.schema.json"


def test_the_schema_knows_every_field_and_no_other() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Settings.model_fields)
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values() if "properties" in part)


def test_the_schema_takes_a_strategy_in_konnects_form() -> None:
    strategy = json_schema()["$defs"]["Strategy"]
    assert "required" not in strategy
    assert strategy["anyOf"] == [
        {"required": ["idp", "issuer"]},
        {"required": ["konnect_file"]},
        {"required": ["configs"]},
    ]
    assert {"konnect_file", "configs", "dcr_provider_id"} <= set(strategy["properties"])


def test_the_schema_offers_choices_patterns_and_defaults_as_they_are_written() -> None:
    parts = json_schema()["$defs"]
    assert parts["Listen"]["properties"]["data"]["default"] == str(FIELDS["listen.data"].default)
    one, many = parts["Strategy"]["properties"]["algorithms"]["anyOf"]
    assert one["enum"] == many["items"]["enum"] == list(ALGORITHMS)
    assert re.fullmatch(parts["ApplicationEntry"]["properties"]["id"]["pattern"], "orders-1")


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_described(name: str) -> None:
    field = FIELDS[name]
    assert field.description
    assert section_in(field.annotation) or field.examples


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if not section_in(field.annotation)])
def test_every_field_stands_on_the_page_with_its_default(name: str) -> None:
    rows = re.findall(rf"^\| `{re.escape(name)}` \| ([^|]*) \|", PAGE, re.MULTILINE)
    assert len(rows) == 1, f"one row for {name}"
    default = FIELDS[name].default
    if isinstance(default, bool | int | float):
        assert rows[0] == (str(default).lower() if isinstance(default, bool) else f"{default:.12g}")
    elif isinstance(default, str):
        assert rows[0] == default


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        (name, bound.ge, next(item.le for item in field.metadata if hasattr(item, "le")))
        for name, field in FIELDS.items()
        for bound in field.metadata
        if hasattr(bound, "ge")
    ],
)
def test_every_bound_stands_on_the_page(name: str, low: float, high: float) -> None:
    assert re.search(rf"^\| `{re.escape(name)}` \| [^|]* \| {low:.12g} to {high:.12g}[.,]", PAGE, re.MULTILINE)


def test_the_page_names_no_field_that_is_not_there() -> None:
    assert set(re.findall(r"^\| `([a-z_*\[\]]+\.[a-z_.*\[\]]+)` \|", PAGE, re.MULTILINE)) <= set(FIELDS)


def test_the_files_on_the_page_read_cleanly(tmp_path: Path) -> None:
    printed = Path(__file__).parent / "konnect" / "azure-auth.json"
    (tmp_path / printed.name).write_text(printed.read_text())
    key = base64.b64encode(b"k" * 32).decode()
    for name, secret in {
        "control-token": "t" * 16,
        "session-keys": key,
        "dcr-api-keys": "k" * 12,
        "dcr-sealing-keys": key,
        "initial-access-token": "t",
        "redis-password": "p",
    }.items():
        (tmp_path / name).write_text(secret)
    data = Authority().issue("validator.example.com").write(tmp_path, "data")
    (tmp_path / "gateways-ca.crt").write_bytes(data.certificate.read_bytes())
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for block in blocks:
        path = tmp_path / "v.yaml"
        path.write_text(block.replace("/run/secrets", str(tmp_path)))
        read(path, {})


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_every_provider_stands_on_the_page(provider: Provider) -> None:
    claims, audience = ", ".join(provider.claims), provider.audience_parameter or "none"
    assert f"| {provider.name} | {claims} | {provider.token_endpoint_auth_method} | {audience} |" in PAGE


def test_every_provider_can_be_chosen() -> None:
    assert get_args(ProviderName) == tuple(PROVIDERS)
    assert all(PROVIDERS[name].name == name for name in PROVIDERS)


def test_the_default_algorithms_are_all_there_are() -> None:
    assert get_args(Algorithm) == ALGORITHMS


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("azure-v1", ("appid",)),
        ("azure-v2", ("azp",)),
        ("azure", ("appid", "azp")),
        ("okta", ("cid",)),
        ("auth0", ("azp", "client_id")),
        ("curity", ("sub", "client_id")),
        ("keycloak", ("azp", "client_id")),
        ("kong-identity", ("sub",)),
        ("generic", ("client_id", "azp")),
    ],
)
def test_the_claim_that_holds_the_client_id_is_the_providers_own(name: str, claims: tuple[str, ...]) -> None:
    assert PROVIDERS[name].claims == claims


def test_only_providers_that_put_it_nowhere_else_have_the_client_in_the_subject() -> None:
    assert [name for name, provider in PROVIDERS.items() if "sub" in provider.claims] == [
        "curity",
        "kong-identity",
    ]
