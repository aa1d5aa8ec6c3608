"""What a supervisor and a worker say to each other: in order, whole, and waited for where it matters."""

import asyncio
import contextlib
import json
import pickle
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric

from validator.core.changes import ApplicationChange, RevocationChange
from validator.model import Application, ClientCredentials, Knowledge, Revocation
from validator.settings import Settings
from validator.workers import messages
from validator.workers.link import Link, LinkLostError
from validator.workers.messages import Apply, Complete, Drain, Hello, Serve, Snapshot, Vouch
from validator.workers.process import CannotStartError, WorkerGoneError, WorkerProcess

WITHIN_S = 5.0


class NoProcess:
    """Instead of a process: ends when it is told to."""

    pid = 1

    def __init__(self) -> None:
        self.killed = asyncio.Event()

    def send_signal(self, _number: int) -> None:
        self.killed.set()

    async def wait(self) -> int:
        await self.killed.wait()
        return -9


class Side:
    """A worker's end, in the test's hands."""

    def __init__(self, worker: WorkerProcess, link: Link, process: NoProcess, tries: list[object]) -> None:
        self.worker, self.link, self.process, self.tries = worker, link, process, tries

    async def hears(self) -> tuple[int, messages.Down]:
        async with asyncio.timeout(WITHIN_S):
            return messages.read_down(await self.link.receive())

    def says(self, kind: str, number: int = 0, **more: object) -> None:
        self.link.send(messages.up(kind, number, **more))


@asynccontextmanager
async def pair(max_up: int = 1 << 20) -> AsyncIterator[Side]:
    own, other = socket.socketpair()
    process, tries = NoProcess(), []
    link = await Link.over(own, max_bytes=max_up)
    worker = WorkerProcess(process, link, lambda _worker, message: tries.append(message))
    side = Side(worker, await Link.over(other, max_bytes=1 << 20), process, tries)
    try:
        yield side
    finally:
        side.link.close()
        process.killed.set()
        async with asyncio.timeout(WITHIN_S):
            await worker.ended()
            with contextlib.suppress(LinkLostError):
                while True:
                    await side.link.receive()


def app(number: int) -> ApplicationChange:
    name = f"app-{number}"
    return ApplicationChange(name, Application(name, name, "plain", name))


REVOKED = RevocationChange(Revocation("client_id", "orders"))


def hello() -> Hello:
    plain = {"idp": "generic", "issuer": "http://127.0.0.1:9"}
    settings = Settings.model_validate({"strategies": {"plain": plain}, "control": {"token": "x" * 20}})
    return Hello(0, 2, (3,), 4, settings, b"k" * 32, Knowledge.CURRENT)


async def test_what_is_told_during_a_start_comes_behind_all_that_was_known() -> None:
    async with pair() as side:
        begun = asyncio.create_task(side.worker.begin(hello(), (app(n) for n in range(5000))))
        await asyncio.sleep(0)
        answer = side.worker.asked(Apply([REVOKED]))
        heard = []
        while not heard or not isinstance(heard[-1][1], Apply):
            heard.append(await side.hears())
        kinds = [type(message) for _, message in heard]
        assert kinds == [Hello, Snapshot, Snapshot, Snapshot, Complete, Apply]
        assert sum(len(m.changes) for _, m in heard if isinstance(m, Snapshot)) == 5000
        assert not begun.done()
        assert not side.worker.live
        side.says(messages.READY)
        await asyncio.wait_for(begun, WITHIN_S)
        assert side.worker.live
        side.says(messages.DONE, heard[-1][0])
        await asyncio.wait_for(answer, WITHIN_S)


async def test_a_worker_is_live_from_the_moment_it_is_ready_and_serves_only_when_it_says_so() -> None:
    async with pair() as side:
        side.says(messages.READY)
        await asyncio.wait_for(side.worker.begin(hello(), []), WITHIN_S)
        serving = asyncio.create_task(side.worker.serve())
        number, message = 0, None
        while not isinstance(message, Serve):
            number, message = await side.hears()
        assert not side.worker.serving
        side.says(messages.DONE, number)
        await asyncio.wait_for(serving, WITHIN_S)
        assert side.worker.serving


async def test_a_worker_that_cannot_start_says_why() -> None:
    async with pair() as side:
        side.says(messages.FAILED, why="no such certificate")
        with pytest.raises(CannotStartError, match="no such certificate"):
            await side.worker.begin(hello(), [])
        assert not side.worker.live


async def test_whoever_waits_for_one_that_ends_is_told() -> None:
    async with pair() as side:
        side.says(messages.READY)
        await side.worker.begin(hello(), [])
        answer = side.worker.asked(Apply([REVOKED]))
        side.link.close()
        with pytest.raises(WorkerGoneError):
            await asyncio.wait_for(answer, WITHIN_S)
        assert not side.worker.live
        with pytest.raises(WorkerGoneError):
            await side.worker.asked(Apply([REVOKED]))  # and who comes later, too


async def test_no_answer_in_time_is_one_of_its_own_kind() -> None:
    async with pair() as side:
        side.says(messages.READY)
        await side.worker.begin(hello(), [])
        with pytest.raises(WorkerGoneError, match="no answer within"):
            await side.worker.ask(Apply([REVOKED]), within_s=0.01)


@pytest.mark.parametrize(
    "frame",
    [b"", b"[]", b"null", b"{}", b'{"kind": 1, "number": 1}', b'{"kind": "done"}', b"\xff", b"[" * 100_000],
    ids=["empty", "a list", "null", "nothing", "a kind that is none", "no number", "no UTF-8", "deep"],
)
async def test_a_worker_that_does_not_speak_as_it_should_is_killed(frame: bytes) -> None:
    async with pair() as side:
        side.link.send(frame)
        async with asyncio.timeout(WITHIN_S):
            await side.process.killed.wait()


@pytest.mark.parametrize(
    "up",
    [
        {"kind": "failed_try", "number": 0, "strategy": 1, "client_id": "x", "registered": True},
        {"kind": "failed_try", "number": 0, "strategy": "plain", "client_id": "x"},
        {"kind": "root", "number": 0},
    ],
    ids=["a wrong type", "a missing member", "an unknown kind"],
)
async def test_a_message_that_is_none_has_it_killed(up: dict[str, object]) -> None:
    async with pair() as side:
        side.link.send(json.dumps(up).encode())
        async with asyncio.timeout(WITHIN_S):
            await side.process.killed.wait()
        assert side.tries == []


async def test_a_frame_beyond_its_bound_is_the_end_of_the_link() -> None:
    async with pair(max_up=1000) as side:
        side.link.send(b"x" * 1001)
        with pytest.raises(WorkerGoneError):
            await side.worker.ends_within(WITHIN_S)


async def test_a_pickle_from_a_worker_runs_nothing() -> None:
    ran = []

    class Attack:
        def __reduce__(self) -> object:
            return ran.append, (1,)

    async with pair() as side:
        side.link.send(pickle.dumps(Attack()))
        async with asyncio.timeout(WITHIN_S):
            await side.process.killed.wait()
    assert ran == []


async def test_a_failed_try_is_told_on() -> None:
    async with pair() as side:
        side.says(messages.FAILED_TRY, strategy="plain", client_id="orders", registered=True)
        side.says(messages.READY)
        await asyncio.wait_for(side.worker.begin(hello(), []), WITHIN_S)
        assert side.tries == [messages.FailedElsewhere("plain", "orders", registered=True)]


def described(family: Metric) -> tuple[object, ...]:
    samples = [(s.name, s.labels, s.value) for s in family.samples]
    return family.name, family.documentation, family.type, samples


def test_metrics_are_the_same_on_the_other_side() -> None:
    registry = CollectorRegistry()
    Counter("requests", "Requests", ["kind"], registry=registry).labels("a").inc(3)
    Histogram("seconds", "Seconds", buckets=[0.1, 1], registry=registry).observe(0.5)
    families = list(registry.collect())
    again = messages.read_families(json.loads(json.dumps(messages.plain_families(families))))
    assert [described(family) for family in again] == [described(family) for family in families]


@pytest.mark.parametrize(
    "families",
    [
        None,
        3,
        [[1]],
        [["a", "b", "counter", "", 3]],
        [["a", "b", "no type", "", []]],
        [["a", "b", "gauge", "", [["a", {}, 10**400]]]],
        [["a", "b", "gauge", "", [["a 1\nvalidator_ready", {}, 1]]]],
        [["a", "b", "gauge", "", [["a", {'x="1"} 1\n': ""}, 1]]]],
        [["a\nb", "b", "gauge", "", []]],
        [[3, "b", "gauge", "", []]],
    ],
)
def test_what_is_no_report_is_refused(families: object) -> None:
    with pytest.raises(ValueError, match=r"no report|no metrics|values|type"):
        messages.read_report({"families": families, "missing": []})


def test_no_secret_is_in_the_words_of_a_message() -> None:
    reload = messages.Reload(messages.packed(hello().settings))
    told = [hello(), reload, Vouch("plain", ClientCredentials("orders", "s3cret"))]
    for message in told:
        assert "s3cret" not in repr(message)
        assert "x" * 20 not in repr(message)
        assert "kkkk" not in repr(message)
    assert messages.read_down(messages.down(Drain(1.0, rest=True), 7)) == (7, Drain(1.0, rest=True))
