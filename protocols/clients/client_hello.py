"""What a TLS client offers to speak (ALPN, RFC 7301), read from its first words (ClientHello, RFC 8446 section 4.1.2).

OpenSSL goes on without a protocol when none is shared, and by RFC 7301 section 3.2 that is an alert; Python's ssl can't
be told so, nor what was offered. Judges nothing else: what is malformed here, OpenSSL refuses.
"""

# A hello that is longer is not looked at: with all that is in use it has 2 KiB.
MAX_BYTES = 16 << 10
NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"  # a record: alert, fatal, 120

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_ALPN = 16


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


def offered_protocols(data: bytes) -> list[bytes] | None:
    """Of what a connection begins with: the names offered, [] for none or for no hello. None: not all has come."""
    hello = _first_message(data)
    if hello is None:
        return None
    try:
        return _protocols_in(_Reader(hello))
    except _Malformed:
        return []


def _first_message(data: bytes) -> bytes | None:
    """A ClientHello without its header, out of its records. b"": it is none."""
    message = b""
    at = 0
    while len(data) - at >= 5:
        end = at + 5 + int.from_bytes(data[at + 3 : at + 5], "big")
        if data[at] != _HANDSHAKE or end > MAX_BYTES:
            return b""
        message += data[at + 5 : end]
        if message and message[0] != _CLIENT_HELLO:
            return b""
        size = int.from_bytes(message[1:4], "big") if len(message) >= 4 else MAX_BYTES
        if len(message) >= 4 + size:
            return message[4 : 4 + size]
        if end > len(data):
            break
        at = end
    return b"" if data and data[0] != _HANDSHAKE else None


def _protocols_in(hello: _Reader) -> list[bytes]:
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
