"""TLS in the reactor: an ssl object over two memory buffers per connection. Bytes in, bytes out, no socket."""

import ssl

from holdfast.protocols.clients.client_hello import NO_APPLICATION_PROTOCOL, offered_protocols
from holdfast.protocols.errors import ConfigError

READ_BYTES = 64 << 10
HTTP = "http/1.1"


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

    is_ready: the handshake is done; before, there is nobody to send to. is_over: the peer will send no more.
    """

    __slots__ = ("_hello", "_incoming", "_object", "_outgoing", "is_over", "is_ready")

    def __init__(self, context: ssl.SSLContext, *, is_http: bool) -> None:
        self._hello: bytes | None = b"" if is_http else None  # while it is not whole
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.is_ready = False
        self.is_over = False

    def receive(self, data: bytes) -> bytes:
        """Encrypted bytes of the socket (b"": end of file) to plain ones. Raises TlsError."""
        if data:
            if self._hello is not None:
                self._hear(self._hello + data)
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
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
            raise TlsError(error.reason or str(error)) from error
        return b"".join(parts)

    def _hear(self, hello: bytes) -> None:
        """What the client offers, if all of that has come."""
        offered = offered_protocols(hello)
        self._hello = hello if offered is None else None
        if offered and HTTP.encode() not in offered:
            self._outgoing.write(NO_APPLICATION_PROTOCOL)
            raise TlsError(f"no protocol in common: {HTTP} is not offered")

    def seal(self, data: bytes) -> bytes:
        """Plain bytes to encrypted ones, all of which must be written, in this order. Raises OSError."""
        view = memoryview(data)
        while view:
            view = view[self._object.write(view) :]
        return self._outgoing.read()

    def output(self) -> bytes:
        """What the handshake, or its failure, has to say."""
        return self._outgoing.read()

    def close(self) -> bytes:
        """The alert that says that we send no more. Does not wait for the peer's."""
        if not self.is_ready:
            return b""
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass  # it wants the peer's answer, or the connection has failed: our part is in the buffer
        return self._outgoing.read()
