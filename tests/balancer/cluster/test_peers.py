"""Who is asked for a proof, and who gives one."""

import pytest

from holdfast.balancer.cluster.actions import Ask, Publish
from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.cluster.peers import Peers
from holdfast.protocols.peers.envelope import seal, unseal
from holdfast.protocols.peers.frames import Facts, Proof, Prove, Record, WantFacts
from tests.balancer.cluster.views import TIMES, Prompt, member

TOKEN = b"shared"


def cluster_of(name):
    cluster = Cluster(member(name), TOKEN, TIMES, lambda: 7, lambda: 0, 0.0)
    Prompt(cluster.replication)
    return cluster


def proofs(actions):
    said = [frame for action in actions if isinstance(action, Publish) for frame in unseal(TOKEN, action.data).frames]
    return [frame for frame in said if isinstance(frame, Proof)]


def test_a_question_says_whose_proof_is_wanted():
    cluster = cluster_of("a")
    cluster.stored(Record(), {name: member(name) for name in ("b", "c")}, 0.0, 0.0)
    asked = [action for action in cluster.tick(0.0) if isinstance(action, Ask)]
    assert [(ask.peer, unseal(TOKEN, ask.data).frames) for ask in asked] == [
        (peer, [Prove(7, member("a"), peer)]) for peer in ("b", "c")
    ]


@pytest.mark.parametrize(("asked", "does"), [("b", True), ("", True), ("died here", False)])
def test_nobody_proves_for_who_had_the_address_before(asked, does):
    """It would be no proof of that one, and would go to all: each of them asks five times a second."""
    cluster = cluster_of("b")
    cluster.tick(0.0)
    cluster.asked(seal(TOKEN, "a", 0, [Prove(9, member("a"), asked)]), 0.1)
    assert proofs(cluster.tick(0.1)) == [Proof(9)] * does
    assert "a" in cluster.peers, "whoever asks is there, and is dialled"


PATIENCE = TIMES.card_ttl + TIMES.heartbeat_timeout


def peers_of(*names):
    """Of a, at 0."""
    peers = Peers(member("a"), TIMES, lambda: 7)
    for name in names:
        peers.want(member(name), 0.0)
    return peers


def test_all_others_are_dialled_once():
    peers = peers_of("a", "b", "c")
    assert set(peers) == {"b", "c"}, "not ourselves"
    assert peers.tend((), 2 * PATIENCE) == ([member("b"), member("c")], []), "and not hung up on at once"
    assert peers.tend("bc", 2 * PATIENCE) == ([], [])


def test_who_is_not_heard_and_for_long_without_a_reason_is_hung_up_on():
    peers = peers_of("b", "c", "d")
    peers.tend((), 0.0)
    peers.want(member("c"), 1.0)
    assert peers.tend((), PATIENCE) == ([], [])
    assert peers.tend("d", PATIENCE + 0.1) == ([], ["b"])
    assert set(peers) == {"c", "d"}


def test_what_each_is_asked_and_when():
    peers = peers_of("b")
    stream = peers["b"].stream
    assert list(peers.questions(0.0)) == [("b", Prove(7, member("a"), "b"))]
    assert list(peers.questions(0.1)) == []
    assert peers.live() == set()
    stream.published(1, [Proof(7)])
    every = TIMES.discover_timeout / 3
    asked = [list(peers.questions(now)) for now in (1.0, 0.9 + every, 1.0 + every)]
    assert asked == [[("b", WantFacts())], [], [("b", WantFacts())]]
    stream.facts(Facts(1, []))
    assert list(peers.questions(9.0)) == []
    assert peers.live() == {"b"}
    peers.restart()
    assert peers.live() == set()


def test_what_was_counted_of_who_has_gone_still_counts():
    peers = Peers(member("a"), TIMES, lambda: 7)
    for name, gaps in ("b", 2), ("c", 3):
        peers.want(member(name), 0.0)
        peers[name].stream.counters.gaps = gaps
    peers.tend((), 0.0)
    assert peers.counters().gaps == 5
    peers.want(member("c"), 1000.0)
    assert peers.tend((), 1000.0) == ([], ["b"])
    assert peers.counters().gaps == 5
