"""What members say to each other about what nodes leave: which part of a proxy it is for."""

import pytest
from msgspec.structs import replace

from holdfast.balancer.cluster.debts import Debts, Run
from holdfast.balancer.cluster.keeping import Phase
from holdfast.balancer.cluster.membership import Membership
from holdfast.balancer.cluster.owners import SWEEP, Owners
from holdfast.balancer.cluster.replication import RETRY, Replication
from holdfast.balancer.cluster.sharing import Sharing
from holdfast.balancer.settings import StateSettings
from holdfast.balancer.state import StateCopy
from holdfast.protocols.nodes.frames import Propose, pack_ids
from holdfast.protocols.peers.replication import Gone, Held, LostRun, Noted, Owed, Watch
from tests.balancer.cluster.views import TIMES, Prompt, hear, member, record_of

TERM = 5


MEMBERS = tuple(replace(member(name), prefix=prefix) for prefix, name in enumerate("abc", 1))


def of(name, number=1):
    """A client of that proxy."""
    return "abc".index(name) + 1 << 32 | number


class Proxy:
    """Of a, the keeper, b and c. gone: owners of which it was told so."""

    def __init__(self, me):
        self.it = Membership(MEMBERS["abc".index(me)], TIMES, 1.0)
        self.it.adopt(record_of("abc", members=MEMBERS, term=TERM), 1.0)
        hear(self.it, {"a", "b", "c"} - {me}, 1.0, confirmed=True, firm=False)
        copy = StateCopy(StateSettings())
        self.replication = Replication(me, copy)
        Prompt(self.replication)
        self.owners = Owners(self.it.me.prefix, copy)
        self.owners.begin()
        self.owners.is_here = lambda client: client == of(me)
        self.gone = []
        self.owners.on_gone = self.gone.append
        self.debts = Debts(me)
        self.sharing = Sharing(self.it, self.replication, self.owners, self.debts)
        self.replication.follow(self.it.record, 1.0)
        self.sharing.tend(1.0)

    def hears(self, peer, frame):
        return self.sharing.received(peer, frame, 1.0)

    def asks(self, now=1.0):
        return self.sharing.take(now)[1]


@pytest.fixture
def a():
    """Keeps the state."""
    a = Proxy("a")
    for peer in "bc":
        a.hears(peer, Held(TERM, (0, 0)))
    a.hears("b", Held(TERM, (TERM, 0)))
    assert a.replication.phase is Phase.KEEPING
    a.sharing.take(1.0)
    return a


def gone(*clients, term=TERM):
    return Gone(term, pack_ids(clients))


def watch(*clients, term=TERM):
    return Watch(term, pack_ids(clients))


def test_the_keeper_is_told_of_owners_by_their_proxies(a):
    assert a.hears("b", gone(of("b"), of("c"))) is None
    assert a.gone == [of("b")]


def test_nobody_else_is():
    c = Proxy("c")
    c.hears("b", gone(of("b")))
    assert c.gone == []


def test_a_keeper_that_has_not_begun_is_not():
    a = Proxy("a")
    a.hears("b", gone(of("b")))
    assert a.gone == []


def test_what_is_of_another_term_counts_for_nothing(a):
    a.hears("b", gone(of("b"), term=TERM + 1))
    assert a.gone == []
    assert Proxy("b").hears("a", watch(of("b", 9), term=TERM + 1)) is None


def test_who_has_gone_is_asked_by_the_keeper_only():
    b = Proxy("b")
    assert b.hears("a", watch(of("b"), of("b", 9))) == gone(of("b", 9))
    assert b.hears("c", watch(of("b", 9))) is None


def test_what_is_no_list_of_ids_is_counted(a):
    b = Proxy("b")
    assert a.hears("b", Gone(TERM, b"123")) is None
    assert b.hears("a", Watch(TERM, b"123")) is None
    assert (a.replication.counters.garbled, b.replication.counters.garbled) == (1, 1)


def test_a_question_about_the_state_and_one_about_a_debt_are_answered(a):
    assert a.hears("b", Held(TERM, (TERM, 0), wants=True)).tip == (TERM, 0)
    assert a.hears("b", Owed("a", [LostRun("n", 7, 1, 1, 0.0, 1)], 1)) == Noted([("n", 7)], 1)


def test_the_keeper_asks_about_owners_and_nobody_else_does(a):
    entry = a.replication.order("n", Propose(1, "k", b"v", of("b")))
    assert a.asks(1.0 + SWEEP) == [("b", watch(of("b")))]
    b = Proxy("b")
    b.owners.begin()
    b.owners.noted(of("c"))
    assert entry.owner == of("b")
    assert all(not isinstance(frame, Watch) for _, frame in b.asks())


def test_the_keeper_is_told_of_clients_that_it_watches():
    b = Proxy("b")
    b.hears("a", watch(of("b")))
    b.asks()
    b.owners.closed(of("b"))
    assert b.asks() == [("a", gone(of("b")))]
    assert b.asks() == []


def test_who_follows_asks_the_keeper_for_the_state():
    b = Proxy("b")
    assert b.asks() == [("a", Held(TERM, (0, 0), wants=True))]
    b.sharing.tend(1.0 + RETRY)
    assert b.asks(1.0 + RETRY) == [("a", Held(TERM, (0, 0), wants=True))]


def test_whom_a_lost_node_owed_is_told_when_it_is_heard():
    b = Proxy("b")
    b.asks()
    b.debts.lost(Run("n", 7), [("c", 1), ("x", 1)], [], 0, 1.0)
    assert b.asks() == [("c", Owed("c", [LostRun("n", 7, 1, 1, 0.0, 1)], 2))]


def test_the_set_is_firm_when_its_keeper_knows_that_the_state_is_held():
    a = Proxy("a")
    assert not a.it.is_firm
    for peer in "bc":
        a.hears(peer, Held(TERM, (0, 0)))
    a.sharing.tend(1.0)
    assert a.it.is_firm


def test_owners_are_of_the_proxies_that_may_have_clients(a):
    a.it.adopt(record_of("ab", 6, members=MEMBERS[:2], term=TERM), 2.0)
    a.sharing.tend(2.0)
    assert a.owners.may_own(of("c")), "it may live and have them"
    a.sharing.tend(1000.0)
    assert not a.owners.may_own(of("c"))
