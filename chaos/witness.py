"""The connection of a built-in client on trio-websocket: slower than chaos.websocket, and whole.

A few of the clients have it, as witnesses: another implementation from the handshake on, with tasks and buffers as an
application has them.
"""

from collections.abc import Callable

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from holdfast.protocols.errors import HoldfastError

MAX_WAITING = 10_000  # requests that are not written yet; an open-loop client must not wait for a slow proxy


class Witness:
    """send and close may be called as soon as `run` has started."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._send, self._waiting = trio.open_memory_channel[str](MAX_WAITING)

    def send(self, text: bytes) -> None:
        try:
            self._send.send_nowait(text.decode())
        except trio.WouldBlock:
            raise ConnectionError(f"{MAX_WAITING} requests wait to be written") from None

    def close(self) -> None:
        """Drop the connection; nothing more is taken, and its end is not told."""
        self._scope.cancel(reason="its client has given it up")

    async def run(
        self,
        host: str,
        port: int,
        take: Callable[[bytes], None],
        ended: Callable[[str], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Connect, `take` each message, and say in a few words why it ended. Raises HoldfastError if it can't begin."""
        try:
            # Our own stream: trio-websocket leaves one that the peer has closed to the garbage collector.
            with self._scope:
                async with await trio.open_tcp_stream(host, port) as stream, trio.open_nursery() as nursery:
                    connection = await wrap_client_stream(nursery, stream, f"{host}:{port}", "/")
                    task_status.started()
                    nursery.start_soon(self._write, connection)
                    ended(await _read(connection, take))
                    nursery.cancel_scope.cancel(reason="the connection has ended")
        except* (OSError, HandshakeError) as group:
            raise HoldfastError(f"{host}:{port}: no WebSocket: {group.exceptions[0]!r}") from group

    async def _write(self, connection: WebSocketConnection) -> None:
        try:
            async for text in self._waiting:
                await connection.send_message(text)
        except ConnectionClosed:
            return  # reading says why


async def _read(connection: WebSocketConnection, take: Callable[[bytes], None]) -> str:
    try:
        while True:
            message = await connection.get_message()
            take(message if isinstance(message, bytes) else message.encode())
    except ConnectionClosed as closed:
        code = None if closed.reason is None else closed.reason.code
        return "end of file" if code in (None, 1006) else f"close code {code}"
