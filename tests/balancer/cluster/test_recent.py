"""The last steps: how many are kept, and how many go in a frame."""

import pytest

from holdfast.balancer.cluster import recent
from holdfast.balancer.cluster.recent import COPYING, Recent, chunks, step_bytes
from holdfast.protocols.nodes.frames import Entry
from holdfast.protocols.peers.replication import Stamp


def entry(index, value=b"v"):
    return Entry(5, index, "node", index, "key", value)


SIZE = step_bytes(entry(1))


@pytest.fixture
def it():
    return Recent()


def fill(it, count, first=1):
    for index in range(first, first + count):
        it.add((5, index - 1), entry(index))


def test_what_a_step_counts_for():
    assert step_bytes(Stamp(5, 1)) == 32
    assert step_bytes(entry(1, b"value")) == 64 + len("node") + len("key") + len("value")
    assert step_bytes(entry(1, None)) == 64 + len("node") + len("key")


def test_what_follows_a_position_is_known_from_there_on(it):
    it.add((4, 0), Stamp(5, 0))
    fill(it, 3)
    assert it.after((4, 0)) == [Stamp(5, 0), entry(1), entry(2), entry(3)]
    assert it.after((5, 2)) == [entry(3)]
    assert it.after((5, 3)) == it.after((4, 1)) == []
    assert ((5, 2) in it, (5, 3) in it) == (True, False)
    assert (len(it), it.bytes) == (4, 32 + 3 * SIZE)
    it.clear()
    assert (len(it), it.bytes) == (0, 0)


@pytest.mark.parametrize(("limit", "value"), [("MAX_STEPS", 3), ("MAX_BYTES", 3 * SIZE)])
def test_the_oldest_are_forgotten(it, monkeypatch, limit, value):
    monkeypatch.setattr(recent, limit, value)
    fill(it, 3)
    assert (len(it), it.bytes) == (3, 3 * SIZE)
    fill(it, 2, first=4)
    assert (len(it), it.bytes) == (3, 3 * SIZE)
    assert it.after((5, 2)) == [entry(3), entry(4), entry(5)]
    assert (5, 1) not in it


@pytest.mark.parametrize(("limit", "value"), [("MAX_STEPS", 1), ("MAX_BYTES", SIZE)])
def test_more_of_them_while_somebody_takes_all(it, monkeypatch, limit, value):
    monkeypatch.setattr(recent, limit, value)
    it.is_copied = True
    fill(it, COPYING + 1)
    assert len(it) == COPYING
    it.is_copied = False
    fill(it, 1, first=COPYING + 2)
    assert len(it) == 1


@pytest.mark.parametrize(("limit", "value"), [("CHUNK_STEPS", 2), ("CHUNK_BYTES", SIZE + 1), ("CHUNK_BYTES", 2 * SIZE)])
def test_a_frame_has_no_more_than_fit(it, monkeypatch, limit, value):
    """A step more than the bytes, at most: one that is larger than a frame goes as well."""
    monkeypatch.setattr(recent, limit, value)
    fill(it, 5)
    assert it.after((5, 0)) == [entry(1), entry(2)]
    assert it.after((5, 4)) == [entry(5)]
    steps = [entry(index) for index in range(1, 6)]
    assert chunks(steps) == [steps[:2], steps[2:4], steps[4:]]
    assert chunks([]) == []


def test_a_frame_has_256_kib_and_what_comes_over_it():
    sizes = [len(chunk) for chunk in chunks([entry(index, b"x" * (100 << 10)) for index in range(1, 8)])]
    assert sizes == [3, 3, 1]
