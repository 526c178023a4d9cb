"""The frames: what docs/node-protocol.md says of them, and that no bytes whatever do more than be refused."""

import math
import re
import typing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import FIRST_WINDOW, check_ids, weigh

SPECIFICATION = Path(__file__).parents[3] / "docs" / "node-protocol.md"
FROM_NODE = typing.get_args(frames.FromNode)
FROM_PROXY = typing.get_args(frames.FromProxy)
EFFECTS = (*typing.get_args(frames.Effect), frames.AsMaster)  # only within others
KINDS = sorted({*FROM_NODE, *FROM_PROXY, *EFFECTS}, key=lambda kind: kind.__struct_config__.tag)
DEFAULTS = {
    "true": True,
    "nil": None,
    "false": False,
    '""': "",
    "[]": [],
    "{}": {},
    "packed ids": b"",
    "empty": b"",
}  # others are numbers


def rows():
    """Of the table of frames: the frame's class, its number, who sends it, its fields as they are told."""
    text = SPECIFICATION.read_text(encoding="utf-8")
    table = text.partition("| type | frame | from | fields |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
    for line in table.splitlines():
        number, name, sender, fields = (cell.strip() for cell in line.strip("|").split("|"))
        yield getattr(frames, name), int(number), sender, split(fields)


def split(fields: str) -> list[str]:
    """At commas that are in no bracket."""
    return [field.strip() for field in re.split(r",(?![^\[]*\])", bracketed(fields)) if field.strip()]


def bracketed(fields: str) -> str:
    """The array of arrays in State, as one without commas that would confuse `split`."""
    return re.sub(r"\[\[[^\]]*\], \.\.\.\]", "[...]", fields)


ROWS = list(rows())


def test_the_table_has_every_frame_once():
    assert [kind for kind, *_ in ROWS] == KINDS


@pytest.mark.parametrize(("kind", "number", "sender", "fields"), ROWS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_row_is_what_the_code_says(kind, number, sender, fields):
    assert number == kind.__struct_config__.tag
    senders = [
        name for name, kinds in (("node", FROM_NODE), ("proxy", FROM_PROXY), ("effect", EFFECTS)) if kind in kinds
    ]
    assert sender == ("both" if len(senders) == 2 else senders[0])
    known = msgspec.structs.fields(kind)
    assert len(fields) == len(known)
    for told, field in zip(fields, known, strict=True):
        name, _, default = told.partition("=")
        if name.startswith("["):
            assert typing.get_origin(bare(field.type)) is list
        else:
            assert name.split()[0] == field.name
        if default:
            assert default_value(field) == (DEFAULTS[default] if default in DEFAULTS else float(default))
        else:
            assert field.required


def bare(annotation):
    """A type without what limits it."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def default_value(field):
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


# --- the codec ------------------------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_bytes_are_a_batch_or_refused(data):
    for decode in (frames.decode_from_node, frames.decode_from_proxy):
        try:
            number, batch = decode(data)
        except FrameError:
            continue
        assert isinstance(number, int)
        assert all(isinstance(frame, msgspec.Struct) for frame in batch)


numbers = st.integers(0, 2**64 - 1)
names = st.text(max_size=20)
versions = st.integers(0, 2**53 - 1)
payloads = st.binary(max_size=50)
packed = st.lists(numbers, max_size=4).map(frames.pack_ids)
effects = st.one_of(
    st.builds(frames.Join, numbers, names, versions),
    st.builds(frames.Leave, numbers, names, versions),
    st.builds(frames.Notify, payloads, st.booleans(), st.lists(names, max_size=3), packed, packed),
    st.builds(frames.Notify, payloads, st.booleans(), st.lists(names), exclude=packed, tail=payloads),
    st.builds(frames.Broadcast, payloads, st.booleans(), packed),
    st.builds(frames.CloseClient, numbers, names, st.sampled_from((0, 4000, 4999))),
    st.builds(frames.Update, numbers, st.none() | payloads.map(lambda payload: b'"%b"' % payload.hex().encode())),
)
from_node = st.one_of(
    st.builds(
        frames.Effects,
        numbers,
        st.lists(effects | st.builds(frames.AsMaster, numbers, st.lists(effects, max_size=3)), max_size=3),
    ),
    st.builds(
        frames.Reply,
        numbers,
        numbers,
        payloads,
        st.booleans(),
        st.booleans(),
        st.none() | st.lists(effects, max_size=3),
    ),
    st.builds(frames.Propose, numbers, names, st.none() | payloads, numbers),
    st.builds(frames.Heartbeat, st.floats(allow_nan=False), st.floats(allow_nan=False), numbers),
    st.builds(frames.Ask, numbers, names, payloads, st.booleans(), st.integers(1, 2**63), st.booleans()),
    st.builds(frames.Failure, numbers, numbers, st.integers(400, 599), names, st.sampled_from((0, 4401))),
)


@given(numbers, st.lists(from_node, max_size=5), st.data())
def test_a_batch_survives_the_wire_and_no_part_of_it_does(number, batch, data):
    encoded = frames.encode_batch(number, batch)
    assert frames.decode_from_node(encoded) == (number, batch)
    assert frames.encode_batch(number, [frames.encode_frame(frame) for frame in batch]) == encoded
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(FrameError):
        frames.decode_from_node(encoded[:cut])


@pytest.mark.parametrize("decode", [frames.decode_from_node, frames.decode_from_proxy])
def test_arrays_in_arrays_without_end_are_refused(decode):
    with pytest.raises(FrameError):
        decode(b"\x92\x01" + b"\x91" * 100_000)


@pytest.mark.parametrize(
    "effect",
    [
        frames.Notify(b"", True, [], bytes(15)),
        frames.Notify(b"", True, [], bytes(8), bytes(7)),
        frames.Broadcast(b"", True, bytes(23)),
    ],
)
def test_packed_ids_come_in_eights(effect):
    with pytest.raises(FrameError, match="multiple of 8 bytes, got"):
        check_ids(effect)


@pytest.mark.parametrize("code", [1, 1000, 1008, 3999, 5000, -4000, 2**63])
def test_a_close_code_is_one_of_applications(code):
    with pytest.raises(FrameError, match="4000 to 4999, got"):
        check_ids(frames.CloseClient(1, "", code))


@pytest.mark.parametrize(
    "said", [(b"{}",), (None, 60.0), (b"", math.inf), (None, -1.0), (None, 0.0), (None, None), (None, -math.inf)]
)
def test_an_update_says_what_is_new_of_a_client(said):
    update = frames.Update(7, *said)
    _, [effects] = frames.decode_from_node(frames.encode_batch(1, [frames.Effects(1, [update])]))
    assert effects.effects == [update]
    check_ids(update)
    assert len(frames.encode_frame(update)) <= weigh(update)


def test_an_update_of_before_there_was_an_end():
    sent = msgspec.msgpack.encode([1, [[26, 1, [[33, 7, b"{}"]]]]])
    _, [effects] = frames.decode_from_node(sent)
    assert effects.effects == [frames.Update(7, b"{}", None)]


def test_a_session_does_not_end_after_not_a_number():
    with pytest.raises(FrameError, match="not-a-number"):
        check_ids(frames.Update(7, None, math.nan))


def test_the_window_before_the_first_ack():
    assert frames.Ack(1).window == FIRST_WINDOW


@given(effects)
def test_an_effect_takes_no_more_bytes_than_its_weight(effect):
    check_ids(effect)
    assert len(frames.encode_frame(effect)) <= weigh(effect)
    as_master = frames.AsMaster(2**64 - 1, [effect])
    assert len(frames.encode_frame(as_master)) <= weigh(as_master)


@given(st.lists(numbers))
def test_packed_ids_survive(ids):
    assert list(frames.unpack_ids(frames.pack_ids(ids))) == ids


def test_a_batch_of_a_node_has_a_limit_of_frames_and_an_effect_one_of_ids():
    number, taken = frames.decode_from_node(frames.encode_batch(1, [frames.Ready()] * frames.MAX_FRAMES))
    assert (number, len(taken)) == (1, frames.MAX_FRAMES)
    with pytest.raises(FrameError, match="20000"):
        frames.decode_from_node(frames.encode_batch(1, [frames.Ready()] * (frames.MAX_FRAMES + 1)))
    check_ids(frames.Broadcast(b"", True, bytes(1 << 20)))
    with pytest.raises(FrameError, match="at most 1048576 bytes"):
        check_ids(frames.Broadcast(b"", True, bytes((1 << 20) + 8)))


def test_what_is_kept_of_a_client_is_what_nodes_can_read():
    check_ids(frames.Update(1, b"{}"))
    check_ids(frames.Update(1, b""))
    check_ids(frames.Update(1, None))
    with pytest.raises(FrameError, match="data of a client is not JSON"):
        check_ids(frames.Update(1, b"{oops"))


def test_a_tail_is_for_channels():
    check_ids(frames.Notify(b"", True, ["a"], tail=b"x"))
    with pytest.raises(FrameError, match="names channels only"):
        check_ids(frames.Notify(b"", True, [], bytes(8), tail=b"x"))


def test_a_tail_is_short():
    def sent(size):
        return frames.encode_batch(1, [frames.Effects(1, [frames.Notify(b"", True, ["a"], tail=bytes(size))])])

    frames.decode_from_node(sent(1024))
    with pytest.raises(FrameError, match="1024"):
        frames.decode_from_node(sent(1025))


LEAVE = frames.Leave(0, "")


@pytest.mark.parametrize(
    "made",
    [
        lambda count: frames.Effects(1, [LEAVE] * count),
        lambda count: frames.Effects(1, [frames.AsMaster(1, [LEAVE] * count)]),
        lambda count: frames.Effects(1, [frames.Notify(b"", True, ["x"] * count)]),
        lambda count: frames.Reply(1, 1, b"", True, False, [LEAVE] * count),
        lambda count: frames.HttpReply(1, 1, b"", effects=[LEAVE] * count),
    ],
    ids=["effects", "as master", "channels", "reply", "http reply"],
)
def test_a_frame_has_a_limit_of_effects_and_a_notification_one_of_channels(made):
    frames.decode_from_node(frames.encode_batch(1, [made(20_000)]))
    with pytest.raises(FrameError, match="20000"):
        frames.decode_from_node(frames.encode_batch(1, [made(20_001)]))
