"""The WebSocket of a built-in client: the sans-I/O protocol of `websockets` on a non-blocking socket.

Independent of our own codec, so that the two check each other. With trio-websocket, which is as independent, a request
and its reply cost 130 us, and of a thousand clients' ten requests a second half came through. With this a request, its
reply, two notifications and the book-keeping cost 42 us together, which leaves the machine to what is to be tested.
"""

import os
import socket
from collections.abc import Iterator

import trio
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from holdfast.protocols.errors import HoldfastError

READ_BYTES = 64 << 10


class WebSocket:
    """fd: for an epoll. has_output: what the kernel has refused waits, so wait for writability too. has_more: the last
    read was as long as one can be.
    """

    __slots__ = ("_output", "_protocol", "_socket", "fd", "has_more")

    def __init__(self, connected: socket.socket, protocol: ClientProtocol) -> None:
        self._socket = connected
        self.fd = connected.fileno()
        self._protocol = protocol
        self._output = b""
        self.has_more = False

    @classmethod
    async def open(cls, host: str, port: int, resource: str = "/") -> "WebSocket":
        """Connect and shake hands. resource: path and query. Raises HoldfastError."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        protocol = ClientProtocol(parse_uri(f"ws://{address}{resource}"), max_size=None)
        protocol.send_request(protocol.connect())
        try:
            stream = await trio.open_tcp_stream(host, port)
            try:
                await stream.send_all(b"".join(protocol.data_to_send()))
                while protocol.state is State.CONNECTING:
                    data = await stream.receive_some(READ_BYTES)
                    if not data:
                        protocol.receive_eof()
                        break
                    protocol.receive_data(data)
                if protocol.state is State.OPEN:
                    protocol.events_received()  # the response to the handshake
                    return cls(_detached(stream), protocol)
            finally:
                stream.socket.close()  # it is the WebSocket's now, or nobody's
        except (OSError, trio.BrokenResourceError) as error:
            raise HoldfastError(f"{address}: {error}") from error
        raise HoldfastError(f"{address}: no WebSocket: {protocol.handshake_exc}")

    @property
    def has_output(self) -> bool:
        return bool(self._output)

    def send(self, text: bytes) -> None:
        """Raises ConnectionError, as `receive`, when the connection has ended."""
        if self._protocol.state is not State.OPEN:  # within `receive`: the end came in the same read as a message
            raise ConnectionError(self._ending())
        self._protocol.send_text(text)
        self._write()

    def receive(self) -> Iterator[bytes]:
        """The messages of one read. Raises ConnectionError with a few words when the connection has ended."""
        self.has_more = False
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise ConnectionError(error.strerror) from error
        self.has_more = len(data) == READ_BYTES
        protocol = self._protocol
        if data:
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
        for event in protocol.events_received():
            if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY):
                yield bytes(event.data)
        self._write()  # pongs, and the echo of a close
        if protocol.state is not State.OPEN:
            raise ConnectionError(self._ending())

    def _ending(self) -> str:
        protocol = self._protocol
        if protocol.close_rcvd is not None:
            return f"close code {protocol.close_rcvd.code}"
        # the parser's error, where there is one: the peer did not speak WebSocket
        return str(protocol.parser_exc or "end of file")

    def flush(self) -> None:
        """The socket is writable again."""
        self._write()

    def _write(self) -> None:
        data = self._output + b"".join(self._protocol.data_to_send())
        if data:
            try:
                self._output = data[os.write(self.fd, data) :]
            except BlockingIOError:
                self._output = data
            except OSError:
                self._output = b""  # reading says why

    def close(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self._write()
        self._socket.close()


def _detached(stream: trio.SocketStream) -> socket.socket:
    """Its connection as a socket that is not Trio's."""
    theirs = stream.socket
    duplicate = socket.socket(theirs.family, theirs.type, theirs.proto, fileno=os.dup(theirs.fileno()))
    duplicate.setblocking(False)
    return duplicate
