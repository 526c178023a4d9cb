"""What a proxy writes to the store: one at a time, and for which reason first."""

import pytest

from holdfast.balancer.cluster.actions import Write
from holdfast.balancer.cluster.mastership import Mastership
from holdfast.balancer.cluster.writing import Writing
from holdfast.protocols.peers.frames import NodeSeen, Record
from tests.balancer.cluster.views import TIMES, hear, membership

NOW = 5.0
NODES = [NodeSeen("n", 1)]


class Proxy:
    """Has read the store, and hears these; nothing is to be written."""

    def __init__(self, names="abc", me="a", heard="bc", **fields):
        self.it = membership(names, me=me, **fields)
        hear(self.it, heard, NOW)
        self.writing = Writing(self.it, Mastership(self.it, 0.0))
        self.writing.answered(must_rewrite=False)

    def next(self, above=0, nodes=(), now=NOW):
        return self.writing.next((), nodes, above, now)

    def vacant(self):
        hear(self.it, [name for name in self.it.record.ids if name != self.it.me.proxy], NOW, vacant=True)
        for name in self.it.record.ids:
            self.it.sees(name, NODES)
        return NODES


def test_nothing_is_written_before_the_store_was_read():
    it = membership("a")
    writing = Writing(it, Mastership(it, 0.0))
    assert not writing.is_under_way
    writing.must_reset = True
    assert writing.next((), (), 0, NOW) is None
    writing.answered(must_rewrite=False)
    assert writing.next((), (), 0, NOW) is not None


def test_one_write_is_under_way():
    a = Proxy()
    assert a.next() is None
    assert not a.writing.is_under_way, "there was nothing to write"
    write = a.next(above=7)
    assert write == Write(a.writing.record, a.it.stored_version)
    assert a.next(above=7) is None
    a.writing.failed(was_writing=False)
    assert a.next(above=7) is None, "the answer to that is not there yet"
    a.writing.failed(was_writing=True)
    assert a.next(above=7) is not None
    a.writing.answered(must_rewrite=False)
    a.writing.failed(was_writing=False)
    assert a.next(above=7) is not None, "only a read has failed"


def test_what_the_store_has_forgotten_is_first_and_once():
    a = Proxy()
    a.writing.must_reset = True
    a.writing.answered(must_rewrite=True)
    assert a.next().record is a.it.record
    a.writing.failed(was_writing=True)
    assert a.next().record.version > a.it.record.version, "then what the operator said"
    a.writing.failed(was_writing=True)
    assert a.next() is None
    assert not a.writing.must_reset


def test_who_leaves_writes_that_and_nothing_else():
    a = Proxy()
    a.it.resign()
    assert a.next(above=7, nodes=a.vacant()) is None, "the state is not held yet by those who stay"
    hear(a.it, "bc", NOW, firm=True, confirmed=True)
    assert a.next(above=7).record.ids == ("b", "c")


@pytest.mark.parametrize(
    ("above", "me", "heard", "term"),
    [(7, "a", "bc", 8), (0, "a", "bc", None), (7, "b", "ac", None), (7, "a", "", None)],
)
def test_a_later_term_is_the_keepers_to_write_with_a_majority(above, me, heard, term):
    a = Proxy(me=me, heard=heard)
    write = a.next(above)
    assert (write and write.record.term) == term


def test_an_eviction_comes_before_an_election():
    a = Proxy()
    hear(a.it, "bc", NOW, confirmed=True)
    later = NOW + TIMES.heartbeat_timeout + 0.1
    hear(a.it, "b", later, missing="c", vacant=True, confirmed=True)
    for name in "ab":
        a.it.sees(name, NODES)
    assert a.next(nodes=NODES, now=later).record.ids == ("a", "b")


def test_an_election_when_nothing_else_is_to_be_written():
    a = Proxy()
    assert a.next(nodes=a.vacant()).record.master == "n"


@pytest.mark.parametrize(("read_at", "is_joining"), [(NOW, True), (NOW - TIMES.card_ttl - 0.1, False)])
def test_a_newcomer_joins_by_what_it_has_read_lately(read_at, is_joining):
    a = Proxy("bc", heard="bc")
    hear(a.it, "bc", NOW, strangers="a", firm=True)
    a.it.absence.read((), (), read_at, read_at)
    write = a.writing.next({"b", "c"}, (), 0, NOW)
    assert (write is not None) == is_joining
    assert a.writing.record.ids == (("b", "c", "a") if is_joining else ())


def test_nothing_was_written_at_first():
    assert Proxy().writing.record == Record()
