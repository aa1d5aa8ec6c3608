"""Discovery and freshness: where an issuer is found, and when it is asked again."""

import asyncio

import pytest
from structlog.testing import capture_logs
from support_http import (
    DISCOVERY,
    ISSUER,
    JWKS,
    OAUTH_DISCOVERY,
    TOKEN,
    CannedIdp,
    json_reply,
    until,
)
from support_issuers import ALG, issuer_over, known

from validator.issuers import Issuer, IssuerPlace
from validator.model import HttpReply
from validator.testing import ManualClock

# Discovery


async def test_openid_discovery_comes_first(idp: CannedIdp, issuer: Issuer) -> None:
    assert idp.calls == {DISCOVERY: 1, JWKS: 1}
    assert issuer.metadata is not None
    assert (issuer.metadata.issuer, issuer.metadata.token_endpoint) == (ISSUER, TOKEN)


@pytest.mark.parametrize(
    "first",
    [HttpReply(404, {}, b""), HttpReply(200, {}, b"<html>"), json_reply({"jwks_uri": JWKS})],
    ids=["404", "a page", "no issuer"],
)
async def test_rfc_8414_comes_next(idp: CannedIdp, clock: ManualClock, first: HttpReply) -> None:
    idp.table |= {DISCOVERY: first, OAUTH_DISCOVERY: json_reply(idp.metadata)}
    issuer = issuer_over(idp, clock)
    await issuer.tend()
    assert issuer.key(known(idp), ALG) is not None


async def test_a_full_discovery_url_is_asked_as_it_is(idp: CannedIdp, clock: ManualClock) -> None:
    url = f"{ISSUER}/.well-known/openid-configuration?appid=1"
    idp.table = {url: idp.table[DISCOVERY], JWKS: idp.table[JWKS]}
    issuer = issuer_over(idp, clock, IssuerPlace(url))
    with capture_logs() as logs:
        await issuer.tend()
    assert idp.calls == {url: 1, JWKS: 1}
    assert (await issuer.known()).issuer == ISSUER
    assert not [line for line in logs if line["log_level"] == "warning"]


async def test_without_discovery_nothing_but_the_keys_is_asked_for(idp: CannedIdp, clock: ManualClock) -> None:
    issuer = issuer_over(idp, clock, IssuerPlace("https://as.typed/", JWKS, TOKEN, discovery=False))
    await issuer.tend()
    assert idp.calls == {JWKS: 1}
    metadata = await issuer.known()
    assert (metadata.issuer, metadata.token_endpoint) == ("https://as.typed/", TOKEN)


async def test_what_is_configured_wins_over_what_is_discovered(idp: CannedIdp, clock: ManualClock) -> None:
    idp.table["https://keys.test/"] = idp.table.pop(JWKS)
    issuer = issuer_over(idp, clock, IssuerPlace(ISSUER, "https://keys.test/", "https://tokens.test/"))
    await issuer.tend()
    assert issuer.missing() is None
    assert (await issuer.known()).token_endpoint == "https://tokens.test/"


@pytest.mark.parametrize(
    ("typed", "warned"),
    [(ISSUER, 1), ("https://sts.test", 0), ("https://sts.test/", 0)],
    ids=["another", "the same", "with a slash"],
)
async def test_a_document_that_names_another_issuer_is_logged(
    idp: CannedIdp, clock: ManualClock, typed: str, warned: int
) -> None:
    idp.metadata["issuer"] = "https://sts.test"
    idp.table["https://sts.test/.well-known/openid-configuration"] = idp.table[DISCOVERY]
    issuer = issuer_over(idp, clock, IssuerPlace(typed))
    with capture_logs() as logs:
        await issuer.tend()
    assert len([line for line in logs if line["event"] == "issuer names another"]) == warned
    assert (await issuer.known()).issuer == "https://sts.test", "tokens carry the document's, to the letter"


async def test_endpoints_of_yesterday_serve_while_discovery_fails(
    idp: CannedIdp, issuer: Issuer, clock: ManualClock
) -> None:
    idp.fail(DISCOVERY, OAUTH_DISCOVERY)
    clock.advance(3601)
    await issuer.tend()
    assert issuer.keys_age_s == 0
    assert (await issuer.known()).token_endpoint == TOKEN


# Freshness


@pytest.mark.parametrize(
    ("cache_control", "due_s"),
    [
        ({}, 540),
        ({"cache_control": "max-age=300"}, 270),
        ({"cache_control": "max-age=1"}, 54),
        ({"cache_control": "public, max-age=86400"}, 540),
        ({"cache_control": "no-store"}, 54),
    ],
    ids=["none", "within the bounds", "too short", "too long", "no-store"],
)
async def test_cache_control_counts_within_bounds_and_the_fetch_comes_before_the_end(
    idp: CannedIdp, clock: ManualClock, cache_control: dict[str, str], due_s: float
) -> None:
    idp.table[JWKS] = lambda _: json_reply(idp.mint.jwks(), **cache_control)
    issuer = issuer_over(idp, clock)
    await issuer.tend()
    assert issuer.wait_s() == pytest.approx(due_s)
    clock.advance(due_s - 0.01)
    await issuer.tend()
    assert idp.calls[JWKS] == 1
    clock.advance(0.02)
    await issuer.tend()
    assert idp.calls[JWKS] == 2


async def test_known_keys_verify_while_a_fetch_is_under_way(
    idp: CannedIdp, issuer: Issuer, clock: ManualClock
) -> None:
    idp.gates[JWKS] = asyncio.Event()
    old = known(idp)
    new = idp.mint.rotate()
    clock.advance(541)
    fetching = asyncio.ensure_future(issuer.tend())
    await until(lambda: idp.calls[JWKS] == 2)
    assert issuer.key(old, ALG) is not None
    assert issuer.key(new.kid, ALG) is None, "who holds an unknown one joins the fetch"
    idp.gates[JWKS].set()
    await fetching
    assert issuer.key(old, ALG) is not None
    assert issuer.key(new.kid, ALG) is not None
