"""Who may have the lease from one proxy, and when it writes an election."""

import pytest

from holdfast.balancer.cluster.changes import STEP
from holdfast.balancer.cluster.mastership import RAISE_EVERY, Mastership
from holdfast.protocols.peers.frames import SYNCING, NodeSeen
from tests.balancer.cluster.views import LEASE_WAIT, hear, membership

N, M = ("n", 1), ("m", 1)
NOW = 5.0  # no former run's grant stands any more
NODES = [NodeSeen("x", 1, SYNCING), NodeSeen("m", 1), NodeSeen("o", 1)]


def proxy(me="a", began=0.0):
    """Of three, which hears the others, and whose record has the master n."""
    it = membership("abc", me=me, master="n", incarnation=1, epoch=5, carried=5)
    hear(it, {"a", "b", "c"} - {me}, NOW)
    return it, Mastership(it, began)


def lose_master(it, now=NOW, nodes=NODES):
    """A majority says so, and has these nodes."""
    hear(it, set(it.record.ids) - {it.me.proxy}, now, vacant=True)
    for name in it.record.ids:
        it.sees(name, nodes)


def keep_master(it):
    for name in it.record.ids:
        it.sees(name, [NodeSeen("n", 1)])


def test_the_records_process_has_the_lease():
    _, mastership = proxy()
    assert mastership.is_master(N)
    assert not mastership.is_master(("n", 2))
    assert not mastership.renew(M, NOW)
    assert mastership.renew(N, NOW)


def test_who_may_grant_nothing_does_not():
    it, mastership = proxy()
    it.resign()
    assert not mastership.renew(N, NOW)


def test_what_a_former_run_has_granted_is_waited_for_but_by_who_joins():
    _, mastership = proxy(began=NOW)
    assert not mastership.renew(N, NOW)
    mastership.followed(is_joining=False)
    assert not mastership.renew(N, NOW)
    mastership.followed(is_joining=True)
    assert mastership.renew(N, NOW)


def test_who_does_not_see_it_says_that_there_is_none():
    it, mastership = proxy()
    assert mastership.master(NOW) == ("", 5)
    keep_master(it)
    assert mastership.master(NOW) == ("n", 5)


def test_nothing_is_written_while_there_is_one():
    it, mastership = proxy()
    keep_master(it)
    assert mastership.elect(NODES, NOW) is None
    assert mastership.renew(N, NOW)


def test_the_first_of_ours_that_a_majority_has_ready():
    it, mastership = proxy()
    lose_master(it)
    record = mastership.elect(NODES, NOW)
    assert (record.master, record.incarnation, record.epoch) == ("m", 1, 6)
    assert not mastership.renew(N, NOW), "it is lost, and there is another"
    mastership.followed(is_joining=False)
    assert mastership.renew(N, NOW), "what is so of the record before is not of this one"


def test_not_while_only_we_do_not_see_it():
    it, mastership = proxy()
    for name in "abc":
        it.sees(name, NODES)
    assert mastership.elect(NODES, NOW) is None


def test_one_that_is_ready_for_us_only_is_not():
    it, mastership = proxy()
    lose_master(it, nodes=[NodeSeen("m", 1, SYNCING)])
    assert mastership.elect(NODES, NOW) is None


def test_it_begins_above_what_any_node_has_seen():
    it, mastership = proxy()
    lose_master(it)
    it.node_told(40, NOW)
    record = mastership.elect(NODES, NOW)
    assert (record.master, record.epoch) == ("m", 41)


def test_nobody_where_none_is_ready_and_the_old_one_may_come_back():
    it, mastership = proxy()
    lose_master(it, nodes=NODES[:1])
    assert mastership.elect(NODES, NOW) is None
    assert mastership.renew(N, NOW)


def test_who_was_vacant_and_is_not_is_granted_again():
    it, mastership = proxy()
    lose_master(it)
    mastership.elect(NODES, NOW)
    keep_master(it)
    mastership.elect(NODES, NOW)
    assert mastership.renew(N, NOW)


def test_another_waits_for_the_end_of_the_lease():
    it, mastership = proxy()
    mastership.renew(N, NOW)
    for now, is_written in (NOW, False), (NOW + LEASE_WAIT - 0.1, False), (NOW + LEASE_WAIT, True):
        lose_master(it, now)
        assert (mastership.elect(NODES, now) is not None) == is_written


def test_a_higher_epoch_waits_for_no_lease():
    it, mastership = proxy()
    mastership.renew(N, NOW)
    keep_master(it)
    it.node_told(40, NOW)
    record = mastership.elect(NODES, NOW)
    assert (record.master, record.incarnation, record.epoch) == ("n", 1, 41)
    assert mastership.renew(N, NOW)


def test_that_is_not_done_all_the_time():
    it, mastership = proxy()
    keep_master(it)
    it.node_told(40, NOW)
    assert mastership.elect(NODES, NOW)
    hear(it, "bc", NOW + RAISE_EVERY)
    assert not mastership.elect(NODES, NOW + RAISE_EVERY - 0.1)
    assert mastership.elect(NODES, NOW + RAISE_EVERY)


def test_an_election_puts_off_no_higher_epoch():
    it, mastership = proxy()
    lose_master(it)
    assert mastership.elect(NODES, NOW).master == "m"
    keep_master(it)
    it.node_told(40, NOW)
    assert mastership.elect(NODES, NOW).epoch == 41


@pytest.mark.parametrize("epoch", [4, 5])
def test_what_a_node_knows_already_needs_no_other_epoch(epoch):
    it, mastership = proxy()
    keep_master(it)
    it.node_told(epoch, NOW)
    assert mastership.elect(NODES, NOW) is None


def test_a_minority_writes_nothing():
    it = membership("abc", master="n", incarnation=1)
    mastership = Mastership(it, 0.0)
    it.node_told(40, NOW)
    assert mastership.elect(NODES, NOW) is None


def test_each_further_member_gives_those_before_it_a_step_more():
    it, mastership = proxy(me="b")
    it.node_told(40, NOW)
    keep_master(it)
    assert [mastership.elect(NODES, NOW + since) is not None for since in (0.0, STEP - 0.1, STEP)] == [
        False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("why", ["nothing to do", "doubt"])
def test_the_step_begins_anew_when_it_was_not_due(why):
    it, mastership = proxy(me="b")
    lose_master(it)
    assert mastership.elect(NODES, NOW) is None
    if why == "doubt":
        it._is_doubted, it._blind_until = True, NOW + STEP / 2
    else:
        keep_master(it)
    assert mastership.elect(NODES, NOW + STEP / 4) is None
    lose_master(it, NOW + STEP)
    assert mastership.elect(NODES, NOW + STEP) is None
    assert mastership.elect(NODES, NOW + 2 * STEP) is not None


def test_who_is_in_doubt_elects_nobody():
    it, mastership = proxy()
    lose_master(it)
    it._is_doubted, it._blind_until = True, NOW + 1.0
    assert mastership.elect(NODES, NOW) is None
