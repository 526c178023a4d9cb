"""Content codings of request bodies, and the ways to abuse them."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.encodings import Decoder, check
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ProtocolError


def raw_deflate(data):
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


ENCODE = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
}


def decode(body, encodings, max_bytes):
    decoder = Decoder(body, encodings, max_bytes)
    while (decoded := decoder.advance()) is None:
        pass
    return decoded


def encode(body, encodings):
    for encoding in encodings:
        body = ENCODE[encoding](body)
    return body


@given(st.binary(max_size=2000), st.lists(st.sampled_from(sorted(ENCODE)), max_size=4))
@settings(max_examples=100, deadline=None)
def test_layers_come_off_in_reverse(body, encodings):
    assert decode(encode(body, encodings), encodings, 10_000) == body


@given(st.binary(max_size=200), st.lists(st.sampled_from(sorted(ENCODE)), max_size=3))
@settings(max_examples=200, deadline=None)
def test_junk_is_refused_and_never_raises_otherwise(junk, encodings):
    try:
        size = len(decode(junk, encodings, 1000))
    except ProtocolError:
        size = 0
    assert size <= 1000


@pytest.mark.parametrize("body", [b"", b"a", b"hello" * 100])
def test_deflate_without_zlib_s_header_as_some_clients_send_it(body):
    assert decode(raw_deflate(body), ["deflate"], 1000) == body


def test_gzip_may_have_several_members_but_not_endlessly_many():
    assert decode(gzip.compress(b"hel") + gzip.compress(b"") + gzip.compress(b"lo"), ["gzip"], 5) == b"hello"
    with pytest.raises(ProtocolError) as caught:
        decode(gzip.compress(b"") * 400_000, ["gzip"], 5)
    assert caught.value.reason is Reason.PROTOCOL_ERROR


def test_nothing_is_nothing_in_every_encoding():
    assert decode(b"", ["gzip", "deflate"], 0) == b""


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:5],
        lambda data: data + b"x",
        lambda data: data[:12] + bytes(4) + data[16:],
        lambda data: data[:-4] + bytes(4),
    ],
)
def test_damaged_data(encoding, damage):
    data = ENCODE[encoding](bytes(range(256)))
    assert decode(data, [encoding], 256) == bytes(range(256))
    with pytest.raises(ProtocolError) as caught:
        decode(damage(data), [encoding], 256)
    assert caught.value.reason is Reason.PROTOCOL_ERROR


def test_limit_holds_for_the_body_and_counts_all_members():
    for body in (gzip.compress(bytes(101)), gzip.compress(bytes(51)) * 2):
        with pytest.raises(ProtocolError) as caught:
            decode(body, ["gzip"], 100)
        assert caught.value.reason is Reason.MESSAGE_TOO_LARGE
    assert decode(gzip.compress(bytes(50)) * 2, ["gzip"], 100) == bytes(100)


@pytest.mark.parametrize("encodings", [["gzip"], ["gzip", "gzip"], ["deflate", "gzip"]])
def test_a_bomb_is_not_inflated_beyond_the_limit(encodings):
    bomb = encode(bytes(100 << 20), encodings)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError) as caught:
            decode(bomb, encodings, 1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.reason is Reason.MESSAGE_TOO_LARGE
    assert peak < 4 << 20


def test_check_knows_what_decode_knows():
    check([], Limits())
    check(["gzip", "x-gzip", "deflate"], Limits())
    check(["identity"], Limits())


@pytest.mark.parametrize("encodings", [["br"], ["gzip", "zstd"], ["chunked"], ["gzip;q=1"], ["gzip"] * 4])
def test_check_refuses_the_unknown_and_the_too_many(encodings):
    with pytest.raises(ProtocolError) as caught:
        check(encodings, Limits(max_encoding_layers=3))
    assert caught.value.reason is Reason.UNSUPPORTED_ENCODING
