"""The keeper's side of the state: limits, compare-and-set, duplicates, owners; and that all copies agree."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.balancer.settings import StateSettings
from holdfast.balancer.state import Refusal, StateCopy, StateSnapshot
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.frames import (
    Entry,
    Propose,
    State,
    StateItem,
    decode_from_proxy,
    encode_batch,
    encode_frame,
)
from holdfast.protocols.nodes.state import StatePages

SMALL = StateSettings(max_keys=4, max_bytes=40, max_key_bytes=3, max_value_bytes=12)


def decode(raw):
    return decode_from_proxy(encode_batch(1, [raw]))[1][0]


def change(copy, number, key, value, owner=0, expected=-1, epoch=1, node="n"):
    return copy.order(node, Propose(number, key, value, owner, expected), epoch)


def filled(*keys):
    copy = StateCopy(SMALL)
    for number, key in enumerate(keys, 1):
        change(copy, number, key, b"1")
    return copy


class TestOrder:
    def test_gives_places_and_applies(self):
        copy = StateCopy(SMALL)
        assert change(copy, 5, "a", b"123", 7, node="m") == Entry(1, 1, "m", 5, "a", b"123", 7)
        assert change(copy, 1, "b", b"4", epoch=3) == Entry(3, 2, "n", 1, "b", b"4", 0)
        assert copy.items == {"a": StateItem("a", b"123", 7, 1, 5), "b": StateItem("b", b"4", 0, 2, 1)}
        assert (copy.position, copy.bytes) == ((3, 2), 6)

    def test_nothing_is_applied_twice(self):
        copy = StateCopy(SMALL)
        change(copy, 1, "a", b"1")
        change(copy, 1, "a", b"2", node="m")
        assert change(copy, 1, "a", b"1") is None
        assert (copy.position, copy.items["a"].value) == ((1, 2), b"2")

    def test_a_proposal_that_was_refused_may_come_again(self):
        copy = filled(*"abcd")
        assert change(copy, 9, "e", b"1").limit == "state.max_keys"
        change(copy, 10, "a", None)
        assert isinstance(change(copy, 9, "e", b"1"), Entry)

    def test_a_deletion_of_nothing_is_a_change_too(self):
        copy = StateCopy(SMALL)
        assert change(copy, 1, "a", None, 7) == Entry(1, 1, "n", 1, "a", None, 0)
        assert copy.owners() == set()

    @pytest.mark.parametrize(("expected", "is_made"), [(-1, True), (2, True), (0, False), (1, False), (3, False)])
    def test_only_if_the_key_has_the_version(self, expected, is_made):
        copy = filled("a", "b")
        outcome = change(copy, 3, "b", b"2", expected=expected)
        assert isinstance(outcome, Entry) == is_made
        if not is_made:
            assert outcome.conflict
            assert (copy.position, copy.version("b")) == ((1, 2), 2)

    @pytest.mark.parametrize(("expected", "is_made"), [(-1, True), (0, True), (1, False)])
    def test_only_if_it_is_not_there(self, expected, is_made):
        copy = filled("a")
        assert isinstance(change(copy, 2, "b", b"2", expected=expected), Entry) == is_made

    def test_a_version_never_comes_back(self):
        copy = filled("a")
        change(copy, 2, "a", None)
        change(copy, 3, "a", b"1")
        assert copy.version("a") == 3
        assert change(copy, 4, "a", None, expected=1).conflict


class TestLimits:
    @pytest.mark.parametrize(
        ("propose", "limit"),
        [
            (Propose(1, "four", b""), "state.max_key_bytes"),
            (Propose(1, "four", None), "state.max_key_bytes"),
            (Propose(1, "éé", b""), "state.max_key_bytes"),
            (Propose(1, "k", b"x" * 13), "state.max_value_bytes"),
            (Propose(0, "k", b""), ""),
        ],
    )
    def test_a_proposal_past_a_limit_is_refused(self, propose, limit):
        copy = StateCopy(SMALL)
        refusal = copy.order("n", propose, 1)
        assert isinstance(refusal, Refusal)
        assert (refusal.limit, refusal.conflict) == (limit, False)
        assert limit in refusal.reason
        assert copy.position == (0, 0)

    def test_a_proposal_at_the_limits_is_not(self):
        assert isinstance(StateCopy(SMALL).order("n", Propose(1, "key", b"x" * 12), 1), Entry)

    def test_keys(self):
        copy = filled(*"abcd")
        assert change(copy, 5, "e", b"1").limit == "state.max_keys"
        assert change(copy, 5, "", b"").limit == "state.max_keys", "one that has no bytes as well"
        assert isinstance(change(copy, 6, "d", b"2"), Entry), "a key that is there takes no more room"
        assert isinstance(change(copy, 7, "a", None), Entry)
        assert isinstance(change(copy, 8, "e", b"1"), Entry)

    def test_bytes(self):
        copy = StateCopy(SMALL)
        for number, key in enumerate("abc", 1):
            change(copy, number, key, b"x" * 12)
        assert copy.bytes == 39
        assert change(copy, 4, "d", b"x").limit == "state.max_bytes"
        assert isinstance(change(copy, 5, "a", b"x" * 11), Entry)
        assert isinstance(change(copy, 6, "a", b"x" * 12), Entry), "what it replaces makes room"
        assert isinstance(change(copy, 7, "b", None), Entry)
        assert isinstance(change(copy, 8, "d", b"x"), Entry)


class TestAboveTheLimits:
    """What others have ordered is borne: their limits are higher, or ours were."""

    @pytest.fixture
    def copy(self):
        """Above each of SMALL's."""
        copy = StateCopy(SMALL)
        for index, (key, size) in enumerate({"large": 20, "b": 12, "c": 12, "d": 12, "e": 12}.items(), 1):
            copy.apply(Entry(1, index, "m", index, key, b"x" * size))
        return copy

    def test_which_it_is_above(self, copy):
        assert copy.excess() == "state.max_keys"
        copy.apply(Entry(1, 6, "m", 6, "e", None))
        assert copy.excess() == "state.max_bytes"
        copy.apply(Entry(1, 7, "m", 7, "large", None))
        assert copy.excess() == ""

    @pytest.mark.parametrize(
        ("key", "value", "limit"),
        [
            ("f", b"", "state.max_keys"),
            ("b", b"x" * 13, "state.max_value_bytes"),
            ("large", b"x" * 21, "state.max_value_bytes"),
            ("other", None, "state.max_key_bytes"),
            ("large", b"y" * 20, ""),
            ("large", b"", ""),
            ("b", b"y" * 12, ""),
            ("b", None, ""),
            ("large", None, ""),
            ("f", None, ""),
        ],
    )
    def test_nothing_may_grow_and_all_else_may_be(self, copy, key, value, limit):
        outcome = change(copy, 1, key, value)
        assert (outcome.limit if isinstance(outcome, Refusal) else "") == limit

    def test_bytes(self, copy):
        change(copy, 1, "e", None)
        assert change(copy, 2, "b", b"x" * 11).index == 7
        assert change(copy, 3, "b", b"x" * 12).limit == "state.max_bytes"


class TestCopies:
    def test_what_was_there_before_is_returned(self):
        copy = filled("a")
        assert copy.apply(Entry(1, 2, "n", 2, "a", b"22")) == StateItem("a", b"1", 0, 1, 1)
        assert copy.apply(Entry(1, 3, "n", 3, "b", b"1")) is None

    def test_a_state_that_is_taken_replaces_all(self):
        copy, other = StateCopy(SMALL), StateCopy(SMALL)
        change(copy, 1, "a", b"mine", 7)
        change(copy, 2, "b", b"mine", 7)
        change(other, 1, "c", b"1", 8, node="m", epoch=2)
        coming = StatePages()
        for page in other.snapshot(10):
            coming.add(page)
        assert copy.adopt(coming) == 2, "changes that are lost"
        assert (copy.items, copy.bytes, copy.owners(), copy.position) == (other.items, 2, {8}, (2, 1))

    def test_as_much_as_there_may_be_is_no_excess(self):
        copy = StateCopy(SMALL)
        for number, key in enumerate("abc", 1):
            change(copy, number, key, b"x" * 12)
        assert copy.bytes == 39
        copy.apply(Entry(1, 4, "n", 4, "d", b""))
        assert (copy.bytes, len(copy.items), copy.excess()) == (40, 4, "")
        copy.apply(Entry(1, 5, "n", 5, "d", b"1"))
        assert copy.excess() == "state.max_bytes"
        copy.apply(Entry(1, 6, "n", 6, "e", b""))
        assert copy.excess() == "state.max_keys"


class TestOwners:
    def test_keys_of_an_owner(self):
        copy = StateCopy(SMALL)
        for number, (key, owner) in enumerate([("b", 7), ("a", 7), ("c", 8), ("d", 0)], 1):
            change(copy, number, key, b"", owner)
        assert (copy.owned_by(7), copy.owned_by(8), copy.owned_by(9)) == (["a", "b"], ["c"], [])
        change(copy, 5, "a", b"", 8)
        change(copy, 6, "b", None)
        assert (copy.owned_by(7), copy.owned_by(8), copy.owners()) == ([], ["a", "c"], {8})

    def test_the_keeper_s_own_deletion(self):
        copy = StateCopy(SMALL)
        change(copy, 1, "a", b"1", 7)
        assert copy.order_deletion("a", 2) == Entry(2, 2, "", 0, "a", None)
        assert (copy.items, copy.owners(), copy.bytes, len(copy.applied)) == ({}, set(), 0, 1)


class TestTerms:
    def test_a_term_begins_above_what_was(self):
        copy = filled("a")
        copy.begin(5)
        assert (copy.position, copy.version("a")) == ((5, 1), 1)
        assert change(copy, 2, "b", b"1", epoch=5).index == 2

    @pytest.mark.parametrize("entry", [Entry(2, 4, "n", 1, "x", b""), Entry(2, 2, "n", 1, "x", b""),
                                       Entry(1, 3, "n", 1, "x", b"")])  # fmt: skip
    def test_a_follower_refuses_holes_and_older_epochs(self, entry):
        copy = filled("a")
        copy.begin(2)
        change(copy, 2, "b", b"1", epoch=2)
        with pytest.raises(FrameError):
            copy.apply(entry)
        assert (copy.position, list(copy.items)) == ((2, 2), ["a", "b"])

    def test_a_term_counts_from_the_clock_on_and_followers_take_that(self):
        copy, follower = filled("a"), filled("a")
        for each in (copy, follower):
            each.begin(2)
        copy.begin(2, 1000)
        entries = [change(copy, number, "b", b"1", epoch=2) for number in (2, 3)]
        assert [entry.index for entry in entries] == [1000, 1001]
        for entry in entries:
            follower.apply(entry)
        assert (follower.position, follower.version("b")) == (copy.position, 1001) == ((2, 1001), 1001)

    def test_a_clock_that_is_behind_takes_nobody_back(self):
        copy = filled("a", "b", "c")
        copy.begin(2, 2)
        assert change(copy, 4, "a", b"1", epoch=2).index == 4


class TestSnapshot:
    def test_what_was_held_goes_with_the_last_page(self):
        copy = filled(*"abc")
        snapshot = StateSnapshot(copy, 2)
        assert snapshot.index == 3
        [first], is_last = snapshot.next_frames()
        a, b, c = (StateItem(key, b"1", 0, version, version) for version, key in enumerate("abc", 1))
        assert (decode(first), is_last) == (State(1, 3, [a, b], last=False, page=0), False)
        entries = [change(copy, 4, "a", b"2"), change(copy, 5, "b", b"2")]
        for entry in entries:
            snapshot.hold(encode_frame(entry))
        assert snapshot.held_bytes == sum(len(bytes(encode_frame(entry))) for entry in entries)
        [last, *held], is_last = snapshot.next_frames()
        assert (decode(last).items, decode(last).last, decode(last).applied[0].newest) == ([c], True, 3)
        assert ([decode(frame) for frame in held], is_last) == (entries, True)

    def test_nothing_that_was_held_goes_before_the_last_page(self):
        copy = filled(*"abc")
        snapshot = StateSnapshot(copy, 1)
        snapshot.hold(encode_frame(change(copy, 4, "a", b"2")))
        assert [(len(frames), is_last) for frames, is_last in (snapshot.next_frames() for _ in range(3))] == [
            (1, False),
            (1, False),
            (2, True),
        ]


class Model:
    """The state as a dictionary of key -> (value, owner, version), and every proposal that was applied."""

    def __init__(self):
        self.items = {}
        self.done = set()
        self.index = 0

    def size(self):
        return sum(len(key) + len(value) for key, (value, _, _) in self.items.items())

    def refuses(self, propose):
        version = self.items.get(propose.key, (b"", 0, 0))[2]
        if propose.expected not in (-1, version):
            return "conflict"
        if propose.value is None:
            return ""
        after = {**self.items, propose.key: (propose.value, 0, 0)}
        if len(after) > SMALL.max_keys:
            return "state.max_keys"
        if sum(len(key) + len(value) for key, (value, _, _) in after.items()) > SMALL.max_bytes:
            return "state.max_bytes"
        return ""

    def apply(self, node, propose):
        self.index += 1
        self.items.pop(propose.key, None)
        if propose.value is not None:
            self.items[propose.key] = (propose.value, propose.owner, self.index)
        self.done.add((node, propose.proposal))


@given(seed=st.integers(0, 2**64))
@settings(max_examples=100, deadline=None)
def test_a_copy_is_a_dictionary_and_all_copies_are_equal(seed):
    random = Random(seed)
    model, copy, follower = Model(), StateCopy(SMALL), StateCopy(SMALL)
    numbers = dict.fromkeys(("n", "m"), random.randrange(1, 2**62))
    epoch = 1
    for _ in range(400):
        if random.random() < 0.02:
            epoch += random.randrange(1, 3)
            copy.begin(epoch)
            follower.begin(epoch)
        if random.random() < 0.02:
            coming = StatePages()
            for page in copy.snapshot(random.randrange(1, 4)):
                coming.add(page)
            follower = StateCopy(SMALL)
            follower.adopt(coming)
        owned = random.choice([0, 0, 7, 8])
        if owned and random.random() < 0.1:
            for key in copy.owned_by(owned):
                follower.apply(copy.order_deletion(key, epoch))
                model.items.pop(key)
                model.index += 1
            continue
        node = random.choice("nm")
        if random.random() < 0.8:
            numbers[node] += 1
        number = numbers[node] - random.randrange(3)
        version = model.items.get(key := random.choice("abcdef"), (b"", 0, 0))[2]
        expected = random.choice([-1, -1, version, 0, random.randrange(0, model.index + 2)])
        value = random.randbytes(random.randrange(13)) if random.random() < 0.8 else None
        propose = Propose(number, key, value, owned, expected)
        outcome = copy.order(node, propose, epoch)
        if (node, number) in model.done:
            assert outcome is None
            continue
        refusal = model.refuses(propose)
        if refusal:
            assert refusal == (outcome.limit or (outcome.conflict and "conflict"))
            continue
        model.apply(node, propose)
        assert outcome == Entry(epoch, model.index, node, number, key, value, owned if value is not None else 0)
        follower.apply(outcome)
        for one in (copy, follower):
            assert {key: (i.value, i.owner, i.version) for key, i in one.items.items()} == model.items
            assert (one.position, one.bytes) == ((epoch, model.index), model.size())
            assert one.owners() == {owner for _, owner, _ in model.items.values() if owner}
    assert follower.applied.dump() == copy.applied.dump()
