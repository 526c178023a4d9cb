"""Envelopes between proxies: what goes in comes out, and nothing else passes."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.frames import Entry, State
from holdfast.protocols.peers import frames, replication
from holdfast.protocols.peers.envelope import DIGEST_BYTES, seal, unseal

TOKEN = b"token"
names = st.text(max_size=20)
numbers = st.integers(0, 2**53 - 1)
ids = st.text(min_size=1, max_size=20)
endpoints = st.from_regex(r"[!-~]{0,20}", fullmatch=True)
members = st.builds(frames.Member, ids, endpoints, endpoints, names, st.booleans())
records = st.builds(
    frames.Record, numbers, numbers, names, numbers, names, numbers,
    st.lists(members, max_size=3).map(tuple), st.lists(names, max_size=3).map(tuple), numbers, names,
    st.builds(frames.Agreed, *[st.floats(0, 1e9)] * 5), st.booleans(),
)  # fmt: skip
published = st.one_of(
    st.builds(frames.Beat, numbers, st.lists(names), st.lists(names), st.booleans(), st.booleans(), st.booleans()),
    st.builds(frames.Nodes, st.lists(st.builds(frames.NodeSeen, names, numbers, st.integers(0, 2)))),
    st.builds(frames.Told, records),
)
any_frame = st.one_of(
    published,
    st.builds(frames.Proof, numbers),
    st.just(frames.Leaving()),
    st.builds(frames.Dead, st.text(), st.integers(0, 2**63 - 1)),
    st.builds(frames.Prove, numbers, members),
    st.just(frames.WantFacts()),
    st.builds(frames.Facts, numbers, st.lists(published, max_size=3)),
    st.builds(frames.Tunnelled, st.binary(), st.binary(), st.booleans(), names),
    st.builds(frames.WantCount, numbers, names),
    st.builds(frames.CountIs, numbers, numbers),
    st.builds(frames.WantKick, numbers, numbers, names),
)


@given(proxy=ids, number=numbers, content=st.lists(any_frame, max_size=4), token=st.binary(max_size=100))
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
    member = frames.Member("p", "tcp://a:1", "tcp://a:2", "h", True, 6, True)
    agreed = frames.Agreed(2.0, 3.0, 10.0, 60.0, 5.0)
    record = frames.Record(7, 5, "n", 3, "p", 6, (member,), ("p",), 5, "q", agreed, True, 4, (member,))
    content = [
        frames.Beat(7, ["x"], ["y"], True, False, True, term=4, position=(4, 2), evicted=[frames.Evicted(member, 1.5)]),
        frames.Nodes([frames.NodeSeen("n", 3, frames.DRAINING)]),
        frames.Told(record),
        frames.Proof(9),
        frames.Leaving(),
        frames.Dead("n", 7),
        frames.Prove(9, member, "p"),
        frames.WantFacts(),
        frames.Facts(4, [frames.Nodes([])]),
        frames.Tunnelled(b"s", b"d", False, "p"),
        frames.WantCount(3, "c"),
        frames.CountIs(3, 12),
        frames.WantKick(3, 12, "r"),
        replication.Entries(4, (3, 1), [replication.Stamp(4, 1), Entry(4, 2, "n", 1, "k", b"v")], (4, 2)),
        replication.Held(4, (4, 2), True),
        replication.WantPage(4, (4, 2), 1),
        replication.StatePage(4, 1, State(4, 2, [], True)),
        replication.Watch(4, b"client w"),
        replication.Gone(4, b"client g"),
    ]
    body = msgpack.unpackb(seal(TOKEN, "p", 4, content)[DIGEST_BYTES:])
    wire_member = ["p", "tcp://a:1", "tcp://a:2", "h", True, 6, True]
    wire_agreed = [2.0, 3.0, 10.0, 60.0, 5.0]
    figures = [0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0]
    assert body == [
        "p",
        4,
        [
            [80, 7, ["x"], ["y"], True, False, True, figures, False, False, 4, [4, 2], [[wire_member, 1.5]]],
            [81, [["n", 3, 1]]],
            [83, [7, 5, "n", 3, "p", 6, [wire_member], ["p"], 5, "q", wire_agreed, True, 4, [wire_member]]],
            [84, 9],
            [85],
            [119, "n", 7],
            [90, 9, wire_member, "p"],
            [91],
            [92, 4, [[81, []]]],
            [93, b"s", b"d", False, "p"],
            [110, 3, "c"],
            [111, 3, 12],
            [112, 3, 12, "r"],
            [100, 4, [3, 1], [[104, 4, 1], [41, 4, 2, "n", 1, "k", b"v", 0]], [4, 2]],
            [101, 4, [4, 2], True],
            [102, 4, [4, 2], 1],
            [103, 4, 1, [72, 4, 2, [], True, [], -1]],
            [105, 4, b"client w"],
            [106, 4, b"client g"],
        ],
    ]


BEYOND = [
    frames.Beat(2**53, [], []),
    frames.Beat(-1, [], []),
    frames.Beat(1, [], [], term=1, position=(1, -1)),
    frames.Told(frames.Record(2**53)),
    frames.Told(frames.Record(1, members=(frames.Member("p", "tcp://a:1\n", ""),))),
    frames.Told(frames.Record(1, agreed=frames.Agreed(float("nan")))),
    frames.Prove(1, frames.Member("", "tcp://a:1", "")),
    replication.Held(1, (2**60, 1)),
]


@pytest.mark.parametrize("frame", BEYOND)
def test_what_no_proxy_can_say_is_no_frame(frame):
    with pytest.raises(FrameError, match="not an envelope"):
        unseal(TOKEN, seal(TOKEN, "p", 1, [frame]))
