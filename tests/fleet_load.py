"""What a fleet is asked while something fails, and which answers are right.

Law of this file: each answer is judged when it comes. What was told to a caller once (an application created, a
client revoked) is asked for ever after. No pytest.
"""

import contextlib
import http.client
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet_probes import BROKEN, Probes, Seen
from fleet_processes import AUTHORIZE, application, basic, bearer

from validator.testing import FakeClient, FakeIdp

COOKIE = "__Host-session"
FRESH, GUESSED, VICTIMS = 40, 40, 40  # clients of the file
ALLOWED, OPEN_OR_SHUT = frozenset({200}), frozenset({200, 401})
REFUSED, GUESSING = frozenset({401}), frozenset({401, 429})
FORBIDDEN, UNKNOWN = frozenset({403}), frozenset({403, 503})
_CONNECTIONS = 4  # to each member: both workers have some
_PAUSE_S, _FRESH_PAUSE_S = 0.008, 0.02
_SHARED_BY = 3  # a new pair is presented so often before there is another one


@dataclass
class Asked:
    """One thing that is asked for.

    Attributes:
        right: statuses that are no mistake.
        closed: member -> when; nothing that was sent there later is allowed.
    """

    headers: Callable[[], Mapping[str, str]]
    right: frozenset[int] = ALLOWED
    closed: dict[int, float] = field(default_factory=dict)

    def is_right(self, seen: Seen) -> bool:
        if seen.status == http.HTTPStatus.OK and seen.member in self.closed:
            return seen.sent_at <= self.closed[seen.member]
        return seen.status in self.right


@dataclass
class Tally:
    """What came of some time under load.

    Attributes:
        wrong: answers that nobody should have got.
        failed: requests that were not answered, or with 503 where that was no right answer.
        waits: seconds of each request with a new pair.
    """

    requests: int = 0
    wrong: list[Seen] = field(default_factory=list)
    failed: list[Seen] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


class _Headers(Mapping[str, Mapping[str, str]]):
    """As ``Probes`` takes them; made anew at each look."""

    def __init__(self, asked: Mapping[str, Asked]) -> None:
        self._asked = asked

    def __getitem__(self, name: str) -> Mapping[str, str]:
        return self._asked[name].headers()

    def __iter__(self) -> Iterator[str]:
        return iter(self._asked)

    def __len__(self) -> int:
        return len(self._asked)


class Load:
    """Use it as ``async with Load(idp, ports).running() as load:``.

    Attributes:
        asked: by name, over and over.
        fresh: the same, another credential each time.
        tally: of everything since it was set.
    """

    def __init__(self, idp: FakeIdp, ports: Sequence[int]) -> None:
        self._idp = idp
        self._ports = ports
        self._presented = itertools.count()
        self._guesses = itertools.count()
        self.tally = Tally()
        self.asked: dict[str, Asked] = {}
        self.fresh = {
            "new token": Asked(lambda: self.bearer("cached")),
            "new pair": Asked(self._new_pair),
            "wrong secret": Asked(self._guess, GUESSING),
        }

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        self._steady = Probes(
            self._ports, _Headers(self.asked), connections=_CONNECTIONS, pause_s=_PAUSE_S, keep=self._judge
        )
        changing = Probes(
            self._ports, _Headers(self.fresh), connections=2, pause_s=_FRESH_PAUSE_S, keep=self._judge
        )
        async with self._steady, changing:
            yield self

    async def next_round(self, times: int = 1) -> None:
        await self._steady.next_round(times)

    def bearer(self, client: str) -> Mapping[str, str]:
        """Of a token that nobody has seen."""
        return bearer(self._idp.token(client, jti=secrets.token_hex(8)))

    def ask_for(self, name: str, headers: Mapping[str, str], right: frozenset[int] = ALLOWED) -> Asked:
        """From now on."""
        self.asked[name] = asked = Asked(lambda: headers, right)
        return asked

    def ask_for_client(self, client: str, right: frozenset[int] = ALLOWED) -> Asked:
        """From now on, with one token."""
        return self.ask_for(client, self.bearer(client), right)

    def _judge(self, seen: Seen) -> bool:
        tally = self.tally
        tally.requests += 1
        if seen.credential == "new pair":
            tally.waits.append(seen.answered_at - seen.sent_at)
        asked = self.asked.get(seen.credential) or self.fresh.get(seen.credential)
        if asked is None or not asked.is_right(seen):
            broken = asked is None or seen.status in (BROKEN, http.HTTPStatus.SERVICE_UNAVAILABLE)
            (tally.failed if broken else tally.wrong).append(seen)
        return False

    def _new_pair(self) -> Mapping[str, str]:
        number = next(self._presented) // _SHARED_BY
        client, secret = f"fresh-{number % FRESH}", f"secret-{number}"
        known = self._idp.clients[client]
        if known.secret != secret:
            self._idp.clients[client] = FakeClient(secret)
        return basic(client, secret)

    def _guess(self) -> Mapping[str, str]:
        number = next(self._guesses)
        return basic(f"guessed-{number % GUESSED}", f"guess-{number}")


def secrets_of(clients: Iterable[str]) -> dict[str, str]:
    return {client: f"secret of {client}" for client in clients}


def file_clients() -> list[str]:
    """Each has an application in the file, and a secret at the identity provider."""
    numbered = (("fresh", FRESH), ("guessed", GUESSED), ("victim", VICTIMS))
    return ["cached", "session", "leaving", "banned"] + [
        f"{name}-{n}" for name, count in numbered for n in range(count)
    ]


def unregistered() -> dict[str, Any]:
    """An application of the file that no service knows."""
    return {**application("unregistered"), "registrations": []}


def open_session(port: int, headers: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The cookie that a browser would send back, and the session's id."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", AUTHORIZE, headers=dict(headers))
        reply = connection.getresponse()
        reply.read()
        cookie = (reply.getheader("Set-Cookie") or "").partition(";")[0]
        if not cookie.startswith(COOKIE):
            raise AssertionError(f"no session was opened: {reply.status}")
        return {"Cookie": cookie}, reply.getheader("X-Session-Id") or ""
    finally:
        connection.close()
