"""Envelopes between proxies: what goes in comes out, and nothing else passes."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import FrameError
from protocols.peers import frames
from protocols.peers.envelope import DIGEST_BYTES, seal, unseal

TOKEN = b"token"
names = st.text(max_size=20)
numbers = st.integers(0, 2**63 - 1)
members = st.builds(frames.Member, names, names, names, names)
records = st.builds(
    frames.Record, numbers, numbers, names, numbers, names, numbers,
    st.lists(members, max_size=3).map(tuple), st.lists(names, max_size=3).map(tuple), numbers,
)  # fmt: skip
published = st.one_of(
    st.builds(frames.Beat, numbers, st.lists(names), st.lists(names), st.booleans(), st.booleans(), st.booleans()),
    st.builds(frames.Nodes, st.lists(st.builds(frames.NodeSeen, names, numbers, st.integers(0, 2)))),
    st.builds(frames.Counts, st.lists(st.tuples(names, numbers))),
    st.builds(frames.Told, records),
)
any_frame = st.one_of(
    published,
    st.builds(frames.Proof, numbers),
    st.just(frames.Leaving()),
    st.builds(frames.Prove, numbers, members),
    st.just(frames.WantFacts()),
    st.builds(frames.Facts, numbers, numbers, st.lists(published, max_size=3), st.booleans()),
    st.builds(frames.Tunnelled, st.binary(), st.binary(), st.booleans()),
)


@given(proxy=names, number=numbers, content=st.lists(any_frame, max_size=4), token=st.binary(max_size=100))
def test_what_is_sealed_is_unsealed(proxy, number, content, token):
    envelope = unseal(token, seal(token, proxy, number, content))
    assert (envelope.proxy, envelope.number, envelope.frames) == (proxy, number, content)


@given(data=st.data(), content=st.lists(any_frame, min_size=1, max_size=3))
def test_one_changed_bit_is_seen(data, content):
    sealed = bytearray(seal(TOKEN, "p", 1, content))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(FrameError, match="garbled"):
        unseal(TOKEN, bytes(sealed))


@given(st.binary(max_size=200))
def test_anything_else_is_no_envelope(data):
    with pytest.raises(FrameError):
        unseal(TOKEN, data)


@pytest.mark.parametrize("other", [b"", b"Token", b"token "])
def test_another_token_is_refused(other):
    with pytest.raises(FrameError):
        unseal(other, seal(TOKEN, "p", 1, []))


def test_all_of_a_long_token_counts():
    with pytest.raises(FrameError):
        unseal(b"x" * 100 + b"y", seal(b"x" * 100 + b"z", "p", 1, []))


def test_what_is_signed_may_still_be_no_envelope():
    sealed = seal(TOKEN, "p", 1, [frames.WantFacts()])
    foreign = seal(TOKEN, "p", 1, [frames.Prove(1, None)])  # type: ignore[arg-type]
    assert unseal(TOKEN, sealed).frames == [frames.WantFacts()]
    with pytest.raises(FrameError, match="not an envelope"):
        unseal(TOKEN, foreign)


def test_the_bytes_are_msgpack_arrays_with_tags():
    """An independent decoder sees what the tables of the frames say."""
    member = frames.Member("p", "tcp://a:1", "tcp://a:2", "h")
    record = frames.Record(7, 5, "n", 3, "p", 6, (member,), ("p",), 5, "q")
    content = [
        frames.Beat(7, ["x"], ["y"], True, False, True),
        frames.Nodes([frames.NodeSeen("n", 3, frames.DRAINED)]),
        frames.Counts([("c", 2)]),
        frames.Told(record),
        frames.Proof(9),
        frames.Leaving(),
        frames.Prove(9, member),
        frames.WantFacts(),
        frames.Facts(4, 0, [frames.Counts([])], True),
        frames.Tunnelled(b"s", b"d"),
    ]
    body = msgpack.unpackb(seal(TOKEN, "p", 4, content)[DIGEST_BYTES:])
    wire_member = ["p", "tcp://a:1", "tcp://a:2", "h"]
    figures = [0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0.0]
    assert body == [
        "p",
        4,
        [
            [80, 7, ["x"], ["y"], True, False, True, figures],
            [81, [["n", 3, 2]]],
            [82, [["c", 2]]],
            [83, [7, 5, "n", 3, "p", 6, [wire_member], ["p"], 5, "q"]],
            [84, 9],
            [85],
            [90, 9, wire_member],
            [91],
            [92, 4, 0, [[82, []]], True],
            [93, b"s", b"d", False],
        ],
    ]
