"""JSON that all nodes read: what it may be is one rule, the same wherever it is asked."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.carried import MAX_DATA_BYTES, MAX_DEPTH, check

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(values)
def test_what_json_can_say_may_be_said(value):
    check(json.dumps(value, ensure_ascii=False).encode())


@given(st.binary(max_size=30))
def test_bytes_are_json_or_refused(data):
    try:
        check(data)
    except FrameError:
        return
    if data:
        json.loads(data)


def nested(depth, opening=b"[", closing=b"]"):
    return opening * depth + b"0" + closing * depth


@pytest.mark.parametrize(
    ("most", "why"),
    [
        (b"", ""),
        (b'"%b"' % (b"a" * (MAX_DATA_BYTES - 2)), ""),
        (b'"%b"' % (b"a" * (MAX_DATA_BYTES - 1)), "at most 16384 bytes as JSON, got 16385"),
        (nested(MAX_DEPTH), ""),
        (nested(MAX_DEPTH).replace(b"0", b""), ""),
        (nested(MAX_DEPTH + 1), "nested at most 64 deep"),
        (nested(MAX_DEPTH + 1).replace(b"0", b""), "nested at most 64 deep"),
        (nested(MAX_DEPTH, b'{"a":', b"}"), ""),
        (nested(MAX_DEPTH + 1, b'{"a":', b"}"), "nested at most 64 deep"),
        (nested(8000), "nested at most 64 deep"),
        (b'"' + b"[" * 1000 + b'"', ""),
        (b"[" + b"[]," * 5000 + b"[]]", ""),
        (b"%d" % (2**1023 - 1), ""),
        (b"[-%d]" % 2**1023, "at most 1023 bits"),
        (b"[%b]" % (b"9" * 16_000), "is not JSON"),
        (b"1e400", "is not JSON"),
        (b"NaN", "is not JSON"),
        (b"{oops", "is not JSON"),
        (b"{} {}", "is not JSON"),
        (b" ", "is not JSON"),
        (b'"\xff"', "is not JSON"),
        (b'"\xed\xa0\x80"', "is not JSON"),
        (b'"\\ud800"', "is not JSON"),
        (b"\xef\xbb\xbf1", "is not JSON"),
    ],
    ids=lambda what: str(what)[:20],
)
def test_the_most_that_may_be_said(most, why):
    if not why:
        check(most)
        return
    with pytest.raises(FrameError, match=f"the claims .*{why}"):
        check(most, "the claims")
