"""The in-memory index: who is found, what is covered, and exactly which touches each change makes."""

import pytest
from registry_support import A_GUID, RecordingEpoch, app, filed

from validator.model import Method, Origin, Proof, Revocation, Session
from validator.ports import Conflict
from validator.registry.index import MemoryRegistry
from validator.testing import ManualClock


@pytest.fixture
def epoch():
    return RecordingEpoch()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def memory(epoch, clock):
    return MemoryRegistry(clock=clock, epoch=epoch, strategies=["plain", "azure"])


def proof(client_id="c1", strategy="plain", token_id=None, session=None):
    return Proof(strategy, Method.BEARER, client_id, 9e9, 9e9, token_id=token_id, session=session)


def session(session_id, token_id=None):
    return Session(session_id, "plain", "c1", 0.0, 0.0, 9e9, token_id)


class TestFinding:
    def test_by_strategy_and_client_id(self, memory):
        memory.apply(app("1", "c1"))
        assert memory.find("plain", "c1").id == "1"
        assert memory.find("azure", "c1") is None
        assert memory.find("nowhere", "c1") is None
        assert memory.find("plain", "c2") is None

    def test_guids_without_regard_to_case_and_all_others_exactly(self, memory):
        memory.apply(app("1", A_GUID))
        memory.apply(app("2", "Mixed"))
        assert memory.find("plain", A_GUID.lower()).id == "1"
        assert memory.find("plain", A_GUID).id == "1"
        assert memory.find("plain", "Mixed").id == "2"
        assert memory.find("plain", "mixed") is None

    def test_a_moved_application_is_not_found_at_its_old_place(self, memory):
        memory.apply(app("1", "c1"))
        memory.apply(app("1", "c2", strategy="azure"))
        assert memory.find("plain", "c1") is None
        assert memory.find("azure", "c2").id == "1"
        assert [a.id for a in memory.list()] == ["1"]

    def test_a_removed_application_is_gone_everywhere(self, memory, epoch):
        memory.apply(app("1", "c1"))
        memory.remove("1")
        assert memory.find("plain", "c1") is None
        assert memory.get("1") is None
        assert memory.list() == []
        epoch.taken()
        memory.remove("1")
        assert epoch.taken() == []


class TestListing:
    def test_in_order_of_id_across_strategies_and_origins(self, memory):
        for number, strategy in ((3, "plain"), (1, "azure"), (5, "plain"), (2, "plain")):
            memory.apply(app(str(number), f"c{number}", strategy))
        memory.load_file([app("4", "c4", "azure")])
        assert [a.id for a in memory.list()] == ["1", "2", "3", "4", "5"]
        assert [a.id for a in memory.list(strategy="azure")] == ["1", "4"]
        assert memory.list(strategy="nowhere") == []

    def test_pages(self, memory):
        for number in range(1, 6):
            memory.apply(app(str(number), f"c{number}"))
        assert [a.id for a in memory.list(limit=2)] == ["1", "2"]
        assert [a.id for a in memory.list(after="2", limit=2)] == ["3", "4"]
        assert [a.id for a in memory.list(after="4", limit=2)] == ["5"]
        assert memory.list(after="5") == []
        assert [a.id for a in memory.list(after="25")] == ["3", "4", "5"]

    def test_by_client_id(self, memory):
        memory.apply(app("1", A_GUID))
        memory.apply(app("2", A_GUID, "azure"))
        memory.apply(app("3", "other"))
        assert [a.id for a in memory.list(client_id=A_GUID.lower())] == ["1", "2"]
        assert [a.id for a in memory.list(client_id=A_GUID, strategy="azure")] == ["2"]
        assert [a.id for a in memory.list(client_id=A_GUID, after="1")] == ["2"]
        assert [a.id for a in memory.list(client_id=A_GUID, limit=1)] == ["1"]


class TestShadowing:
    def test_the_file_wins_by_client_id_and_lets_go(self, memory):
        stored = app("stored", A_GUID)
        memory.apply(stored)
        memory.load_file([app("file", A_GUID.lower())])
        found = memory.find("plain", A_GUID)
        assert (found.id, found.origin) == ("file", Origin.FILE)
        assert memory.get("stored") is None
        assert [a.id for a in memory.list()] == ["file"]
        assert [(s.stored.id, s.by.id) for s in memory.shadowed()] == [("stored", "file")]
        memory.load_file([])
        assert memory.find("plain", A_GUID) is stored
        assert memory.get("stored") is stored
        assert memory.shadowed() == []

    def test_the_file_wins_by_id_though_the_client_differs(self, memory):
        memory.apply(app("1", "stored-client"))
        memory.load_file([app("1", "file-client")])
        assert memory.find("plain", "stored-client") is None
        assert memory.find("plain", "file-client").origin is Origin.FILE
        assert memory.get("1").client_id == "file-client"
        assert [a.client_id for a in memory.list()] == ["file-client"]
        assert memory.list(client_id="stored-client") == []
        assert [s.stored.client_id for s in memory.shadowed()] == ["stored-client"]
        memory.load_file([])
        assert memory.find("plain", "stored-client").id == "1"

    def test_two_stored_ones_may_be_shadowed_by_one_of_the_file(self, memory):
        memory.apply(app("1", "a"))
        memory.apply(app("2", "b"))
        memory.load_file([app("1", "b")])
        assert [s.stored.id for s in memory.shadowed()] == ["1", "2"]
        assert [a.client_id for a in memory.list()] == ["b"]

    @pytest.mark.parametrize(
        ("second", "message"),
        [(app("1", "other"), "have the id '1'"), (app("2", A_GUID), "'1' and '2' have the same client id")],
    )
    def test_a_file_that_contradicts_itself_changes_nothing(self, memory, epoch, second, message):
        memory.load_file([app("old", "c")])
        epoch.taken()
        with pytest.raises(ValueError, match=message):
            memory.load_file([app("1", A_GUID.lower()), second])
        assert memory.find("plain", "c").id == "old"
        assert epoch.taken() == []

    def test_a_place_is_free_for_its_own_holder_alone(self, memory):
        memory.apply(app("1", "c1"))
        memory.load_file([app("f", "c2")])
        memory.check_free(app("1", "c1"))
        memory.check_free(app("2", "c1", "azure"))
        with pytest.raises(Conflict, match="'c1' under the strategy 'plain' is taken by application '1'"):
            memory.check_free(app("2", "c1"))
        with pytest.raises(Conflict, match="application 'f' of the configuration file"):
            memory.check_free(app("2", "c2"))


class TestTouches:
    def test_a_write_touches_its_own_place_and_the_one_it_left(self, memory, epoch):
        memory.apply(app("1", A_GUID))
        assert epoch.taken() == [("client", "plain", A_GUID.lower())]
        memory.apply(app("1", A_GUID, services="orders billing"))
        assert epoch.taken() == [("client", "plain", A_GUID.lower())]
        memory.apply(app("1", "c1", "azure"))
        assert epoch.taken() == [("client", "azure", "c1"), ("client", "plain", A_GUID.lower())]
        memory.remove("1")
        assert epoch.taken() == [("client", "azure", "c1")]

    def test_memory_has_changed_when_the_epoch_hears_of_it(self, memory, epoch):
        seen = []
        epoch.look = lambda: seen.append((memory.find("plain", "c1"), memory.covers(proof(), None)))
        memory.apply(app("1", "c1"))
        memory.revoke(Revocation("client_id", "c1", "plain"))
        memory.unrevoke(Revocation("client_id", "c1", "plain"))
        memory.remove("1")
        memory.load_file([app("f", "c1")])
        assert [(found and found.id, covered) for found, covered in seen] == [
            ("1", False),
            ("1", True),
            ("1", False),
            (None, False),
            ("f", False),
        ]

    def test_a_reload_touches_only_what_differs(self, memory, epoch):
        memory.apply(app("shadowed-by-id", "elsewhere"))
        memory.load_file([app("same", "s"), app("moved", "m1"), app("changed", "c"), app("left", "l")])
        epoch.taken()
        memory.load_file(
            [
                app("same", "s"),
                app("moved", "m2"),
                app("changed", "c", active=False),
                app("new", "n"),
                app("shadowed-by-id", "here"),
            ]
        )
        assert [client for _, _, client in epoch.taken()] == ["c", "elsewhere", "here", "l", "m1", "m2", "n"]
        memory.load_file(memory._file.by_id.values())
        assert epoch.taken() == []

    def test_a_reload_that_rewrites_the_file_touches_everything_once(self, memory, epoch):
        memory.load_file(app(f"{n}", f"c{n}") for n in range(1000))
        assert len(epoch.taken()) == 1000
        memory.load_file(app(f"{n}", f"d{n}") for n in range(1000))
        assert epoch.taken() == [("all",)]

    def test_other_strategies_touch_everything(self, memory, epoch):
        memory.load_file([], strategies=["azure", "plain"])
        assert epoch.taken() == []
        memory.load_file([], strategies=["plain", "okta"])
        assert epoch.taken() == [("all",)]
        memory.revoke(Revocation("client_id", "c1"))
        assert epoch.taken() == [("client", "okta", "c1"), ("client", "plain", "c1")]

    @pytest.mark.parametrize(
        ("revocation", "told"),
        [
            (Revocation("client_id", A_GUID, "plain"), [("client", "plain", A_GUID.lower())]),
            (Revocation("client_id", "c1"), [("client", "azure", "c1"), ("client", "plain", "c1")]),
            (Revocation("application_id", "1"), [("client", "plain", "c1")]),
            (Revocation("application_id", "f"), [("client", "azure", "c9")]),
            (Revocation("application_id", "unknown"), []),
            (Revocation("session_id", "s1"), [("id", "s1")]),
            (Revocation("jti", "j1"), [("id", "j1")]),
        ],
    )
    def test_a_revocation_and_its_lifting_touch_what_they_reach(self, memory, epoch, revocation, told):
        memory.apply(app("1", "c1"))
        memory.load_file([app("f", "c9", "azure")])
        epoch.taken()
        memory.revoke(revocation)
        assert epoch.taken() == told
        assert memory.unrevoke(revocation)
        assert epoch.taken() == told
        assert not memory.unrevoke(revocation)
        assert epoch.taken() == []


class TestRevocations:
    @pytest.mark.parametrize(
        ("revocation", "covered"),
        [
            (Revocation("client_id", "c1"), True),
            (Revocation("client_id", "c1", "plain"), True),
            (Revocation("client_id", "c1", "azure"), False),
            (Revocation("client_id", "C1"), False),
            (Revocation("application_id", "app-1"), True),
            (Revocation("application_id", "c1"), False),
            (Revocation("jti", "own-token"), True),
            (Revocation("jti", "opening-token"), True),
            (Revocation("jti", "session-1"), False),
            (Revocation("session_id", "session-1"), True),
            (Revocation("session_id", "own-token"), False),
        ],
    )
    def test_what_is_covered(self, memory, revocation, covered):
        judged = proof(token_id="own-token", session=session("session-1", "opening-token"))
        memory.revoke(revocation)
        assert memory.covers(judged, app("app-1", "c1")) is covered
        memory.unrevoke(revocation)
        assert memory.covers(judged, app("app-1", "c1")) is False

    def test_absent_identifiers_match_nothing(self, memory):
        for kind in ("application_id", "session_id", "jti"):
            memory.revoke(Revocation(kind, "None"))
        assert memory.covers(proof(), None) is False
        assert memory.covers(proof(session=session("s")), None) is False

    def test_a_guid_is_revoked_in_any_case(self, memory):
        memory.revoke(Revocation("client_id", A_GUID))
        assert memory.covers(proof(A_GUID.lower()), None)
        assert memory.covers(proof(A_GUID), None)
        assert memory.unrevoke(Revocation("client_id", A_GUID.lower()))

    def test_it_counts_until_its_end_and_not_at_it(self, memory, clock):
        end = clock.now() + 60
        memory.revoke(Revocation("jti", "j", expires_at=end))
        clock.advance(59)
        assert memory.covers(proof(token_id="j"), None)
        assert [r.value for r in memory.revocations()] == ["j"]
        clock.advance(1)
        assert not memory.covers(proof(token_id="j"), None)
        assert memory.revocations() == []
        assert memory.unrevoke(Revocation("jti", "j")) is False

    def test_a_second_entry_never_shortens_the_first(self, memory, clock):
        now = clock.now()
        memory.revoke(Revocation("jti", "j", expires_at=now + 60))
        memory.revoke(Revocation("jti", "j", expires_at=now + 30))
        assert memory.revocations()[0].expires_at == now + 60
        memory.revoke(Revocation("jti", "j"))
        memory.revoke(Revocation("jti", "j", expires_at=now + 90))
        assert memory.revocations()[0].expires_at is None
        assert len(memory.revocations()) == 1

    def test_an_expired_entry_gives_way_to_a_shorter_one(self, memory, clock):
        memory.revoke(Revocation("jti", "j", expires_at=clock.now() + 10))
        clock.advance(10)
        memory.revoke(Revocation("jti", "j", expires_at=clock.now() + 5))
        assert memory.covers(proof(token_id="j"), None)

    def test_expired_ones_are_forgotten_and_prolonged_ones_are_not(self, memory, clock):
        now = clock.now()
        memory.revoke(Revocation("jti", "short", expires_at=now + 10))
        memory.revoke(Revocation("jti", "prolonged", expires_at=now + 10))
        memory.revoke(Revocation("jti", "prolonged", expires_at=now + 50))
        memory.revoke(Revocation("jti", "for good"))
        clock.advance(10)
        memory.forget_expired()
        assert {r.value for r in memory.revocations()} == {"prolonged", "for good"}
        assert len(memory._revocations) == 2
        clock.advance(40)
        memory.forget_expired()
        assert [r.value for r in memory.revocations()] == ["for good"]
        assert memory._expiries == []

    def test_two_blocks_of_one_client_may_end_in_the_same_moment(self, memory, clock):
        for strategy in ("plain", None, "azure"):
            memory.revoke(Revocation("client_id", "c1", strategy, expires_at=clock.now() + 10))
        clock.advance(10)
        memory.forget_expired()
        assert len(memory._revocations) == 0

    def test_the_newest_first_and_bounded(self, memory):
        for number in range(5):
            memory.revoke(Revocation("jti", str(number)))
        assert [r.value for r in memory.revocations(limit=3)] == ["4", "3", "2"]

    @pytest.mark.parametrize("revocation", [Revocation("token", "x"), Revocation("jti", "x", "plain")])
    def test_what_makes_no_sense_is_refused(self, memory, revocation):
        with pytest.raises(ValueError, match=r"kind|narrows"):
            memory.revoke(revocation)


def test_loading_takes_over_and_touches_everything_once(memory, epoch):
    memory.apply(app("gone", "g"))
    epoch.taken()
    memory.load_stored([app("2", "b"), app("1", "a")], [Revocation("client_id", A_GUID)])
    assert epoch.taken() == [("all",)]
    assert [a.id for a in memory.list()] == ["1", "2"]
    assert memory.covers(proof(A_GUID.lower()), None)


def test_filed_ones_are_marked_as_such(memory):
    memory.load_file([app("1", "c1")])
    assert memory.get("1") == filed(app("1", "c1"))
