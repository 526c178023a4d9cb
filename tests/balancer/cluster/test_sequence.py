"""A peer's published stream: proof, gaps, repair."""

from hypothesis import given
from hypothesis import strategies as st

from holdfast.balancer.cluster import sequence
from holdfast.balancer.cluster.sequence import Sequence, SequenceState
from holdfast.protocols.peers.frames import Facts, Nodes, NodeSeen, Proof

NONCE = 77


def word(number):
    return Nodes([NodeSeen("n", number)])


def proven(at=5):
    it = Sequence(NONCE, 1.0)
    assert it.published(at, [Proof(NONCE), word(at)]) == ()
    return it


def live(at=5):
    it = proven(at)
    assert it.facts(Facts(at, [word(at)])) is not None
    return it


class TestProof:
    def test_nothing_counts_before_it(self):
        it = Sequence(NONCE, 1.0)
        assert it.published(1, [word(1)]) is None
        assert it.published(2, [Proof(NONCE - 1)]) is None
        assert it.state is SequenceState.UNPROVEN

    def test_it_is_asked_for_until_it_comes(self):
        it = Sequence(NONCE, 1.0)
        assert [it.wants_proof(now) for now in (0.0, 0.1, 0.2, 0.3, 0.45)] == [True, False, True, False, True]
        assert not it.wants_facts(1.0)
        assert not it.wants_facts(9.0)
        it.published(3, [Proof(NONCE)])
        assert not it.wants_proof(9.0)

    def test_an_old_one_proves_nothing_after_a_restart(self):
        it = live()
        it.restart()
        assert it.published(6, [Proof(NONCE)]) is None
        assert it.wants_proof(0.0)
        assert it.published(7, [Proof(it.nonce)]) == ()

    def test_a_restart_asks_at_once(self):
        it = Sequence(NONCE, 1.0)
        assert it.wants_proof(5.0)
        it.restart()
        assert it.wants_proof(5.1)

    def test_nor_do_facts_of_before(self):
        it = proven(5)
        it.facts(Facts(8, [word(8)]))
        it.restart()
        it.published(6, [Proof(it.nonce)])
        it.published(8, [word(8)])
        assert it.facts(Facts(6, [word(6)])) is None, "7 would be missing"


class TestRepair:
    def test_facts_are_asked_for_at_once_and_then_again(self):
        it = proven()
        assert [it.wants_facts(now) for now in (0.0, 0.5, 1.0)] == [True, False, True]

    def test_what_was_kept_follows_the_facts(self):
        it = proven(5)
        for number in (6, 7, 8):
            assert it.published(number, [word(number)]) == ()
        repair = it.facts(Facts(6, [word(6)]))
        assert repair == sequence.Repair([word(6)], [word(7), word(8)])
        assert it.state is SequenceState.LIVE
        assert it.published(9, [word(9)]) == [word(9)]

    def test_facts_that_are_ahead_have_what_comes_after_them(self):
        it = proven(5)
        assert it.facts(Facts(8, [word(8)])).then == []
        assert [it.published(number, [word(number)]) for number in (6, 7, 8)] == [(), (), ()]
        assert it.published(9, [word(9)]) == [word(9)]
        assert it.counters.duplicates == it.counters.replayed == 0

    def test_a_gap_that_the_facts_cover_needs_no_other(self):
        it = proven(5)
        it.facts(Facts(8, []))
        assert it.published(8, [word(8)]) == ()
        assert (it.state, it.counters.gaps, it.counters.messages_lost) == (SequenceState.LIVE, 1, 2)

    def test_facts_from_before_the_proof_are_of_no_use(self):
        it = proven(5)
        assert it.facts(Facts(3, [])) is None
        assert it.facts(Facts(4, [])) is not None, "5 itself is kept"

    def test_unasked_facts_change_nothing(self):
        it = live()
        assert it.facts(Facts(9, [word(9)])) is None
        assert it.published(6, [word(6)]) == [word(6)]


class TestNumbers:
    def test_a_gap_is_counted_exactly_and_repaired(self):
        it = live(5)
        assert it.published(9, [word(9)]) == ()
        assert (it.counters.gaps, it.counters.messages_lost, it.state) == (1, 3, SequenceState.ASKING)
        assert it.published(10, [word(10)]) == ()
        assert it.facts(Facts(9, [])).then == [word(10)]
        assert it.counters.repairs == 2

    def test_a_second_gap_while_asking_makes_what_was_kept_void(self):
        it = live(5)
        it.published(8, [word(8)])
        it.published(11, [word(11)])
        assert it.facts(Facts(8, [])) is None, "9 and 10 would be missing"
        assert it.facts(Facts(10, [])).then == [word(11)]
        assert it.counters.messages_lost == 4

    def test_what_is_lost_and_in_the_facts_is_no_hole(self):
        it = proven(5)
        it.facts(Facts(8, [word(8)]))
        assert it.published(8, [word(8)]) == ()
        assert it.published(9, [word(9)]) == [word(9)]
        it = proven(5)
        it.facts(Facts(8, [word(8)]))
        assert it.published(9, [word(9)]) == [word(9)]
        assert it.state is SequenceState.LIVE
        assert (it.counters.gaps, it.counters.messages_lost) == (1, 3)
        assert it.facts(Facts(9, [])) is None, "nobody has asked"
        it = proven(5)
        it.facts(Facts(8, [word(8)]))
        assert it.published(10, [word(10)]) == (), "9 is not in them"
        assert it.state is SequenceState.ASKING

    def test_facts_are_asked_for_at_once_after_each_gap(self):
        it = proven(5)
        assert it.wants_facts(1.0)
        it.published(8, [word(8)])
        assert it.wants_facts(1.1)

    def test_nothing_is_applied_twice(self):
        it = live(5)
        it.published(6, [word(6)])
        assert it.published(6, [word(6)]) is None
        for number in (3, 4):
            assert it.published(number, [word(number)]) is None
        assert (it.counters.received, it.counters.duplicates, it.counters.replayed) == (5, 1, 2)

    def test_nothing_is_kept_that_is_not_waited_for(self):
        it = proven(5)
        it.facts(Facts(5, []))
        assert it._kept == []
        it = proven(5)
        it.restart()
        assert it._kept == []

    def test_who_takes_too_long_is_asked_from_the_beginning(self, monkeypatch):
        monkeypatch.setattr(sequence, "MAX_KEPT", 10)
        it = proven(5)
        for number in range(6, 15):
            it.published(number, [word(number)])
        assert it.state is SequenceState.ASKING
        it.published(15, [word(15)])
        assert it.state is SequenceState.UNPROVEN
        assert it.counters.overflows == 1
        assert it.wants_proof(0.0)


@given(st.data())
def test_what_is_applied_is_all_that_was_said_in_order(data):
    """Whatever is lost, doubled or late: whoever is LIVE knows the peer's last word before its last number."""
    it = Sequence(0, 0.0)
    said = 0
    known: list[int] = []
    inbox: list[object] = []

    def apply(frames):
        known.extend(frame.nodes[0].incarnation for frame in frames if isinstance(frame, Nodes))

    for step in range(data.draw(st.integers(1, 60))):
        match data.draw(st.sampled_from(["say", "say", "say", "deliver", "deliver", "deliver", "drop", "double"])):
            case "say":
                said += 1
                proof = [Proof(it.nonce)] if it.wants_proof(float(step)) else []
                inbox.append((said, [*proof, word(said)]))
                if it.wants_facts(float(step)):
                    inbox.append(Facts(said, [word(said)]))
            case "deliver" if inbox:
                first = inbox.pop(0)
                if isinstance(first, Facts):
                    repair = it.facts(first)
                    if repair is not None:
                        known.clear()
                        apply([*repair.facts, *repair.then])
                else:
                    apply(it.published(*first) or ())
            case "drop" if inbox:
                inbox.pop(0)
            case "double" if inbox:
                inbox.insert(0, inbox[0])
        assert known == sorted(set(known))
        if it.state is SequenceState.LIVE:
            assert known[-1] == max(it.last, it._covered)
            assert known == list(range(known[0], known[-1] + 1))
