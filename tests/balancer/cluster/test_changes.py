"""Who may write what: joining, leaving, evicting, and after disasters."""

import pytest
from msgspec.structs import asdict, replace

from holdfast.balancer.cluster import changes
from holdfast.balancer.cluster.membership import Membership
from holdfast.protocols.peers.frames import Record
from tests.balancer.cluster.views import LEASE_WAIT, TIMES, hear, member, membership, record_of

JUST = 0.01
SILENT = TIMES.heartbeat_timeout + JUST


def confirmed(names, me="a", **fields):
    """All have confirmed at 0 and are heard then, and the state is held."""
    it = membership(names, me, **fields)
    hear(it, set(names) - {me}, 0.0)
    it.state_is_held()
    assert it.is_firm
    return it


class TestEvict:
    def test_whom_a_majority_does_not_hear(self):
        it = confirmed("abc", version=5, epoch=3, master="n", incarnation=9)
        hear(it, "b", SILENT, missing="c")
        record = changes.change(it, SILENT)
        members = (member("a"), member("b"))
        former, gone = ("a", "b", "c"), (member("c"),)
        assert record == Record(6, 3, "n", 9, "a", 6, members, former, 0, "a", TIMES.agreed, gone=gone)

    def test_not_whom_only_we_do_not_hear(self):
        it = confirmed("abc")
        hear(it, "b", SILENT)
        assert changes.change(it, 10.0) is None

    def test_not_by_what_a_peer_says_of_another_version(self):
        it = confirmed("abc", version=5)
        hear(it, "b", SILENT, missing="c", version=4)
        assert changes.change(it, SILENT) is None

    def test_the_first_of_those_against_writes_and_the_next_when_it_has_not(self):
        it = confirmed("abc", me="b")
        hear(it, "a", SILENT, missing="c")
        assert changes.change(it, SILENT) is None
        hear(it, "a", SILENT + changes.STEP, missing="c")
        assert changes.change(it, SILENT + changes.STEP).ids == ("a", "b")

    def test_all_that_are_silent_go_at_once(self):
        it = confirmed("abcde")
        hear(it, "bc", SILENT, missing="de")
        assert changes.change(it, SILENT).ids == ("a", "b", "c")

    def test_the_next_keeper_is_one_that_is_heard_and_its_epoch_a_new_one(self):
        it = confirmed("abcd", me="d", epoch=3)
        hear(it, "c", SILENT, missing="ab")
        late = SILENT + changes.STEP + 2 * TIMES.heartbeat
        hear(it, "c", late, missing="ab")
        record = changes.change(it, late)
        assert record.ids == ("c", "d")
        assert (record.keeper, record.epoch) == ("c", record.version)

    def test_those_whom_others_hear_hold_up_nothing_for_a_majority(self):
        it = confirmed("abcde")
        hear(it, "bc", SILENT, missing="d")
        assert changes.change(it, SILENT).ids == ("a", "b", "c", "e")

    def test_not_by_what_one_said_that_is_not_heard_any_more(self):
        it = confirmed("abcde")
        hear(it, "e", 0.0, missing="d")
        hear(it, "b", SILENT, missing="d")
        hear(it, "c", SILENT)
        assert changes.change(it, SILENT) is None

    def test_nor_by_one_that_has_said_nothing_yet(self):
        it = membership("abc")
        it.heard("b", SILENT)
        assert changes.change(it, SILENT) is None

    def test_not_before_it_is_silent_for_as_long_as_that_takes(self):
        it = confirmed("abc", me="b")
        hear(it, "a", 3.0, missing="c")
        assert changes.change(it, TIMES.heartbeat_timeout + changes.STEP) is None
        assert changes.change(it, TIMES.heartbeat_timeout + changes.STEP + JUST).ids == ("a", "b")

    @pytest.mark.parametrize(
        ("names", "former"),
        [
            ("abcdef", "abc"),  # more than half of the last firm set, and not of this one
            ("abcd", "abx"),  # half of this one
            ("abc", "abxy"),  # half of the last one
            ("abcde", "abx"),
        ],
    )
    def test_two_that_are_not_more_than_half_of_both_sets_decide_nothing(self, names, former):
        it = membership(names, former=tuple(former))
        hear(it, "b", SILENT, missing=names[2:])
        assert not it.is_firm
        assert changes.change(it, 1.0 + SILENT) is None

    def test_half_is_enough_when_all_had_confirmed(self):
        record = changes.change(confirmed("ab"), SILENT)
        assert record.ids == ("a",)
        assert record.halved

    def test_half_evicts_the_other_half_at_once_or_nobody(self):
        it = confirmed("abcd")
        hear(it, "d", 0.5)
        hear(it, "b", SILENT, missing="c")
        assert changes.change(it, SILENT) is None, "d may be about to be missed too"
        hear(it, "b", 1.0 + SILENT, missing="cd")
        assert changes.change(it, 1.0 + SILENT) is None, "d is missed for less long"
        hear(it, "b", 1.5 + SILENT, missing="cd")
        assert changes.change(it, 1.5 + SILENT).ids == ("a", "b")

    def test_a_half_of_who_votes_leaves_more_than_half(self):
        """A - B, B - C - D - B: C and D evict A, and B stays with them."""
        it = confirmed("abcd", me="c")
        late = SILENT + 2 * TIMES.heartbeat + changes.STEP
        hear(it, "b", late)
        hear(it, "d", late, missing="a")
        record = changes.change(it, late)
        assert record.ids == ("b", "c", "d")
        assert not record.halved

    def test_half_is_not_enough_when_they_had_not(self):
        it = membership("ab")
        hear(it, "b", 0.0, version=4)
        assert changes.change(it, SILENT) is None

    def test_unless_all_had_confirmed_a_majority_of_the_former_set_is_needed_too(self):
        it = membership("abc", former=("a", "b", "c", "d", "e"))
        hear(it, "b", 0.0)
        hear(it, "b", SILENT, missing="c")
        assert changes.change(it, SILENT) is None
        hear(it, "c", SILENT)
        it.state_is_held()
        late = 2 * SILENT + JUST
        hear(it, "b", late, missing="c")
        record = changes.change(it, late)
        assert record.ids == ("a", "b"), "c has confirmed before it fell silent"
        assert record.former == ("a", "b", "c")

    def test_the_former_set_stays_while_nobody_knows_that_a_later_one_was_confirmed(self):
        it = membership("abcd", former=("a", "b", "c", "d", "e"))
        hear(it, "bc", SILENT, missing="d")
        assert changes.change(it, SILENT).former == ("a", "b", "c", "d", "e")

    def test_a_minority_evicts_nobody(self):
        it = confirmed("abc")
        assert changes.change(it, 1000.0) is None

    def test_who_is_no_member_or_leaves_changes_nothing(self):
        leaver = confirmed("ab")
        leaver.resign()
        assert changes.change(leaver, SILENT) is None
        outsider = membership("bc")
        assert changes.change(outsider, SILENT) is None
        for proxy in "bc":
            outsider.died(proxy)
        assert changes.change(outsider, SILENT) is None

    def test_where_nobody_is_missing_and_all_is_quiet_nothing_changes(self):
        it = confirmed("abc")
        hear(it, "bc", 100.0)
        assert it.is_quiet(100.0)
        assert changes.change(it, 100.0) is None

    def test_a_cluster_keeps_its_name(self):
        it = Membership(member("a"), TIMES, 0.0)
        it.stored(record_of("ab", cluster="first"), {}, 0.0, 0.0)
        assert changes.reset(it, 0.0).cluster == "first"


class TestTerm:
    def test_it_is_the_version_with_which_the_keeper_began(self):
        it = confirmed("abc", term=3)
        hear(it, "b", SILENT, missing="c")
        assert changes.change(it, SILENT).term == 3
        it = confirmed("abc", me="b", term=3)
        hear(it, "c", SILENT, missing="a")
        record = changes.change(it, SILENT)
        assert (record.keeper, record.term) == ("b", record.version)

    def test_a_later_one_for_a_state_that_comes_from_a_later_one(self):
        it = confirmed("ab", version=5, term=3, epoch=4, master="n")
        record = changes.raise_term(it, 9)
        assert (record.version, record.term, record.epoch, record.keeper) == (10, 10, 4, "a")
        assert changes.raise_term(it, 2).term == 6


class TestCarried:
    def test_an_established_epoch_is(self):
        it = confirmed("abc", version=5, epoch=5)
        now = max(LEASE_WAIT, SILENT)
        hear(it, "b", now, missing="c")
        assert changes.change(it, now).carried == 5

    def test_one_that_was_only_elected_is_not(self):
        it = confirmed("abc", version=5, ballot=4, epoch=5)
        hear(it, "b", SILENT, missing="c")
        assert changes.change(it, SILENT).carried == 0

    def test_under_a_new_keepers_epoch_too(self):
        it = confirmed("abc", me="b", epoch=3, carried=3)
        hear(it, "c", SILENT, missing="a")
        record = changes.change(it, SILENT)
        assert record.carried == record.epoch == record.version

    def test_an_election_carries_only_the_same_process(self):
        it = membership("abc", epoch=3, carried=3, master="n", incarnation=1)
        assert changes.elect(it, ("n", 1)).carried == 6
        other = changes.elect(it, ("m", 1))
        assert (other.version, other.epoch, other.ballot, other.master) == (6, 6, 5, "m")
        assert other.carried != other.epoch
        assert changes.elect(it, ("n", 2)).carried != 6

    def test_an_epoch_is_later_than_all_that_nodes_and_members_have_told(self):
        it = membership("abc")
        it.highest_epoch = 12
        assert changes.elect(it, ("n", 1)).epoch == 13
        hear(it, "b", 0.0, version=20)
        assert changes.elect(it, ("n", 1)).epoch == 21


class TestHalved:
    QUIET = LEASE_WAIT + TIMES.card_ttl * 1.2

    def test_whoever_changes_such_a_ballot_before_it_is_quiet_makes_another(self):
        it = confirmed("abc", halved=True)
        hear(it, "b", SILENT, missing="c")
        assert changes.change(it, SILENT).halved
        late = self.QUIET + SILENT
        it = confirmed("abc", halved=True)
        hear(it, "b", late, missing="c")
        assert not changes.change(it, late).halved

    def test_so_does_who_joins_and_does_not_know(self):
        newcomer = Membership(member("x"), TIMES, 0.0)
        newcomer.adopt(record_of("a", halved=True), 0.0)
        hear(newcomer, "a", 0.0, strangers="x", confirmed=True)
        assert changes.join(newcomer, "a", 0.0).halved

    def test_when_it_is_quiet_the_keeper_writes_so_down(self):
        it = confirmed("ab", halved=True, epoch=3)
        hear(it, "b", self.QUIET)
        assert changes.change(it, self.QUIET - JUST) is None
        record = changes.change(it, self.QUIET)
        assert (record.halved, record.version, record.ballot, record.epoch) == (False, 6, 5, 3)

    def test_and_another_if_the_keeper_has_not(self):
        it = confirmed("ab", me="b", halved=True)
        hear(it, "a", self.QUIET + changes.STEP)
        assert changes.change(it, self.QUIET + changes.STEP - JUST) is None
        assert not changes.change(it, self.QUIET + changes.STEP).halved

    def test_not_by_a_minority(self):
        it = confirmed("abc", halved=True)
        hear(it, "b", self.QUIET)
        assert changes.change(it, self.QUIET + SILENT + JUST) is None


class TestAbsence:
    def minority(self, cards=()):
        it = confirmed("abc")
        for second in range(64):
            it.stored(it.record, {proxy: member(proxy) for proxy in cards}, float(second), float(second))
        return it

    def test_who_has_had_no_card_for_long_is_dead(self):
        it = self.minority()
        record = changes.change(it, 63.5)
        assert record.ids == ("a",)
        assert record.former == ("a",)

    def test_who_outlives_half_needs_no_votes_of_it(self):
        it = confirmed("ab")
        it.died("b")
        it._is_firm = False  # else it is half, and enough
        record = changes.change(it, 3.0)
        assert (record.ids, record.halved) == (("a",), False)

    def test_at_once_where_the_deaths_are_known(self):
        it = self.minority()
        for proxy in it.nameable(3.0)[1:]:
            it.died(proxy)
        assert changes.change(it, 3.0) is None, "one may live"
        it.died("b")
        record = changes.change(it, 3.0)
        assert record.ids == record.former == ("a",)

    def test_not_while_one_of_the_missing_has_a_card(self):
        assert changes.change(self.minority(cards="c"), 63.5) is None

    def test_not_when_the_store_has_not_answered_lately(self):
        assert changes.change(self.minority(), 70.0) is None


class TestJoin:
    def newcomer(self, names="abc", *, cards="", place="", is_bound=True, **fields):
        it = Membership(member("x", place, is_bound=is_bound), TIMES, 0.0)
        it.stored(record_of(names, **fields), {proxy: member(proxy) for proxy in cards}, 0.0, 0.0)
        return it

    def test_a_majority_must_be_live_hear_us_and_follow_the_record(self):
        it = self.newcomer()
        hear(it, "a", 1.0, strangers="x", confirmed=True)
        hear(it, "b", 1.0)
        hear(it, "c", 1.0, strangers="x", version=4)
        assert changes.join(it, "abc", 1.0) is None
        hear(it, "b", 1.0, strangers="x")
        assert changes.join(it, "a", 1.0) is None
        record = changes.join(it, "ab", 1.0)
        assert record.ids == ("a", "b", "c", "x")
        assert (record.version, record.ballot, record.keeper) == (6, 6, "a")

    @pytest.mark.parametrize(("names", "welcoming"), [("abcd", "ab"), ("abcde", "ab")])
    def test_half_of_them_is_no_majority(self, names, welcoming):
        it = self.newcomer(names)
        hear(it, welcoming, 1.0, strangers="x", confirmed=True)
        assert changes.join(it, welcoming, 1.0) is None

    def test_only_who_is_heard_and_has_said_so_welcomes_it(self):
        it = self.newcomer()
        hear(it, "ab", 1.0, strangers="x", confirmed=True)
        assert changes.join(it, "ab", 1.0 + SILENT) is None
        it = self.newcomer()
        hear(it, "a", 1.0, strangers="x", confirmed=True)
        it.heard("b", 1.0)
        assert changes.join(it, "ab", 1.0) is None

    def test_the_set_that_it_joins_is_the_last_that_was_firm(self):
        it = self.newcomer("bc", former=("b", "y"))
        hear(it, "bc", 1.0, strangers="x", confirmed=True)
        assert changes.join(it, "bc", 1.0).former == ("b", "c")

    def test_nobody_is_added_to_a_ballot_that_is_not_firm(self):
        it = self.newcomer()
        hear(it, "abc", 1.0, strangers="x", confirmed=True, firm=False)
        assert changes.join(it, "abc", 1.0) is None
        hear(it, "b", 1.0, strangers="x", firm=True)
        assert changes.join(it, "abc", 1.0).ids == ("a", "b", "c", "x")

    def test_what_is_established_one_of_them_knows(self):
        it = self.newcomer(epoch=4)
        hear(it, "ab", 1.0, strangers="x", confirmed=True)
        assert changes.join(it, "ab", 1.0).carried == 0
        hear(it, "a", 1.0, strangers="x", confirmed=True, established=True)
        assert changes.join(it, "ab", 1.0).carried == 4

    def test_who_was_where_we_are_bound_is_dead(self):
        it = self.newcomer("abc", place="c", cards="abc")
        hear(it, "ab", 1.0, strangers="x")
        record = changes.join(it, "ab", 1.0)
        assert record.ids == ("a", "b", "x")
        assert record.former == ("a", "b")

    def test_who_takes_the_place_of_the_dead_need_not_wait_for_what_can_not_be(self):
        """The ballot was not firm when one of it died. The last set that was counts until the new one is."""
        it = self.newcomer("abc", place="c", cards="abc", former=("a", "b", "c", "d"))
        hear(it, "a", 1.0, strangers="x")
        assert changes.join(it, "a", 1.0) is None
        hear(it, "b", 1.0, strangers="x")
        record = changes.join(it, "ab", 1.0)
        assert record.ids == ("a", "b", "x")
        assert record.former == ("a", "b", "d")

    def test_but_for_those_of_them_who_have_not_followed_it(self):
        it = self.newcomer("abcd", place="d", cards="abcd", former=("a", "b", "c", "d"))
        hear(it, "ab", 1.0, strangers="x")
        assert changes.join(it, "ab", 1.0) is None
        hear(it, "c", 1.0, strangers="x")
        assert changes.join(it, "ab", 1.0).ids == ("a", "b", "c", "x")

    def test_who_has_no_card_and_nobody_at_its_address_may_live(self):
        it = self.newcomer("ab", cards="a")
        assert [one.proxy for one in changes.living(it, 1.0)] == ["a", "b"]

    def test_who_only_advertises_our_address_is_dead_when_its_card_is(self):
        it = self.newcomer("abc", place="c", cards="abc", is_bound=False)
        hear(it, "ab", 1.0, strangers="x", confirmed=True, firm=True)
        assert changes.join(it, "ab", 1.0) is None
        it.stored(it.record, {"a": member("a"), "b": member("b")}, 1.0, 1.0)
        assert changes.join(it, "ab", 1.0).ids == ("a", "b", "x")

    def test_who_was_where_another_is_and_has_no_card_is_dead(self):
        it = self.newcomer("abc", place="b")
        cards = {"a": member("a"), "y": member("y", "c")}
        it.stored(it.record, cards, 0.0, 0.0)
        hear(it, "a", 1.0, strangers="x")
        assert changes.join(it, "a", 1.0).ids == ("a", "x")

    def test_two_cards_of_one_place_tell_nothing(self):
        it = self.newcomer("abc", place="b")
        it.stored(it.record, {"a": member("a"), "c": member("c"), "y": member("y", "c")}, 0.0, 0.0)
        hear(it, "a", 1.0, strangers="x")
        assert changes.join(it, "a", 1.0) is None

    def test_who_is_heard_is_not_dead_whatever_its_address(self):
        it = self.newcomer("ab", place="b")
        hear(it, "ab", 1.0, strangers="x", confirmed=True)
        assert changes.join(it, "ab", 1.0).ids == ("a", "b", "x")

    def test_when_the_keeper_is_dead_a_member_takes_its_place(self):
        it = self.newcomer("abc", place="a")
        hear(it, "bc", 1.0, strangers="x")
        record = changes.join(it, "bc", 1.0)
        assert (record.keeper, record.epoch) == ("b", record.version)

    def test_when_all_were_absent_for_long_we_found_anew(self):
        it = self.newcomer("abc")
        for second in range(62):
            it.stored(it.record, {}, float(second), float(second))
            assert (changes.join(it, (), float(second)) is None) is (second < 61)
        record = changes.join(it, (), 61.5)
        assert (record.ids, record.version, record.master) == (("x",), 6, "")
        assert record.gone == tuple(map(member, "abc")), "they may live all the same"

    def test_whose_names_are_free_on_our_host_are_dead_when_their_cards_have_ended(self):
        it = self.newcomer("abc", cards="b")
        for proxy in it.nameable(0.0):
            it.died(proxy)
        assert changes.join(it, (), 0.0) is None
        assert changes.living(it, 0.0) == (member("b"),)
        it.stored(it.record, {}, 1.0, 1.0)
        record = changes.join(it, (), 1.0)
        assert (record.ids, record.version) == (("x",), 6)

    def test_one_of_which_nothing_is_known_is_waited_for(self):
        it = self.newcomer("abc")
        it.died("a")
        it.died("c")
        assert changes.join(it, (), 1.0) is None
        hear(it, "b", 1.0, strangers="x", confirmed=True)
        assert changes.join(it, "b", 1.0).ids == ("b", "x")

    def test_members_and_leavers_do_not(self):
        assert changes.join(confirmed("ab"), "b", 0.0) is None
        it = confirmed("abc")
        hear(it, "bc", 0.0, strangers="a")
        assert changes.join(it, "bc", 0.0) is None, "it is one already, whatever they say"
        it = Membership(member("x"), TIMES, 0.0)
        it.resign()
        assert changes.join(it, (), 0.0) is None
        it = self.newcomer()
        hear(it, "abc", 1.0, strangers="x", confirmed=True)
        assert changes.join(it, "abc", 1.0) is not None
        it.resign()
        assert changes.join(it, "abc", 1.0) is None


class TestFound:
    """Where the record names nobody who lives."""

    SOON = TIMES.card_ttl / 2

    def newcomer(self, record=Record(), *, cards=(), until=SOON, times=TIMES):  # noqa: B008 - a Record is frozen
        it = Membership(member("x"), times, 0.0)
        for now in (0.0, until):
            it.stored(record, {proxy: member(proxy) for proxy in cards}, now, now)
        return it

    def test_nobody_is_there(self):
        it = self.newcomer(cards="x")
        assert changes.join(it, (), self.SOON) == Record(
            1, 1, "", 0, "x", 1, (member("x"),), ("x",), 0, "x", TIMES.agreed, False, 1
        )

    def test_after_all_have_left_the_version_goes_on(self):
        it = self.newcomer(Record(8, 7))
        it.highest_epoch = 8
        assert changes.join(it, (), self.SOON).version == 9

    def test_it_is_later_than_all_that_was_told(self):
        """By one that has gone since."""
        it = self.newcomer(Record(8, 7))
        hear(it, "y", self.SOON - 2.5, version=20)
        it.absence._timeout = 0.0
        assert changes.founded(it, self.SOON).version == 21

    def test_it_is_of_the_cluster_that_was_there(self):
        it = self.newcomer(Record(8, 7, cluster="first"))
        assert changes.join(it, (), self.SOON).cluster == "first"

    def test_nothing_hinders_where_all_are_known_dead(self):
        it = Membership(member("x", "a"), TIMES, 0.0)
        it.stored(record_of("a", 5), {}, 0.0, 0.0)
        assert changes.hindrance(it, (), 0.0) == ""
        it = self.newcomer(cards="x")
        assert changes.hindrance(it, (), self.SOON) == ""
        it.is_first = True
        assert changes.hindrance(it, (), 0.0) == ""

    def test_one_that_is_new_as_well_must_be_heard(self):
        it = self.newcomer(cards="ax")
        hear(it, "a", self.SOON - SILENT, version=0)
        assert changes.hindrance(it, "a", self.SOON) == "to hear proxy a, which has a card"

    def test_others_have_time_to_put_their_cards_again(self):
        it = self.newcomer(until=self.SOON - JUST)
        assert changes.join(it, (), self.SOON - JUST) is None
        assert "cards" in changes.hindrance(it, (), self.SOON - JUST)

    def test_one_with_a_card_must_say_that_it_is_new_as_well(self):
        it = self.newcomer(cards="ax")
        assert changes.join(it, (), self.SOON) is None
        assert changes.hindrance(it, (), self.SOON) == "to hear proxy a, which has a card"
        hear(it, "a", self.SOON, version=0)
        assert changes.join(it, (), self.SOON) is None, "its facts have not come"
        assert changes.join(it, "a", self.SOON) is not None
        hear(it, "a", self.SOON, version=3)
        assert changes.join(it, "a", self.SOON) is None, "it is of a cluster"

    def test_a_node_that_has_seen_a_later_epoch_tells_of_a_cluster(self):
        it = self.newcomer(Record(8, 7))
        it.highest_epoch = 9
        assert changes.join(it, (), self.SOON) is None
        assert "a node has seen epoch 9" in changes.hindrance(it, (), self.SOON)

    def test_which_is_dead_when_nobody_was_seen_for_long(self):
        it = Membership(member("x"), TIMES, 0.0)
        it.highest_epoch = 9
        for second in range(62):
            it.stored(Record(), {}, float(second), float(second))
            assert (changes.join(it, (), float(second)) is None) is (second < 61)
        assert changes.join(it, (), 61.0).version == 10

    def test_or_when_the_operator_says_so(self):
        it = self.newcomer()
        it.highest_epoch = 9
        assert changes.reset(it, self.SOON).ids == ("x",)

    def test_or_when_nobody_else_can_know_the_store(self):
        it = self.newcomer(until=0.0)
        it.highest_epoch = 9
        it.is_first = True
        assert changes.join(it, (), 0.0).version == 10

    def test_all_members_were_where_we_are(self):
        it = Membership(member("x", "a"), TIMES, 0.0)
        it.stored(record_of("a", 5), {"a": member("a")}, 0.0, 0.0)
        record = changes.join(it, (), 0.0)
        assert (record.ids, record.version) == (("x",), 6)

    def test_an_address_that_is_only_advertised_is_no_proof(self):
        it = Membership(member("x", "a", is_bound=False), TIMES, 0.0)
        it.stored(record_of("a", 5), {}, 0.0, 0.0)
        assert changes.join(it, (), 0.0) is None
        assert "a is dead" in changes.hindrance(it, (), 0.0)

    def test_leases_of_a_cluster_with_other_settings_are_waited_for(self):
        it = self.newcomer(Record(8, 7, agreed=replace(TIMES.agreed, lease=10.0)))
        for second in range(2, 13):
            it.stored(it.record, {}, float(second), float(second))
        assert changes.join(it, (), 12.0 - JUST) is None
        assert changes.join(it, (), 12.0).agreed == TIMES.agreed
        it = Membership(member("x"), TIMES, 100.0)
        it.stored(Record(8, 7, agreed=replace(TIMES.agreed, lease=10.0)), {}, 100.0, 100.0)
        assert changes.hindrance(it, (), 112.0 - JUST).startswith("for leases")
        assert not changes.hindrance(it, (), 112.0).startswith("for leases")


class TestRefusal:
    def test_other_settings_are_named_with_both_values(self):
        it = Membership(member("x"), TIMES, 0.0)
        it.stored(record_of("ab", agreed=replace(TIMES.agreed, lease=5.0, spread=1.0)), {}, 0.0, 0.0)
        hear(it, "ab", 0.0, strangers="x", confirmed=True)
        assert changes.join(it, "ab", 0.0) is None
        assert changes.refusal(it, 0.0) == (
            "election.lease is 2 here and 5, drain.spread is 5 here and 1 in the cluster:"
            " all proxies must have the same"
        )

    def test_not_those_of_a_cluster_that_is_dead(self):
        it = Membership(member("x", "a"), TIMES, 0.0)
        it.stored(record_of("a", agreed=replace(TIMES.agreed, lease=5.0)), {}, 0.0, 0.0)
        assert changes.refusal(it, 0.0) == ""
        assert changes.join(it, (), 5.0) is None
        assert changes.join(it, (), 6.0).agreed == TIMES.agreed

    def test_who_is_a_member_is_refused_nothing(self):
        it = membership("ab", agreed=replace(TIMES.agreed, lease=5.0))
        assert changes.refusal(it, 0.0) == ""

    def test_all_settings_that_are_compared_have_a_key(self):
        assert set(changes.KEYS) == set(asdict(TIMES.agreed))

    def test_one_that_lives_at_our_address_is_named(self):
        it = Membership(member("x", "c", is_bound=False), TIMES, 0.0)
        for now in (0.0, 4.0):
            it.stored(record_of("abc"), {"c": member("c")}, now, now)
        assert changes.refusal(it, 4.0) == (
            "c lives and says that it is at tcp://10.0.0.1:c, and so do we, x:"
            " cluster.router must be another address for each proxy"
        )


class TestLeaveAndReset:
    def test_who_leaves_names_the_next_keeper(self):
        it = confirmed("abc", epoch=3)
        it.resign()
        record = changes.leave(it, 0.0)
        assert (record.ids, record.keeper, record.former) == (("b", "c"), "b", ("b", "c"))
        assert changes.leave(membership("bc"), 0.0) is None

    def test_who_leaves_waits_until_others_hold_the_state(self):
        it = membership("abc")
        hear(it, "bc", 0.0, confirmed=True, firm=False)
        assert changes.leave(it, 0.0) is None
        hear(it, "b", 0.0, firm=True)
        assert changes.leave(it, 0.0).ids == ("b", "c")

    def test_the_last_one_leaves_nobody(self):
        record = changes.leave(confirmed("a"), 0.0)
        assert (record.ids, record.keeper) == ((), "")

    def test_reset_leaves_exactly_those_that_are_heard(self):
        it = confirmed("abcde")
        hear(it, "b", SILENT)
        record = changes.reset(it, SILENT)
        assert record.ids == record.former == ("a", "b")

    def test_reset_brings_back_who_was_expelled(self):
        it = membership("bc")
        record = changes.reset(it, SILENT)
        assert (record.ids, record.keeper) == (("a",), "a")
