"""What a 200 tells the upstream besides the facts: groups, claims and a minted token, each in its place."""

import dataclasses

import pytest

from validator.core import reply
from validator.core.reply import MAX_AGE_S, NO_STORE, Rendered
from validator.model import Application, BearerToken, Method, Proof

APPLICATION = Application("app-1", "Orders", "plain", "orders")
TOKEN = "CanaryMinted.payload.signature"
PROOF = Proof(
    "plain",
    Method.CLIENT_CREDENTIALS,
    "orders",
    9e9,
    9e9,
    upstream_headers=(("X-Claim-Tenant", "acme"), ("X-Claim-City", "Zürich")),
    minted=BearerToken(TOKEN.encode()),
)


def grouped(*groups: str) -> bytes:
    return reply.facts(dataclasses.replace(APPLICATION, groups=groups), Method.BEARER)


def test_without_any_nothing_is_said() -> None:
    assert reply.proof_lines(PROOF._replace(upstream_headers=(), minted=None)) == b""
    assert b"Groups" not in grouped()


def test_groups_stand_in_the_order_written_behind_the_facts() -> None:
    assert grouped("gold", "internal").endswith(
        b"X-Auth-Method: bearer\r\nX-Application-Groups: gold, internal\r\n"
    )
    assert grouped("internal", "gold") != grouped("gold", "internal")
    assert grouped("one").endswith(b"X-Application-Groups: one\r\n")


def test_everything_stands_in_its_place() -> None:
    application = dataclasses.replace(APPLICATION, groups=("gold",))
    told = reply.facts(application, PROOF.method) + reply.proof_lines(PROOF)
    rendered = reply.allowed(told, session=reply.session_line("s-1"), set_cookie=b"c=v", holds_token=True)
    names = [line.partition(b":")[0].decode() for line in rendered.wire(30).split(b"\r\n")[1:-2]]
    assert names == [
        "Content-Length", "X-Application-Id", "X-Application-Name", "X-Credential-Identifier", "X-Auth-Method",
        "X-Application-Groups", "X-Claim-Tenant", "X-Claim-City", "X-Access-Token", "X-Session-Id", "Set-Cookie",
        "Cache-Control",
    ]  # fmt: skip
    assert "X-Claim-City: Zürich\r\n".encode() in rendered.wire(30)


@pytest.mark.parametrize("left_s", [0, 0.5, 1, 30, MAX_AGE_S, 1e9])
def test_what_holds_a_token_is_never_for_a_gateway_to_keep(left_s: float) -> None:
    told = reply.facts(APPLICATION, PROOF.method) + reply.proof_lines(PROOF)
    wire = reply.allowed(told, holds_token=True).wire(left_s)
    assert b"\r\nCache-Control: no-store\r\n\r\n" in wire
    assert b"max-age" not in wire


def test_the_table_serves_every_second() -> None:
    assert len(NO_STORE) == MAX_AGE_S + 1 == len(reply.CACHE_CONTROL)
    assert set(NO_STORE) == {b"no-store"}


@pytest.mark.parametrize("bad", [(("X-A", "a\r\nX-Evil: 1"),), (("X-A\r\nX-Evil", "1"),), (("X-A", "a\x00"),)])
def test_a_control_character_is_written_nowhere_whoever_let_it_through(bad: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(ValueError, match="control character"):
        reply.proof_lines(PROOF._replace(upstream_headers=bad))


def test_neither_a_proof_nor_an_answer_shows_the_token() -> None:
    rendered = reply.allowed(reply.proof_lines(PROOF), holds_token=True)
    assert isinstance(rendered, Rendered)
    for shown in (repr(PROOF), str(PROOF), f"{PROOF}", repr(rendered), repr(PROOF.minted)):
        assert TOKEN not in shown
        assert "Canary" not in shown
