import pytest
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from holdfast.protocols.nodes.keys import decode_key


@given(st.binary(min_size=32, max_size=32))
def test_a_key_is_what_zeromq_takes_it_for(key):
    assert decode_key(z85.encode(key)) == key


@pytest.mark.parametrize("text", [b"", b"a" * 39, b"a" * 41, b"~" * 40, b"#" * 40, b"\xff" * 40])
def test_what_is_no_key(text):
    with pytest.raises(ValueError, match=r"40 characters of Z85"):
        decode_key(text)
