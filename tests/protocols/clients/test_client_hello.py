"""What a client offers, read from hellos that OpenSSL makes."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.clients.client_hello import MAX_BYTES, offered_protocols


def hello(*names):
    context = ssl.create_default_context()
    if names:
        context.set_alpn_protocols(list(names))
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="example.org").do_handshake()
    return outgoing.read()


def in_records(data, size):
    """The same hello in records of so many bytes."""
    message = data[5:]
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(data[:3] + len(part).to_bytes(2, "big") + part for part in parts)


@pytest.mark.parametrize("names", [(), ("h2",), ("http/1.1",), ("h2", "http/1.1"), ("x" * 255, "y")])
@pytest.mark.parametrize("size", [1, 7, 100, 16 << 10])
def test_names_are_read_as_soon_as_all_of_the_hello_is_there_and_no_sooner(names, size):
    data = in_records(hello(*names), size)
    if len(data) > MAX_BYTES:
        assert offered_protocols(data) == []
        return
    assert offered_protocols(data) == [name.encode() for name in names]
    assert offered_protocols(data + b"more") == [name.encode() for name in names]
    for end in {0, 1, 4, 5, 6, len(data) // 2, len(data) - 1}:
        assert offered_protocols(data[:end]) is None


def test_what_is_no_hello_offers_nothing():
    assert offered_protocols(b"GET / HTTP/1.1\r\n") == []
    assert offered_protocols(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01x") == []
    assert offered_protocols(b"\x16\x03\x01\xff\xff") == []


@given(st.binary(max_size=200), st.integers(0, 600), st.integers(0, 255))
def test_nothing_makes_it_raise(noise, place, byte):
    offered_protocols(noise)
    offered_protocols(b"\x16\x03\x01" + len(noise).to_bytes(2, "big") + noise)
    damaged = bytearray(hello("h2", "http/1.1"))
    damaged[place % len(damaged)] = byte
    offered_protocols(bytes(damaged))
