"""Whatever the strategies and the credential: a joint route says what the route of the one it is for says, and no
identity provider sees what is another strategy's."""

import asyncio
from random import Random
from typing import Any

import pytest
from joint_support import ASKING, NAMES, SECRET, Joint
from structlog.testing import capture_logs
from support_pipeline import Seen, app, basic

from validator.model import Method
from validator.testing import ManualClock, TokenMint

METHODS = [Method.BEARER, Method.CLIENT_CREDENTIALS, Method.SESSION]
OWN_TO_EACH = ("x-session-id", "set-cookie")  # drawn at random


class World:
    """What is drawn for one example; made twice, so that one side keeps nothing that the other has found out."""

    def __init__(self, seed: int) -> None:
        random = Random(seed)
        self.clock = ManualClock()
        self.registered = {name: [c for c in ("orders", "billing") if random.randrange(2)] for name in NAMES}
        self.methods = {name: frozenset(random.sample(METHODS, random.choice([1, 2, 3, 3, 3]))) for name in NAMES}
        self.asks = {name: random.choice(["", "", "opaque", "all"]) for name in NAMES}
        options: dict[str, dict[str, Any]] = {
            name: {
                "methods": self.methods[name],
                "introspection": ASKING if self.asks[name] else None,
                "everything": self.asks[name] == "all",
            }
            for name in NAMES
        }
        applications = [
            app(client_id, strategy=name) for name, ids in self.registered.items() for client_id in ids
        ]
        self.joint = Joint(self.clock, applications=applications, options=options)
        self.order = random.sample(NAMES, random.choice([2, 3]))
        self.kind, self.of, self.authorization, self.cookie = self._credential(random)

    def _credential(self, random: Random) -> tuple[str, str, bytes | None, bytes | None]:
        of, client_id = random.choice(NAMES), random.choice(["orders", "billing", "stranger"])
        idp = self.joint.idps[of]
        match kind := random.choice(["jwt", "jwt", "foreign", "unreadable", "opaque", "pair", "pair", "cookie"]):
            case "jwt":
                return kind, of, idp.token(client_id, jti="1", **random.choice([{}, {}, {"aud": "no"}])), None
            case "foreign":
                mint = TokenMint("https://foreign.test", self.clock, alg="ES256", keyring="foreign")
                return kind, "", b"Bearer " + mint.mint({"client_id": client_id}).encode(), None
            case "unreadable":
                return kind, "", b"Bearer eyJ.unreadable.x", None
            case "opaque":
                return kind, of, idp.opaque(), None
            case "pair":
                return kind, client_id, basic(client_id, random.choice([SECRET, "wrong"])), None
        seen_s = random.choice([0.0, 1.0, 901.0])
        return kind, of, None, self.joint.cookie(of, client_id=client_id, seen_s=seen_s)

    def method(self) -> Method:
        return {"pair": Method.CLIENT_CREDENTIALS, "cookie": Method.SESSION}.get(self.kind, Method.BEARER)

    def is_own(self, name: str) -> bool:
        match self.kind:
            case "jwt" | "cookie":
                return name == self.of
            case "pair":
                return self.of in self.registered[name]
            case "opaque":
                return bool(self.asks[name])
            case "unreadable":
                return self.asks[name] == "all"
        return False

    def secret(self) -> bytes:
        """What no other may see, as it would stand in a request."""
        return SECRET.encode() if self.kind == "pair" else (self.authorization or b"").removeprefix(b"Bearer ")


def told(seen: Seen) -> Any:
    headers = {name: "" if name in OWN_TO_EACH else value for name, value in seen.headers.items()}
    return seen.said, headers


async def compared(seed: int, *, twice: bool) -> str:
    """What happened, in a word."""
    one, other = World(seed), World(seed)
    await one.joint.ready()
    await other.joint.ready()
    able = [name for name in one.order if one.method() in one.methods[name]]
    own = [name for name in able if one.is_own(name)]
    picked = (own or able or [None])[0]
    try:
        for _ in range(2 if twice else 1):
            names = ",".join(one.order)
            seen = await one.joint.kitchen.ask(one.authorization, cookie=one.cookie, strategy=names)
            if picked is None:
                assert seen.said == (401, "method_not_enabled")
                kind = "off"
            elif own or one.kind not in ("pair", "jwt", "foreign") or not one.asks[picked]:
                alone = await other.joint.kitchen.ask(other.authorization, cookie=other.cookie, strategy=picked)
                if own or one.kind != "pair":
                    assert told(seen) == told(alone)
                    kind = "own" if own else "refused"
                else:
                    assert seen.said == (401, "credentials_rejected")
                    kind = "unasked"
            else:
                kind = "unasked"
                assert seen.said == (401, "credentials_rejected" if one.kind == "pair" else "issuer_mismatch")
        shown = one.joint.shown(one.secret()) if one.authorization else []
        assert shown in ([], own[:1])
        assert [name for name in NAMES if one.joint.idps[name].asked()] in ([], own[:1])
        assert {name for name, _, _, _ in one.joint.kitchen.tallies} == {picked or one.order[0]}
    finally:
        await one.joint.close()
        await other.joint.close()
    return f"{kind} {seen.status}"


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_a_joint_route_says_what_the_picked_ones_says(twice: bool) -> None:
    kinds: dict[str, int] = {}
    with asyncio.Runner() as runner, capture_logs():
        for seed in range(600):
            try:
                kind = runner.run(compared(seed, twice=twice))
            except AssertionError as error:
                error.add_note(f"of the world {seed}")
                raise
            kinds[kind] = kinds.get(kind, 0) + 1
    assert kinds.keys() >= {"own 200", "own 401", "own 403", "refused 401", "unasked 401", "off 401"}
    assert min(kinds.values()) > 4
