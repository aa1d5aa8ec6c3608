"""A claim stands in a header as it is, or not at all; and no header is filled that means something else."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.core import upstream
from validator.core.upstream import forwarded, is_reserved, picked

TENANT = (("X-Claim-Tenant", ("tenant",)),)


def value_of(claim: Any) -> str | None:
    found = picked({"tenant": claim}, TENANT)
    assert len(found) <= 1
    return found[0][1] if found else None


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("acme", "acme"),
        ("a, b", "a, b"),
        ('quo"te\\', 'quo"te\\'),
        ("Zürich 東京", "Zürich 東京"),
        (7, "7"),
        (-1, "-1"),
        (0, "0"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        (["a", "b"], "a,b"),
        (["a", 1, True, 2.5], "a,1,true,2.5"),
        (["one"], "one"),
    ],
    ids=repr,
)
def test_what_can_stand_in_a_header(claim: Any, value: str) -> None:
    assert value_of(claim) == value


@pytest.mark.parametrize(
    "claim",
    [
        None,
        "",
        [],
        [""],
        {},
        {"a": "b"},
        ["a,b"],
        ["a", "b,c"],
        ["a", None],
        ["a", ["b"]],
        ["a", {"b": "c"}],
        float("inf"),
        float("nan"),
        [float("inf")],
        "a\r\nX-Application-Id: evil",
        "a\nb",
        "a\rb",
        "a\x00b",
        "a\tb",
        "a\x7fb",
        "a\x85b",
        ["a", "b\r\nSet-Cookie: x=y"],
        " a",
        "a ",
        " ",
        "\ud800",
    ],
    ids=ascii,
)
def test_what_cannot_is_absent(claim: Any) -> None:
    assert value_of(claim) is None


def test_a_missing_claim_is_absent() -> None:
    assert picked({}, TENANT) == ()
    assert picked({"Tenant": "acme"}, TENANT) == ()


@pytest.mark.parametrize("unit", ["a", "é", "東", "😀"])
def test_the_bound_counts_bytes(unit: str) -> None:
    size = len(unit.encode())
    fits, beyond = unit * (1024 // size), unit * (1024 // size + 1)
    assert value_of(fits) == fits
    assert value_of(beyond) is None
    assert value_of(["a" * 512, "b" * 511]) is not None
    assert value_of(["a" * 512, "b" * 512]) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("ctx", "tenant"), "acme"),
        (("ctx", "deep", "er"), "7"),
        (("https://example.com/roles",), "admin,dev"),
        (("ctx",), None),
        (("ctx", "tenant", "x"), None),
        (("list", "0"), None),
        (("ctx", "none"), None),
    ],
)
def test_paths(path: tuple[str, ...], value: str | None) -> None:
    payload = {
        "ctx": {"tenant": "acme", "deep": {"er": 7}, "none": None},
        "https://example.com/roles": ["admin", "dev"],
        "list": ["a"],
    }
    assert picked(payload, [("X-A", path)]) == ((("X-A", value),) if value is not None else ())


def test_the_order_is_that_of_the_configuration_and_one_absent_hides_no_other() -> None:
    wanted = (("X-B", ("b",)), ("X-None", ("none",)), ("X-A", ("a",)))
    assert picked({"a": "1", "b": "2", "none": {}}, wanted) == (("X-B", "2"), ("X-A", "1"))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(_json)
@settings(deadline=None, max_examples=300)
def test_whatever_a_claim_holds_a_value_is_one_line_within_bounds(claim: Any) -> None:
    value = value_of(claim)
    if value is not None:
        octets = value.encode()
        assert 0 < len(octets) <= upstream.MAX_VALUE_BYTES
        assert not any(byte < 0x20 or byte == 0x7F for byte in octets)
        assert octets.strip(b" \t") == octets
        if isinstance(claim, list):
            assert value.count(",") == len(claim) - 1
        else:
            assert value == claim if isinstance(claim, str) else json.loads(value) == claim


@pytest.mark.parametrize(
    "name",
    [
        "X-Application-Id", "x-application-name", "X-CREDENTIAL-IDENTIFIER", "X-Auth-Method", "X-Session-Id",
        "X-Application-Groups", "X-Access-Token", "X-Consumer-ID", "X-Consumer-Custom-ID", "x-consumer-username",
        "X-Consumer-Anything", "X-Anonymous-Consumer", "X-Authenticated-Groups", "Connection", "Keep-Alive", "TE",
        "Trailer", "Transfer-Encoding", "Upgrade", "Host", "Authorization", "Cookie", "Set-Cookie",
        "Content-Length", "Content-Type", "content-encoding", "Cache-Control", "WWW-Authenticate", "Retry-After",
        "Proxy-Connection", "Proxy-Authorization",
    ],
)  # fmt: skip
def test_reserved_names(name: str) -> None:
    assert is_reserved(name)
    assert is_reserved(name.swapcase())


@pytest.mark.parametrize(
    "name", ["X-Claim-Tenant", "Tenant", "X-Content", "X-Consumer", "Cookies", "X-Application"]
)
def test_other_names(name: str) -> None:
    assert not is_reserved(name)


@pytest.mark.parametrize("token", ["t", "a.b.c", "!~" * 10, "t" * 8192])
def test_a_token_that_a_header_can_hold_is_forwarded_and_never_shown(token: str) -> None:
    found = forwarded(token)
    assert found is not None
    assert found.token == token.encode()
    assert repr(found) == "BearerToken(<redacted>)"


@pytest.mark.parametrize("token", ["", "t" * 8193, "a b", "a\r\nX-Evil: 1", "a\n", "tökén", "a\x00", "a\x7f"])
def test_another_is_not(token: str) -> None:
    assert forwarded(token) is None
