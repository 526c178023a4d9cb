"""What a client offers, read from hellos that OpenSSL makes."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.clients.client_hello import MAX_BYTES, HelloError, HelloReader


def hello(*names):
    context = ssl.create_default_context()
    if names:
        context.set_alpn_protocols(list(names))
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="example.org").do_handshake()
    return outgoing.read()


def read_hello(data):
    return HelloReader().receive(data)


def in_records(data, size):
    """The same hello in records of so many bytes."""
    message = data[5:]
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(data[:3] + len(part).to_bytes(2, "big") + part for part in parts)


@pytest.mark.parametrize("names", [(), ("h2",), ("http/1.1",), ("h2", "http/1.1"), ("x" * 255, "y")])
@pytest.mark.parametrize("size", [1, 7, 100, 16 << 10])
def test_names_are_read_as_soon_as_all_of_the_hello_is_there_and_no_sooner(names, size):
    data = in_records(hello(*names), size)
    assert read_hello(data) == ([name.encode() for name in names], len(data))
    assert read_hello(data + b"more") == read_hello(data)
    for end in {0, 1, 4, 5, 6, len(data) // 2, len(data) - 1}:
        assert read_hello(data[:end]) is None
    reader = HelloReader()
    assert [reader.receive(data[at : at + 1]) for at in range(len(data))] == [None] * (len(data) - 1) + [
        read_hello(data)
    ]


def test_what_is_no_hello_offers_nothing():
    for data in (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x00\x05\x02\x00\x00\x01x", b"\x16\x03\x01\xff\xff"):
        assert read_hello(data) == ([], len(data))


def record(message):
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


@pytest.mark.parametrize(
    "said",
    [
        record(b"\x01" + MAX_BYTES.to_bytes(3, "big")),  # by its own word, of which no more has come
        record(b"\x01\xff") + record(b"\xff\xff"),
        in_records(b"\x16\x03\x01.." + b"\x01\x00\x10\x00" + b"x" * 3500, 1),  # in records that are nothing but headers
        record(b"") * 5000,
        b"\x14\x03\x03\x00\x01\x01" * 4000,
    ],
)
def test_what_is_too_long_is_known_before_it_has_come(said):
    with pytest.raises(HelloError, match="longer"):
        read_hello(said)


@pytest.mark.parametrize(
    "within", [b"\x15\x03\x03\x00\x02\x01\x00", b"\x14\x03\x03\x00\x01\x01", b"\x16\x03\x01\xff\xff"]
)
def test_what_comes_within_a_hello_is_refused(within):
    with pytest.raises(HelloError, match="within"):
        read_hello(record(b"\x01\xff") + within + record(b"\xff\xff"))


def test_before_a_second_hello_there_may_be_what_is_no_hello():
    data = hello("h2")
    before = b"\x14\x03\x03\x00\x01\x01" + b"\x15\x03\x03\x00\x02\x01\x00" + b"\x17\x03\x03\x00\x05early"
    assert read_hello(before + data) == ([b"h2"], len(before + data))
    for end in range(len(before) + 9):
        assert read_hello((before + data)[:end]) is None


def quietly(data):
    try:
        read_hello(data)
    except HelloError:
        pass


@given(st.binary(max_size=200), st.integers(0, 600), st.integers(0, 255))
def test_nothing_else_makes_it_raise(noise, place, byte):
    quietly(noise)
    quietly(record(noise))
    damaged = bytearray(hello("h2", "http/1.1"))
    damaged[place % len(damaged)] = byte
    quietly(bytes(damaged))
