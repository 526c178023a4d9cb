"""The test vectors of the node protocol: bytes and meaning, read by our codec and by a msgpack library of others.

They are written down once, and what they say is the protocol. A change here that makes one of them fail breaks every
node written in another language.
"""

import json
import typing
from pathlib import Path

import msgpack
import msgspec
import pytest

from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import decode_admitted, decode_granted, encode_admitted, encode_granted

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))
DECODE = {"node": frames.decode_from_node, "proxy": frames.decode_from_proxy}
SENT_BY = {"node": typing.get_args(frames.FromNode), "proxy": typing.get_args(frames.FromProxy)}


def meant(value):
    """What a value of the vectors stands for."""
    if isinstance(value, list):
        return [meant(item) for item in value]
    if isinstance(value, dict):
        if value.keys() == {"hex"}:
            return bytes.fromhex(value["hex"])
        if value.keys() == {"uint"}:
            return int(value["uint"])
        return {key: meant(item) for key, item in value.items()}
    return value


def senders(vector):
    return ("node", "proxy") if vector["from"] == "both" else (vector["from"],)


def plain(frame):
    """A frame of ours as the arrays and values that are on the wire."""
    return lists(msgspec.to_builtins(frame, builtin_types=(bytes,)))


def lists(value):
    """Headers are tuples to us; JSON and msgpack know only one kind of array."""
    return [lists(item) for item in value] if isinstance(value, list | tuple) else value


def named(vectors):
    """Each vector once for each side that may send it."""
    return [
        pytest.param(
            sender, vector, id=f"{sender}-{vector.get('frame') or vector.get('why') or vector['number']}-{place}"
        )
        for place, vector in enumerate(vectors)
        for sender in senders(vector)
    ]


def in_a_batch(frame: bytes) -> bytes:
    return b"\x92\x01\x91" + frame


@pytest.mark.parametrize(("sender", "vector"), named(VECTORS["frames"]))
def test_a_frame_is_read_as_it_is_meant(sender, vector):
    number, [frame] = DECODE[sender](in_a_batch(bytes.fromhex(vector["hex"])))
    assert number == 1
    assert type(frame).__name__ == vector["frame"]
    assert list(frame.__struct_fields__) == list(vector["fields"])
    assert plain(frame) == [vector["type"], *meant(list(vector["fields"].values()))]


@pytest.mark.parametrize(("sender", "vector"), named(v for v in VECTORS["frames"] if v["canonical"]))
def test_a_frame_is_written_as_it_is_meant(sender, vector):
    data = bytes.fromhex(vector["hex"])
    _, [frame] = DECODE[sender](in_a_batch(data))
    assert frames.encode_batch(1, [frame]) == in_a_batch(data)
    assert bytes(frames.encode_frame(frame)) == data


@pytest.mark.parametrize(("sender", "vector"), named(v for v in VECTORS["frames"] if v["canonical"]))
def test_another_library_reads_and_writes_the_same_frame(sender, vector):
    array = [vector["type"], *meant(list(vector["fields"].values()))]
    data = bytes.fromhex(vector["hex"])
    assert msgpack.unpackb(data) == array
    assert msgpack.packb(array) == data


@pytest.mark.parametrize(("sender", "vector"), named(VECTORS["batches"]))
def test_a_batch_is_the_same_to_us_and_to_another_library(sender, vector):
    data = bytes.fromhex(vector["hex"])
    number, batch = DECODE[sender](data)
    expected = [meant(vector["number"]), meant(vector["frames"])]
    shortened = [number, [plain(frame)[: len(array)] for frame, array in zip(batch, expected[1], strict=True)]]
    assert shortened == expected  # ours has the default of fields that are left out
    assert msgpack.unpackb(data) == expected
    assert frames.encode_batch(number, expected[1]) == data
    assert msgpack.packb(expected) == data


@pytest.mark.parametrize(("sender", "vector"), named(VECTORS["invalid"]))
def test_what_is_no_batch_is_refused(sender, vector):
    with pytest.raises(FrameError):
        DECODE[sender](bytes.fromhex(vector["hex"]))


@pytest.mark.parametrize("vector", VECTORS["packed_ids"], ids=lambda vector: str(len(vector["ids"])))
def test_packed_ids(vector):
    ids = meant(vector["ids"])
    assert frames.pack_ids(ids).hex() == vector["hex"]
    assert list(frames.unpack_ids(bytes.fromhex(vector["hex"]))) == ids


@pytest.mark.parametrize("vector", VECTORS["admitted"], ids=lambda vector: vector["hex"])
def test_who_is_admitted(vector):
    data = bytes.fromhex(vector["hex"])
    admitted = decode_admitted(data)
    assert list(admitted.__struct_fields__) == list(vector["fields"])
    assert plain(admitted) == meant(list(vector["fields"].values()))
    if vector["canonical"]:
        assert encode_admitted(admitted) == data == msgpack.packb(meant(list(vector["fields"].values())))


@pytest.mark.parametrize("vector", VECTORS["granted"], ids=lambda vector: vector["hex"])
def test_what_is_granted(vector):
    data = bytes.fromhex(vector["hex"])
    granted = decode_granted(data)
    assert list(granted.__struct_fields__) == list(vector["fields"])
    assert plain(granted) == meant(list(vector["fields"].values()))
    if vector["canonical"]:
        assert encode_granted(granted) == data == msgpack.packb(meant(list(vector["fields"].values())))


@pytest.mark.parametrize("sender", ["node", "proxy"])
def test_every_frame_that_a_side_may_send_has_a_canonical_vector(sender):
    told = {vector["frame"] for vector in VECTORS["frames"] if vector["canonical"] and sender in senders(vector)}
    assert told == {kind.__name__ for kind in SENT_BY[sender]}


def test_the_vectors_are_of_this_version():
    assert VECTORS["version"] == frames.VERSION
