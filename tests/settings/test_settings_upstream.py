"""Upstream headers, the minted token and groups: what may be written, and what is said of anything else."""

from pathlib import Path
from typing import Any

import pytest
from test_settings_mistakes import mistakes

from validator.settings import Settings, read
from validator.wiring import parts

STRATEGY = """strategies:
  plain:
    idp: generic
    issuer: https://idp.example.com
    audience: orders
"""
APPLICATION = """applications:
  - id: app-1
    strategy: plain
    client_id: orders
"""


def headers(text: str) -> str:
    return f"{STRATEGY}    upstream_headers: {text}\n"


def groups(text: str) -> str:
    return f"{STRATEGY}{APPLICATION}    groups: {text}\n"


def settings(directory: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    path = directory / "validator.yaml"
    path.write_text(text, encoding="utf-8")
    return read(path, environ or {})


def test_headers_and_their_claims(tmp_path: Path) -> None:
    strategy = settings(
        tmp_path, headers("{X-Claim-Tenant: ctx.tenant, Roles: 'https://example.com/roles'}")
    ).strategies["plain"]
    assert dict(strategy.upstream_headers) == {
        "X-Claim-Tenant": "ctx.tenant",
        "Roles": "https://example.com/roles",
    }
    assert not strategy.forward_minted_token
    assert parts.token_rules(strategy, 1000).upstream_headers == (
        ("X-Claim-Tenant", ("ctx", "tenant")),
        ("Roles", ("https://example.com/roles",)),
    )


def test_by_default_there_are_none(tmp_path: Path) -> None:
    read_ = settings(tmp_path, STRATEGY + APPLICATION)
    assert parts.token_rules(read_.strategies["plain"], 1000).upstream_headers == ()
    assert read_.file_applications()[0].groups == ()


def test_from_the_environment(tmp_path: Path) -> None:
    environ = {
        "VALIDATOR__STRATEGIES__PLAIN__UPSTREAM_HEADERS": "{X-Claim-Tenant: tenant}",
        "VALIDATOR__STRATEGIES__PLAIN__FORWARD_MINTED_TOKEN": "true",
        "VALIDATOR__APPLICATIONS__0__GROUPS": "[gold, internal]",
    }
    read_ = settings(tmp_path, STRATEGY + APPLICATION, environ)
    assert dict(read_.strategies["plain"].upstream_headers) == {"X-Claim-Tenant": "tenant"}
    assert read_.strategies["plain"].forward_minted_token
    assert read_.file_applications()[0].groups == ("gold", "internal")


def test_sixteen_fit(tmp_path: Path) -> None:
    text = ", ".join(f"X-{number}: c" for number in range(16))
    assert len(settings(tmp_path, headers(f"{{{text}}}")).strategies["plain"].upstream_headers) == 16


@pytest.mark.parametrize(
    ("text", "where", "found", "expected"),
    [
        ("{" + ", ".join(f"X-{n}: c" for n in range(17)) + "}", "", "a section", "at most 16 entries"),
        ("{X_Claim: c}", ".X_Claim", "'X_Claim'", "letters, digits or hyphens"),
        ("{'X Claim': c}", ".X Claim", "'X Claim'", "letters, digits or hyphens"),
        ("{'X-A:': c}", ".X-A:", "'X-A:'", "letters, digits or hyphens"),
        ('{"X-A\\r\\nX-B": c}', ".X-A\r\nX-B", "'X-A\\r\\nX-B'", "letters, digits or hyphens"),
        ("{'': c}", ".", "''", "letters, digits or hyphens"),
        ("{Überschrift: c}", ".Überschrift", "'Überschrift'", "letters, digits or hyphens"),
        (f"{{{'X' * 65}: c}}", f".{'X' * 65}", "'XXX", "1 to 64"),
        ("{x-application-id: c}", ".x-application-id", "'x-application-id'", "neither the sidecar, Kong nor HTTP"),
        ("{X-Consumer-Foo: c}", ".X-Consumer-Foo", "'X-Consumer-Foo'", "neither the sidecar, Kong nor HTTP"),
        ("{Content-Length: c}", ".Content-Length", "'Content-Length'", "neither the sidecar, Kong nor HTTP"),
        ("{Authorization: c}", ".Authorization", "", "neither the sidecar, Kong nor HTTP"),
        ("{X-A: a, x-a: b}", ".x-a", "'x-a'", "each header once: X-A is the same name"),
        ("{X-A: ''}", ".X-A", "''", "a dotted path"),
        ("{X-A: a..b}", ".X-A", "'a..b'", "a dotted path"),
        ("{X-A: a.b.c.d.e.f.g.h.i}", ".X-A", "", "up to 8 names"),
        ("{X-A: [a]}", ".X-A", "a list", "text"),
        ("{X-A: 7}", ".X-A", "7", "put quotes around it"),
        ("[X-A]", "", "a list", "a section"),
        ("X-A", "", "'X-A'", "a section"),
    ],
)
def test_what_is_no_header(tmp_path: Path, text: str, where: str, found: str, expected: str) -> None:
    (mistake,) = mistakes(tmp_path, headers(text))
    assert mistake.where == f"strategies.plain.upstream_headers{where}"
    assert mistake.line == 6
    assert mistake.found.startswith(found)
    assert expected in mistake.expected


def test_all_are_told_at_once(tmp_path: Path) -> None:
    found = mistakes(tmp_path, headers("{Host: a, X_A: b, X-B: '', X-C: c, x-c: d}"))
    assert {mistake.where.rpartition(".")[2] for mistake in found} == {"Host", "X_A", "X-B", "x-c"}


def test_the_token_is_switched_by_a_boolean(tmp_path: Path) -> None:
    assert (
        settings(tmp_path, f"{STRATEGY}    forward_minted_token: true\n").strategies["plain"].forward_minted_token
    )
    (mistake,) = mistakes(tmp_path, f"{STRATEGY}    forward_minted_token: yes\n")
    assert (mistake.where, mistake.expected) == ("strategies.plain.forward_minted_token", "true or false")


@pytest.mark.parametrize(("methods", "warned"), [("[bearer]", True), ("[bearer, client_credentials]", False)])
def test_a_token_that_is_never_minted_is_worth_a_warning(tmp_path: Path, methods: str, warned: bool) -> None:
    text = f"{STRATEGY}    forward_minted_token: true\n    auth_methods: {methods}\n"
    about = [notice for notice in settings(tmp_path, text).warnings if "forward" in notice.where]
    assert [(notice.line, notice.where) for notice in about] == (
        [(6, "strategies.plain.forward_minted_token")] if warned else []
    )


def test_groups_stand_in_the_order_written(tmp_path: Path) -> None:
    assert settings(tmp_path, groups("[gold, a/b:c@d, internal]")).file_applications()[0].groups == (
        "gold", "a/b:c@d", "internal",
    )  # fmt: skip
    assert settings(tmp_path, groups("gold")).file_applications()[0].groups == ("gold",)
    many = [f"g{number}" for number in range(31)]
    longest = "g" * 128
    assert len(settings(tmp_path, groups(str([*many, longest]))).file_applications()[0].groups) == 32


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        ("['a,b']", ".0", "no commas"),
        ("gold,silver", ".0", "no commas"),
        ("['a b']", ".0", "no spaces"),
        ("[a, '']", ".1", "1 to 128"),
        ("[" + "g" * 129 + "]", ".0", "1 to 128"),
        ("[größe]", ".0", "ASCII"),
        ('["a\\r\\nb"]', ".0", "visible"),
        ("[a, b, a]", ".2", "each group once"),
        ("[1]", ".0", "put quotes around it"),
        ("{a: b}", "", "a list"),
        (str([f"g{number}" for number in range(33)]), "", "at most 32 entries"),
    ],
)
def test_what_is_no_group(tmp_path: Path, text: str, where: str, expected: str) -> None:
    (mistake,) = mistakes(tmp_path, groups(text))
    assert (mistake.where, mistake.line) == (f"applications.0.groups{where}", 10)
    assert expected in mistake.expected


# What follows from them


def changed(**changes: Any) -> Settings:
    strategy = {"idp": "generic", "issuer": "https://idp.example.com", "audience": ["orders"], **changes}
    return Settings.model_validate({"strategies": {"plain": strategy}})


@pytest.mark.parametrize(
    "changes",
    [
        {"upstream_headers": {"X-A": "a"}},
        {"upstream_headers": {"X-A": "b"}},
        {"upstream_headers": {"X-B": "a"}},
        {"forward_minted_token": True},
    ],
    ids=str,
)
def test_a_reload_with_others_meets_no_old_proof(changes: dict[str, Any]) -> None:
    others: list[dict[str, Any]] = [{}, {"upstream_headers": {"X-A": "a", "X-C": "c"}}]
    one = changed(**changes)
    for other in (changed(**each) for each in others):
        prints = [parts.fingerprint(each.strategies["plain"], each) for each in (one, other)]
        assert prints[0] != prints[1]


def test_sessions_end_with_a_change_of_headers_and_with_nothing_else_here() -> None:
    def bound(**changes: Any) -> str:
        return parts.session_binding(changed(**changes).strategies["plain"])

    one = {"X-A": "a", "X-B": "b"}
    assert bound(forward_minted_token=True) == bound(upstream_headers={}) == bound()
    assert bound(upstream_headers=one) == bound(upstream_headers=dict(reversed(one.items())))
    kinds = [{}, one, {"X-A": "a"}, {"X-A": "b", "X-B": "a"}, {"X-A": "a", "X-C": "b"}]
    assert len({bound(upstream_headers=each) for each in kinds}) == len(kinds)


def test_a_strategy_without_headers_honours_the_sessions_of_before_there_were_any() -> None:
    """The digest as it was made before headers could be configured."""
    assert parts.session_binding(changed().strategies["plain"]) == (
        "d38736dbc712d4000e45e92fbfc2b9abb8fbbd68a4c4e2055a0d67fb7c134bdd"
    )


def test_konnects_form_takes_them_beside_it(tmp_path: Path) -> None:
    printed = Path(__file__).parent / "konnect" / "azure-auth.json"
    (tmp_path / printed.name).write_text(printed.read_text())
    beside = "upstream_headers: {X-Claim-Tenant: tid}, forward_minted_token: true"
    strategy = settings(
        tmp_path, f"strategies: {{azure: {{konnect_file: {printed.name}, {beside}}}}}\n"
    ).strategies["azure"]
    assert dict(strategy.upstream_headers) == {"X-Claim-Tenant": "tid"}
    assert strategy.forward_minted_token
