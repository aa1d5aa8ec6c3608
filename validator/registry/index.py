"""The index that answers on the request's way.

Law of this file: everything that is asked while a request waits (which application a client id means, whether
anything of a proof has been revoked) is answered here from memory, and every change is made first here and
then told to the epoch, with no ``await`` between, so that no reply is judged on the old state under the new
epoch. Nothing here is durable: what is to last is committed by a journal, and applied after that.

What it costs at 10^6 stored applications (CPython 3.11, one core): see ``docs/control-plane.md``.
"""

import heapq
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from operator import attrgetter

from validator.core.changes import ApplicationChange, Change, ClientChange, Forgotten, RevocationChange
from validator.core.registry import canonical_client_id
from validator.core.revocations import normal_revocation
from validator.model import Application, Knowledge, Origin, Proof, Revocation
from validator.ports import Clock, Conflict, Epoch
from validator.registry.marks import Marks
from validator.registry.places import Applications, Place, place

# Beyond so many changed places one touch of everything is cheaper than the touches one by one, and a reload
# that rewrites this much of the file has made most cached replies doubtful anyway.
_MAX_NARROW_TOUCHES = 1000

_by_id = attrgetter("id")

_Key = tuple[str, str | None, str]  # kind, strategy, value
_Sortable = tuple[str, str, str]  # the same, with "" for any strategy


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A stored application that is out of force while the file holds its id or its client id."""

    stored: Application
    by: Application


class MemoryRegistry:
    """``ports.Registry`` and ``ports.Revocations`` over dictionaries; for one event loop, not for threads.

    Applications of the file are read-only truth: a stored one with the same id, or the same client id under
    the same strategy, is shadowed (kept, but out of force) until the file lets go of it.

    Args:
        clock: compared with ``expires_at`` of a revocation.
        epoch: told of every change, as narrowly as it reaches.
        strategies: the configured names; a client id revoked without a strategy is touched under each.

    Attributes:
        client_changes: counts the changes of registered clients, whose records are not held here: whoever goes by
            a record that he read before it moved reads it again.
    """

    def __init__(self, *, clock: Clock, epoch: Epoch, strategies: Collection[str]) -> None:
        self._clock = clock
        self._epoch = epoch
        self._strategies = frozenset(strategies)
        self._file = Applications()
        self._stored = Applications()
        self._revocations: dict[_Key, Revocation] = {}
        self._expiries: list[tuple[float, _Sortable]] = []
        self._marks = Marks(clock)
        self._knowledge = Knowledge.CURRENT
        self.client_changes = 0

    @property
    def knowledge(self) -> Knowledge:
        """How far what is found, or not found, may be relied on."""
        return self._knowledge

    def set_knowledge(self, knowledge: Knowledge) -> None:
        """What was answered while nothing was refused, or while everything was, is judged again."""
        old, self._knowledge = self._knowledge, knowledge
        if (old is Knowledge.REFUSED) != (knowledge is Knowledge.REFUSED):
            self._epoch.touch_all()

    def find(self, strategy: str, client_id: str) -> Application | None:
        """The application in force; GUID-shaped client ids compare without regard to case."""
        client = canonical_client_id(client_id)
        application = self._file.at(strategy, client)
        if application is None:
            application = self._stored.at(strategy, client)
            if application is not None and application.id in self._file.by_id:
                return None
        return application

    def get(self, application_id: str) -> Application | None:
        """The application in force under this id; a shadowed one is not."""
        application = self._file.by_id.get(application_id)
        if application is None:
            application = self._stored.by_id.get(application_id)
            if application is not None and self._shadow(application) is not None:
                return None
        return application

    def list(
        self, *, strategy: str | None = None, client_id: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[Application]:
        """Those in force, in order of id, beyond ``after``."""
        if client_id is not None:
            names = self._file.by_client.keys() | self._stored.by_client.keys()
            found = (self.find(name, client_id) for name in (names if strategy is None else {strategy}))
            return sorted((a for a in found if a is not None and a.id > after), key=_by_id)[:limit]
        stored = (a for a in self._stored.beyond(after, strategy) if self._shadow(a) is None)
        return list(islice(heapq.merge(self._file.beyond(after, strategy), stored, key=_by_id), limit))

    def shadowed(self) -> Sequence[Shadowed]:
        """Stored applications that the file keeps out of force, in order of id."""
        found: dict[str, Shadowed] = {}
        for by in self._file.by_id.values():
            same_id = self._stored.by_id.get(by.id)
            same_client = self._stored.at(by.strategy, canonical_client_id(by.client_id))
            for stored in (same_id, same_client):
                if stored is not None:
                    found.setdefault(stored.id, Shadowed(stored, by))
        return [found[application_id] for application_id in sorted(found)]

    def held(self, application_id: str) -> Application | None:
        """What a write to this id would meet: the file's application, or the stored one even if shadowed."""
        return self._file.by_id.get(application_id) or self._stored.by_id.get(application_id)

    def stored_at(self, strategy: str, client_id: str) -> Application | None:
        """The stored application of a client, even if shadowed."""
        return self._stored.at(strategy, canonical_client_id(client_id))

    def check_free(self, application: Application) -> None:
        """Whether the place of this application is free; the one stored under its own id does not count.

        Raises:
            Conflict: another application, in force or shadowed, has its client id.
        """
        client = canonical_client_id(application.client_id)
        for index, where in ((self._file, " of the configuration file"), (self._stored, "")):
            holder = index.at(application.strategy, client)
            if holder is not None and holder.id != application.id:
                raise Conflict(
                    f"the client id {application.client_id!r} under the strategy {application.strategy!r} is "
                    f"taken by application {holder.id!r}{where}"
                )

    def load_file(self, applications: Iterable[Application], *, strategies: Collection[str] | None = None) -> None:
        """Swaps the file's whole set, and with it the strategies' names where they are given.

        Raises:
            ValueError: two of them share an id, or a client id under one strategy; nothing has changed then.
        """
        new = Applications(replace(a, origin=Origin.FILE) for a in applications)
        old, self._file = self._file, new
        strategies_changed = strategies is not None and frozenset(strategies) != self._strategies
        if strategies is not None:
            self._strategies = frozenset(strategies)
        places: set[Place] = set()
        for application_id in old.by_id.keys() | new.by_id.keys():
            before, now = old.by_id.get(application_id), new.by_id.get(application_id)
            if before == now:
                continue
            shadowed = self._stored.by_id.get(application_id)
            places.update(place(a) for a in (before, now, shadowed) if a is not None)
        if strategies_changed or len(places) > _MAX_NARROW_TOUCHES:
            self._epoch.touch_all()
        else:
            self._touch(places)

    def load_stored(
        self,
        applications: Iterable[Application],
        revocations: Iterable[Revocation],
        forgotten: Iterable[Forgotten] = (),
    ) -> None:
        """Takes over all that a store holds, in place of what was stored before.

        Raises:
            ValueError: as ``load_file``; nothing has changed then.
        """
        index = Applications(applications)
        entries = {_key(r): r for r in map(normal_revocation, revocations)}
        self._stored = index
        self._revocations = entries
        self._expiries = [(r.expires_at, _sortable(key)) for key, r in entries.items() if r.expires_at is not None]
        heapq.heapify(self._expiries)
        for change in forgotten:
            self._marks.add(change)
        self._epoch.touch_all()

    def stored(self) -> Iterable[Change]:
        """What makes another index hold the same, the file's applications apart; as it stands now, however long it
        takes to read."""
        return chain(
            (ApplicationChange(a.id, a) for a in list(self._stored.by_id.values())),
            (RevocationChange(r) for r in list(self._revocations.values())),
            list(self._marks.known()),
        )

    def apply_changes(self, changes: Sequence[Change]) -> None:
        """Each is the whole truth about what it names; what is so already touches nothing.

        Raises:
            ValueError: a revocation is not one (``core.changes.change`` makes none of those).
        """
        self.forget_expired()
        for change in changes:
            match change:
                case ApplicationChange(application_id, None):
                    self.remove(application_id)
                case ApplicationChange(application_id, application) if application is not None:
                    if self._stored.by_id.get(application_id) != application:
                        self.apply(application)
                case RevocationChange(entry, lifted):
                    if lifted:
                        self.unrevoke(entry)
                    else:
                        self._hold(normal_revocation(entry))
                case ClientChange():
                    self.client_changes += 1
                case Forgotten():
                    self._marks.add(change)

    def forgotten_mark(self, strategy: str, client_key: str) -> str:
        """Marks what is found out now about this client; what was found out under another mark is not believed.
        "": nothing of him was ever forgotten.

        Args:
            client_key: the client id in its canonical form.
        """
        return self._marks.of(strategy, client_key)

    def apply(self, application: Application) -> None:
        """A stored application as it is from now on, new or changed."""
        old = self._stored.pop(application.id)
        self._stored.put(application)
        self._touch({place(a) for a in (old, application) if a is not None})

    def remove(self, application_id: str) -> None:
        """A stored application that is no more; none of that id is no error."""
        old = self._stored.pop(application_id)
        if old is not None:
            self._touch({place(old)})

    def covers(self, proof: Proof, application: Application | None) -> bool:
        """Whether the client, the application, the token or the session of this proof has been revoked."""
        entries = self._revocations
        if not entries:
            return False
        client = canonical_client_id(proof.client_id)
        keys: list[_Key] = [("client_id", None, client), ("client_id", proof.strategy, client)]
        if application is not None:
            keys.append(("application_id", None, application.id))
        if proof.token_id is not None:
            keys.append(("jti", None, proof.token_id))
        if proof.session is not None:
            keys.append(("session_id", None, proof.session.id))
            if proof.session.token_id is not None:
                keys.append(("jti", None, proof.session.token_id))
        now = self._clock.now()
        if any(_counts(entries.get(key), now) for key in keys):
            return True
        if proof.session is None:
            return False
        ended = entries.get(("sessions_of", proof.strategy, client))
        # What was opened at that very moment may be newer, and what is opened after now is older than a clock that
        # was set back: both fail closed.
        return ended is not None and _counts(ended, now) and not ended.created_at < proof.session.opened_at <= now

    def merged(self, revocation: Revocation) -> Revocation:
        """What holds once ``revocation`` is added: of two ends the later, so that a second entry for the same
        thing never shortens the first; and of a client's sessions all that were opened before the later one.

        Raises:
            ValueError: see ``normal_revocation``.
        """
        new = normal_revocation(revocation)
        old = self._revocations.get(_key(new))
        if old is None or not _counts(old, self._clock.now()):
            return new
        # The later saying too: what sessions_of counts from, and how a second word is told from a first.
        new = replace(new, created_at=max(new.created_at, old.created_at))
        old = replace(old, created_at=new.created_at)
        if old.expires_at is None or (new.expires_at is not None and new.expires_at <= old.expires_at):
            return old
        return new

    def revoke(self, revocation: Revocation) -> None:
        """In force for the next request. Its expiry touches nothing: a cached denial is short-lived."""
        self._hold(self.merged(revocation))

    def _hold(self, entry: Revocation) -> None:
        key = _key(entry)
        if self._revocations.get(key) == entry:
            return
        self._revocations[key] = entry
        if entry.expires_at is not None:
            heapq.heappush(self._expiries, (entry.expires_at, _sortable(key)))
        self._touch_revoked(entry)

    def unrevoke(self, revocation: Revocation) -> bool:
        """Whether there was one to lift."""
        entry = self._revocations.pop(_key(normal_revocation(revocation)), None)
        if entry is None:
            return False
        self._touch_revoked(entry)
        return _counts(entry, self._clock.now())

    def revocation(self, revocation: Revocation) -> Revocation | None:
        """The entry for the same thing, if it counts now."""
        entry = self._revocations.get(_key(normal_revocation(revocation)))
        return entry if _counts(entry, self._clock.now()) else None

    def revocations(self, *, limit: int = 1000) -> Sequence[Revocation]:
        """Those that count now, the newest first."""
        now = self._clock.now()
        return list(islice((r for r in reversed(self._revocations.values()) if _counts(r, now)), limit))

    def forget_expired(self) -> None:
        """Frees the memory of revocations that no longer count."""
        now = self._clock.now()
        while self._expiries and self._expiries[0][0] <= now:
            _, key = heapq.heappop(self._expiries)
            # The same thing may have been revoked again with a later end, or lifted.
            kind, strategy, value = key
            entry = self._revocations.get((kind, strategy or None, value))
            if entry is not None and not _counts(entry, now):
                del self._revocations[kind, strategy or None, value]

    def _shadow(self, stored: Application) -> Application | None:
        """The application of the file that keeps this stored one out of force."""
        by = self._file.by_id.get(stored.id)
        return by or self._file.at(stored.strategy, canonical_client_id(stored.client_id))

    def _touch(self, places: Iterable[Place]) -> None:
        for strategy, client in sorted(places):
            self._epoch.touch_client(strategy, client)

    def _touch_revoked(self, entry: Revocation) -> None:
        if entry.kind in {"client_id", "sessions_of"}:
            names = self._strategies if entry.strategy is None else {entry.strategy}
            self._touch((name, entry.value) for name in names)
        elif entry.kind == "application_id":
            held = (self._file.by_id.get(entry.value), self._stored.by_id.get(entry.value))
            self._touch({place(a) for a in held if a is not None})
        else:
            self._epoch.touch_id(entry.value)


def _key(revocation: Revocation) -> _Key:
    return revocation.kind, revocation.strategy, revocation.value


def _sortable(key: _Key) -> _Sortable:
    kind, strategy, value = key
    return kind, strategy or "", value


def _counts(entry: Revocation | None, now: float) -> bool:
    return entry is not None and (entry.expires_at is None or now < entry.expires_at)
