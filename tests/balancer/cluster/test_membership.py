"""Hearing, quorum, fencing, and what a grant needs: one rule after another."""

import pytest
from msgspec.structs import replace

from holdfast.balancer.cluster import changes
from holdfast.balancer.cluster.membership import Membership
from holdfast.protocols.peers.frames import DRAINING, READY, SYNCING, Beat, Evicted, NodeSeen, Record
from holdfast.protocols.peers.ranges import MAX_BEGINNING, MAX_JUMP
from tests.balancer.cluster.views import LEASE_WAIT, TIMES, hear, member, membership, record_of

JUST = 0.01
OF_OLDER = 2  # an older proxy's word for a node that an operator drains


class TestRecord:
    def test_a_later_one_is_followed_and_an_older_one_is_not(self):
        it = membership("abc")
        assert not it.adopt(record_of("ab", 4), 1.0)
        assert it.adopt(record_of("ab", 6), 1.0)
        assert it.record.ids == ("a", "b")

    def test_of_two_that_have_one_version_the_stores_counts(self):
        it = membership("abc", version=5)
        assert not it.adopt(record_of("ab", 5), 1.0)
        assert it.adopt(record_of("ab", 5), 1.0, from_store=True)
        assert not it.adopt(record_of("ab", 5), 1.0, from_store=True)

    def test_a_quorate_member_writes_again_what_the_store_has_forgotten(self):
        it = membership("ab")
        hear(it, "b", 1.0)
        assert it.stored(record_of("a", 4), {}, 1.0, 1.0)
        assert it.record.version == 5
        assert it.stored_version == 4
        assert not it.stored(it.record, {}, 2.0, 2.0)

    def test_a_minority_does_not(self):
        it = membership("abc")
        assert not it.stored(Record(), {}, 1.0, 1.0)

    def test_who_tells_a_record_has_it_from_the_store(self):
        it = membership("abc")
        it.adopt(record_of("abcd", 9), 1.0)
        assert it.stored_version == 9

    def test_one_who_lies_does_not_take_us_where_nobody_can_follow(self):
        it = membership("abc")
        far = MAX_BEGINNING + MAX_JUMP + 1
        assert not it.adopt(record_of("abc", far), 1.0)
        hear(it, "b", 1.0, version=far)
        assert it.highest_told < far
        assert it.adopt(record_of("abc", far), 1.0, from_store=True), "the store is asked, and checked where it is read"

    def test_as_far_as_anybody_can_follow(self):
        it = membership("abc")
        assert it.adopt(record_of("abc", MAX_BEGINNING + MAX_JUMP), 1.0)
        beyond = MAX_BEGINNING + 2 * MAX_JUMP
        assert not it.adopt(record_of("abc", beyond + 1), 1.0)
        assert it.adopt(record_of("abc", beyond), 1.0)

    @pytest.mark.parametrize(
        ("clock", "first"), [(1_796_000_000_123_999, 1_796_000_000_123), (2**60, MAX_BEGINNING), (-1, 1)]
    )
    def test_a_cluster_begins_at_the_clock_in_milliseconds(self, clock, first):
        it = Membership(member("a"), TIMES, 0.0, lambda: clock)
        assert changes.founded(it, 1.0).version == first
        it.node_told(first, 1.0)
        assert changes.founded(it, 1.0).version == first + 1

    def test_nothing_is_known_at_first(self):
        it = Membership(member("a"), TIMES, 7.0)
        assert (it.record, it.stored_version, it.highest_epoch, it.began) == (Record(), 0, 0, 7.0)
        assert [it.is_member, it._is_firm, it.is_confirmed, it.is_leaving, it.is_quorate(7.0)] == [False] * 5


class TestHearing:
    def test_we_and_whoever_has_said_something_within_the_limit(self):
        it = membership("abc")
        hear(it, "bx", 1.0)
        assert it.hears(3.0) == {"a", "b"}
        assert it.missing(3.0) == ["c"]
        assert it.strangers(3.0) == ["x"]
        assert it.hears(3.0 + JUST) == {"a"}

    def test_nobody_is_heard_after_we_were_away(self):
        it = membership("abc")
        hear(it, "bc", 1.0)
        it.awoke(1.5)
        assert not it.is_quorate(1.5)
        assert not it.is_fenced(3.5), "silence counts from then"
        assert it.is_fenced(1.5 + 2.0 + 0.5 + JUST)

    def test_who_has_left_is_not_heard(self):
        it = membership("abc")
        hear(it, "b", 1.0)
        it.left("b")
        assert it.missing(1.0) == ["b", "c"]

    def test_nothing_is_kept_of_one_on_whom_we_have_hung_up(self):
        it = membership("abc")
        hear(it, "x", 1.0)
        it.sees("x", [NodeSeen("n", 1)])
        it.left("x")
        it.forget("x")
        assert "x" not in it.leavers
        assert not it.follows("x", 1)
        assert "x" not in it.beats
        assert "x" not in it.nodes
        with pytest.raises(KeyError):
            it.silent_since("x")

    @pytest.mark.parametrize(("size", "heard", "is_quorate"), [(1, 0, 1), (2, 0, 0), (2, 1, 1), (3, 1, 1), (4, 1, 0)])
    def test_quorum_is_more_than_half_of_the_members(self, size, heard, is_quorate):
        it = membership("abcd"[:size])
        hear(it, "bcd"[:heard], 1.0)
        hear(it, "xyz", 1.0)
        assert it.is_quorate(1.0) == bool(is_quorate)

    def test_who_is_no_member_is_not_quorate(self):
        it = membership("bc")
        hear(it, "bc", 1.0)
        assert not it.is_quorate(1.0)


class TestFence:
    def test_one_heartbeat_after_the_majority_fell_silent(self):
        it = membership("abc")
        hear(it, "b", 10.0)
        hear(it, "c", 8.0)
        assert not it.is_fenced(12.5)
        assert it.is_fenced(12.5 + JUST)
        assert not it.must_close(22.0)
        assert it.must_close(22.0 + JUST)
        hear(it, "c", 23.0)
        assert not it.is_fenced(23.0)
        assert not it.must_close(23.0)

    def test_who_was_expelled(self):
        it = membership("abc")
        hear(it, "bc", 10.0)
        it.adopt(record_of("bc", 6), 10.0)
        hear(it, "bc", 20.0)
        assert not it.is_fenced(10.5)
        assert it.is_fenced(10.5 + JUST)
        it.adopt(record_of("bcd", 7), 15.0)
        assert not it.must_close(20.0)
        assert it.must_close(20.0 + JUST), "counted from when it was expelled, whatever has come since"

    def test_who_was_expelled_twice(self):
        it = membership("abc")
        it.adopt(record_of("bc", 6), 10.0)
        it.adopt(record_of("abc", 7), 20.0)
        hear(it, "bc", 20.0)
        assert not it.is_fenced(20.0)
        hear(it, "bc", 30.0)
        it.adopt(record_of("bc", 8), 30.0)
        assert not it.is_fenced(30.5)
        assert it.is_fenced(30.5 + JUST)

    def test_who_hears_that_it_was_expelled_when_it_is_fenced(self):
        """Nobody lists it any more, so clients that it took would be told as closed as soon as a link is lost."""
        it = membership("abc")
        hear(it, "b", 10.0)
        assert it.is_fenced(12.5 + JUST)
        it.adopt(record_of("bc", 6), 20.0)
        assert it.is_fenced(20.0)
        assert not it.must_close(22.0)
        assert it.must_close(22.0 + JUST), "counted from when the majority fell silent"
        hear(it, "bc", 30.0)
        it.adopt(record_of("abc", 7), 30.0)
        assert not it.is_fenced(30.0)

    def test_not_who_joins_for_the_first_time_nor_who_leaves(self):
        newcomer = Membership(member("x"), TIMES, 0.0)
        newcomer.adopt(record_of("abc"), 0.0)
        assert not newcomer.is_fenced(1000.0)
        leaver = membership("abc")
        leaver.resign()
        assert not leaver.is_fenced(1000.0)

    def test_a_new_member_is_given_time_to_be_heard(self):
        it = membership("a")
        it.adopt(record_of("ab", 6), 10.0)
        assert not it.is_fenced(12.5)
        assert it.is_fenced(12.5 + JUST)


class TestConfirmed:
    def test_all_members_must_have_told_the_ballot_or_a_later_version(self):
        it = membership("abc", version=7)
        hear(it, "b", 1.0)
        hear(it, "c", 1.0, version=6)
        assert not it.is_confirmed
        hear(it, "c", 1.5, version=9)
        assert it.is_confirmed
        assert not it.is_quiet(1.5 + LEASE_WAIT - JUST)
        assert it.is_quiet(1.5 + LEASE_WAIT)

    def test_only_a_member_s_word_counts(self):
        """Another cluster's record may have the same version by chance."""
        it = membership("abc", version=7, epoch=6)
        hear(it, "x", 1.0, version=7, confirmed=True, established=True)
        assert not it.is_confirmed
        assert not it.is_established(1.0)
        hear(it, "x", 1.0, version=100)
        assert it.highest_told == 0
        hear(it, "b", 1.0, version=7, confirmed=True, established=True)
        assert it.is_confirmed
        assert it.is_established(1.0)
        it = membership("bc", version=7, epoch=6)
        hear(it, "b", 1.0, version=7, confirmed=True, established=True)
        assert not it.is_confirmed, "who is no member has no part in it"
        hear(it, "bc", 1.0, version=7)
        assert not it.is_confirmed

    def test_the_first_version_is_one(self):
        it = membership("ab", version=1)
        it.told("b", 1, 1.0)
        assert it.is_confirmed

    def test_it_is_from_when_that_was_first_known(self):
        it = membership("abc", version=7, epoch=8)
        hear(it, "b", 1.0, confirmed=True)
        hear(it, "b", 2.0, confirmed=True)
        assert it.is_quiet(1.0 + LEASE_WAIT)

    def test_what_the_store_has_forgotten_and_gets_again_changes_nothing(self):
        it = membership("ab", version=7, epoch=7)
        hear(it, "b", 0.0)
        it.adopt(record_of("ab", 8, ballot=7, epoch=7), 1.0)
        assert it.is_established(LEASE_WAIT), "it counts from when all knew the epoch, not the version"

    def test_an_election_changes_nothing_of_it(self):
        it = membership("ab", version=7)
        hear(it, "b", 1.0)
        it.adopt(record_of("ab", 8, ballot=7, epoch=8, master="n"), 2.0)
        assert it.is_confirmed

    def test_a_new_set_begins_anew(self):
        it = membership("ab", version=7)
        hear(it, "b", 1.0)
        it.state_is_held()
        assert it.is_firm
        it.adopt(record_of("abc", 8), 2.0)
        assert not it.is_confirmed
        hear(it, "b", 2.0, confirmed=True, firm=False)
        assert it.is_confirmed
        assert not it.is_firm, "nobody has said that the state is held in that"

    def test_a_set_is_firm_when_all_follow_it_and_the_state_is_held(self):
        it = membership("abc", version=7)
        it.state_is_held()
        assert not it.is_firm
        hear(it, "bc", 1.0)
        assert it.is_firm
        it = membership("abc", version=7)
        hear(it, "bc", 1.0)
        assert not it.is_firm
        hear(it, "b", 1.0, firm=True)
        assert it.is_firm

    def test_one_that_hears_all_can_tell_those_who_do_not(self):
        it = membership("abc", version=7)
        hear(it, "b", 1.0, version=6, confirmed=True)
        assert not it.is_confirmed, "of another version"
        hear(it, "b", 2.0, confirmed=True)
        assert it.is_confirmed


class TestEstablished:
    def test_what_was_established_when_the_ballot_began(self):
        assert membership("abc", epoch=3, carried=3).is_established(0.0)
        assert not membership("abc", epoch=4, carried=3).is_established(0.0)

    def test_when_all_have_followed_the_epoch_for_as_long_as_a_grant_lasts(self):
        it = membership("ab", version=8, ballot=7, epoch=8)
        hear(it, "b", 1.0, version=7)
        assert it.is_confirmed
        hear(it, "b", 2.0, version=8)
        assert not it.is_established(2.0 + LEASE_WAIT - JUST)
        assert it.is_established(2.0 + LEASE_WAIT)

    def test_a_peer_may_know(self):
        it = membership("abc", version=8, epoch=8)
        hear(it, "b", 1.0, version=7, established=True)
        assert not it.is_established(1.0)
        hear(it, "b", 1.0, established=True)
        assert it.is_established(1.0)
        it.adopt(record_of("abc", 9, epoch=9), 1.0)
        assert not it.is_established(1.0)


class TestGrant:
    def quiet(self):
        it = membership("abc", version=7, epoch=8)
        hear(it, "bc", 0.0)
        it.stored(it.record, {}, 0.0, 0.0)
        return it

    def test_not_before_the_ballot_is_quiet(self):
        it = self.quiet()
        hear(it, "bc", LEASE_WAIT)
        assert not it.may_grant(LEASE_WAIT - JUST)
        assert it.may_grant(LEASE_WAIT)

    def test_at_once_to_who_was_established(self):
        assert membership("abc", epoch=3, carried=3).may_grant(0.0)

    def test_not_by_who_is_no_member_or_leaves(self):
        it = self.quiet()
        it.resign()
        assert not it.may_grant(10.0)
        assert not membership("bc", epoch=3, carried=3).may_grant(0.0)

    def test_not_without_the_store_for_long_whoever_is_heard(self):
        """One that nobody here knows may take all of us for dead."""
        it = self.quiet()
        hear(it, "bc", 30.0)
        assert it.may_grant(30.0)
        assert not it.may_grant(30.0 + JUST)
        it.stored(it.record, {}, 40.0, 40.0)
        assert it.may_grant(40.0)

    @pytest.mark.parametrize("is_late", [False, True])
    def test_who_has_founded_grants_nothing_when_a_node_knows_of_another_cluster(self, is_late):
        it = Membership(member("a"), TIMES, 0.0)
        if not is_late:
            it.node_told(4, 0.0)  # when the record was on its way
        it.stored(record_of("a", 3), {}, 0.0, 0.0)
        if is_late:
            it.node_told(4, 0.0)
        it.adopt(replace(it.record, version=9, epoch=9), 1.0)  # a later one of ours tells nothing of that
        for second in range(60):
            it.stored(it.record, {}, float(second), float(second))
            assert not it.may_grant(float(second))
        it.stored(it.record, {}, 60.0, 60.0)
        assert it.may_grant(60.0)

    def test_nor_when_others_have_joined_and_it_is_late_to_hear_of_their_elections(self):
        it = Membership(member("a"), TIMES, 0.0)
        it.stored(record_of("a", 3), {}, 0.0, 0.0)
        it.adopt(record_of("abc", 5), 1.0)
        it.node_told(9, 2.0)
        assert not it.is_doubtful(2.0)

    def test_nor_when_the_others_have_gone_since(self):
        it = Membership(member("a"), TIMES, 0.0)
        it.stored(record_of("ab", 3), {}, 0.0, 0.0)
        it.adopt(record_of("a", 5), 1.0)
        it.node_told(9, 1.0)
        assert not it.is_doubtful(1.0)

    def test_nor_by_what_a_node_has_seen_of_ours(self):
        it = Membership(member("a"), TIMES, 0.0)
        it.stored(record_of("a", 3), {}, 0.0, 0.0)
        it.node_told(3, 0.0)
        assert not it.is_doubtful(0.0)

    def test_what_was_told_when_there_was_no_doubt_any_more_is_none_for_the_next_cluster(self):
        it = Membership(member("a"), TIMES, 0.0)
        it.stored(record_of("a", 3), {}, 0.0, 0.0)
        it.node_told(9, TIMES.takeover_timeout)
        it.stored(Record(10), {}, 70.0, 70.0)
        it.stored(record_of("a", 11), {}, 71.0, 71.0)
        assert not it.is_doubtful(71.0)

    def test_it_is_in_doubt_for_ever_where_time_proves_nothing(self):
        it = Membership(member("a"), TIMES._replace(takeover_timeout=0.0), 0.0)
        it.stored(record_of("a", 3), {}, 0.0, 0.0)
        it.node_told(4, 0.0)
        assert it.is_doubtful(1e9)

    def test_but_by_the_operators_word(self):
        it = Membership(member("a"), TIMES, 0.0)
        it.stored(record_of("a", 3), {}, 0.0, 0.0)
        it.node_told(4, 0.0)
        assert not it.may_grant(LEASE_WAIT + JUST)
        it.trust_store()
        assert it.may_grant(LEASE_WAIT + JUST)

    @pytest.mark.parametrize("epoch", [3, 4])
    def test_it_is_in_no_doubt_when_nobody_else_can_know_the_store_or_it_has_seen_nobody_for_long(self, epoch):
        first, patient = Membership(member("a"), TIMES, 0.0), Membership(member("a"), TIMES, 0.0)
        first.is_first = True
        for second in range(62):
            patient.stored(Record(), {}, float(second), float(second))
        for it in (first, patient):
            it.stored(record_of("a", 3), {}, 62.0, 62.0)
            it.node_told(epoch, 62.0)
            assert it.may_grant(70.0)

    def test_alone_it_needs_nobody(self):
        it = Membership(member("a"), TIMES, 0.0)
        it.found_alone(changes.founded(it, 0.0))
        assert it.may_grant(0.0)
        assert it.is_confirmed
        assert it.is_quiet(0.0)
        assert it.record.term == 1
        assert it.is_keeper
        assert it.is_quorate(1e6)
        assert not it.is_fenced(1e6)
        it.stored(it.record, {}, 1e6, 1e6)
        assert it.may_grant(1e6)


class TestHalved:
    """A ballot that half of the one before has made, by a store that may have forgotten another such write."""

    WAIT = LEASE_WAIT + TIMES.card_ttl * 1.2

    def halved(self, **fields):
        it = membership("ab", version=7, halved=True, former=tuple("abcd"), **fields)
        hear(it, "b", 0.0)
        return it

    def test_it_is_quiet_only_when_the_other_half_can_not_have_read_its_own_any_more(self):
        it = self.halved()
        assert not it.is_quiet(self.WAIT - JUST)
        assert it.is_quiet(self.WAIT)

    def test_so_is_its_master_established(self):
        it = self.halved(epoch=7)
        assert not it.is_established(self.WAIT - JUST)
        assert it.is_established(self.WAIT)

    def test_it_grants_only_while_the_store_has_it(self):
        it = self.halved(epoch=7, carried=7)
        assert not it.may_grant(0.0), "the store has not been read"
        it.stored(it.record, {}, 1.0, 1.0)
        assert it.may_grant(1.0 + TIMES.card_ttl)
        assert not it.may_grant(1.0 + TIMES.card_ttl + JUST)
        it.stored(record_of("abcd", 6), {}, 5.0, 5.0)
        assert not it.may_grant(5.0), "it has forgotten it"
        it.stored(record_of("ab", 9, ballot=7, halved=True, epoch=9, carried=9), {}, 5.0, 5.0)
        assert it.may_grant(5.0), "of the same ballot"
        it.adopt(record_of("a", 10, halved=True, epoch=9, carried=9), 5.0)
        assert not it.may_grant(5.0), "that one has not been read"

    def test_an_answer_is_as_old_as_its_question(self):
        it = self.halved(epoch=7, carried=7)
        it.stored(it.record, {}, 1.0, 9.0)
        assert not it.may_grant(9.0)


class TestRivals:
    """Others that say that they are where we are."""

    def newcomer(self, *, is_bound=False):
        return Membership(member("x", "c", is_bound=is_bound), TIMES, 0.0)

    def test_one_that_lives_refreshes_its_card(self):
        it = self.newcomer()
        cards = {"c": member("c"), "x": it.me, "a": member("a")}
        patience = TIMES.card_ttl * 1.2
        for now in (0.0, patience / 2, patience):
            it.stored(Record(), cards, now, now)
            assert set(it.rivals) == {"c"}
            assert it.rival() is None
        it.stored(Record(), cards, patience, patience + 1.0)
        assert it.rival() is None, "an answer is as old as its question"
        it.stored(Record(), cards, patience + JUST, patience + 1.0)
        assert it.rival() == member("c")
        del cards["c"]
        it.stored(Record(), cards, patience + 1.0, patience + 1.0)
        assert it.rivals == {}

    def test_the_kernel_has_given_us_the_address_of_one_that_is_dead(self):
        it = self.newcomer(is_bound=True)
        it.stored(Record(), {"c": member("c")}, 0.0, 0.0)
        assert it.rivals == {}


class TestVacancy:
    def sees(self, it, names, *, nodes=("n",)):
        for name in names:
            it.sees(name, [NodeSeen(node, 1) for node in nodes])

    def test_who_hears_a_majority_sees_whether_it_has_the_master(self):
        it = membership("abc", master="n", incarnation=1)
        assert not it.is_vacant(0.0), "nobody is heard"
        hear(it, "bc", 0.0)
        assert it.is_vacant(0.0)
        self.sees(it, "bc")
        assert not it.is_vacant(0.0)

    def test_a_majority_must_say_so_of_the_same_record(self):
        it = membership("abc", master="n", incarnation=1)
        hear(it, "bc", 0.0)
        assert it.is_vacant(0.0)
        assert not it.is_agreed_vacant(0.0), "we are at the end of a bridge, perhaps"
        hear(it, "b", 0.0, vacant=True, version=4)
        assert not it.is_agreed_vacant(0.0)
        hear(it, "b", 0.0, vacant=True)
        assert it.is_agreed_vacant(0.0)
        assert not it.is_agreed_vacant(3.0), "b is not heard any more"

    def test_who_has_said_nothing_of_itself_yet_has_not_said_so(self):
        it = membership("abc")
        it.heard("b", 1.0)
        assert it.is_vacant(1.0)
        assert not it.is_agreed_vacant(1.0)

    def test_not_while_we_see_it(self):
        it = membership("abc", master="n", incarnation=1)
        hear(it, "bc", 0.0, vacant=True)
        self.sees(it, "ab")
        assert not it.is_agreed_vacant(0.0)

    def test_a_keeper_that_is_no_member_keeps_nothing(self):
        assert not membership("bc", keeper="a").is_keeper

    def test_the_keeper_is_first_and_then_all_others_in_the_records_order(self):
        assert [membership("abcd", me=me, keeper="c").turn() for me in "cabd"] == [0, 1, 2, 3]


class TestNodes:
    def test_a_majority_of_the_members_that_are_heard_must_have_that_process(self):
        it = membership("abc")
        hear(it, "bc", 1.0)
        it.sees("a", [NodeSeen("n", 1)])
        it.sees("b", [NodeSeen("n", 2)])
        it.sees("x", [NodeSeen("n", 1)])
        assert not it.majority_sees("n", 1, 1.0)
        it.sees("c", [NodeSeen("n", 1)])
        assert it.majority_sees("n", 1, 1.0)
        assert not it.majority_sees("n", 1, 4.0), "c is not heard any more"

    @pytest.mark.parametrize(
        ("state", "stays", "is_candidate"), [(READY, 1, 1), (SYNCING, 1, 0), (DRAINING, 0, 0), (OF_OLDER, 0, 0)]
    )
    def test_a_master_stays_until_it_drains_but_only_a_ready_node_becomes_one(self, state, stays, is_candidate):
        it = membership("a")
        it.sees("a", [NodeSeen("n", 1, state)])
        assert it.majority_sees("n", 1, 0.0) == bool(stays)
        assert it.majority_sees("n", 1, 0.0, ready=True) == bool(is_candidate)


class TestPeers:
    def test_members_and_for_a_while_those_that_were_evicted(self):
        it = membership("abc")
        hear(it, "b", 1.0)
        it.adopt(record_of("ab", 6), 1.0)
        alive = [(m.proxy, m.router, True) for m in map(member, "ab")]
        assert it.peers(1.0) == [*alive, ("c", member("c").router, False)]
        hear(it, "b", 1.0 + TIMES.grace + JUST)
        assert it.peers(1.0 + TIMES.grace + JUST) == alive

    def test_none_before_we_are_a_member(self):
        newcomer = Membership(member("x"), TIMES, 0.0)
        assert newcomer.peers(0.0) == []
        newcomer.adopt(record_of("ab", 6), 1.0, from_store=True)
        assert newcomer.peers(1.0) == []
        newcomer.adopt(record_of("abx", 7), 1.0)
        assert [proxy for proxy, _, _ in newcomer.peers(1.0)] == ["x", "a", "b"]
        newcomer.adopt(record_of("ab", 8), 2.0)
        assert [proxy for proxy, _, _ in newcomer.peers(2.0)] == ["x", "a", "b"], "nor is it one that was evicted"

    def test_those_that_were_evicted_before_we_came_by_the_word_of_others(self):
        newcomer = membership("abx", me="x")
        left = TIMES.grace / 2
        evicted = [Evicted(member(name), left) for name in "cbx"]
        newcomer.beat("a", Beat(5, [], [], evicted=evicted), 1.0)
        assert [proxy for proxy, _, _ in newcomer.peers(1.0 + left - JUST)] == ["x", "a", "b", "c"]
        assert newcomer.lingering.say(2.0) == [Evicted(member("c"), left - 1.0)], "and tells it on"
        assert [proxy for proxy, _, _ in newcomer.peers(1.0 + left + JUST)] == ["x", "a", "b"]
        newcomer.beat("a", Beat(5, [], [], evicted=[Evicted(member("d"), 1e9)]), 1.0)
        assert [m.proxy for m in newcomer.lingering.members(1.0 + TIMES.grace)] == ["d"], "never for longer"
        newcomer.adopt(record_of("abxd", 6), 2.0)
        assert [one.member.proxy for one in newcomer.lingering.say(2.0)] == ["c"]

    def test_those_that_the_record_names_to_who_begins_unless_members_know_better(self):
        record = record_of("abx", gone=(member("c"), member("d")))
        newcomer = Membership(member("x"), TIMES, 0.0)
        newcomer.adopt(record, 1.0)
        newcomer.beat("a", Beat(5, [], [], evicted=[Evicted(member("c"), 2.0)]), 1.0)
        newcomer.beat("b", Beat(5, [], [], evicted=[Evicted(member("c"), 9.0)]), 1.0)
        assert [proxy for proxy, _, _ in newcomer.peers(3.0)] == ["x", "a", "b", "c", "d"]
        assert [proxy for proxy, _, _ in newcomer.peers(3.0 + JUST)] == ["x", "a", "b", "d"]
        assert newcomer.peers(1.0 + TIMES.grace + JUST)[3:] == []
        newcomer.adopt(record_of("abxe", 6, gone=(member("c"), member("d"))), 1.0 + TIMES.grace + JUST)
        assert newcomer.peers(1.0 + TIMES.grace + JUST)[4:] == [], "it has been here when they went"

    def test_those_that_the_record_names_to_who_has_missed_that_they_came(self):
        it = membership("ab", me="b")
        it.adopt(record_of("ab", 7, gone=(member("x"),)), 1.0, from_store=True)  # 6 was {a, b, x}
        assert [proxy for proxy, _, _ in it.peers(1.0 + TIMES.grace)] == ["b", "a", "x"]
        assert [m.proxy for m in it.gone(("b",), 1.0)] == ["x", "a"], "and tells it on"
        it.beat("a", Beat(7, [], [], evicted=[Evicted(member("x"), 2.0)]), 1.0)
        assert [proxy for proxy, _, _ in it.peers(3.0 + JUST)] == ["b", "a"], "unless members know better"
        it.adopt(record_of("ab", 8, gone=(member("x"),)), 4.0)
        assert [proxy for proxy, _, _ in it.peers(4.0)] == ["b", "a"], "it has been here since"

    def test_not_who_said_that_it_leaves_while_the_record_has_it(self):
        it = membership("abc")
        it.left("b")
        assert [proxy for proxy, _, _ in it.peers(1.0)] == ["a", "c"]

    def test_not_who_said_that_it_leaves(self):
        it = membership("abc")
        it.adopt(record_of("ab", 6), 1.0)
        it.left("c")
        assert [proxy for proxy, _, _ in it.peers(1.0)] == ["a", "b"]

    def test_not_even_when_the_record_comes_after_its_farewell(self):
        it = membership("abc")
        it.left("c")
        it.adopt(record_of("ab", 6), 1.0)
        assert [proxy for proxy, _, _ in it.peers(1.0)] == ["a", "b"]

    def test_not_where_another_is_now(self):
        it = membership("abc")
        it.adopt(record_of("ab", 6), 1.0)
        members = (*map(member, "ab"), member("d", place="c"))
        it.adopt(record_of("ab", 7, members=members), 2.0)
        assert [proxy for proxy, _, _ in it.peers(2.0)] == ["a", "b", "d"]

    def test_but_where_another_only_says_to_be(self):
        it = membership("abc")
        it.adopt(record_of("ab", 6), 1.0)
        members = (*map(member, "ab"), member("d", place="c", is_bound=False))
        it.adopt(record_of("ab", 7, members=members), 2.0)
        assert [proxy for proxy, _, _ in it.peers(2.0)] == ["a", "b", "d", "c"]

    def test_not_who_is_known_dead(self):
        it = membership("abc")
        it.adopt(record_of("ab", 6), 1.0)
        it.died("c")
        assert [proxy for proxy, _, _ in it.peers(1.0)] == ["a", "b"]
        assert set(it.prefixes(1.0).values()).isdisjoint("c")

    def test_who_is_back_is_listed_once(self):
        it = membership("abc")
        it.adopt(record_of("ab", 6), 1.0)
        it.adopt(record_of("abc", 7), 2.0)
        assert [proxy for proxy, _, _ in it.peers(2.0)] == ["a", "b", "c"]


class TestNames:
    """Who is worth a look, and what comes of it."""

    def test_members_and_evicted_ones_of_our_host_that_are_not_heard(self):
        it = membership("abcd")
        hear(it, "b", 1.0)
        it.adopt(record_of("abc", 6), 1.0)
        assert it.nameable(1.0) == ["c", "d"]
        it.died("c")
        assert it.nameable(1.0) == ["d"]
        assert it.nameable(1.0 + TIMES.heartbeat_timeout + JUST) == ["b", "d"]

    def test_not_those_of_other_hosts_and_not_those_that_have_no_name(self):
        members = (member("a"), member("b", host="other"), member("c", is_named=False))
        it = membership("a", members=members)
        assert it.nameable(0.0) == []

    def test_a_card_contradicts(self):
        it = membership("ab")
        it.died("b")
        assert it.is_known_dead("b")
        it.stored(it.record, {"b": member("b")}, 0.0, 0.0)
        assert not it.is_known_dead("b")

    def test_nothing_is_kept_of_who_is_not_in_the_record_any_more(self):
        it = membership("ab")
        it.died("b")
        it.left("b")
        it.adopt(record_of("a", 6), 0.0)
        assert not it.is_known_dead("b")

    def test_an_older_proxy_that_knows_no_names_writes_the_record_without_them(self):
        """We are the same member as before, and nobody takes our name for a proof."""
        it = membership("ab")
        it.adopt(record_of("ab", 6, members=(member("a", is_named=False), member("b", is_named=False))), 0.0)
        assert it.is_member
        assert it.nameable(0.0) == []
        assert [proxy for proxy, _, _ in it.peers(0.0)] == ["a", "b"]
