"""The payloads of calls: who is admitted, and effects to be done. Bytes of others: whatever is none is a FrameError."""

from math import nan

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.calls import (
    MAX_JOINED,
    Admitted,
    decode_admitted,
    decode_effects,
    encode_admitted,
    encode_effects,
)
from holdfast.protocols.nodes.carried import MAX_DATA_BYTES
from holdfast.protocols.nodes.effects import MAX_EFFECTS
from holdfast.protocols.nodes.frames import Broadcast, Leave
from holdfast.protocols.nodes.names import MAX_NAME


@given(
    st.builds(
        Admitted,
        st.text(max_size=20),
        st.integers().map(b"%d".__mod__) | st.just(b""),
        st.lists(st.text(max_size=9), max_size=4),
        st.floats(0, 1e9),
    )
)
def test_who_is_admitted_survives_the_wire(admitted):
    assert decode_admitted(encode_admitted(admitted)) == admitted


def test_no_word_is_anybody():
    assert decode_admitted(b"") == Admitted() == Admitted("", b"", [], 0.0)


@given(st.binary(max_size=60))
def test_bytes_are_something_or_refused(data):
    for decode in (decode_admitted, decode_effects):
        try:
            decode(data)
        except FrameError:
            continue


@pytest.mark.parametrize(
    "what",
    [
        ["a" * (MAX_NAME + 1)],
        ["", b"", [""] * (MAX_JOINED + 1)],
        ["", b"", [], -1.0],
        ["", b"", [], nan],
        ["", b"", ["a", 3]],
        {"user": "ada"},
        "ada",
    ],
    ids=lambda what: str(what)[:20],
)
def test_what_is_no_admission(what):
    with pytest.raises(FrameError, match="no word of who a client is"):
        decode_admitted(msgpack.packb(what))


def test_data_that_nodes_can_not_read_is_refused():
    with pytest.raises(FrameError, match="data of a client is not JSON"):
        decode_admitted(encode_admitted(Admitted(data=b"{oops")))


def test_the_most_that_an_admission_may_be():
    most = Admitted("a" * MAX_NAME, b'"%b"' % (b"a" * (MAX_DATA_BYTES - 2)), ["c"] * MAX_JOINED, 1e9)
    assert decode_admitted(encode_admitted(most)) == most


def test_effects_for_a_node_to_do():
    effects = [Broadcast(b"x", True), Leave(1, "a")]
    assert decode_effects(encode_effects(effects)) == effects
    with pytest.raises(FrameError, match="20000"):
        decode_effects(encode_effects([Leave(1, "a")] * (MAX_EFFECTS + 1)))
