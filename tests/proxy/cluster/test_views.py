from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.cluster.times import Times
from holdfast.protocols.peers.frames import Beat, Figures, Member, Record
from holdfast.proxy.cluster.views import trouble_of, view_of, warning_of
from holdfast.proxy.views import PluginStatus

TIMES = Times(0.5, 2.0, 3.0, 10.0, 60.0, 2.0, 5.0)
A, B, C = (Member(id, f"tcp://{id}:7510", f"tcp://{id}:7511") for id in "abc")
RECORD = Record(7, 3, "node", 1, "b", 5, (A, B, C))


def cluster_of(record=RECORD):
    """A's, at time 0."""
    cluster = Cluster(A, b"", TIMES, lambda: 1, lambda: 0, 0.0)
    if record is not None:
        cluster.membership.adopt(record, 0.0)
    return cluster


def hear(cluster, proxy, now, **beat):
    cluster.membership.heard(proxy, now)
    cluster.membership.beat(proxy, Beat(7, [], [], **beat), now)


def test_what_each_proxy_has_told_is_shown():
    cluster = cluster_of()
    cluster.tick(1.0)  # peers are dialled
    hear(cluster, "b", 1.0)
    cluster.membership.beats["b"] = Beat(7, [], [], fenced=True, figures=Figures(clients=5, worker=2, last_exit=-9))
    view = view_of(cluster, 1.0)
    assert (view.here, view.version, view.epoch, view.master, view.keeper) == ("a", 7, 3, "node", "b")
    mine, other, silent = view.members
    assert (mine.id, mine.alive, mine.clients) == ("a", True, 0)
    assert (other.id, other.router, other.pub) == ("b", "tcp://b:7510", "tcp://b:7511")
    assert (other.alive, other.fenced, other.clients, other.worker, other.last_exit) == (True, True, 5, 2, -9)
    assert (silent.id, silent.alive, silent.clients) == ("c", False, 0)
    status = PluginStatus.of(view)
    assert (status.count, status.current.ready, [one.ready for one in status.pool]) == (3, True, [False, False])


def test_what_we_have_not_told_the_others_is_not_shown():
    cluster = cluster_of()
    cluster.voice.figures = lambda: Figures(clients=4)
    told = view_of(cluster, 0.0).members[0].clients
    cluster.tick(1.0)  # a heartbeat is due
    assert (told, view_of(cluster, 1.0).members[0].clients) == (0, 4)


def test_one_that_joins_shows_itself():
    view = view_of(cluster_of(None), 1.0)
    assert (view.trouble, view.master, view.keeper) == ("joining", None, None)
    assert [one.id for one in view.members] == ["a"]
    assert PluginStatus.of(view).count == 1


def test_one_that_was_evicted_shows_itself_and_the_others():
    cluster = cluster_of()
    cluster.membership.adopt(Record(8, 3, "node", 1, "b", 8, (B, C)), 5.0)
    assert trouble_of(cluster, 6.0) == "evicted, and joins again"
    assert [one.id for one in view_of(cluster, 6.0).members] == ["b", "c", "a"]


def test_a_founder_in_doubt_serves_its_clients_and_says_why_there_is_no_master():
    cluster = cluster_of(Record(1, 1, keeper="a", ballot=1, members=(A,)))
    cluster.membership.node_told(9, 0.0)
    assert not cluster.membership.may_grant(10.0)
    assert trouble_of(cluster, 1.0) == ""
    assert "a node has seen epoch 9" in warning_of(cluster, 1.0)
    cluster.reset()
    assert warning_of(cluster, 1.0) == ""


def test_who_is_not_heard_any_more_is_silent_and_no_longer_fenced():
    cluster = cluster_of()
    cluster.tick(1.0)
    hear(cluster, "b", 1.0)
    cluster.membership.beats["b"] = Beat(7, [], [], fenced=True)
    assert [one.fenced for one in view_of(cluster, 1.0).members] == [False, True, False]
    _, dead, _ = view_of(cluster, 9.0).members
    assert (dead.alive, dead.fenced) == (False, False)


def test_one_that_is_fenced_says_that_its_record_may_be_old():
    """It lists who was in it when the store last answered: one of those may be dead, and evicted by the others."""
    trouble = view_of(cluster_of(), 9.0).trouble
    assert trouble.startswith("fenced: hears 1 of 3 proxies; the store has not answered for 9 s")


def test_who_hears_too_few_says_how_many():
    cluster = cluster_of()
    hear(cluster, "b", 1.0)
    assert trouble_of(cluster, 1.0) == ""
    assert not view_of(cluster, 1.0).fenced
    assert trouble_of(cluster, 4.0) == "fenced: hears 1 of 3 proxies"
    assert view_of(cluster, 4.0).fenced
