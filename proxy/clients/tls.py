"""TLS in the reactor: an ssl object over two memory buffers per connection. Bytes in, bytes out, no socket.

Records are units, of which OpenSSL gets so many at a time: one that gives no data, a KeyUpdate, takes 7 us, and 64 KiB
hold 2,400 of them. Their heads are in clear.
"""

import ssl
from typing import Final, NoReturn

from holdfast.protocols.clients.base import UNITS_PER_CALL
from holdfast.protocols.clients.client_hello import NO_APPLICATION_PROTOCOL, HelloError, HelloReader, asks_again
from holdfast.protocols.errors import ConfigError

READ_BYTES = 64 << 10
HTTP = "http/1.1"
HEAD_BYTES: Final = 5  # of a record (RFC 8446 section 5.1): type, version, and two of length
# Records in a row that give no data: an honest client has a few in a handshake, and a KeyUpdate in many GiB.
MAX_BARREN: Final = 32
NO_RECORD: Final = b"\x63\x03\x03\x00\x01\x00"  # of no type that there is: OpenSSL says the alert for that


class TlsError(Exception):
    """The handshake or a record failed. `TlsChannel.output` holds the alert for the peer."""


def server_context(certificate_file: str, key_file: str) -> ssl.SSLContext:
    """A context for the client port. Raises ConfigError when the files are no pair of certificate and key."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols([HTTP])
    try:
        context.load_cert_chain(certificate_file, key_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"client.tls_certificate_file, client.tls_key_file: can't load them: {error}") from error
    return context


class TlsChannel:
    """One connection's encryption. is_http: a client that offers protocols, and not ours, is refused.

    is_ready: the handshake is done; before, there is nobody to send to. is_over: the peer will send no more. After a
    TlsError, and after `close`, nothing is sealed any more: `seal` raises.

    kept: what has come and is above the share of one call, or less than a record's head. has_more: `resume` goes on
    with it, in another turn. What is received meanwhile is kept behind it.

    A hello reaches OpenSSL when it is whole, and not at all when it is longer than any that is meant.
    """

    __slots__ = (
        "_barren", "_hello", "_incoming", "_is_closed", "_is_http", "_left", "_object", "_outgoing", "_said",
        "has_more", "is_over", "is_ready", "kept",
    )  # fmt: skip

    def __init__(self, context: ssl.SSLContext, *, is_http: bool) -> None:
        self._is_http = is_http
        self._hello: HelloReader | None = HelloReader()  # while it is not whole
        self._is_closed = False
        self._said = b""  # before what is in `_outgoing`
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._left = 0  # of the record that has begun, bytes that are to come
        self._barren = 0  # records since the last data
        self.kept = b""
        self.has_more = False
        self.is_ready = False
        self.is_over = False

    def receive(self, data: bytes) -> bytes:
        """Encrypted bytes of the socket (b"": end of file) to plain ones. Raises TlsError."""
        if not data:
            return b"" if self.has_more else self._end()
        if self._hello is not None:
            return self._hear(self._hello, data)
        if self.has_more:
            self.kept += data
            return b""
        return self._take(self.kept + data if self.kept else data)

    def resume(self) -> bytes:
        """More of what has come: as `receive`."""
        return self._take(self.kept)

    def _end(self) -> bytes:
        self._incoming.write(self.kept)
        self.kept = b""
        self._incoming.write_eof()
        plain = self._go_on()
        self.is_over = True
        return plain

    def _take(self, data: bytes) -> bytes:
        """So many records as are a share, and of the last one what is there."""
        size = len(data)
        at = self._left
        count = 0
        while at + HEAD_BYTES <= size and count < UNITS_PER_CALL:
            at += HEAD_BYTES + (data[at + 3] << 8 | data[at + 4])
            count += 1
        self.has_more = at + HEAD_BYTES <= size
        if at >= size:
            self._left = at - size
            self.kept = b""
        else:
            self._left = 0
            self.kept = data[at:]
            data = data[:at]
        self._incoming.write(data)
        plain = self._go_on()
        if self.is_over:
            self.kept = b""
            self.has_more = False
        if plain:
            self._barren = 0
        else:
            self._barren += count
            if self._barren > MAX_BARREN:
                self._give_up()
        return plain

    def _give_up(self) -> NoReturn:
        """It only keeps us busy. The alert can't be a bare one now, so OpenSSL says that of a record it can't read."""
        why = f"more than {MAX_BARREN} records in a row without data"
        self._incoming.write(bytes(self._left) or NO_RECORD)
        self._is_closed = True
        try:
            self._go_on()
        except TlsError as error:
            raise TlsError(why) from error
        raise TlsError(why)

    def _hear(self, reader: HelloReader, data: bytes) -> bytes:
        """A part of a hello. When that is whole, it is taken, and what is behind it."""
        try:
            hello = reader.receive(data)
        except HelloError as error:
            self._refuse(error.alert, str(error))
        if hello is None:
            return b""
        self._hello = None
        if self._is_http and hello.protocols and HTTP.encode() not in hello.protocols:
            self._refuse(NO_APPLICATION_PROTOCOL, f"no protocol in common: {HTTP} is not offered")
        self._incoming.write(reader.data[: hello.size])
        self._go_on()
        self._said = self._outgoing.read()
        if asks_again(self._said):
            self._hello = HelloReader()
        behind = bytes(reader.data[hello.size :])
        return self.receive(behind) if behind else b""

    def _go_on(self) -> bytes:
        parts = []
        try:
            if not self.is_ready:
                self._object.do_handshake()
                self.is_ready = True
            while True:
                part = self._object.read(READ_BYTES)
                if not part:
                    self.is_over = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.is_over = True
        except ssl.SSLEOFError:  # a peer that just closes its socket: common, and told by the empty read as well
            self.is_over = True
        except ssl.SSLError as error:
            self._is_closed = True
            raise TlsError(error.reason or str(error)) from error
        return b"".join(parts)

    def _refuse(self, alert: bytes, why: str) -> NoReturn:
        self._hello = None
        self._is_closed = True
        self._outgoing.write(alert)
        raise TlsError(why)

    def seal(self, data: bytes) -> bytes:
        """Plain bytes to encrypted ones, all of which must be written, in this order. Raises OSError."""
        if self._is_closed:
            raise OSError("nothing is sealed after the end")
        view = memoryview(data)
        while view:
            view = view[self._object.write(view) :]
        return self._outgoing.read()

    def output(self) -> bytes:
        """What the handshake, or its failure, has to say."""
        said, self._said = self._said + self._outgoing.read(), b""
        return said

    def close(self) -> bytes:
        """The alert that says that we send no more, once. Does not wait for the peer's."""
        if not self.is_ready or self._is_closed:
            return b""
        self._is_closed = True
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass  # it wants the peer's answer, or the connection has failed: our part is in the buffer
        return self._outgoing.read()
