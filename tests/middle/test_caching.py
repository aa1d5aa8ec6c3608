"""What was kept is given back unchanged or not at all, within its bound, and a change reaches what it is about."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.caching import NO_SHARDS, Caches, Generations, Replies, Reply, ShardedEpoch, Shards, Tally
from validator.caching.proofs import packed, unpacked
from validator.core.reply import Rendered
from validator.model import Method, Proof, Session

SECRET = b"0123456789abcdef"


def key(number: int) -> bytes:
    return number.to_bytes(4, "big")


def filled(count: int, bound: int) -> Generations[int]:
    table: Generations[int] = Generations(bound)
    for number in range(count):
        table.put(key(number), number)
    return table


def proof() -> Proof:
    return Proof("plain", Method.BEARER, "orders", 2e9, 2e9)


# Generations


@pytest.mark.parametrize("bound", [1, 2, 3, 10, 101])
def test_the_bound_holds(bound: int) -> None:
    table: Generations[int] = Generations(bound)
    for number in range(10 * bound):
        table.put(key(number), number)
        assert len(table) <= bound
    assert table.get(key(10 * bound - 1)) == 10 * bound - 1, "the newest is there"


def test_what_is_asked_for_stays_and_the_rest_goes() -> None:
    table: Generations[int] = Generations(10)
    table.put(key(0), 0)
    for number in range(1, 100):
        table.put(key(number), number)
        assert table.get(key(0)) == 0
    assert table.get(key(1)) is None


def test_half_the_bound_of_the_newest_is_always_there() -> None:
    table = filled(997, 100)
    assert [table.get(key(number)) for number in range(997 - 50, 997)] == list(range(997 - 50, 997))


def test_a_later_value_wins_over_one_in_the_old_generation() -> None:
    table = filled(5, 10)  # all five have just become the old generation
    table.put(key(3), 333)
    assert table.get(key(3)) == 333
    assert len(table) == 5


def test_discarded_is_gone_from_both_generations() -> None:
    table = filled(7, 10)
    for number in (1, 6):
        table.discard(key(number))
        assert table.get(key(number)) is None
    table.discard(b"never there")
    assert len(table) == 5


def test_cleared_is_empty() -> None:
    table = filled(7, 10)
    table.clear()
    assert len(table) == 0
    assert all(table.get(key(number)) is None for number in range(7))


def test_evictions_are_counted() -> None:
    table = filled(25, 10)
    assert table.evictions == 25 - len(table)


def test_what_was_dropped_is_freed_by_the_time_the_next_is_dropped() -> None:
    """Else two or more dropped generations would live on beside the bound."""

    class Value:
        alive = 0

        def __init__(self) -> None:
            Value.alive += 1

        def __del__(self) -> None:
            Value.alive -= 1

    table: Generations[Value] = Generations(100)
    most = 0
    for number in range(1000):
        table.put(key(number), Value())
        most = max(most, Value.alive)
        if number % 50 == 40:  # 40 entries into a generation, what was dropped at its start is gone
            assert Value.alive <= 100
    assert most <= 150
    held = Value.alive
    table.clear()
    for number in range(held // 4 + 1):  # a million at once would be a pause
        table.put(key(number % 4), Value())
    assert Value.alive <= 4


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "get", "discard", "clear"]), st.integers(0, 12), st.integers(0, 1000)),
    max_size=120,
)


@given(bound=st.integers(1, 12), steps=STEPS)
@settings(max_examples=300, deadline=None)
def test_it_is_a_dictionary_that_may_forget(bound: int, steps: list[Step]) -> None:
    """Never another value than the last one put, never one after it was discarded, never more than the bound, and
    what was just put or found is found again."""
    table: Generations[int] = Generations(bound)
    model: dict[bytes, int] = {}
    for what, number, value in steps:
        name = key(number)
        if what == "put":
            table.put(name, value)
            model[name] = value
            assert table.get(name) == value
        elif what == "get":
            found = table.get(name)
            assert found is None or found == model[name]
            assert table.get(name) == found
        elif what == "discard":
            table.discard(name)
            model.pop(name, None)
            assert table.get(name) is None
        else:
            table.clear()
            model.clear()
        assert len(table) <= bound
    assert all(table.get(name) in (None, value) for name, value in model.items())


# The epoch


def of(*shards: int) -> Shards:
    first, second, third, fourth = (*shards, *NO_SHARDS)[:4]
    return first, second, third, fourth


@pytest.fixture
def epoch() -> ShardedEpoch:
    return ShardedEpoch()


def other_client(shard: int) -> str:
    """A client id of another shard."""
    return next(f"c{n}" for n in range(99) if ShardedEpoch.client_shard("plain", f"c{n}") != shard)


def test_a_touched_client_is_doubtful_and_others_are_not(epoch: ShardedEpoch) -> None:
    mine = epoch.client_shard("plain", "orders")
    other = epoch.client_shard("plain", other_client(mine))
    before = epoch.value
    epoch.touch_client("plain", "orders")
    assert epoch.value != before
    assert not epoch.unmoved_since(before, *of(mine))
    assert not epoch.unmoved_since(before, *of(other, mine))
    assert epoch.unmoved_since(before, *of(other))
    assert epoch.unmoved_since(epoch.value, *of(mine)), "judged after the change"


def test_the_case_of_a_guid_does_not_matter(epoch: ShardedEpoch) -> None:
    guid = "3f0c1c9e-aaaa-4000-8000-00000000000b"
    shards = epoch.shards("plain", guid)
    epoch.touch_client("plain", guid.upper())
    assert not epoch.unmoved_since(0, *shards)


def test_a_touched_id_is_doubtful_and_clients_are_not(epoch: ShardedEpoch) -> None:
    """Ids and clients lie apart, so that a revoked token never makes a client's other answers doubtful."""
    epoch.touch_id("jti-1")
    assert not epoch.unmoved_since(0, *of(epoch.id_shard("jti-1")))
    clients = {epoch.client_shard("plain", f"c{number}") for number in range(500)}
    assert max(clients) < 4096
    assert all(epoch.unmoved_since(0, *of(shard)) for shard in range(4096))


@pytest.mark.parametrize("shards", [NO_SHARDS, of(ShardedEpoch.id_shard("jti"))], ids=["of nothing", "of one id"])
def test_touching_all_makes_everything_doubtful(epoch: ShardedEpoch, shards: Shards) -> None:
    before = epoch.value
    epoch.touch_all()
    assert not epoch.unmoved_since(before, *shards)
    assert epoch.unmoved_since(epoch.value, *shards)


NAMES = st.integers(0, 4)


@given(touches=st.lists(st.tuples(st.sampled_from(["client", "id", "all"]), NAMES), max_size=30), name=NAMES)
def test_no_touch_is_ever_missed(touches: list[tuple[str, int]], name: int) -> None:
    """Of any sequence of changes, each that concerns an answer is seen, from wherever the answer stands."""
    epoch = ShardedEpoch()
    mine = epoch.shards("plain", str(name), str(name))
    seen_at = [epoch.value]
    for kind, number in touches:
        if kind == "all":
            epoch.touch_all()
        elif kind == "client":
            epoch.touch_client("plain", str(number))
        else:
            epoch.touch_id(str(number))
        seen_at.append(epoch.value)
    for position, value in enumerate(seen_at):
        later = touches[position:]
        if any(kind == "all" or number == name for kind, number in later):
            assert not epoch.unmoved_since(value, *mine)
        elif not later:
            assert epoch.unmoved_since(value, *mine)


def test_an_answer_rests_on_its_client_and_up_to_three_names(epoch: ShardedEpoch) -> None:
    shards = epoch.shards("plain", "orders", "jti", None, "session")
    assert shards[0] == epoch.client_shard("plain", "orders")
    assert [shard for shard in shards[1:] if shard != NO_SHARDS[0]] == [
        epoch.id_shard("jti"),
        epoch.id_shard("session"),
    ]


# Replies


def reply_until(deadline: float, head: bytes = b"head ") -> Reply:
    return Reply(Rendered(head, b"rest"), Tally(), deadline)


class Replayed:
    """The epoch, a small table, and what was put into it."""

    def __init__(self, bound: int = 100) -> None:
        self.epoch = ShardedEpoch()
        self.table = Replies(bound, self.epoch)

    def put(self, name: bytes, head: bytes = b"head ", *, until: float = 60, shards: Shards = NO_SHARDS) -> Tally:
        reply = reply_until(until, head)
        self.table.put(name, reply, epoch=self.epoch.value, shards=shards)
        return reply.tally


def test_an_answer_is_given_again_with_the_time_it_has_left_and_counted() -> None:
    kitchen = Replayed()
    tally = kitchen.put(b"key")
    assert kitchen.table.replay(b"key", 0) == b"head private, max-age=60rest"
    assert kitchen.table.replay(b"key", 58.5) == b"head private, max-age=1rest"
    assert kitchen.table.replay(b"key", 59.5) == b"head no-storerest"
    assert kitchen.table.replay(b"key", 60) is None
    assert kitchen.table.replay(b"another", 0) is None
    assert (tally.judged, tally.replayed) == (0, 3)


def test_the_same_answer_in_parts_is_the_same_answer() -> None:
    kitchen = Replayed()
    kitchen.put(b"key")
    known = kitchen.table.known(b"key", 10)
    assert known is not None
    assert known.rendered.wire(known.deadline - 10) == kitchen.table.replay(b"key", 10)
    assert kitchen.table.known(b"key", 60) is None


def test_a_doubtful_answer_is_not_given_until_it_is_confirmed() -> None:
    kitchen = Replayed()
    kitchen.put(b"its", shards=of(7))
    kitchen.put(b"another's", shards=of(8))
    kitchen.epoch.touch_id(next(f"t{n}" for n in range(99_999) if ShardedEpoch.id_shard(f"t{n}") == 4096 + 7))
    assert kitchen.table.replay(b"its", 0) is not None, "an id's shard is not a client's"
    kitchen.epoch.touch_client(
        "s", next(f"c{n}" for n in range(99_999) if ShardedEpoch.client_shard("s", f"c{n}") == 7)
    )
    assert kitchen.table.replay(b"its", 0) is None
    assert kitchen.table.replay(b"another's", 0) is not None
    assert kitchen.table.in_doubt(b"its", 0) == b"head "
    assert kitchen.table.in_doubt(b"its", 60) is None, "it has ended"
    kitchen.table.confirm(b"its", kitchen.epoch.value)
    assert kitchen.table.replay(b"its", 0) is not None


@given(bound=st.integers(1, 12), steps=STEPS)
@settings(max_examples=300, deadline=None)
def test_replies_are_a_dictionary_that_may_forget(bound: int, steps: list[Step]) -> None:
    """As for ``Generations``: in columns nothing may slip into another row."""
    kitchen = Replayed(bound)
    table = kitchen.table
    model: dict[bytes, int] = {}
    for what, number, value in steps:
        name = key(number)
        if what == "put":
            kitchen.put(name, b"%d " % value, until=value + 1)
            model[name] = value
            assert table.replay(name, value) == b"%d private, max-age=1rest" % value
        elif what == "get":
            found = table.known(name, 0)
            assert found is None or found.rendered.head == b"%d " % model[name]
            assert found is None or found.deadline == model[name] + 1
        elif what == "discard":
            table.discard(name)
            model.pop(name, None)
            assert table.replay(name, 0) is None
        else:
            table.clear()
            model.clear()
        assert len(table) <= 2 * bound
    for name in map(key, range(13)):
        found = table.known(name, 0)
        assert found is None or found.rendered.head == b"%d " % model[name]


def test_what_answers_have_in_common_is_bounded_though_they_come_and_go() -> None:
    kitchen = Replayed(1000)
    for number in range(5000):
        reply = reply_until(60, b"app %d" % number)
        kitchen.table.put(key(number), reply, epoch=0, shards=NO_SHARDS, common=reply.rendered.head)
        kitchen.table.discard(key(number))
    held = (kitchen.table._young, kitchen.table._old, *kitchen.table._dropped)
    assert sum(len(generation.kinds) + len(generation.numbers) for generation in held) <= 2 * 1000


@given(
    st.sampled_from(list(Method)),
    st.text(),
    st.floats(allow_nan=False),
    st.none() | st.text(),
    st.booleans(),
)
def test_a_proof_comes_out_as_it_went_in(
    method: Method, client_id: str, ends: float, token_id: str | None, opens: bool
) -> None:
    session = Session("s-1", "plain", client_id, 1.5, 2.5, ends, token_id) if opens else None
    for given_ in (
        Proof("plain", method, client_id, ends, ends, token_id, token_id, opens=session),
        Proof("plain", method, client_id, ends, ends, session=session),
    ):
        assert unpacked(packed(given_, 17)) == (given_, 17)


# Both together


@pytest.fixture
def caches() -> Caches:
    return Caches(SECRET, max_entries=100)


def test_a_proof_begun_before_everything_was_forgotten_is_not_kept(caches: Caches) -> None:
    begun = caches.moment
    caches.forget()
    caches.keep_proof(b"late", proof(), begun)
    assert caches.known_proof(b"late") is None
    caches.keep_proof(b"fresh", proof(), caches.moment)
    assert caches.known_proof(b"fresh") is not None


def test_forgetting_a_client_drops_its_proofs_kept_and_under_way_and_those_of_no_other(caches: Caches) -> None:
    caches.keep_proof(b"its", proof(), caches.moment)
    caches.keep_proof(b"another's", proof()._replace(client_id="billing"), caches.moment)
    begun, before = caches.moment, caches.epoch.value
    of_client, of_other = (caches.client_moment("plain", name) for name in ("orders", "billing"))
    caches.forget_client("plain", "orders")
    caches.keep_proof(b"late", proof(), begun)
    assert [caches.known_proof(name) is not None for name in (b"its", b"another's", b"late")] == [
        False,
        True,
        False,
    ]
    caches.keep_proof(b"fresh", proof(), caches.moment)
    assert caches.known_proof(b"fresh") is not None
    assert not caches.epoch.unmoved_since(before, *caches.epoch.shards("plain", "orders"))
    assert caches.client_moment("plain", "orders") != of_client
    assert caches.client_moment("plain", "billing") == of_other


def test_a_client_is_forgotten_whatever_the_case_of_its_guid(caches: Caches) -> None:
    name = "3f0c1c9e-aaaa-4000-8000-00000000000b"
    caches.keep_proof(b"its", proof()._replace(client_id=name), caches.moment)
    caches.forget_client("plain", name.upper())
    assert caches.known_proof(b"its") is None


def test_forgetting_empties_the_tables_and_moves_the_epoch(caches: Caches) -> None:
    caches.keep_proof(b"key", proof(), caches.moment)
    before = caches.epoch.value
    caches.forget()
    assert (len(caches.proofs), len(caches.replies), len(caches.denials)) == (0, 0, 0)
    assert not caches.epoch.unmoved_since(before, *NO_SHARDS)


PARTS = st.lists(st.binary(max_size=3), max_size=4)


@given(one=PARTS, two=PARTS)
def test_no_two_lists_of_parts_have_one_key(one: list[bytes], two: list[bytes]) -> None:
    caches = Caches(SECRET, max_entries=2)
    assert (caches.seed(one).digest() == caches.seed(two).digest()) == (one == two)


def test_keys_of_another_process_are_other_keys(caches: Caches) -> None:
    other = Caches(SECRET[::-1], max_entries=2)
    assert caches.seed([b"part"]).digest() != other.seed([b"part"]).digest()


def test_a_flood_of_denials_has_a_bound_of_its_own(caches: Caches) -> None:
    assert caches.denials is not caches.replies
    caches.keep_proof(b"good", proof(), caches.moment)
    for number in range(5000):
        caches.denials.put(key(number), reply_until(60), epoch=0, shards=NO_SHARDS)
    assert len(caches.denials) <= 1000
    assert caches.known_proof(b"good") is not None
