"""What an operator is told to lift is the entry that blocks: any other body is answered with 404."""

import json
from pathlib import Path
from typing import Any

import pytest
from explain_support import CLOCK, Explainer, World, plain

from validator.adapters.sqlite import SqliteStore
from validator.core.changes import RevocationChange
from validator.model import Application, Method, Proof, Revocation, Session
from validator.remedies.blocks import blocking


def bodies(text: str) -> list[dict[str, Any]]:
    found = [
        json.JSONDecoder().raw_decode(rest.partition(" -d '")[2])[0] for rest in text.split("curl -X DELETE")[1:]
    ]
    return [dict(body) for body in found]


@pytest.mark.parametrize(
    "entries",
    [
        [Revocation("client_id", "orders")],
        [Revocation("client_id", "orders", "plain")],
        [Revocation("client_id", "orders"), Revocation("client_id", "orders", "plain")],
        [Revocation("application_id", "app-1")],
    ],
    ids=["the client", "under its strategy", "both", "the application"],
)
async def test_each_entry_that_blocks_is_shown_as_it_is_lifted(
    world: World, explained: Explainer, tmp_path: Path, entries: list[Revocation]
) -> None:
    path = tmp_path / "state.db"
    others = [Revocation("client_id", "orders", "other"), Revocation("application_id", "app-2")]
    store, _ = await SqliteStore.open(path, clock=CLOCK, own=True)
    await store.commit([RevocationChange(entry) for entry in [*entries, *others]], unshared=False)
    await store.close()
    said = await explained(world.plain.token("orders"), plain(world), store=str(path))
    assert "decision: 401 revoked" in said.text
    expected = [{e.kind: e.value} | ({"strategy": e.strategy} if e.strategy else {}) for e in entries]
    assert bodies(said.text) == expected


def blocked_by(proof: Proof, *held: Revocation) -> list[Revocation]:
    return blocking(
        lambda asked: asked if asked in held else None, proof, Application("a", "A", "plain", "orders")
    )


def test_a_session_is_blocked_by_itself_by_its_token_or_with_all_of_its_client() -> None:
    session = Session("s-1", "plain", "orders", 10.0, 10.0, 20.0, "t-1")
    bare = Proof("plain", Method.SESSION, "orders", 20.0, 20.0)
    proof = bare._replace(session=session)
    all_of_it = Revocation("sessions_of", "orders", "plain")
    for alone in (Revocation("session_id", "s-1"), Revocation("jti", "t-1"), all_of_it):
        assert blocked_by(proof, alone) == [alone]
    assert blocked_by(proof, all_of_it, Revocation("jti", "t-1")) == [Revocation("jti", "t-1")]
    assert blocked_by(bare, all_of_it, Revocation("jti", "t-1")) == []
