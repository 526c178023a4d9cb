"""What a TLS client offers to speak (ALPN, RFC 7301), read from its first words (ClientHello, RFC 8446 section 4.1.2).

OpenSSL goes on without a protocol when none is shared, and by RFC 7301 section 3.2 that is an alert; Python's ssl can't
be told so, nor what was offered. And OpenSSL takes 128 KiB for somebody who is nobody yet, as soon as nine bytes say
that so much is to come. Judges nothing else: what is malformed here, OpenSSL refuses.
"""

from typing import NamedTuple

# With all that is in use it has 2 KiB; some more with keys of post-quantum kinds. Headers of records count.
MAX_BYTES = 20 << 10
# Records: alert, fatal, and which.
NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"
_ILLEGAL_PARAMETER = b"\x15\x03\x03\x00\x02\x02\x2f"  # what OpenSSL says of a message that is too long
_UNEXPECTED_MESSAGE = b"\x15\x03\x03\x00\x02\x02\x0a"

_HANDSHAKE = 22
_BEFORE = (20, 21, 23)  # a change of ciphers in name only, a warning, early data that is not taken
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_ALPN = 16
_MAX_RECORD = 16 << 10
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")  # RFC 8446 section 4.1.3


class HelloError(Exception):
    """What OpenSSL is not to see. alert: the record that says so."""

    def __init__(self, why: str, alert: bytes) -> None:
        super().__init__(why)
        self.alert = alert


class _Malformed(Exception):
    pass


class _Reader:
    """Vectors (RFC 8446 section 3.4), one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise _Malformed
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size_bytes: int) -> bytes:
        return self.take(self.number(size_bytes))


def _too_long() -> HelloError:
    return HelloError(f"its hello is longer than {MAX_BYTES} bytes", _ILLEGAL_PARAMETER)


class Hello(NamedTuple):
    """protocols: the names offered, [] for none or for no hello. size: with its records, and all before them."""

    protocols: list[bytes]
    size: int


class HelloReader:
    """Told what a connection begins with, or goes on with when it is asked again. data: all of that so far."""

    __slots__ = ("_at", "_message", "data")

    def __init__(self) -> None:
        self.data = bytearray()
        self._at = 0  # where the first record begins that is not whole
        self._message = bytearray()

    def receive(self, data: bytes) -> Hello | None:
        """None: not all has come. Raises HelloError."""
        self.data += data
        while len(self.data) - self._at >= 5:
            kind, size = self.data[self._at], int.from_bytes(self.data[self._at + 3 : self._at + 5], "big")
            is_handshake = kind == _HANDSHAKE and size <= _MAX_RECORD
            if not is_handshake and self._message:  # RFC 8446 section 5.1
                raise HelloError("something else came within its hello", _UNEXPECTED_MESSAGE)
            if not is_handshake and kind not in _BEFORE:
                return Hello([], len(self.data))
            begin, end = self._at + 5, self._at + 5 + size
            if end > len(self.data):
                break
            self._at = end
            if is_handshake:
                self._message += self.data[begin:end]
                hello = self._look(end)
                if hello is not None:
                    return hello
        if len(self.data) > MAX_BYTES:
            raise _too_long()
        return None

    def _look(self, end: int) -> Hello | None:
        message = self._message
        if message and message[0] != _CLIENT_HELLO:
            return Hello([], len(self.data))
        whole = 4 + int.from_bytes(message[1:4], "big")
        if len(message) < 4:
            return None
        if max(whole, end) > MAX_BYTES:
            raise _too_long()
        return None if len(message) < whole else Hello(_protocols_in(bytes(message[4:whole])), end)


def asks_again(data: bytes) -> bool:
    """What a server says first is a HelloRetryRequest: the client will say hello once more."""
    return data[:1] == bytes([_HANDSHAKE]) and data[5:6] == bytes([_SERVER_HELLO]) and data[11:43] == _RETRY


def _protocols_in(message: bytes) -> list[bytes]:
    try:
        return _alpn_of(_Reader(message))
    except _Malformed:
        return []


def _alpn_of(hello: _Reader) -> list[bytes]:
    hello.take(2 + 32)  # version, random
    for size_bytes in (1, 2, 1):  # session, cipher suites, compression methods
        hello.vector(size_bytes)
    extensions = _Reader(hello.vector(2))
    while extensions:
        kind, content = extensions.number(2), _Reader(extensions.vector(2))
        if kind == _ALPN:
            names, offered = _Reader(content.vector(2)), []
            while names:
                offered.append(names.vector(1))
            return offered
    return []
