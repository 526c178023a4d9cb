"""What we say of ourselves: numbers, and when a heartbeat goes out."""

from holdfast.balancer.cluster.replication import Replication
from holdfast.balancer.cluster.voice import TOLD_EVERY, Voice, beat_of
from holdfast.balancer.settings import StateSettings
from holdfast.balancer.state import StateCopy
from holdfast.protocols.peers.envelope import unseal
from holdfast.protocols.peers.frames import (
    Beat,
    Evicted,
    Figures,
    Leaving,
    Member,
    Nodes,
    NodeSeen,
    Proof,
    Record,
    Told,
)
from tests.balancer.cluster.views import hear, membership, record_of

TOKEN = b"t"
RECORD = Record(3)
BEAT = Beat(3, [], [])


def said(voice, now, beat=BEAT):
    data = voice.message(RECORD, beat, now)
    return None if data is None else unseal(TOKEN, data)


def test_nothing_was_said_at_first():
    voice = Voice("p", TOKEN, 0.5)
    assert (voice.beat, voice.nodes, voice.sent, voice.bytes_sent) == (Beat(0, [], []), [], 0, 0)


def test_what_is_published_is_counted():
    voice = Voice("p", TOKEN, 0.5)
    data = [voice.published([Leaving()]), voice.message(RECORD, BEAT, 0.0)]
    voice.alone(Leaving())
    assert (voice.sent, voice.bytes_sent) == (2, sum(map(len, data)))


def test_a_heartbeat_when_it_is_time_and_numbers_without_a_gap():
    voice = Voice("p", TOKEN, 0.5)
    envelopes = [said(voice, now) for now in (0.0, 0.4, 0.5, 0.9, 1.1)]
    assert [envelope.number for envelope in envelopes if envelope] == [1, 2, 3]
    assert [envelope is None for envelope in envelopes] == [False, True, False, True, False]
    assert envelopes[0].proxy == "p"


def test_at_once_when_it_says_something_new():
    voice = Voice("p", TOKEN, 0.5)
    said(voice, 0.0)
    news = Beat(3, ["x"], [])
    assert said(voice, 0.1, news).frames == [news]
    assert said(voice, 0.2, news) is None


def test_the_record_comes_again_with_every_fourth():
    voice = Voice("p", TOKEN, 0.5)
    told = [any(isinstance(f, Told) for f in said(voice, now / 2).frames) for now in range(2 * TOLD_EVERY)]
    assert told == [False, False, False, True] * 2


def test_figures_go_with_the_next_regular_one():
    voice = Voice("p", TOKEN, 0.5)
    said(voice, 0.0)
    voice.figures = lambda: Figures(clients=7)
    assert said(voice, 0.1) is None
    assert said(voice, 0.1, Beat(4, [], [])).frames[0].figures.clients == 0
    assert said(voice, 0.5, Beat(4, [], [])).frames[0].figures.clients == 7
    assert voice.beat.figures.clients == 7


def test_the_time_that_is_left_to_one_that_was_evicted_is_no_news():
    voice = Voice("p", TOKEN, 0.5)
    said(voice, 0.0)
    evicted = [[Evicted(Member("x", "tcp://x:1", "tcp://x:2"), left)] for left in (9.0, 8.9, 8.5)]
    assert said(voice, 0.1, Beat(3, [], [], evicted=evicted[0])) is None
    assert said(voice, 0.5, Beat(3, [], [], evicted=evicted[2])).frames[0].evicted == evicted[2]


def test_what_is_to_be_said_goes_out_at_once_and_once():
    voice = Voice("p", TOKEN, 0.5)
    said(voice, 0.0)
    voice.say(Proof(9))
    voice.has_nodes([NodeSeen("n", 1)])
    assert said(voice, 0.1).frames == [Proof(9), Nodes([NodeSeen("n", 1)])]
    assert said(voice, 0.2) is None
    assert voice.sent == 2


def test_the_farewell_has_a_number_and_answers_have_none():
    voice = Voice("p", TOKEN, 0.5)
    said(voice, 0.0)
    farewell = unseal(TOKEN, voice.published([Leaving()]))
    assert (farewell.number, farewell.frames) == (2, [Leaving()])
    answer = unseal(TOKEN, voice.all_facts(RECORD))
    assert answer.number == 0
    assert answer.frames[0].number == 2


def beat(it, *, is_fenced=False):
    return beat_of(it, Replication("a", StateCopy(StateSettings())), is_fenced=is_fenced, now=1.0)


def test_what_a_heartbeat_says():
    it = membership("abc", epoch=5, carried=4)
    hear(it, "bx", 1.0)
    assert beat(it) == Beat(5, ["c"], ["x"], vacant=True)
    hear(it, "bc", 1.0, confirmed=True, established=True, firm=False)
    assert beat(it, is_fenced=True) == Beat(5, [], ["x"], fenced=True, confirmed=True, established=True, vacant=True)
    hear(it, "bc", 1.0, firm=True)
    assert beat(it).firm
    it.sees("a", [NodeSeen("", 0)])
    it.sees("b", [NodeSeen("", 0)])
    assert not beat(it).vacant


def test_who_is_no_member_knows_nothing_of_the_members():
    """It has followed the record when it was one."""
    it = membership("ab", epoch=5, carried=5)
    hear(it, "b", 1.0, confirmed=True, firm=True)
    assert (beat(it).confirmed, beat(it).established, beat(it).firm) == (True, True, True)
    it.adopt(record_of("b", 6, ballot=5, epoch=5, carried=5), 1.0)
    it._confirmed_at, it._is_firm = 1.0, True
    assert (beat(it).confirmed, beat(it).established, beat(it).firm) == (False, False, False)
