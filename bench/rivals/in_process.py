"""The product's own parts called directly, in a process of its own on the measured core: what a judgement costs
without the kernel's part, beside the bare verify of the same tokens by the same key.

Law of this file: the parts are built by the product's own wiring from a configuration file, the garbage collector
is left as `validator serve` leaves it, and a wrong answer ends it. Run with a job, that file and its numbers.
"""

import asyncio
import base64
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop
import yaml
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from bench import subjects
from bench.stage import Stage, ask
from validator import settings
from validator.wiring.sidecar import Sidecar

KEYS_WITHIN_S = 10.0
CHUNKS = 4  # one round alternates this often
OK = b"HTTP/1.1 200"


async def measured(stage: Stage, job: str, config: dict[str, Any], *arguments: str) -> dict[str, list[float]]:
    """Runs a job in a child on the measured core: names -> µs of CPU per call, one for each round.

    Raises:
        SystemExit: it failed, or answered wrongly.
    """
    path = stage.folder / f"{job}-{time.monotonic_ns()}.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "listen": {"data": "127.0.0.1:0", "control": "127.0.0.1:0"},
                "store": {"path": str(path.with_suffix(".db"))},
                **config,
            }
        )
    )
    command = (sys.executable, "-m", __spec__.name, job, str(path), *arguments)
    async with stage.program(*command) as program:
        if await program.process.wait():
            raise SystemExit(f"{job}: {program.log_end()}")
        said = program.log_path.read_text().splitlines()[-1]
    found: dict[str, list[float]] = json.loads(said)
    return found


class Judge:
    """The pipeline, asked with one credential at a time."""

    def __init__(self, sidecar: Sidecar) -> None:
        assert sidecar.plane is not None  # noqa: S101 - started
        self._now = sidecar.now
        self._pipeline = sidecar.plane.pipeline
        route = self._pipeline.route(subjects.STRATEGY, subjects.SERVICE)
        assert route is not None  # noqa: S101 - configured
        self._route = route

    def answers(self, headers: list[bytes]) -> float:
        """Judges each; µs of CPU per answer."""
        answer, route, now = self._pipeline.answer, self._route, self._now
        got = []
        began = time.process_time_ns()
        for header in headers:
            got.append(answer(route, header, None, now()))  # noqa: PERF401 - as a request would call it
        spent = time.process_time_ns() - began
        for reply in got:
            if isinstance(reply, Awaitable) or not reply.rendered.head.startswith(OK):
                raise SystemExit("an answer is not the right one, or had to be waited for")
        return spent / 1000 / len(headers)


class Written(asyncio.Transport):
    """The other end of a connection that is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[bytes] = []

    def write(self, data: Any) -> None:
        self.answers.append(data)

    def is_closing(self) -> bool:
        return False


class Wire:
    """The data plane's protocol, handed the bytes of whole requests: all that a request takes but for the loop
    and the kernel, by whatever way the protocol takes for it."""

    def __init__(self, sidecar: Sidecar, lines: list[str]) -> None:
        assert sidecar.plane is not None  # noqa: S101 - started
        self._caches = sidecar.caches
        self._transport = Written()
        self._protocol = sidecar.plane.connection()
        self._protocol.connection_made(self._transport)
        head = f"GET {subjects.PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        self._requests = [f"{head}{line}\r\n\r\n".encode() for line in lines]

    def settle(self) -> None:
        """Has each seen, and judged again where the epoch has moved since."""
        for request in self._requests:
            self._protocol.data_received(request)

    def close(self) -> None:
        self._protocol.connection_lost(None)

    def answers(self, *, touch: bool) -> float:
        """Sends each request; µs of CPU per answer.

        Args:
            touch: the epoch moves before each.

        Raises:
            SystemExit: a wrong answer, or one that was replayed where it had to be judged, or the other way round.
        """
        receive = self._protocol.data_received
        moved: Callable[[], object] = self._caches.epoch.touch_all if touch else bool  # a call in either case
        self._transport.answers.clear()
        proofs_used = self._caches.proof_hits
        began = time.process_time_ns()
        for request in self._requests:
            moved()
            receive(request)
        spent = time.process_time_ns() - began
        count = len(self._requests)
        if [answer[: len(OK)] for answer in self._transport.answers] != [OK] * count:
            raise SystemExit("an answer is not the right one, or had to be waited for")
        if (judged := self._caches.proof_hits - proofs_used) != (count if touch else 0):
            raise SystemExit(f"{judged} of {count} requests were judged again; the epoch moved: {touch}")
        return spent / 1000 / count


def rejudge(wire: Wire, rounds: int) -> dict[str, list[float]]:
    """Cached answers, and answers after the epoch has moved, alternating."""
    found: dict[str, list[float]] = {"cached": [], "re-judged": []}
    wire.settle()
    for _ in range(3):  # the interpreter's own caches
        wire.settle()
        wire.answers(touch=True)
    for _ in range(rounds):
        cached, again = [], []
        for _ in range(CHUNKS):
            again.append(wire.answers(touch=True))
            wire.settle()
            cached.append(wire.answers(touch=False))
        found["cached"].append(sum(cached) / CHUNKS)
        found["re-judged"].append(sum(again) / CHUNKS)
    wire.close()
    return found


def first_sight(judge: Judge, lines: list[str], rounds: int, key: Path) -> dict[str, list[float]]:
    """Answers to tokens never seen before, and the bare verify of the same tokens, alternating."""
    public = load_pem_public_key(key.read_bytes())
    headers = [line.partition(": ")[2].encode() for line in lines]
    parts = [header.removeprefix(b"Bearer ").rpartition(b".") for header in headers]
    signed = [(base64.urlsafe_b64decode(signature + b"=="), given) for given, _, signature in parts]

    def verify(some: list[tuple[bytes, bytes]]) -> float:
        began = time.process_time_ns()
        for signature, given in some:
            public.verify(signature, given, PKCS1v15(), SHA256())  # type: ignore[union-attr, call-arg, arg-type]
        return (time.process_time_ns() - began) / 1000 / len(some)

    found: dict[str, list[float]] = {"bare verify": [], "first sight": []}
    size = len(headers) // ((rounds + 1) * CHUNKS)
    for number in range(rounds + 1):
        bare, first = [], []
        for chunk in range(CHUNKS):
            some = slice((number * CHUNKS + chunk) * size, (number * CHUNKS + chunk + 1) * size)
            bare.append(verify(signed[some]))
            first.append(judge.answers(headers[some]))
        if number:  # the first round warms up
            found["bare verify"].append(sum(bare) / CHUNKS)
            found["first sight"].append(sum(first) / CHUNKS)
    return found


async def main(job: str, path: Path, headers: list[str], rounds: int, *key: str) -> None:
    sidecar = Sidecar(settings.read(path, {}))
    await sidecar.start()
    gc.freeze()  # as `validator serve` does
    try:
        port = int(sidecar.control_address.rpartition(":")[2])
        deadline = time.monotonic() + KEYS_WITHIN_S
        while (await asyncio.to_thread(ask, port, "/readyz"))[0] != 200:
            if time.monotonic() > deadline:
                raise SystemExit("no keys in time")
            await asyncio.sleep(0.05)
        if job == "rejudge":
            found = rejudge(Wire(sidecar, headers), rounds)
        else:
            found = first_sight(Judge(sidecar), headers, rounds, Path(*key))
    finally:
        await sidecar.stop()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    lines = Path(sys.argv[3]).read_text().splitlines()
    uvloop.run(main(sys.argv[1], Path(sys.argv[2]), lines, int(sys.argv[4]), *sys.argv[5:]))
