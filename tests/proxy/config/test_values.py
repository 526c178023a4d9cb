import math
import socket
import tomllib
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.clients.forwarded import networks
from holdfast.proxy.config.keys import KEYS, Key, Kind
from holdfast.proxy.config.values import (
    convert,
    from_text,
    is_local_endpoint,
    is_loopback,
    parse_duration,
    parse_size,
    split_address,
    split_binding,
    to_toml,
)

SECONDS = Key(Kind.SECONDS, "")
BYTES = Key(Kind.BYTES, "")
COUNT = Key(Kind.COUNT, "")
MANY = tuple[str, ...]
ENDPOINTS = "tcp://HOST:PORT, tcp://HOST:*, tcp://[NAME:FAMILY]:PORT or ipc://PATH"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10.0), ("2m", 120.0), ("1h", 3600.0), ("0.25", 0.25), ("1.5 s", 1.5), ("0", 0.0)],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "1e3", "1s2", "\u0661s", "nan"])
def test_what_is_no_duration(text):
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [("65536", 65536), ("64KiB", 65536), ("1MB", 10**6), ("1MiB", 1 << 20), ("2gib", 2 << 30), ("7 B", 7)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "-1", "1.5MiB", "1M", "\u0661", "9" * 5000])
def test_what_is_no_size(text):
    assert parse_size(text) is None


@pytest.mark.parametrize(
    ("value", "type_", "key", "result"),
    [
        (True, bool, Key(Kind.FLAG, ""), True),
        (5, int, COUNT, 5),
        ("64KiB", int, BYTES, 65536),
        (2, float, SECONDS, 2.0),
        ("2m", float, SECONDS, 120.0),
        (0, int, Key(Kind.COUNT, "", zero="none"), 0),
        (1.0, float, Key(Kind.SHARE, "", at_most=1), 1.0),
        ("a", Literal["a", "b"], Key(Kind.CHOICE, ""), "a"),
        ("a, b", MANY, Key(Kind.TEXT, ""), ("a", "b")),
        (["a", "b"], MANY, Key(Kind.TEXT, ""), ("a", "b")),
        ("", MANY, Key(Kind.TEXT, ""), ()),
        ("127.0.0.1:0", MANY, Key(Kind.ADDRESS, ""), ("127.0.0.1:0",)),
        ("[::1]:7512", str, Key(Kind.ADDRESS, ""), "[::1]:7512"),
        ("tcp://127.0.0.1:*,tcp://[::1]:0", MANY, Key(Kind.ENDPOINT, ""), ("tcp://127.0.0.1:*", "tcp://[::1]:0")),
        ("tcp://*:7510", MANY, Key(Kind.ENDPOINT, ""), ("tcp://*:7510",)),
        ("tcp://[_site_:ipv4]:7511", str, Key(Kind.ENDPOINT, ""), "tcp://[_site_:ipv4]:7511"),
        ("tcp://[eth0]:*", str, Key(Kind.ENDPOINT, ""), "tcp://[eth0]:*"),
        ("", str, Key(Kind.ENDPOINT, ""), ""),
        ("10.0.0.0/8,::1", MANY, Key(Kind.NETWORK, ""), ("10.0.0.0/8", "::1")),
        ("https://a.example:8443", MANY, Key(Kind.ORIGIN, ""), ("https://a.example:8443",)),
        ("redis://a:1, redis://b", MANY, Key(Kind.URL, ""), ("redis://a:1", "redis://b")),
        ("redis+sentinel://a,b:2/m", MANY, Key(Kind.URL, ""), ("redis+sentinel://a,b:2/m",)),
        ("", str, Key(Kind.FILE, ""), ""),
        ("HS256,EdDSA", MANY, Key(Kind.ALGORITHM, ""), ("HS256", "EdDSA")),
        ("header, cookie:__Host-a,query:t", MANY, Key(Kind.SOURCE, ""), ("header", "cookie:__Host-a", "query:t")),
    ],
)
def test_good_values(value, type_, key, result):
    converted = convert(value, type_, key)
    assert converted == result
    assert type(converted) is type(result)


@pytest.mark.parametrize(
    ("value", "type_", "key", "expected"),
    [
        (1, bool, Key(Kind.FLAG, ""), "true or false"),
        (True, int, COUNT, "a whole number above 0"),
        (1.0, int, COUNT, "a whole number above 0"),
        ("5", int, COUNT, "a whole number above 0"),
        (0, int, COUNT, "a whole number above 0"),
        (-1, int, Key(Kind.COUNT, "", zero="none"), "a whole number from 0"),
        (10**400, int, COUNT, "a whole number above 0"),
        (70000, int, Key(Kind.COUNT, "", at_most=65535), "a whole number above 0 up to 65535"),
        (
            0,
            int,
            Key(Kind.COUNT, "", at_least=2_000_000, at_most=10_000_000),
            "a whole number from 2000000 up to 10000000",
        ),
        (
            0,
            float,
            Key(Kind.SECONDS, "", at_most=10_000_000),
            'seconds, above 0 up to 10000000, such as 0.5, "500ms", "10s" or "2m"',
        ),
        ("lots", int, BYTES, 'a size above 0 such as 65536, "64KiB" or "1MB"'),
        ("soon", float, SECONDS, 'seconds, above 0, such as 0.5, "500ms", "10s" or "2m"'),
        (math.nan, float, SECONDS, 'seconds, above 0, such as 0.5, "500ms", "10s" or "2m"'),
        (math.inf, float, SECONDS, 'seconds, above 0, such as 0.5, "500ms", "10s" or "2m"'),
        (1.1, float, Key(Kind.SHARE, "", at_most=1), "a number above 0 up to 1"),
        ("c", Literal["a", "b"], Key(Kind.CHOICE, ""), "one of a, b"),
        ([], Literal["a", "b"], Key(Kind.CHOICE, ""), "one of a, b"),
        (5, str, Key(Kind.TEXT, ""), "text"),
        (15, int, Key(Kind.COUNT, "", at_least=16), "a whole number from 16"),
        (15, int, Key(Kind.BYTES, "", at_least=16), 'a size from 16 such as 65536, "64KiB" or "1MB"'),
        ("a\n", str, Key(Kind.SECRET, ""), "up to 4096 characters, without control characters"),
        ("a" * 4097, str, Key(Kind.TEXT, ""), "up to 4096 characters, without control characters"),
        ([], MANY, Key(Kind.ORIGIN, ""), "at least one origin"),
        (["a b"], MANY, Key(Kind.TOKEN, ""), "a word as headers have it, without spaces and commas"),
        ("\udcff", str, Key(Kind.TEXT, ""), "text in UTF-8"),
        (["a", 1], MANY, Key(Kind.TEXT, ""), "text or a list of texts"),
        ({}, MANY, Key(Kind.TEXT, ""), "text or a list of texts"),
        ([], MANY, Key(Kind.ADDRESS, ""), "at least one HOST:PORT"),
        ("", str, Key(Kind.ADDRESS, ""), "HOST:PORT or [IPV6]:PORT"),
        ("a..b:1", str, Key(Kind.ADDRESS, ""), "HOST:PORT or [IPV6]:PORT"),
        ("x" * 64 + ":1", str, Key(Kind.ADDRESS, ""), "HOST:PORT or [IPV6]:PORT"),
        ("ipc://a\u00fc", str, Key(Kind.ENDPOINT, ""), ENDPOINTS),
        ("tcp://127.0.0.1", MANY, Key(Kind.ENDPOINT, ""), ENDPOINTS),
        ("udp://127.0.0.1:1", MANY, Key(Kind.ENDPOINT, ""), ENDPOINTS),
        ("tcp://[eth0:ipv5]:1", MANY, Key(Kind.ENDPOINT, ""), ENDPOINTS),
        ("tcp://[eth0:ipv4]", str, Key(Kind.ENDPOINT, ""), ENDPOINTS),
        ("tcp://[]:1", str, Key(Kind.ENDPOINT, ""), ENDPOINTS),
        ("ipc://", MANY, Key(Kind.ENDPOINT, ""), ENDPOINTS),
        (["HS256", "none"], MANY, Key(Kind.ALGORITHM, ""), "HS256 or RS256 or ES256 or EdDSA"),
        ("HS512", MANY, Key(Kind.ALGORITHM, ""), "HS256 or RS256 or ES256 or EdDSA"),
        ([], MANY, Key(Kind.SOURCE, ""), "at least one header, cookie:NAME or query:NAME"),
        ("header:a", MANY, Key(Kind.SOURCE, ""), '"header", "cookie:NAME" or "query:NAME"'),
        ("cookie:", MANY, Key(Kind.SOURCE, ""), '"header", "cookie:NAME" or "query:NAME"'),
        ("query:a b", MANY, Key(Kind.SOURCE, ""), '"header", "cookie:NAME" or "query:NAME"'),
        ("10.0.0.0/40", MANY, Key(Kind.NETWORK, ""), "an address or a network such as 10.0.0.0/8"),
        ("https://a.example/", MANY, Key(Kind.ORIGIN, ""), '"*", "null" or SCHEME://HOST[:PORT], without a path'),
        ("/nowhere/at/all", str, Key(Kind.FILE, ""), "a file that can be read"),
        ("/nowhere/at/all", str, Key(Kind.FOLDER, ""), "a folder that can be read"),
    ],
)
def test_refused_values(value, type_, key, expected):
    with pytest.raises(ValueError, match=r".") as refusal:
        convert(value, type_, key)
    assert str(refusal.value) == expected


@pytest.mark.parametrize(
    ("text", "type_", "key", "value"),
    [
        ("TRUE", bool, Key(Kind.FLAG, ""), True),
        ("off", bool, Key(Kind.FLAG, ""), False),
        ("maybe", bool, Key(Kind.FLAG, ""), "maybe"),
        ("12", int, COUNT, 12),
        ("1e3", int, COUNT, "1e3"),
        ("0.5", float, Key(Kind.SHARE, ""), 0.5),
        ("64KiB", int, BYTES, "64KiB"),
        ("a,b", MANY, Key(Kind.TEXT, ""), "a,b"),
    ],
)
def test_text_becomes_what_toml_would_have_given(text, type_, key, value):
    assert from_text(text, type_, key) == value


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("0.0.0.0:7512", ("0.0.0.0", 7512)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_addresses(address, parts):
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "address", ["", "7512", ":7512", "host", "host:", "host:x", "host:-1", "host:65536", "::1:7512", "[]:1", "a b:1"]
)
def test_what_is_no_address(address):
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_address(address)


@given(st.text())
def test_splitting_an_address_raises_nothing_else(text):
    try:
        host, port = split_address(text)
    except ValueError:
        return
    assert host
    assert 0 <= port < 65536


def test_loopback():
    assert all(map(is_loopback, ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "*", "::", "10.0.0.1", "example.org", "localhost.example.org", ""]))
    assert all(map(is_local_endpoint, ["ipc:///run/x", "tcp://127.0.0.1:*", "tcp://[::1]:1"]))
    assert not any(map(is_local_endpoint, ["tcp://*:1", "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://eth0:1"]))


toml_values = st.one_of(
    st.booleans(),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.lists(st.text()).map(tuple),
)


@given(toml_values)
def test_toml_that_is_written_is_read_back(value):
    read = tomllib.loads(f"x = {to_toml(value)}")["x"]
    assert read == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize(
    ("endpoint", "binding"),
    [
        ("tcp://[_site_:ipv4]:7511", ("_site_", "ipv4", "7511")),
        ("tcp://[eth0:IPv6]:*", ("eth0", "ipv6", "*")),
        ("tcp://[eth0]:1", ("eth0", "ipv4", "1")),
        ("tcp://[10.0.0.1:ipv4]:1", ("10.0.0.1", "ipv4", "1")),
        ("tcp://[::1:ipv6]:1", ("::1", "ipv6", "1")),
        ("tcp://[::1]:7510", None),
        ("tcp://[fe80::1%eth0]:7510", None),
        ("tcp://127.0.0.1:7510", None),
        ("tcp://*:7510", None),
        ("ipc://[eth0:ipv4]", None),
    ],
)
def test_bindings(endpoint, binding):
    assert split_binding(endpoint) == binding


@pytest.mark.parametrize("endpoint", ["tcp://[eth0:ipv5]:1", "tcp://[eth0:]:1", "tcp://[a:b:c]:1"])
def test_what_is_no_binding(endpoint):
    with pytest.raises(ValueError, match="ipv4 or ipv6 as FAMILY"):
        split_binding(endpoint)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "::ffff:127.0.0.0/104", "fe80::1%1", "::/0", "0.0.0.0/0", "::1"])
def test_a_network_that_is_taken_is_one_to_adapters(text):
    taken = convert([text], tuple[str, ...], KEYS["client.trusted_peers"])
    assert len(networks(taken)) == 1


def test_a_buffer_is_no_larger_than_the_kernel_takes():
    key = KEYS["client.send_buffer_bytes"]
    size = convert("1GiB", int, key)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
    with pytest.raises(ValueError, match="up to 1073741824"):
        convert(2147483648, int, key)
