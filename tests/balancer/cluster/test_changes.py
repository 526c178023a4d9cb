"""Who may write what: joining, leaving, evicting, and after disasters."""

from balancer.cluster import changes
from balancer.cluster.membership import Membership
from protocols.peers.frames import Record
from tests.balancer.cluster.views import LEASE_WAIT, TIMES, hear, member, membership, record_of

JUST = 0.01
SILENT = TIMES.heartbeat_timeout + JUST


def confirmed(names, me="a", **fields):
    """All have confirmed at 0 and are heard then."""
    it = membership(names, me, **fields)
    hear(it, set(names) - {me}, 0.0)
    assert it.is_confirmed
    return it


class TestEvict:
    def test_whom_a_majority_does_not_hear(self):
        it = confirmed("abc", version=5, epoch=3, master="n", incarnation=9)
        hear(it, "b", SILENT, missing="c")
        record = changes.change(it, SILENT)
        assert record == Record(6, 3, "n", 9, "a", 6, (member("a"), member("b")), ("a", "b", "c"), 0, "a")

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
        late = SILENT + changes.STEP
        hear(it, "c", late, missing="ab")
        record = changes.change(it, late)
        assert record.ids == ("c", "d")
        assert (record.keeper, record.epoch) == ("c", record.version)

    def test_half_is_enough_when_all_had_confirmed(self):
        assert changes.change(confirmed("ab"), SILENT).ids == ("a",)

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
        assert changes.change(membership("bc"), SILENT) is None


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
        record = record_of("abc", epoch=3, carried=3, master="n", incarnation=1)
        assert changes.elect(record, "n", 1, 9).carried == 9
        other = changes.elect(record, "m", 1, 9)
        assert (other.version, other.epoch, other.ballot, other.master) == (9, 9, 5, "m")
        assert other.carried != other.epoch
        assert changes.elect(record, "n", 2, 9).carried != 9


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

    def test_not_while_one_of_the_missing_has_a_card(self):
        assert changes.change(self.minority(cards="c"), 63.5) is None

    def test_not_when_the_store_has_not_answered_lately(self):
        assert changes.change(self.minority(), 70.0) is None


class TestJoin:
    def newcomer(self, names="abc", *, cards="", place="", **fields):
        it = Membership(member("x", place), TIMES, 0.0)
        it.stored(record_of(names, **fields), {proxy: member(proxy) for proxy in cards}, 0.0, 0.0)
        return it

    def test_nobody_is_there(self):
        it = Membership(member("x"), TIMES, 0.0)
        assert changes.join(it, (), 0.0) == Record(1, 1, "", 0, "x", 1, (member("x"),), ("x",), 0, "x")

    def test_after_all_have_left_the_version_goes_on(self):
        it = Membership(member("x"), TIMES, 0.0)
        it.adopt(Record(8, 7), 0.0)
        assert changes.join(it, (), 0.0).version == 9

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

    def test_nobody_is_added_to_a_ballot_that_is_not_confirmed(self):
        it = self.newcomer()
        hear(it, "ab", 1.0, strangers="x")
        assert changes.join(it, "ab", 1.0) is None
        hear(it, "c", 1.0)
        assert changes.join(it, "ab", 1.0) is not None, "all have told it to us"

    def test_what_is_established_one_of_them_knows(self):
        it = self.newcomer(epoch=4)
        hear(it, "ab", 1.0, strangers="x", confirmed=True)
        assert changes.join(it, "ab", 1.0).carried == 0
        hear(it, "a", 1.0, strangers="x", confirmed=True, established=True)
        assert changes.join(it, "ab", 1.0).carried == 4

    def test_who_was_where_we_are_is_dead(self):
        it = self.newcomer("abc", place="c", cards="abc")
        hear(it, "ab", 1.0, strangers="x")
        record = changes.join(it, "ab", 1.0)
        assert record.ids == ("a", "b", "x")
        assert record.former == ("a", "b")

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

    def test_members_and_leavers_do_not(self):
        assert changes.join(confirmed("ab"), "b", 0.0) is None
        it = Membership(member("x"), TIMES, 0.0)
        it.resign()
        assert changes.join(it, (), 0.0) is None


class TestLeaveAndReset:
    def test_who_leaves_names_the_next_keeper(self):
        it = confirmed("abc", epoch=3)
        it.resign()
        record = changes.leave(it, 0.0)
        assert (record.ids, record.keeper, record.former) == (("b", "c"), "b", ("b", "c"))
        assert changes.leave(membership("bc"), 0.0) is None

    def test_the_last_one_leaves_nobody(self):
        record = changes.leave(membership("a"), 0.0)
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
