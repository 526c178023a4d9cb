"""What a proxy has said of itself, and the pages that say all of it."""

from balancer.cluster.facts import PeerFacts
from protocols.peers.frames import Beat, Counts, Nodes, NodeSeen, Record, Told

TOLD = Told(Record(3))


def test_changes_set_what_they_name():
    facts = PeerFacts()
    facts.apply(Counts([("a", 2), ("b", 1)]))
    facts.apply(Counts([("a", 3), ("b", 0), ("never", 0)]))
    facts.apply(Nodes([NodeSeen("n", 1)]))
    facts.apply(Nodes([NodeSeen("m", 2)]))
    assert facts.counts == {"a": 3}
    assert facts.nodes == [NodeSeen("m", 2)]


def test_full_facts_leave_nothing_of_what_was():
    facts = PeerFacts()
    facts.apply(Counts([("old", 2)]))
    facts.apply(Nodes([NodeSeen("n", 1)]))
    facts.replace([TOLD, Beat(4, ["x"], []), Counts([("new", 1)])])
    assert facts.counts == {"new": 1}
    assert facts.nodes == []
    assert facts.beat.version == 4


def test_pages_make_an_equal_copy():
    facts = PeerFacts()
    facts.apply(Beat(3, ["x"], ["y"]))
    facts.apply(Nodes([NodeSeen("n", 1)]))
    facts.apply(Counts([(f"c{number}", number) for number in range(1, 26)]))
    pages = facts.pages(TOLD, size=10)
    assert [len(page) for page in pages] == [3, 1, 1, 1]
    copy = PeerFacts()
    copy.replace(frame for page in pages for frame in page)
    assert (copy.beat, copy.nodes, copy.counts) == (facts.beat, facts.nodes, facts.counts)
    assert pages[0][0] == TOLD
