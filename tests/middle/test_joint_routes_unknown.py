"""Whose a token is on a route under several strategies: however it is spelled, and while it is not known yet what
an identity provider is called."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from joint_support import ASKING, NAMES, Joint
from support_http import until
from support_pipeline import app

from validator.core import jws
from validator.pipeline import strategy as strategies
from validator.testing import ManualClock, TokenMint

BOTH = "plain,other"
ALL = ",".join(NAMES)
ELSEWHERE = {"other": "https://elsewhere.test"}
EVERYTHING = {"introspection": ASKING, "everything": True}
SPELLINGS = [
    '{\n  "alg": "ALG",\n  "kid": "KID",\n  "typ": "at+jwt"\n}',
    ' {"alg":"ALG","kid":"KID","typ":"at+jwt"}',
    '{\t"alg":"ALG","kid":"KID","typ":"at+jwt"}',
]
Made = Callable[..., Any]


@pytest.fixture
async def made(clock: ManualClock) -> AsyncIterator[Made]:
    joints: list[Joint] = []

    async def make(*, ready: bool = False, **options: Any) -> Joint:
        applications = [app("orders", strategy=name) for name in NAMES]
        joints.append(Joint(clock, **{"applications": applications, "called": ELSEWHERE, **options}))
        return await joints[-1].ready() if ready else joints[-1]

    yield make
    for joint in joints:
        await joint.close()


def text(authorization: bytes) -> bytes:
    return authorization.removeprefix(b"Bearer ")


class TestSpelling:
    @pytest.mark.parametrize("header", SPELLINGS, ids=["lines", "space", "tab"])
    @pytest.mark.parametrize("name", NAMES)
    async def test_a_token_is_its_issuers_however_its_header_is_spelled(
        self, made: Made, header: str, name: str
    ) -> None:
        joint = await made(ready=True)
        token = joint.idps[name].spelled(header)
        assert not jws.looks_like_jwt(text(token))
        assert (await joint.kitchen.ask(token, strategy=name)).status == 200
        assert (await joint.kitchen.ask(token, strategy=ALL)).status == 200
        assert joint.kitchen.verifications == {name: 1}

    @pytest.mark.parametrize("header", SPELLINGS, ids=["lines", "space", "tab"])
    @pytest.mark.parametrize("options", [{"introspection": ASKING}, EVERYTHING], ids=["opaque ones", "all"])
    async def test_it_is_shown_to_nobody_else(self, made: Made, header: str, options: dict[str, Any]) -> None:
        joint = await made(ready=True, options={"other": options})
        token = joint.idps["plain"].spelled(header)
        assert (await joint.kitchen.ask(token, strategy=BOTH)).status == 200
        assert (await joint.kitchen.ask(token, strategy="other,plain")).status == 200
        foreign = joint.idps["third"].spelled(header)
        assert (await joint.kitchen.ask(foreign, strategy=BOTH)).said == (401, "issuer_mismatch")
        assert joint.shown(text(token)) == joint.shown(text(foreign)) == []

    async def test_an_opaque_token_with_dots_that_names_no_issuer_is_opaque(self, made: Made) -> None:
        joint = await made(ready=True, options={"other": {"introspection": ASKING}})
        payload = TokenMint("https://x.test", joint.clock).mint_raw(b"", b'{"a":1}', signature=b"x").split(".")[1]
        opaque = f"Bearer other-opaque-.{payload}.1".encode()
        assert (await joint.kitchen.ask(opaque, strategy=BOTH)).status == 200
        assert joint.shown(text(opaque)) == ["other"]


class TestUnknownNames:
    @pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["read", "introspected"])
    @pytest.mark.parametrize("order", [BOTH, "other,plain", ALL])
    async def test_they_are_asked_for_before_anybody_judges(
        self, made: Made, options: dict[str, Any], order: str
    ) -> None:
        joint = await made(options={"other": options})
        token = joint.idps["other"].token()
        assert (await joint.kitchen.ask(token, strategy=order)).status == 200
        assert joint.shown(text(token)) == (["other"] if options else [])
        assert {name for name, _, _, _ in joint.kitchen.tallies} == {"other"}

    @pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["read", "introspected"])
    @pytest.mark.parametrize("plain_known", [False, True])
    @pytest.mark.parametrize("order", [BOTH, "other,plain"])
    async def test_while_one_cannot_be_had_it_is_no_refusal(
        self, made: Made, options: dict[str, Any], plain_known: bool, order: str
    ) -> None:
        joint = await made(options={"other": options})
        if plain_known:
            await joint.issuers["plain"].tend()
        table = dict(joint.idps["other"].table)
        joint.down("other")
        token = joint.idps["other"].token()
        for _ in range(2):
            assert (await joint.kitchen.ask(token, strategy=order)).said == (503, "idp_unavailable")
        assert {name for name, _, _, _ in joint.kitchen.tallies} == {"other"}
        assert joint.shown(text(token)) == []
        joint.idps["other"].table = table
        joint.clock.advance(60)
        assert (await joint.kitchen.ask(token, strategy=order)).status == 200

    @pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["read", "introspected"])
    async def test_once_all_are_known_a_foreign_token_is_refused(
        self, made: Made, options: dict[str, Any]
    ) -> None:
        joint = await made(options={"plain": options, "other": options})
        token = joint.idps["third"].token()
        assert (await joint.kitchen.ask(token, strategy=BOTH)).said == (401, "issuer_mismatch")
        assert joint.shown(text(token)) == []

    async def test_none_waits_for_another(self, made: Made) -> None:
        joint = await made()
        third = joint.idps["third"]
        gate = third.gates["https://third.test/.well-known/openid-configuration"] = asyncio.Event()
        token = joint.idps["other"].token()
        assert (await joint.kitchen.ask(token, strategy="third,other")).status == 200
        asking = asyncio.ensure_future(joint.kitchen.ask(joint.idps["plain"].token(), strategy="third,other"))
        await until(lambda: third.calls.total() > 0)
        assert not asking.done()
        gate.set()
        assert (await asking).said == (401, "issuer_mismatch")

    async def test_one_that_is_known_need_not_wait_either(self, made: Made) -> None:
        joint = await made()
        joint.down("other")
        assert (await joint.kitchen.ask(joint.idps["plain"].token(), strategy="other,plain")).status == 200


class TestReadOnce:
    @pytest.mark.parametrize("own", [True, False])
    async def test_its_claims_are_read_once_for_all_strategies(
        self, made: Made, own: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        joint = await made(ready=True, options={"other": EVERYTHING})
        read: list[bytes] = []

        def counted(token: bytes) -> Mapping[str, Any] | None:
            read.append(token)
            return jws.claims_unverified(token)

        monkeypatch.setattr(strategies, "claims_unverified", counted)
        mint = joint.idps["third"].mint if own else TokenMint("https://foreign.test", joint.clock)
        token = b"Bearer " + mint.mint({"client_id": "orders", "filler": json.dumps([0] * 1000)}).encode()
        seen = await joint.kitchen.ask(token, strategy=ALL)
        assert seen.status == (200 if own else 401)
        assert len(read) == 1
