"""TLS in the reactor: an ssl object over two memory buffers per connection. Bytes in, bytes out, no socket."""

import ssl

from protocols.errors import ConfigError

READ_BYTES = 64 << 10


class TlsError(Exception):
    """The handshake or a record failed. `TlsChannel.output` holds the alert for the peer."""


def server_context(certificate_file: str, key_file: str) -> ssl.SSLContext:
    """A context for the client port. Raises ConfigError when the files are no pair of certificate and key."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate_file, key_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"client.tls_certificate_file, client.tls_key_file: can't load them: {error}") from error
    return context


class TlsChannel:
    """One connection's encryption. is_over: the peer has said that it will send no more."""

    __slots__ = ("_incoming", "_object", "_outgoing", "_ready", "is_over")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ready = False
        self.is_over = False

    def receive(self, data: bytes) -> bytes:
        """Encrypted bytes of the socket (b"": end of file) to plain ones. Raises TlsError."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        parts = []
        try:
            if not self._ready:
                self._object.do_handshake()
                self._ready = True
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

    def send(self, data: bytes) -> bytes:
        """Plain bytes to encrypted ones. Before the handshake's end there is nobody to send to: nothing."""
        if not self._ready:
            return b""
        view = memoryview(data)
        while view:
            view = view[self._object.write(view) :]
        return self._outgoing.read()

    def output(self) -> bytes:
        """What the handshake, or its failure, has to say."""
        return self._outgoing.read()

    def close(self) -> bytes:
        """The alert that says that we send no more. Does not wait for the peer's."""
        if not self._ready:
            return b""
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass  # it wants the peer's answer, or the connection has failed: our part is in the buffer
        return self._outgoing.read()
