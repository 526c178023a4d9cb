"""Hearing, quorum, fencing, and what a grant needs: one rule after another."""

import pytest

from balancer.cluster.membership import Membership
from protocols.peers.frames import DRAINED, DRAINING, READY, SYNCING, NodeSeen, Record
from tests.balancer.cluster.views import LEASE_WAIT, TIMES, hear, member, membership, record_of

JUST = 0.01


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
        assert it.must_close(20.0 + JUST), "counted from when it was expelled, whatever has come since"

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

    def test_an_election_changes_nothing_of_it(self):
        it = membership("ab", version=7)
        hear(it, "b", 1.0)
        it.adopt(record_of("ab", 8, ballot=7, epoch=8, master="n"), 2.0)
        assert it.is_confirmed

    def test_a_new_set_begins_anew(self):
        it = membership("ab", version=7)
        hear(it, "b", 1.0)
        it.adopt(record_of("abc", 8), 2.0)
        assert not it.is_confirmed

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

    def test_not_without_the_store_for_long_while_a_member_is_missing(self):
        it = self.quiet()
        hear(it, "bc", 30.0)
        assert it.may_grant(30.0 + JUST), "nobody is missing, so nobody can go on without us"
        hear(it, "b", 40.0)
        assert not it.may_grant(40.0)
        it.stored(it.record, {}, 40.0, 40.0)
        assert it.may_grant(40.0)

    def test_alone_it_needs_nobody(self):
        it = Membership(member("a"), TIMES, 0.0)
        it.found_alone(0.0)
        assert it.may_grant(0.0)
        assert it.is_keeper
        assert it.is_quorate(1e6)
        assert not it.is_fenced(1e6)
        assert it.may_grant(1e6)


class TestNodes:
    def test_a_majority_of_the_members_that_are_heard_must_have_that_process(self):
        it = membership("abc")
        hear(it, "bc", 1.0)
        it.sees([NodeSeen("n", 1)])
        it.peer_sees("b", [NodeSeen("n", 2)])
        it.peer_sees("x", [NodeSeen("n", 1)])
        assert not it.majority_sees("n", 1, 1.0)
        it.peer_sees("c", [NodeSeen("n", 1)])
        assert it.majority_sees("n", 1, 1.0)
        assert not it.majority_sees("n", 1, 4.0), "c is not heard any more"

    @pytest.mark.parametrize(
        ("state", "stays", "is_candidate"), [(READY, 1, 1), (SYNCING, 1, 0), (DRAINING, 0, 0), (DRAINED, 0, 0)]
    )
    def test_a_master_stays_until_it_drains_but_only_a_ready_node_becomes_one(self, state, stays, is_candidate):
        it = membership("a")
        it.sees([NodeSeen("n", 1, state)])
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

    def test_who_is_back_is_listed_once(self):
        it = membership("abc")
        it.adopt(record_of("ab", 6), 1.0)
        it.adopt(record_of("abc", 7), 2.0)
        assert [proxy for proxy, _, _ in it.peers(2.0)] == ["a", "b", "c"]
