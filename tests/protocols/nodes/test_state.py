"""A copy of the state: what entries make of it, which proposals it knows as applied, and its pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes import state
from holdfast.protocols.nodes.frames import Applied, Entry, State, StateItem, encode_batch
from holdfast.protocols.nodes.state import (
    APPLIED_NODES,
    MAX_KEY_BYTES,
    PAGE_BYTES,
    PROPOSAL_WINDOW,
    AppliedProposals,
    StatePages,
    StateView,
    page_bytes,
    pages,
)


def entry(index, key, value, owner=0, epoch=1, node="n", proposal=0):
    return Entry(epoch, index, node, proposal, key, value, owner)


def taken(pages, coming=None):
    coming = coming or StatePages()
    assert [coming.add(page) for page in pages][-1]
    return coming


class TestApplied:
    @given(st.lists(st.integers(1, 3 * PROPOSAL_WINDOW), unique=True, max_size=400), st.integers(0, 2**62))
    def test_of_a_window_each_is_known(self, numbers, first):
        """Whatever the order: the newest, and those less than a window below it."""
        applied = AppliedProposals()
        newest, known = 0, set()
        for number in numbers:
            applied.add("n", first + number)
            if abs(number - newest) >= PROPOSAL_WINDOW and newest:
                newest, known = number, {number}  # another run
            else:
                newest = max(newest, number)
                known = {n for n in known | {number} if newest - n < PROPOSAL_WINDOW}
        for number in range(1, 3 * PROPOSAL_WINDOW + 2):
            assert (("n", first + number) in applied) == (number in known)
        again = AppliedProposals()
        again.load(applied.dump())
        assert again.dump() == applied.dump()

    def test_nodes_are_told_apart(self):
        applied = AppliedProposals()
        applied.add("a", 7)
        assert ("a", 7) in applied
        assert ("b", 7) not in applied
        assert ("a", 8) not in applied

    def test_the_node_that_wrote_longest_ago_is_forgotten(self):
        applied = AppliedProposals()
        for number in range(APPLIED_NODES):
            applied.add(f"n{number}", 1)
        applied.add("n0", 2)
        applied.add("new", 1)
        assert len(applied) == APPLIED_NODES
        assert ("n0", 1) in applied
        assert ("n1", 1) not in applied
        assert applied.dump()[-1].node == "new"

    def test_it_takes_few_bytes(self):
        applied = AppliedProposals()
        for number in range(1, 1000):
            applied.add("n", number)
        [told] = applied.dump()
        assert (told.newest, len(told.bits)) == (999, PROPOSAL_WINDOW // 8)

    @pytest.mark.parametrize(
        ("here", "there", "lacking"),
        [
            ([], [1, 2, 3], 3),
            ([1, 2], [1, 2, 3], 1),
            ([2, 3], [1, 2], 1),
            ([1, 3, 4], [1, 2, 3], 1),
            (range(1, 301), range(1, 41), 0),
            ([1], range(1, 500), PROPOSAL_WINDOW),
            ([2**61], [2**60], 0),
            ([2**60], [2**61], 0),
        ],
        ids=["nothing", "fewer", "others", "later ones too", "so many later ones that it can't tell", "far behind",
             "of a later run", "of another run"],
    )  # fmt: skip
    def test_what_is_not_in_another(self, here, there, lacking):
        applied, other = AppliedProposals(), AppliedProposals()
        for number in here:
            applied.add("n", number)
        for number in there:
            other.add("n", number)
        assert applied.lacking(other) == lacking
        assert other.lacking(other) == 0

    def test_who_has_forgotten_nodes_can_t_tell_of_them(self):
        applied, other = AppliedProposals(), AppliedProposals()
        other.add("n", 1)
        for number in range(1000):
            applied.add(f"n{number}", 1)
        assert applied.lacking(other) == 0

    def test_what_no_dump_is_is_refused(self):
        for dumped in ([Applied("n", 1, bytes(32) + b"\1")], [Applied(f"n{n}", 1, b"\1") for n in range(1001)]):
            with pytest.raises(FrameError):
                AppliedProposals().load(dumped)


class TestView:
    def test_entries_in_their_order(self):
        view = StateView()
        assert view.apply(entry(1, "a", b"1", owner=7)) is None
        assert view.apply(entry(2, "a", b"2", epoch=3, proposal=5)) == StateItem("a", b"1", 7, 1)
        view.apply(entry(3, "b", b"3", epoch=3))
        view.apply(entry(4, "b", None, epoch=3))
        assert view.items == {"a": StateItem("a", b"2", 0, 2, 5)}
        assert (view.position, view.version("a"), view.version("b")) == ((3, 4), 2, 0)
        assert ("n", 5) in view.applied

    @pytest.mark.parametrize(("index", "epoch"), [(8, 2), (6, 2), (7, 1)])
    def test_a_hole_or_an_older_epoch_is_refused(self, index, epoch):
        view = StateView()
        view.adopt(taken([State(2, 5, [], last=True)]))
        view.apply(entry(6, "b", b"", epoch=2))
        with pytest.raises(FrameError):
            view.apply(entry(index, "a", b"", epoch=epoch))
        assert (view.position, list(view.items)) == ((2, 6), ["b"])

    def test_the_first_after_a_snapshot_may_be_of_any_higher_index(self):
        view = StateView()
        view.adopt(taken([State(2, 5, [], last=True)]))
        with pytest.raises(FrameError):
            view.apply(entry(5, "a", b"", epoch=2))
        view.apply(entry(900, "a", b"", epoch=2))
        assert view.version("a") == 900

    def test_what_is_given_up_for_a_snapshot(self):
        view, longer, other = StateView(), StateView(), StateView()
        for number in range(1, 4):
            for each in (view, longer):
                each.apply(entry(number, "a", b"", proposal=number))
            other.apply(entry(number + 900, "a", b"", epoch=2, node="m", proposal=number))
        longer.apply(entry(4, "b", b"", proposal=4))
        assert view.adopt(taken(longer.snapshot(9))) == 0, "it goes on from there"
        assert view.adopt(taken(other.snapshot(9))) == 4, "whatever indices say"
        assert view.adopt(taken([State(3, 5, [], True)])) == 3
        shorter = StateView()
        shorter.apply(entry(9, "a", None))
        assert shorter.adopt(taken([State(3, 5, [], True)])) == 1, "a change of the keeper's own"

    def test_a_snapshot_replaces_all_and_is_of_its_moment(self):
        view, other = StateView(), StateView()
        for number in range(1, 6):
            view.apply(entry(number, f"k{number}", b"v", proposal=number))
        pages = view.snapshot(2)
        assert view.snapshot(2) is not pages
        view.apply(entry(6, "k1", None))
        told = list(pages)
        assert [(len(page.items), page.last, len(page.applied)) for page in told] == [
            (2, False, 0), (2, False, 0), (1, True, 1),
        ]  # fmt: skip
        other.apply(entry(1, "x", b""))
        other.adopt(taken(told))
        assert (sorted(other.items), other.position) == (["k1", "k2", "k3", "k4", "k5"], (1, 5))
        assert ("n", 5) in other.applied
        other.apply(entry(6, "k1", None))
        assert (other.items, other.applied.dump()) == (view.items, view.applied.dump())

    def test_of_an_empty_state_there_is_one_page(self):
        assert list(StateView().snapshot(2)) == [State(0, 0, [], last=True, page=0)]

    def test_large_values_make_a_page_shorter(self):
        view = StateView()
        for number in range(1, 6):
            view.apply(entry(number, f"k{number}", bytes(100 << 10)))
        assert [(len(page.items), page.last) for page in view.snapshot(500)] == [(2, False), (2, False), (1, True)]

    @pytest.mark.parametrize("most", [62 << 10, 0])
    def test_whatever_there_is_fits_into_pages(self, most):
        """The first is what the smallest batch has room for that a proxy may be set to take."""
        items = [
            StateItem("k" * MAX_KEY_BYTES, bytes(70_000), 2**64 - 1, 2**53 - 1, 2**63),
            StateItem("longest", b"x" * 1_000_003, 0, 5, 2**63),
            *(StateItem(f"k{number}", b"small", 0, 6) for number in range(5000)),
            StateItem("é" * (MAX_KEY_BYTES // 2), b"", 0, 7),
        ]
        applied = [Applied("é" * 124 + f"{number:08}", 2**63, b"\xff" * 32) for number in range(APPLIED_NODES)]
        told = list(pages((1, 9), items, applied, 10**6, most))
        for page in told:
            assert len(encode_batch(2**32, [page])) <= page_bytes(page) <= (most or PAGE_BYTES)
        assert len(told) < 2 * sum(map(page_bytes, told)) / (most or PAGE_BYTES), "most of them are full"
        coming = taken(told)
        assert list(coming.items.values()) == items
        assert coming.applied.dump() == applied
        assert coming.bytes == sum(len(item.key.encode()) + len(item.value) for item in items)

    @pytest.mark.parametrize(
        ("number", "items"),
        [
            (1, [StateItem("a", b"more", 0, 6)]),
            (1, [StateItem("b", b"", 0, 6), StateItem("a", b"more", 0, 5)]),
            (2, [StateItem("a", b"more", 0, 5)]),
            (-1, [StateItem("a", b"more", 0, 5)]),
        ],
    )
    def test_what_is_not_the_next_page_is_refused(self, number, items):
        coming = StatePages()
        coming.add(State(1, 9, [StateItem("a", b"x", 0, 5)], last=False, page=0))
        with pytest.raises(FrameError):
            coming.add(State(1, 9, items, last=False, page=number))

    def test_a_snapshot_may_begin_again(self):
        """At the same position, when it is given anew: what had come of a long value must not come twice."""
        items = [StateItem("a", b"x" * 5000, 0, 5), StateItem("b", b"y" * 5000, 0, 6)]
        applied = [Applied(str(number), 1, b"\1") for number in range(APPLIED_NODES)]
        told = list(pages((1, 9), items, applied, 100, 2000))
        assert len(told) > 40
        for count in range(len(told)):
            coming = taken([*told[:count], *told])
            assert (list(coming.items.values()), coming.applied.dump(), coming.bytes) == (items, applied, 10_002)

    def test_the_rest_of_a_snapshot_is_not_taken_for_another(self):
        """It was asked for before, by who gave up what had come of it."""
        items = [StateItem(f"k{number}", b"", 0, 5) for number in range(4)]
        told = list(pages((1, 9), items, [], 2))
        coming = StatePages()
        assert not coming.add(told[-1])
        assert list(taken(told, coming).items.values()) == items

    def test_pages_of_two_positions_or_past_the_bounds_are_refused(self, monkeypatch):
        coming = StatePages()
        coming.add(State(1, 9, [], last=False))
        with pytest.raises(FrameError):
            coming.add(State(1, 10, [], last=True))
        with pytest.raises(FrameError, match="bytes"):
            StatePages().add(State(1, 9, [StateItem("k" * (MAX_KEY_BYTES + 1), b"")], last=False))
        with pytest.raises(FrameError, match="nodes"):
            coming.add(State(1, 9, [], False, [Applied(str(number), 1, b"\1") for number in range(APPLIED_NODES + 1)]))
        monkeypatch.setattr(state, "MAX_KEYS", 4)
        monkeypatch.setattr(state, "MAX_BYTES", 40)
        with pytest.raises(FrameError, match="4 keys"):
            StatePages().add(State(1, 9, [StateItem(key, b"") for key in "abcde"], last=False))
        for key in "ab":
            coming = StatePages()
            coming.add(State(1, 9, [StateItem("a", b"x" * 20)], last=False, page=0))
            with pytest.raises(FrameError, match="40 bytes"):
                coming.add(State(1, 9, [StateItem(key, b"x" * 20)], last=False, page=1))
