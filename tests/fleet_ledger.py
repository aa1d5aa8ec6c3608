"""What a fleet has acknowledged, and what it may be held to.

Law of this file: only an answer of 2xx is an acknowledgement; after any other, what was there before and what was
asked for are both right, until a later write of the same thing is acknowledged. No pytest, nothing that waits.
"""

import http
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fleet_probes import BROKEN, Seen

EVERYWHERE_S = 1.0
"""What was acknowledged at one member holds at all others after that."""

State = tuple[str, str] | None
"""Name and registration of an application; ``None``: there is none."""

_DENIED = frozenset({http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN})


@dataclass(slots=True)
class Entry:
    """An application, and one token of its client.

    Attributes:
        states: each may be found.
        open_at: when somebody had acknowledged that its token is good.
        closing: somebody was asked to end that.
        closed_at: when somebody had acknowledged that; monotonic seconds.
        closed_by: number of that member.
    """

    id: str
    client: str
    jti: str
    headers: Mapping[str, str]
    states: set[State] = field(default_factory=lambda: {None})
    open_at: float | None = None
    closing: bool = False
    closed_at: float | None = None
    closed_by: int = -1
    how: str = ""


@dataclass(frozen=True, slots=True)
class Late:
    """An allow that was asked for after the acknowledgement of the opposite."""

    credential: str
    how: str
    closed_by: int
    member: int
    after_s: float

    @property
    def wrong(self) -> bool:
        return self.after_s > EVERYWHERE_S or self.member == self.closed_by


class Ledger:
    """Everything that was written, and what was answered since.

    Attributes:
        entries: by the name of the credential, which is the application's id.
        revoked: kind and value of each acknowledged revocation.
        maybe_revoked: of those that may have been written.
        late: allows after the acknowledgement, right (if they came soon enough, elsewhere) or wrong.
        denied: denials of what was acknowledged as good a second before.
        answers: by what they were.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.revoked: set[tuple[str, str]] = set()
        self.maybe_revoked: set[tuple[str, str]] = set()
        self.late: list[Late] = []
        self.denied: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()

    def heard(self, seen: Seen) -> bool:
        """Judges one answer; nothing need be remembered of it."""
        self.answers[seen.status] += 1
        entry = self.entries.get(seen.credential)
        if entry is None or seen.status == BROKEN:
            return False
        if seen.status == http.HTTPStatus.OK:
            if entry.closed_at is not None and seen.sent_at > entry.closed_at:
                after_s = seen.sent_at - entry.closed_at
                self.late.append(Late(entry.id, entry.how, entry.closed_by, seen.member, after_s))
        elif seen.status in _DENIED and _is_open(entry, seen.sent_at):
            self.denied[f"{seen.status} at {seen.member}"] += 1
        return False

    def open(self, entry: Entry) -> None:
        entry.open_at = time.monotonic()

    def closed(self, entry: Entry, how: str, member: int) -> None:
        entry.how, entry.closed_by, entry.closed_at = how, member, time.monotonic()

    def all_closed(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.closed_at is not None]

    # -- what stands in the end ------------------------------------------------------------------------------

    def lost(self, applications: Mapping[str, State], revocations: set[tuple[str, str]]) -> list[str]:
        """What was acknowledged and is not so at a member where all this stands."""
        found = []
        for entry in self.entries.values():
            state = applications.get(entry.id)
            if state not in entry.states:
                found.append(f"{entry.id} is {state}, not one of {sorted(entry.states, key=str)}")
        found += [f"the revocation of {kind} {value} is gone" for kind, value in self.revoked - revocations]
        strange = revocations - self.revoked - self.maybe_revoked
        found += [f"a revocation of {kind} {value} that nobody asked for" for kind, value in strange]
        return found


def _is_open(entry: Entry, at: float) -> bool:
    """Everywhere, as far as anybody has said."""
    return entry.open_at is not None and at > entry.open_at + EVERYWHERE_S and not entry.closing


def states(pages: Sequence[Mapping[str, object]], service: str) -> dict[str, State]:
    """As the control plane lists them."""
    found: dict[str, State] = {}
    for each in pages:
        registrations = {one["service"]: one["status"] for one in each["registrations"]}  # type: ignore[attr-defined]
        found[str(each["id"])] = (str(each["name"]), str(registrations.get(service)))
    return found


def revocation_names(listed: Sequence[Mapping[str, object]]) -> set[tuple[str, str]]:
    kinds = ("client_id", "application_id", "session_id", "jti", "sessions_of")
    return {(kind, str(each[kind])) for each in listed for kind in kinds if kind in each}
