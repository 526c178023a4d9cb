"""The frames: what docs/node-protocol.md says of them, and that no bytes whatever do more than be refused."""

import re
import typing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import FrameError
from protocols.nodes import frames

SPECIFICATION = Path(__file__).parents[3] / "docs" / "node-protocol.md"
FROM_NODE = typing.get_args(frames.FromNode)
FROM_PROXY = typing.get_args(frames.FromProxy)
KINDS = sorted({*FROM_NODE, *FROM_PROXY}, key=lambda kind: kind.__struct_config__.tag)
DEFAULTS = {"nil": None, "false": False, '""': "", "[]": [], "{}": {}, "packed ids": b""}  # others are numbers


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
    assert sender == ("both" if kind in FROM_NODE and kind in FROM_PROXY else "node" if kind in FROM_NODE else "proxy")
    known = msgspec.structs.fields(kind)
    assert len(fields) == len(known)
    for told, field in zip(fields, known, strict=True):
        name, _, default = told.partition("=")
        if name.startswith("["):
            assert typing.get_origin(field.type) is list
        else:
            assert name.split()[0] == field.name
        if default:
            assert default_value(field) == (DEFAULTS[default] if default in DEFAULTS else float(default))
        else:
            assert field.required


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
payloads = st.binary(max_size=50)
packed = st.lists(numbers, max_size=4).map(frames.pack_ids)
effects = st.one_of(
    st.builds(frames.Join, numbers, names),
    st.builds(frames.Leave, numbers, names),
    st.builds(frames.Notify, payloads, st.booleans(), st.lists(names, max_size=3), packed, packed),
    st.builds(frames.Broadcast, payloads, st.booleans(), packed),
    st.builds(frames.CloseClient, numbers, names),
)
from_node = st.one_of(
    effects,
    st.builds(frames.AsMaster, numbers, st.lists(effects, max_size=3)),
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


def test_packed_ids_come_in_eights():
    with pytest.raises(FrameError, match="multiple of 8 bytes, got 7"):
        frames.unpack_ids(bytes(7))


@given(st.lists(numbers))
def test_packed_ids_survive(ids):
    assert list(frames.unpack_ids(frames.pack_ids(ids))) == ids
