"""Whose keys end with a client: the keeper and an owner's proxy, joined by hand."""

import pytest

from holdfast.balancer.cluster.owners import CHUNK, SWEEP, UNKNOWN_FOR, Owners
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.frames import pack_ids
from holdfast.protocols.peers.replication import Gone, Watch

A, B, C, D = 1, 2, 3, 4  # prefixes
PROXIES = {A: "a", B: "b"}


def of(prefix, number=1):
    return prefix << 32 | number


class Copy:
    def __init__(self):
        self.clients = set()

    def owners(self):
        return set(self.clients)


class Side:
    def __init__(self, prefix):
        self.copy = Copy()
        self.here = set()
        self.gone = []
        self.it = Owners(prefix, self.copy)
        self.it.is_here = self.here.__contains__
        self.it.on_gone = self.gone.append
        self.it.know(PROXIES)
        self.it.begin()


@pytest.fixture
def a():
    return Side(A)


@pytest.fixture
def b():
    return Side(B)


def watch(*clients):
    return Watch(5, pack_ids(clients))


def test_all_owners_are_asked_about_as_a_term_begins_and_every_few_seconds(a):
    a.copy.clients = {of(B, 1), of(B, 2)}
    [(proxy, question)] = a.it.ask(5, 0.0)
    assert (proxy, set(question.clients)) == ("b", set(watch(of(B, 1), of(B, 2)).clients))
    assert a.it.ask(5, SWEEP - 0.1) == []
    assert len(a.it.ask(5, SWEEP)) == 1
    a.it.begin()
    assert len(a.it.ask(6, SWEEP)) == 1


def test_nothing_is_known_before_the_first_term():
    copy = Copy()
    copy.clients = {of(B)}
    it = Owners(A, copy)
    assert not it.may_own(of(B))
    assert it.watch(watch(of(A))) == Gone(5, pack_ids([of(A)])), "nobody is here"
    it.know(PROXIES)
    assert it.ask(5, 0.0) == [("b", watch(of(B)))]


def test_nothing_of_an_older_term_is_known_in_the_next(a):
    a.copy.clients = {of(C)}
    a.it.ask(5, 0.0)
    a.it.noted(of(B))
    a.it.begin()
    assert a.it.ask(6, UNKNOWN_FOR + 1.0) == [], "that key may be of nobody now"
    assert a.gone == [], "nobody has waited for that proxy in this term"


def test_a_new_owner_is_asked_about_at_once(a):
    a.it.ask(5, 0.0)
    a.it.noted(of(B))
    assert a.it.ask(5, 0.1) == [("b", watch(of(B)))]
    assert a.it.ask(5, 0.2) == []


def test_many_are_asked_about_in_parts(a):
    a.copy.clients = {of(B, number) for number in range(CHUNK + 10)}
    sizes = [len(question.clients) // 8 for now in (0.0, SWEEP) for _, question in a.it.ask(5, now)]
    assert sizes == [CHUNK, 10], "and all of them before the next time"


def test_who_is_not_there_is_told_and_who_goes_later_too(b):
    b.here.update({of(B, 1), of(B, 2)})
    assert b.it.watch(watch(of(B, 1), of(B, 3))) == Gone(5, pack_ids([of(B, 3)]))
    assert b.it.watch(watch(of(B, 1))) is None
    b.it.closed(of(B, 2))
    assert not b.it.has_to_tell, "nobody has asked about that one"
    b.it.closed(of(B, 1))
    assert b.it.has_to_tell
    assert b.it.tell(6) == Gone(6, pack_ids([of(B, 1)]))
    assert b.it.tell(6) is None
    b.it.closed(of(B, 1))
    assert b.it.tell(6) is None


def test_nobody_answers_for_the_clients_of_others(a, b):
    assert b.it.watch(watch(of(A))) is None
    a.it.told("b", Gone(5, pack_ids([of(A), of(B), of(C)])))
    assert a.gone == [of(B)]


def test_our_own_clients_that_are_not_here_have_gone(a):
    a.copy.clients = {of(A, 1), of(A, 2)}
    a.here.add(of(A, 1))
    assert a.it.ask(5, 0.0) == []
    assert a.gone == [of(A, 2)]


@pytest.mark.parametrize("client", [of(A), of(B)], ids=["ours", "another's"])
def test_a_new_owner_that_has_gone_is_found_at_once(a, b, client):
    a.it.ask(5, 0.0)
    a.it.noted(client)
    for proxy, question in a.it.ask(5, 0.1):
        a.it.told(proxy, b.it.watch(question))
    assert a.gone == [client]


def test_proxies_that_nobody_knows_are_remembered_while_they_own_anything(a):
    for prefix in range(10, 1000):
        a.it.noted(of(prefix))
    a.it.ask(5, 0.0)
    a.copy.clients = {of(C)}
    a.it.ask(5, SWEEP)
    a.it.ask(5, 2 * SWEEP)
    assert len(a.it._unknown) == 1


def test_clients_of_a_proxy_that_nobody_knows_have_gone_after_a_while(a):
    """It may have joined when we had not heard of that yet."""
    a.copy.clients = {of(C)}
    a.it.ask(5, 0.0)
    assert a.gone == []
    a.it.know({**PROXIES, C: "c"})
    assert a.it.ask(5, SWEEP) == [("c", watch(of(C)))]
    a.copy.clients = {of(D)}
    a.it.ask(5, 2 * SWEEP)
    a.it.ask(5, 2 * SWEEP + UNKNOWN_FOR)
    assert a.gone == []
    a.it.ask(5, 3 * SWEEP + UNKNOWN_FOR)
    assert a.gone == [of(D)]


def test_clients_of_a_proxy_that_is_gone_for_good_have_gone_at_that_moment(a):
    a.copy.clients = {of(A), of(B, 1), of(B, 2)}
    a.here.add(of(A))
    a.it.ask(5, 0.0)
    a.it.know({A: "a"})
    assert a.it.ask(5, 0.1) == []
    assert sorted(a.gone) == [of(B, 1), of(B, 2)]
    a.it.noted(of(B, 3))
    a.it.ask(5, 0.2)
    assert a.gone[2:] == [of(B, 3)], "a key was on its way to it"


def test_a_proxy_that_is_back_is_asked(a):
    """It was frozen for longer than anybody waits."""
    a.it.ask(5, 0.0)
    a.it.know({A: "a"})
    a.it.ask(5, 0.1)
    a.it.know(PROXIES)
    a.it.noted(of(B))
    assert a.it.ask(5, 0.2) == [("b", watch(of(B)))]
    assert a.gone == []


def test_who_is_out_of_the_record_ends_nobody(a):
    """Whom we do not know was known to others, whose word counts as the next term begins."""
    a.copy.clients = {of(B)}
    a.it.ask(5, 0.0)
    a.it.know({A: "a"})
    a.it.begin()
    a.it.ask(6, 0.1)
    assert a.gone == []


def test_who_may_own(a):
    assert a.it.may_own(of(B))
    assert not a.it.may_own(of(C))
    assert not a.it.may_own(of(A)), "the registry knows those"


def test_what_is_no_list_of_ids_is_refused(a):
    with pytest.raises(FrameError):
        a.it.watch(Watch(5, b"123"))
    with pytest.raises(FrameError):
        a.it.told("b", Gone(5, b"123"))
