"""Tokens for rivals: right ones in bulk, and one of each wrong kind.

Law of this file: every token here is asked for by everybody alike; what is wrong with one is its name.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench import subjects
from bench.stage import Stage, ask
from validator.testing import ABSENT, FakeIdp

HOUR_S = 3600
STRANGER = "bench-stranger"  # a client of the identity provider that is registered nowhere

_idp: FakeIdp | None = None  # for the children that mint: inherited, since keys are not sent around


def valid_since() -> dict[str, Any]:
    """Claims beside the usual ones, so that there is an ``nbf`` to check."""
    return {"nbf": int(time.time()) - HOUR_S}


def wrong(idp: FakeIdp) -> dict[str, str]:
    """One token of each wrong kind, of a client that is registered."""
    now = int(time.time())
    client = subjects.CLIENT
    claims: Mapping[str, Any] = {"sub": client, "client_id": client, "azp": client, **valid_since()}
    return {
        "expired": idp.token(client, iat=now - 2 * HOUR_S, exp=now - HOUR_S),
        "no exp": idp.token(client, exp=ABSENT),
        "not yet valid": idp.token(client, nbf=now + HOUR_S),
        "another issuer": idp.token(client, iss="http://127.0.0.1:9/other"),
        "another audience": idp.token(client, aud="another-service"),
        "signature changed": subjects.spoiled(idp.token(client, **valid_since())),
        "RS512 by a key for RS256": idp.token(client, key=replace(idp.mint.current, alg="RS512")),
        "alg none": idp.mint.mint_alg_none(claims),
        "HS256 by the public key": idp.mint.mint_key_confused(claims),
    }


async def status(port: int, path: str, token: str) -> int:
    name, _, value = subjects.bearer(token).partition(": ")
    return (await asyncio.to_thread(ask, port, path, {name: value}))[0]


async def unseen_files(stage: Stage, idp: FakeIdp, files: int, count: int) -> list[Path]:
    """Header files of ``count`` tokens each, all distinct and never sent; minted on both cores, so not to be
    called while anything is measured."""
    global _idp  # noqa: PLW0603 - what a forked child finds
    _idp = idp
    stage.say(f"minting {files * count:,} tokens")
    loop = asyncio.get_running_loop()
    paths = [stage.folder / f"unseen-{time.monotonic_ns()}-{number}" for number in range(files)]
    with ProcessPoolExecutor(len(stage.cores), get_context("fork"), _settle, (stage.cores,)) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, _mint_file, path, count) for path in paths))
    return paths


def _settle(cores: tuple[int, int]) -> None:
    os.sched_setaffinity(0, set(cores))


def _mint_file(path: Path, count: int) -> None:
    assert _idp is not None  # noqa: S101 - set before the fork
    subjects.header_file(path, map(subjects.bearer, subjects.tokens(_idp, count, **valid_since())))
