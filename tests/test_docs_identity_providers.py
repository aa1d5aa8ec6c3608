"""What the pages about identity providers print works and names nothing that is not there."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from validator.cli import main
from validator.model import Reason
from validator.settings import Settings, SettingsError, read
from validator.settings.strategies import ProviderName

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "identity-providers"
PAGES = {page.name: page.read_text() for page in sorted(FOLDER.glob("*.md"))}
README = (ROOT / "README.md").read_text()
PROVIDER_PAGES = ("azure.md", "okta.md", "auth0.md", "curity.md", "generic.md")
REASONS = {str(reason) for reason in Reason}
STATUSES = {str(reason): str(reason.status) for reason in Reason}

# The rest of the closed list is about our own credentials, or the same at every provider.
QUIRKS = {
    "azure.md": {"token_for_graph", "issuer_mismatch", "audience_mismatch", "claim_missing", "key_unknown"},
    "okta.md": {"issuer_mismatch", "claim_missing", "token_inactive", "scope_missing", "idp_unavailable"},
    "auth0.md": {"algorithm_not_allowed", "token_encrypted", "token_malformed", "issuer_mismatch"},
    "curity.md": {"token_malformed", "token_inactive", "token_type_wrong", "claim_missing", "idp_unavailable"},
    "generic.md": {"token_malformed", "token_inactive", "issuer_mismatch", "token_type_wrong", "key_unknown"},
}  # fmt: skip
# What the page with a `konnect_file` has the reader save under that name.
KONNECT_FILE = re.findall(r"```json\n(.*?)```", PAGES["generic.md"], re.DOTALL)[0]
SECTIONS = [
    "What to configure there",
    "The strategy here",
    "A request that works",
    "Errors that people meet",
    "Limits and quirks",
]


def blocks(kind: str) -> list[Any]:
    """Every fenced block of this language on the pages and in the README."""
    return [
        pytest.param(block, id=f"{name}-{number}")
        for name, text in {**PAGES, "the-README.md": README}.items()
        for number, block in enumerate(re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL))
    ]


def configurations() -> list[Any]:
    """The blocks that are whole configurations; the README prints one of Kong's as well."""
    return [param for param in blocks("yaml") if "strategies" in (yaml.safe_load(param.values[0]) or {})]


def read_block(text: str, directory: Path) -> Settings:
    """As ``validator check`` reads it, on a machine that has the secrets' files."""
    for name, content in (("session-keys", "A" * 43), ("introspection-secret", "g4teway-secret")):
        secret = directory / name
        secret.write_text(content)
        secret.chmod(0o600)
    (directory / "orders.json").write_text(KONNECT_FILE)
    path = directory / "validator.yaml"
    path.write_text(text.replace("/run/secrets", str(directory)))
    return read(path, {})


@pytest.mark.parametrize("block", configurations())
def test_every_configuration_that_is_printed_passes_the_check(block: str, tmp_path: Path) -> None:
    settings = read_block(block, tmp_path)
    assert settings.applications
    assert {application.strategy for application in settings.applications} == set(settings.strategies)


@pytest.mark.parametrize("name", PROVIDER_PAGES)
def test_a_page_for_each_provider_in_the_same_order(name: str) -> None:
    page = PAGES[name]
    headings = [heading for heading in re.findall(r"^## (.*)$", page, re.MULTILINE) if heading in SECTIONS]
    assert headings == SECTIONS
    assert re.search(r"^1\. ", page, re.MULTILINE), "numbered steps"
    assert 'curl example.com/REGISTERED_ROUTE -H "Authorization: Basic CLIENT_ID:CLIENT_SECRET"' in page
    for method in ("-u 'CLIENT_ID:CLIENT_SECRET'", '-H "Authorization: Bearer ', '-b "__Host-session='):
        assert f"curl example.com/REGISTERED_ROUTE {method}" in page


@pytest.mark.parametrize("idp", get_args(ProviderName))
def test_every_idp_has_a_page_and_a_strategy(idp: str, tmp_path: Path) -> None:
    (name,) = re.findall(rf"^\|.*\| `{idp}` \|.*\(([a-z0-9]+\.md)[^)]*\) \|$", PAGES["README.md"], re.MULTILINE)
    page = PAGES[name]
    assert f"`{idp}`" in page or f"`idp: {idp}`" in page
    family = "azure" if idp.startswith("azure") else idp
    found = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert any(entry.get("idp") == family for block in found for entry in block["strategies"].values())


@pytest.mark.parametrize("name", PROVIDER_PAGES)
def test_every_reason_that_is_named_exists_and_those_of_the_provider_are_named(name: str) -> None:
    table = PAGES[name].partition("## Errors that people meet")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("|")][2:]
    named = {reason for row in rows for reason in re.findall(r"`([a-z_]+)`", row[2])}
    assert rows
    assert all(re.findall(r"`[a-z_]+`", row[2]) for row in rows)
    assert named <= REASONS
    assert named >= QUIRKS[name]
    for row in rows:  # the status that it says is the one that goes with the reason
        for reason in re.findall(r"`([a-z_]+)`", row[2]):
            assert row[1].strip().startswith(STATUSES[reason]), row


@pytest.mark.parametrize(
    "page", [*(FOLDER / name for name in PAGES), ROOT / "README.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_relative_link_resolves(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, target


def test_the_readme_links_every_page() -> None:
    for name in PAGES:
        assert f"docs/identity-providers/{name}" in README


def test_a_reason_of_the_readme_exists_and_none_is_missing() -> None:
    table = README.partition("## What each answer means")[2].partition("\n## ")[0].partition("| reason |")[2]
    named = {
        reason
        for line in table.splitlines()
        if line.startswith("| `")
        for reason in re.findall(r"`([a-z_]+)`", line.split("|")[1])
    }
    assert named == REASONS


def _anchor(heading: str) -> str:
    """As the common renderers of Markdown make it."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("block", blocks("json"))
def test_every_json_of_konnect_is_imported_as_the_provider_of_its_page(
    block: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "body.json"
    path.write_text(block)
    settings = read(path, {})
    (strategy,) = settings.strategies.values()
    printed = json.loads(block)["configs"]["openid-connect"]
    assert strategy.issuer == printed["issuer"]
    assert list(strategy.credential_claim) == printed["credential_claim"]
    assert strategy.idp == request.node.callspec.id.partition(".")[0]
    assert main(["import", "konnect", str(path)]) == 0
    written = tmp_path / "written.yaml"
    written.write_text(capsys.readouterr().out)
    assert list(read(written, {}).strategies.values()) == [strategy]


def test_the_documents_own_azure_body_comes_to_what_the_page_says(tmp_path: Path) -> None:
    path = tmp_path / "body.json"
    path.write_text(re.findall(r"```json\n(.*?)```", PAGES["azure.md"], re.DOTALL)[0])
    settings = read(path, {})
    (strategy,) = settings.strategies.values()
    assert strategy.trust_token_response
    assert strategy.scopes == ("https://graph.microsoft.com/.default",)
    warned = [notice.text for notice in settings.warnings if "credential_claim" in notice.where]
    assert any("appid" in text for text in warned), settings.warnings


def test_the_okta_page_says_rightly_that_an_org_server_needs_introspection(tmp_path: Path) -> None:
    found = re.findall(r"```yaml\n(.*?)```", PAGES["okta.md"], re.DOTALL)
    (org,) = [block for block in found if "okta-org:" in block]
    assert read_block(org, tmp_path).strategies["okta-org"].introspects
    without = re.sub(r"    introspection:\n(      .*\n)+", "", org)
    with pytest.raises(SettingsError, match="okta-org"):
        read_block(without, tmp_path)


@pytest.mark.parametrize("tenant", ["common", "organizations", "consumers"])
def test_the_azure_page_says_rightly_that_a_tenant_must_be_named(tenant: str, tmp_path: Path) -> None:
    block = re.findall(r"```yaml\n(.*?)```", PAGES["azure.md"], re.DOTALL)[0]
    changed = re.sub(r"issuer: \S+", f"issuer: https://login.microsoftonline.com/{tenant}", block)
    assert changed != block
    with pytest.raises(SettingsError, match="tenant"):
        read_block(changed, tmp_path)
