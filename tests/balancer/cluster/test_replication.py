"""One member's part of the state, by hand. tests.sim.test_replicas has many of them in a world of faults."""

import pytest

from holdfast.balancer.cluster import copying, recent
from holdfast.balancer.cluster.keeping import Phase
from holdfast.balancer.cluster.replication import RETRY, Replication
from holdfast.balancer.settings import StateSettings
from holdfast.balancer.state import Refusal, StateCopy
from holdfast.protocols.nodes import state
from holdfast.protocols.nodes.frames import Entry, Propose, State, StateItem
from holdfast.protocols.nodes.state import StatePages
from holdfast.protocols.peers.replication import Entries, Held, Stamp, StatePage, WantPage
from tests.balancer.cluster.views import record_of


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(copying, "PAGE_ITEMS", 2)


# --- one part, by hand ------------------------------------------------------------------------------------------------


class Part:
    """A member's part, of which everything is noted."""

    def __init__(self, me, names, term=5, **fields):
        self.it = Replication(me, StateCopy(StateSettings()))
        self.it.keeping = self
        self.done = []
        self.begins = True  # as soon as it may
        self.now = 0.0
        self.number = 0
        self.follow(names, term, **fields)

    def follow(self, names, term=5, **fields):
        self.it.follow(record_of(names, **{"term": term} | fields), self.now)

    def lead(self, now):
        self.done.append(("leads", self.it.term))
        if self.begins and self.it.position[0] < self.it.term:
            self.it.begin(0)

    def begun(self):
        self.done.append("begun")

    def committed(self, entry):
        self.done.append(entry.index)

    def gave_up(self, position, for_position, changes):
        self.done.append(("gave up", position, for_position, changes))

    def forsake(self):
        self.done.append("forsaken")
        self.was_keeper = self.it.is_keeper

    @property
    def indices(self):
        return [done for done in self.done if isinstance(done, int)]

    def set(self, key="k", value=b"v"):
        self.number += 1
        entry = self.it.order("n", Propose(self.number, key, value))
        assert isinstance(entry, Entry)
        return entry

    def hears(self, peer, frame):
        return self.it.received(peer, frame, self.now)

    def take(self):
        return self.it.take(self.now)

    def later(self, seconds):
        self.now += seconds
        self.it.tick(self.now)
        return self.take()


def entry(epoch, index, key="k", value=b"v"):
    return Entry(epoch, index, "n", index, key, value)


def ready_keeper():
    a = Part("a", "abc")
    a.hears("b", Held(5, (0, 0)))
    a.hears("c", Held(5, (0, 0)))
    a.hears("b", Held(5, (5, 0)))
    assert a.it.phase is Phase.KEEPING
    a.take()
    return a


def test_at_first_nothing_is_so_and_nothing_is_to_be_done():
    it = Replication("a", StateCopy(StateSettings()))
    assert (it.phase, it.term, it.above, it.waits_for) == (Phase.OUTSIDE, 0, 0, [])
    assert [it.is_held, it.has_to_send] == [False, False]
    assert (list(it.uncommitted), it.uncommitted_bytes) == ([], 0)
    it.tick(0.0)
    assert it.take(0.0) == ([], None)


def test_alone_it_is_ready_and_commits_at_once():
    a = Part("a", "a")
    assert a.done == [("leads", 5), "begun"]
    assert a.it.is_held
    a.set()
    assert a.indices == [1]
    assert a.it.position == (5, 1)
    assert a.take() == ([], None), "nobody else is there"


def test_a_keeper_hears_all_takes_the_latest_stamps_and_waits_for_more_than_half():
    a = Part("a", "abc")
    assert a.it.waits_for == ["b", "c"]
    a.hears("b", Held(5, (3, 2)))
    assert a.it.waits_for == ["c"]
    assert a.take() == ([], None)
    a.hears("c", Held(5, (3, 1)))
    assert a.take() == ([], ("b", Held(5, (0, 0), wants=True)))
    steps = [entry(3, 1), entry(3, 2)]
    a.hears("b", Entries(5, (0, 0), steps, (3, 2)))
    assert a.it.phase is Phase.BEGINNING
    assert a.take() == ([Entries(5, (3, 2), [Stamp(5, 2)], (5, 2))], None)
    a.hears("b", Held(5, (3, 2)))
    assert a.it.phase is not Phase.KEEPING, "b holds nothing of this term"
    a.hears("b", Held(5, (5, 2)))
    assert a.it.phase is Phase.KEEPING
    assert a.done == [("leads", 5), "begun"]


def test_an_entry_counts_when_more_than_half_hold_it_in_order():
    a = ready_keeper()
    first, second = a.set(), a.set()
    assert a.take() == ([Entries(5, (5, 0), [first, second], (5, 2))], None)
    assert a.indices == []
    a.hears("x", Held(5, (5, 2)))
    a.hears("b", Held(4, (5, 2)))
    assert a.indices == [], "a stranger's word, and one of another term"
    assert a.it.counters.foreign == 2
    a.hears("b", Held(5, (5, 1)))
    assert a.indices == [1]
    a.hears("c", Held(5, (5, 2)))
    assert a.indices == [1, 2]
    a.hears("b", Held(5, (5, 0)))
    assert a.indices == [1, 2], "that one was late"


def test_what_the_keeper_deletes_is_an_entry_like_others():
    a = ready_keeper()
    a.set("k")
    a.take()
    deletion = a.it.delete("k")
    assert (deletion.key, deletion.value) == ("k", None)
    assert a.take()[0] == [Entries(5, (5, 1), [deletion], (5, 2))]
    a.hears("b", Held(5, (5, 2)))
    assert a.indices == [1, 2]


def test_what_is_refused_is_no_entry():
    a = ready_keeper()
    assert isinstance(a.it.order("n", Propose(0, "k", b"v")), Refusal)
    a.set("k")
    a.take()
    assert a.it.order("n", Propose(1, "k", b"v")) is None, "it has been ordered"
    assert (a.take(), len(a.it.uncommitted)) == (([], None), 1)


def test_a_keeper_that_recovers_begins_anew():
    a = ready_keeper()
    a.it.recover()
    assert a.it.phase is Phase.RECOVERING
    with pytest.raises(AssertionError):
        a.set()


def test_two_keep_their_last_steps_when_their_ballot_is_another():
    a = Part("a", "ab")
    a.hears("b", Held(5, (0, 0)))
    a.hears("b", Held(5, (5, 0)))
    entry = a.set()
    a.follow("ab", ballot=6)
    assert a.hears("b", Held(5, (5, 0), wants=True)) == Entries(5, (5, 0), [entry], (5, 1))


def test_half_is_not_enough():
    a = Part("a", "abcd")
    for peer in "bcd":
        a.hears(peer, Held(5, (0, 0)))
    a.hears("b", Held(5, (5, 0)))
    assert a.it.phase is Phase.BEGINNING
    a.hears("c", Held(5, (5, 0)))
    assert a.it.phase is Phase.KEEPING


def test_what_members_of_an_older_term_hold_does_not_count():
    """One has come from another life, with a position of a later term: it counts when it has ours."""
    a = ready_keeper()
    a.set()
    a.take()
    a.hears("c", Held(5, (9, 7), wants=True))
    assert a.indices == []
    a.hears("c", Held(5, (5, 1)))
    assert a.indices == [1]


def test_who_follows_applies_tells_and_asks_for_what_is_missing():
    b = Part("b", "abc")
    assert b.take() == ([], ("a", Held(5, (0, 0), wants=True)))
    b.hears("a", Entries(5, (0, 0), [Stamp(5, 0)], (5, 0)))
    assert b.take() == ([], ("a", Held(5, (5, 0))))
    b.hears("a", Entries(5, (5, 0), [entry(5, 1)], (5, 1)))
    assert b.take() == ([], ("a", Held(5, (5, 1))))
    b.hears("a", Entries(5, (5, 2), [entry(5, 3)], (5, 3)))
    assert b.take() == ([], ("a", Held(5, (5, 1), wants=True))), "one is missing"
    b.hears("a", Entries(5, (5, 3), [entry(5, 4)], (5, 4)))
    assert b.take() == ([], None), "it has asked"
    assert b.later(RETRY) == ([], ("a", Held(5, (5, 1), wants=True)))
    b.hears("a", Entries(5, (5, 1), [entry(5, 2), entry(5, 3)], (5, 4)))
    assert b.take() == ([], ("a", Held(5, (5, 3), wants=True))), "there is more"
    b.hears("a", Entries(5, (5, 1), [entry(5, 2), entry(5, 3), entry(5, 4)], (5, 4)))
    assert b.take() == ([], ("a", Held(5, (5, 4))))
    b.hears("a", Entries(5, (5, 2), [entry(5, 3)], (5, 3)))
    assert b.later(RETRY) == ([], None), "that was a late one"


def test_what_was_asked_is_asked_again_in_time():
    b = Part("b", "abc")
    b.now = 10.0
    assert b.take()[1] == ("a", Held(5, (0, 0), wants=True))
    assert b.later(RETRY / 2) == ([], None)
    assert b.later(RETRY / 4) == ([], None), "that nothing was asked then does not begin it anew"
    assert b.later(RETRY / 2)[1] == ("a", Held(5, (0, 0), wants=True))


def test_who_follows_takes_from_the_keeper_whatever_others_hold():
    b = Part("b", "abc")
    b.take()
    b.hears("a", Held(5, (5, 0)))
    b.hears("c", Held(5, (5, 9)))
    b.follow("abc", version=6, ballot=5)
    assert b.later(0.0) == ([], None)
    assert b.it.waits_for == [], "that is the keeper's"
    assert b.later(RETRY)[1] == ("a", Held(5, (0, 0), wants=True))


def test_a_late_word_does_not_make_who_has_most_less():
    a = Part("a", "abc")
    a.hears("b", Held(5, (3, 2)))
    a.hears("b", Held(5, (3, 0)))
    a.hears("c", Held(5, (3, 1)))
    assert a.take()[1] == ("b", Held(5, (0, 0), wants=True))


@pytest.mark.parametrize("stamp", [Stamp(5, 0), Stamp(4, 0), Stamp(6, 1)])
def test_a_term_begins_above_where_we_are_or_it_is_none(stamp):
    b = Part("b", "abc")
    b.hears("a", Entries(5, (0, 0), [Stamp(5, 0)], (5, 0)))
    b.take()
    b.hears("a", Entries(5, (5, 0), [stamp], (5, 0)))
    assert (b.it.position, b.it.counters.garbled) == ((5, 0), 1)
    assert b.take() == ([], None), "nothing is said of where that leads"


def test_a_term_begins_wherever_the_one_before_it_ended():
    b = Part("b", "abc", term=4)
    b.hears("a", Entries(4, (0, 0), [Stamp(4, 0), *(entry(4, index) for index in range(1, 10))], (4, 9)))
    b.follow("abc")
    b.hears("a", Entries(5, (4, 9), [Stamp(5, 9)], (5, 9)))
    assert (b.it.position, b.it.counters.garbled) == ((5, 9), 0)


def test_what_is_given_stays_the_same_while_it_is_asked_for():
    a = ready_keeper()
    for key in "pqr":
        a.set(key)
    ask = WantPage(5, (5, 3), 0)
    first = a.hears("c", ask)
    assert a.hears("c", ask).state is first.state, "it is not made anew for each page"
    a.set()
    a.later(0.1)
    assert a.hears("c", WantPage(5, (5, 3), 1)).state.index == 3


def test_a_copy_that_is_no_state_is_begun_anew():
    b = Part("b", "abc")
    b.hears("a", StatePage(5, 0, State(5, 3, [], False, page=0)))
    b.take()
    b.hears("a", StatePage(5, 1, State(5, 3, [], True, page=7)))
    assert b.it.counters.garbled == 1
    assert b.later(RETRY)[1] == ("a", Held(5, (0, 0), wants=True))


@pytest.mark.parametrize("change", [{"ballot": 6}, {"names": "abd"}])
def test_another_set_holds_nothing_yet(change):
    a = ready_keeper()
    a.hears("c", Held(5, (5, 0)))
    a.set()
    a.hears("b", Held(5, (5, 1)))
    assert a.it.is_held
    a.set()
    a.follow(change.pop("names", "abc"), **{"ballot": 5} | change)
    assert not a.it.is_held
    a.hears("b", Held(5, (5, 2)))
    assert a.it.is_held


def test_nothing_of_an_older_term_or_of_another_keeper_is_taken():
    b = Part("b", "abc")
    b.hears("a", Entries(4, (0, 0), [Stamp(4, 0)], (4, 0)))
    b.hears("c", Entries(5, (0, 0), [Stamp(5, 0)], (5, 0)))
    assert b.it.position == (0, 0)
    b.follow("cb", term=7)
    b.take()
    b.hears("a", Entries(7, (0, 0), [Stamp(7, 0)], (7, 0)))
    b.hears("a", Entries(5, (0, 0), [Stamp(5, 0)], (5, 0)))
    assert b.it.position == (0, 0)
    assert b.it.counters.foreign == 4
    b.follow("c", term=7)
    assert b.it.phase is Phase.OUTSIDE
    b.hears("c", Entries(7, (0, 0), [Stamp(7, 0)], (7, 0)))
    assert b.it.position == (0, 0)


def test_a_heartbeat_finds_what_was_lost():
    b = Part("b", "abc")
    b.hears("a", Entries(5, (0, 0), [Stamp(5, 0)], (5, 0)))
    b.take()
    b.it.beat("a", 5, (5, 0), b.now)
    assert b.later(RETRY) == ([], None)
    b.it.beat("a", 4, (5, 1), b.now)
    b.it.beat("c", 5, (5, 1), b.now)
    assert b.later(RETRY) == ([], None)
    b.it.beat("a", 5, (5, 1), b.now)
    assert b.later(RETRY) == ([], ("a", Held(5, (5, 0), wants=True)))
    a = ready_keeper()
    a.set()
    a.it.beat("b", 4, (5, 1), a.now)
    a.it.beat("x", 5, (5, 1), a.now)
    assert a.indices == [], "of another term, and a stranger's"
    a.it.beat("b", 5, (5, 1), a.now)
    assert a.indices == [1]
    a.it.beat("c", 5, (0, 0), a.now)
    assert not a.it._recent.is_copied, "nobody has asked for anything"


def test_who_is_too_far_behind_takes_the_state_page_by_page(monkeypatch):
    monkeypatch.setattr(recent, "MAX_STEPS", 1)
    monkeypatch.setattr(recent, "COPYING", 1)
    a = ready_keeper()
    for key in "pqrst":
        a.set(key)
    a.take()
    c = Part("c", "abc")
    taken = 0
    while True:
        _, question = c.take()
        if question == ("a", Held(5, (5, 5))):
            break
        assert question is not None
        answer = a.hears("c", question[1])
        taken += isinstance(answer, StatePage)
        if taken == 2 and isinstance(answer, StatePage):
            a.now = c.now = c.now + RETRY  # it is lost
            taken += 10
            c.it.tick(c.now)
            continue
        c.hears("a", answer)
    assert taken == 14, "three pages, one of them twice"
    assert c.it.copy.items == a.it.copy.items
    assert ("n", 5) in c.it.copy.applied
    assert c.it.counters.copies == 1
    assert a.hears("c", WantPage(5, (5, 5), 3)) is None, "there is none"


def test_a_state_that_is_given_is_made_anew_when_what_follows_it_is_forgotten(monkeypatch):
    monkeypatch.setattr(recent, "MAX_STEPS", 1)
    a = ready_keeper()
    for key in "pqr":
        a.set(key)
    first = a.hears("c", Held(5, (0, 0), wants=True))
    assert (first.state.epoch, first.state.index) == (5, 3)
    for _ in range(recent.COPYING - 1):
        a.set()
    assert a.hears("c", WantPage(5, (5, 3), 1)).state.index == 3, "for as long as it is copied more is kept"
    for _ in range(2):
        a.set()
    again = a.hears("c", WantPage(5, (5, 3), 1))
    assert (again.page, again.state.index) == (0, a.it.position[1])
    a.later(copying.GIVEN_FOR + 1.0)
    a.set()
    assert a.hears("c", Held(5, (5, 3), wants=True)).state.index == a.it.position[1]


def test_late_pages_do_not_bring_back_what_was():
    b = Part("b", "abc")
    b.hears("a", Entries(5, (0, 0), [Stamp(5, 0), entry(5, 1)], (5, 1)))
    b.hears("a", StatePage(5, 0, State(5, 0, [], True)))
    assert b.it.position == (5, 1)
    b.hears("a", StatePage(5, 1, State(5, 9, [], True)))
    assert b.it.position == (5, 1), "and none begins in the middle"


def test_steps_end_a_copy_that_is_under_way():
    b = Part("b", "abc")
    b.hears("a", StatePage(5, 0, State(5, 3, [], False)))
    assert b.take()[1] == ("a", WantPage(5, (5, 3), 1))
    b.hears("a", Entries(5, (0, 0), [Stamp(5, 0)], (5, 4)))
    assert b.take()[1] == ("a", Held(5, (5, 0), wants=True))


def test_who_has_a_tail_of_its_own_takes_the_keepers_state():
    """Its position is of an older term, and no other member has it."""
    a = ready_keeper()
    a.set("mine")
    a.take()
    b = Part("b", "b", term=3)
    b.set("tail")
    b.set("tail")
    assert b.it.position == (3, 2)
    b.follow("abc")
    answer = a.hears("b", b.take()[1][1])
    assert isinstance(answer, StatePage)
    b.hears("a", answer)
    assert b.it.copy.items.keys() == {"mine"}
    assert b.it.position == (5, 1)


def test_who_has_a_state_of_a_later_term_than_the_clusters_takes_the_keepers():
    """Of another cluster, that the store has forgotten: terms that nobody here has heard of."""
    a = ready_keeper()
    a.set("mine")
    a.take()
    b = Part("b", "b", term=7)
    b.set("other")
    b.follow("abc")
    b.hears("a", a.hears("b", b.take()[1][1]))
    assert b.it.copy.items.keys() == {"mine"}


def test_a_tail_leads_nowhere_when_another_state_was_taken():
    a = ready_keeper()
    a.set("mine")
    a.take()
    b = Part("b", "bc", term=3)
    b.hears("c", Held(3, (0, 0)))
    b.hears("c", Held(3, (3, 0)))
    b.set("tail")
    b.follow("abc")
    b.hears("a", a.hears("b", b.take()[1][1]))
    b.follow("bc", term=8)
    b.hears("c", Held(8, (5, 1)))
    assert isinstance(b.hears("c", Held(8, (3, 0), wants=True)), StatePage)


def test_what_is_not_committed_is_counted_in_bytes():
    a = ready_keeper()
    a.set("key", b"value")
    a.set("k", None)
    assert (len(a.it.uncommitted), a.it.uncommitted_bytes) == (2, 9)
    a.hears("b", Held(5, (5, 1)))
    assert (len(a.it.uncommitted), a.it.uncommitted_bytes) == (1, 1)
    a.follow("abc", 6)
    assert (len(a.it.uncommitted), a.it.uncommitted_bytes) == (0, 0)


def test_what_was_not_committed_is_forgotten_with_the_term():
    a = ready_keeper()
    a.set()
    a.follow("bac", term=6)
    a.follow("abc", term=7)
    for peer in "bc":
        a.hears(peer, Held(7, (6, 4)))
    a.hears("b", StatePage(7, 0, State(6, 4, [], True)))
    a.take()
    a.hears("b", Entries(7, (6, 4), [], (6, 4)))
    assert a.it.position == (7, 4)
    a.hears("b", Held(7, (7, 4)))
    assert a.it.phase is Phase.KEEPING
    assert a.indices == []


def test_the_next_keeper_takes_it_from_who_has_most_though_that_one_goes():
    a = Part("a", "abc")
    a.hears("b", Held(5, (3, 2)))
    a.hears("c", Held(5, (3, 1)))
    a.take()
    a.follow("ac", ballot=6)
    assert a.take() == ([], ("c", Held(5, (0, 0), wants=True)))
    a.hears("b", Entries(5, (0, 0), [entry(3, 1), entry(3, 2)], (3, 2)))
    assert a.it.position == (0, 0)
    a.hears("c", Entries(5, (0, 0), [entry(3, 1)], (3, 1)))
    assert a.it.position == (5, 1)


def test_who_is_asked_by_the_keeper_gives_and_asks_for_nothing():
    b = Part("b", "b", term=3)
    b.set()
    b.follow("abc")
    b.take()
    assert b.hears("c", Held(5, (0, 0), wants=True)) is None, "c is no keeper"
    answer = b.hears("a", Held(5, (0, 0), wants=True))
    assert isinstance(answer, StatePage)


def test_a_set_is_held_when_more_than_half_of_it_hold_what_was_before():
    a = ready_keeper()
    assert a.it.is_held
    a.set()
    a.hears("b", Held(5, (5, 1)))
    a.set()
    a.follow("abcd", ballot=6)
    assert not a.it.is_held
    a.hears("c", Held(5, (5, 2)))
    assert not a.it.is_held, "d does not have it, nor b"
    assert a.indices == [1]
    a.hears("d", Held(5, (5, 2)))
    assert a.it.is_held
    a.set()
    a.follow("abcd", ballot=6, version=7, epoch=7)
    assert a.it.is_held, "an election"
    a.follow("ab", ballot=8)
    assert not a.it.is_held
    a.hears("b", Held(5, (5, 3)))
    assert a.it.is_held


def bring(part, epoch, index):
    """A node has more than all members."""
    pages = StatePages()
    pages.add(State(epoch, index, [], True))
    part.it.adopt(pages)


def test_what_a_node_brings_is_begun_with_and_is_everybodys_before_it_counts():
    a = Part("a", "abc")
    a.begins = False
    a.hears("b", Held(5, (3, 0)))
    a.hears("c", Held(5, (3, 0)))
    assert a.done == [("leads", 5)]
    bring(a, 3, 7)
    a.it.begin(0)
    [entries], _ = a.take()
    b = Part("b", "abc")
    b.take()
    b.hears("a", entries)
    b.hears("a", a.hears("b", b.later(RETRY)[1][1]))
    assert b.it.position == (5, 7)
    assert a.it.phase is Phase.BEGINNING
    a.hears("b", Held(5, b.it.position))
    assert a.it.phase is Phase.KEEPING


def test_what_a_node_has_brought_is_kept_when_the_term_ends_before_it_begins():
    a = Part("a", "ab")
    a.begins = False
    a.hears("b", Held(5, (0, 0)))
    bring(a, 3, 7)
    a.follow("ba", term=6)
    assert a.done == [("leads", 5), "forsaken"]
    assert a.take()[1] == ("b", Held(6, (3, 7), wants=True))


def test_a_state_without_entries_gives_way_to_any():
    """A node has come with one when the term had begun already; the later term that it needs begins with that."""
    a = ready_keeper()
    bring(a, 3, 7)
    a.follow("abc", term=6)
    for peer in "bc":
        a.hears(peer, Held(6, (5, 0)))
    assert a.it.position == (6, 7)
    b = Part("b", "abc", term=6)
    b.begins = False
    b.follow("bac", term=7)
    b.hears("a", Held(7, (3, 7)))
    b.hears("c", Held(7, (5, 0)))
    assert b.take()[1] == ("a", Held(7, (0, 0), wants=True))


def test_who_begins_with_a_later_epoch_needs_a_later_term():
    """The store has forgotten; the nodes, or a member, have not."""
    a = Part("a", "abc")
    a.hears("b", Held(5, (9, 2)))
    a.hears("c", Held(5, (0, 0)))
    a.hears("b", Entries(5, (0, 0), [entry(9, 1), entry(9, 2)], (9, 2)))
    assert a.done == [("leads", 5)]
    assert a.it.position == (9, 2)
    a.it.raise_term(9)
    assert a.it.above == 9
    a.follow("abc", term=10)
    assert a.it.above == 0
    a.hears("b", Held(10, (9, 2)))
    a.hears("c", Held(10, (0, 0)))
    assert a.it.position == (10, 2)


def test_without_any_entry_the_set_is_firm_before_the_term_begins():
    """The keeper may wait for nodes that bring a state; who wants to join need not."""
    a = Part("a", "a")
    a.begins = False
    a.follow("a", term=6, ballot=6)
    assert a.it.is_held
    a.follow("ab", term=6, ballot=7)
    assert not a.it.is_held
    a.hears("b", Held(6, (0, 0)))
    assert a.it.is_held


def test_who_joins_before_the_term_begins_may_have_more():
    """It was in the cluster before, and taken for dead. The keeper waits for nodes that may bring as much."""
    a = Part("a", "a")
    a.begins = False
    a.follow("a", term=6, ballot=6)
    a.follow("ab", term=6, ballot=7)
    assert a.it.waits_for == ["b"]
    b = Part("b", "b", term=3)
    held = (3, b.set().index)
    b.follow("ab", term=6, ballot=7)
    a.hears("b", Held(6, held))
    assert not a.it.is_held
    assert a.done[2:] == ["forsaken", ("leads", 6), "forsaken"]
    peer, question = a.take()[1]
    assert peer == "b"
    a.hears("b", b.hears("a", question))
    assert a.it.position == held
    a.hears("b", Held(6, held))
    assert a.done[5:] == [("leads", 6)], "once"


def test_garbled_steps_are_counted_and_asked_for_again():
    b = Part("b", "abc")
    b.take()
    b.hears("a", Entries(5, (0, 0), [Stamp(5, 3)], (5, 3)))
    b.hears("a", Entries(5, (0, 0), [entry(5, 7), entry(5, 9)], (5, 9)))
    assert b.it.counters.garbled == 2
    assert b.it.position == (5, 7)
    assert b.later(RETRY) == ([], ("a", Held(5, (5, 7), wants=True)))


def test_what_is_given_up_for_a_state_that_does_not_continue_ours_is_told():
    """We were taken for dead, and others went on without what we had."""
    b = Part("b", "abc")
    b.hears("a", Entries(5, (0, 0), [entry(5, 1), entry(5, 2), entry(5, 3)], (5, 3)))
    b.follow("ab", term=9, keeper="a")
    other = StateCopy(StateSettings())
    other.begin(9, 700)
    other.order("m", Propose(1, "x", b""), 9)
    b.hears("a", StatePage(9, 0, next(other.snapshot(10))))
    assert b.it.position == (9, 700)
    assert b.done == [("gave up", (5, 3), (9, 700), 3)]


def test_a_state_that_continues_ours_gives_nothing_up():
    b = Part("b", "abc")
    b.hears("a", Entries(5, (0, 0), [entry(5, 1), entry(5, 2)], (5, 2)))
    longer = StateCopy(StateSettings())
    for index in range(1, 30):
        longer.apply(entry(5, index))
    b.hears("a", StatePage(5, 0, next(longer.snapshot(10))))
    assert (b.it.position, b.done) == ((5, 29), [])


def test_a_state_past_what_any_proxy_may_have_is_not_taken(monkeypatch):
    monkeypatch.setattr(state, "MAX_KEYS", 0)
    b = Part("b", "ab")
    full = StateCopy(StateSettings())
    full.order("n", Propose(1, "k", b"v"), 5)
    b.hears("a", StatePage(5, 0, next(full.snapshot(10))))
    assert b.it.position == (0, 0)
    assert b.it.counters.garbled == 1


@pytest.mark.parametrize("is_behind", [False, True])
def test_what_the_keeper_has_ordered_is_held_whatever_our_own_limits_are(is_behind):
    """They may differ while they are changed proxy by proxy. Who refused it would keep all others waiting for ever."""
    b = Part("b", "ab")
    b.it.copy = StateCopy(StateSettings(max_keys=1, max_bytes=3, max_key_bytes=1, max_value_bytes=1))
    steps = [Stamp(5, 0), *(entry(5, index, f"key {index}", b"long") for index in range(1, 6))]
    if is_behind:
        full = StateCopy(StateSettings())
        full.begin(5)
        for step in steps[1:]:
            full.apply(step)
        for number, page in enumerate(full.snapshot(2)):
            b.hears("a", StatePage(5, number, page))
    else:
        b.hears("a", Entries(5, (0, 0), steps, (5, 5)))
    assert (b.it.position, len(b.it.copy.items), b.it.counters.garbled) == ((5, 5), 5, 0)


def test_much_is_published_in_several_messages(monkeypatch):
    monkeypatch.setattr(recent, "CHUNK_STEPS", 2)
    a = ready_keeper()
    for _ in range(5):
        a.set()
    published, _ = a.take()
    assert [len(frame.steps) for frame in published] == [2, 2, 1]
    b = Part("b", "abc")
    b.hears("a", Entries(5, (0, 0), [Stamp(5, 0)], (5, 0)))
    for frame in published:
        b.hears("a", frame)
    assert b.take()[1] == ("a", Held(5, (5, 5)))


# --- terms ------------------------------------------------------------------------------------------------------------


def test_what_is_to_be_sent_is_known_and_sent_once():
    a = ready_keeper()
    assert not a.it.has_to_send
    a.set()
    assert a.it.has_to_send
    a.take()
    assert not a.it.has_to_send
    b = Part("b", "abc")
    assert b.it.has_to_send
    b.take()
    assert not b.it.has_to_send


def test_nothing_of_a_term_is_sent_in_the_next():
    a = ready_keeper()
    a.set()
    a.follow("bc", term=6)
    assert a.take() == ([], None)
    b = Part("b", "abc")
    b.follow("ac")
    assert b.take() == ([], None)
    assert b.later(RETRY) == ([], None)


def test_a_keeper_leads_once_in_a_term_and_begins_once():
    a = Part("a", "abc")
    a.begins = False
    a.hears("b", Held(5, (0, 0)))
    a.hears("c", Held(5, (0, 0)))
    a.later(1.0)
    assert a.done == [("leads", 5)]
    a.it.begin(0)
    a.hears("b", Held(5, (5, 0)))
    a.hears("c", Held(5, (5, 0)))
    a.later(1.0)
    assert a.done == [("leads", 5), "begun"]
    assert a.it.counters.takeovers == 1


def test_the_keeper_of_two_terms_hears_all_in_each():
    a = ready_keeper()
    a.follow("abc", term=7)
    assert a.it.waits_for == ["b", "c"]
    assert a.was_keeper, "and is it again: known when it is told"
    a.follow("bac", term=8)
    assert a.it.waits_for == []
    assert a.done == [("leads", 5), "begun", "forsaken", "forsaken"]
    assert not a.was_keeper
    a.follow("bac", term=8, version=9)
    a.follow("cab", term=10)
    assert a.done.count("forsaken") == 2, "it was not keeper then"


def test_a_state_without_entries_of_a_later_term_counts_for_no_stamp():
    a = Part("a", "abc")
    a.hears("b", Held(5, (9, 0)))
    a.hears("c", Held(5, (0, 0)))
    assert a.it.phase is Phase.BEGINNING


def test_two_are_told_of_the_stamp_too():
    a = Part("a", "ab")
    a.hears("b", Held(5, (0, 0)))
    assert a.take() == ([Entries(5, (0, 0), [Stamp(5, 0)], (5, 0))], None)


def test_the_one_with_most_is_asked_once_and_again_when_it_does_not_answer():
    a = Part("a", "abc")
    a.hears("b", Held(5, (3, 1)))
    a.hears("c", Held(5, (3, 0)))
    assert a.take()[1] == ("b", Held(5, (0, 0), wants=True))
    a.hears("c", Held(5, (3, 0)))
    assert a.take() == ([], None)
    assert a.later(RETRY)[1] == ("b", Held(5, (0, 0), wants=True))
    a.begins = False
    a.hears("b", Entries(5, (0, 0), [entry(3, 1)], (3, 1)))
    a.take()
    assert a.later(RETRY) == ([], None)


# --- who is a little behind needs no copy -----------------------------------------------------------------------------


def test_the_last_steps_outlive_the_term():
    b = Part("b", "abc", term=3)
    b.hears("a", Entries(3, (0, 0), [Stamp(3, 0), entry(3, 1), entry(3, 2)], (3, 2)))
    b.follow("bac")
    b.hears("a", Held(5, (3, 2)))
    b.hears("c", Held(5, (3, 1)))
    answer = b.hears("c", Held(5, (3, 1), wants=True))
    assert answer == Entries(5, (3, 1), [entry(3, 2), Stamp(5, 2)], (5, 2))


def test_steps_lead_to_where_we_are_or_are_not_given():
    """Alone nothing is kept of them; and a node that brings a state brings no steps."""
    a = ready_keeper()
    a.set()
    a.hears("b", Held(5, (5, 1)))
    a.follow("a", ballot=6)
    a.set()
    a.follow("ab", ballot=7)
    assert isinstance(a.hears("b", Held(5, (5, 0), wants=True)), StatePage)
    assert isinstance(a.hears("b", Held(5, (5, 1), wants=True)), StatePage)
    for ends_before_it_begins in (False, True):
        b = Part("b", "abc", term=3)
        b.hears("a", Entries(3, (0, 0), [Stamp(3, 0), entry(3, 1)], (3, 1)))
        b.begins = False
        b.follow("bac")
        b.hears("a", Held(5, (3, 1)))
        b.hears("c", Held(5, (3, 0)))
        bring(b, 4, 9)
        if ends_before_it_begins:
            b.begins = True
            b.follow("bac", term=6)
            b.hears("a", Held(6, (3, 1)))
            b.hears("c", Held(6, (3, 0)))
        else:
            b.it.begin(0)
        assert isinstance(b.hears("c", Held(b.it.term, (3, 0), wants=True)), StatePage)


def test_pages_of_another_state_begin_anew_or_are_late():
    b = Part("b", "abc")
    page = [State(5, 3, [StateItem("p", b"")], False), State(5, 3, [StateItem("q", b"")], True)]
    other = [State(5, 4, [StateItem("r", b"")], False), State(5, 4, [], True)]
    b.hears("a", StatePage(5, 0, page[0]))
    assert b.take()[1] == ("a", WantPage(5, (5, 3), 1))
    b.hears("a", StatePage(5, 0, page[0]))
    b.hears("a", StatePage(5, 1, other[1]))
    assert b.take() == ([], None), "these are late, and it has asked"
    b.hears("a", Entries(5, (5, 3), [entry(5, 4)], (5, 4)))
    assert b.later(RETRY)[1] == ("a", WantPage(5, (5, 3), 1)), "nor do steps that lead to nothing here end a copy"
    b.hears("a", StatePage(5, 0, other[0]))
    assert b.take()[1] == ("a", WantPage(5, (5, 4), 1))
    b.hears("a", StatePage(5, 1, page[1]))
    assert b.it.position == (0, 0)
    b.hears("a", StatePage(5, 1, other[1]))
    assert b.it.position == (5, 4)
    assert b.it.copy.items.keys() == {"r"}


def test_more_is_kept_only_while_somebody_takes_all(monkeypatch):
    monkeypatch.setattr(recent, "MAX_STEPS", 1)
    a = ready_keeper()
    for key in "pqr":
        a.set(key)
    a.hears("c", Held(5, (0, 0), wants=True))
    a.set()
    a.set()
    assert isinstance(a.hears("c", Held(5, (5, 3), wants=True)), Entries)
    a.later(copying.GIVEN_FOR + 1.0)
    a.set()
    a.set()
    assert isinstance(a.hears("c", Held(5, (5, 5), wants=True)), StatePage)
