"""The record and the cards, as stores have them."""

import pytest

from holdfast.balancer.cluster.record import from_card, from_store, to_card, to_store
from holdfast.balancer.coordination.base import CoordinationError, MasterRecord
from holdfast.protocols.peers.frames import Agreed, Member, Record

MEMBER = Member("p", "tcp://a:1", "tcp://a:2", "host")
RECORD = Record(7, 5, "node", 2**62, "p", 6, (MEMBER,), ("p", "q"), 5)


def test_a_record_comes_back_whole():
    stored = to_store(RECORD)
    assert stored.epoch == 7
    assert from_store(stored) == RECORD


@pytest.mark.parametrize("incarnation", [-(2**63), 2**64 - 1])
def test_all_that_64_bits_can_say_is_an_incarnation(incarnation):
    record = Record(7, incarnation=incarnation)
    assert from_store(to_store(record)) == record


def test_a_new_store_has_the_empty_record():
    assert from_store(MasterRecord()) == Record()


@pytest.mark.parametrize("text", ["", "node-1", "{}", "[1, 2", '["a"]'])
def test_what_another_program_wrote_is_refused(text):
    with pytest.raises(CoordinationError, match="not the record"):
        from_store(MasterRecord(3, text))


def test_a_record_under_a_wrong_version_is_refused():
    with pytest.raises(CoordinationError, match="version 7 is stored as version 8"):
        from_store(MasterRecord(8, to_store(RECORD).node))


def test_a_card_comes_back():
    assert from_card("p", to_card(MEMBER)) == MEMBER


@pytest.mark.parametrize("card", [b"", b"\xc1", b"tcp://a:1"])
def test_a_foreign_card_is_refused(card):
    with pytest.raises(CoordinationError, match="is not a proxy's"):
        from_card("p", card)


def test_a_card_under_another_name_is_refused():
    with pytest.raises(CoordinationError, match="another proxy's"):
        from_card("q", to_card(MEMBER))


@pytest.mark.parametrize(
    "record",
    [
        Record(7, -1),
        Record(7, 2**53),
        Record(7, incarnation=2**64),
        Record(7, incarnation=-(2**63) - 1),
        Record(7, members=(MEMBER, MEMBER)),
        Record(7, members=(Member("p", "tcp://a:1\n", ""),)),
        Record(7, members=(Member("", "tcp://a:1", ""),)),
        Record(7, agreed=Agreed(lease=-1.0)),
    ],
)
def test_a_record_that_no_proxy_writes_is_refused(record):
    with pytest.raises(CoordinationError, match="record"):
        from_store(to_store(record))
