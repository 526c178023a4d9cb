"""A connection as AsyncPublisher needs it, of whichever library runs the calling task: asyncio or Trio."""

import asyncio  # noqa: TID251 - for applications that run on it
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import trio
    import trio.abc

T = TypeVar("T")
READ_BYTES = 64 << 10


class Stream(Protocol):
    """Raises OSError for what goes wrong. `receive` gives b"" at the end. `close` waits for nothing."""

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes: ...

    def close(self) -> None: ...


class Library(Protocol):
    async def open(self, host: str, port: int, tls: ssl.SSLContext | None) -> Stream: ...

    async def sleep(self, seconds: float) -> None: ...

    async def within(self, seconds: float, function: Callable[[], Awaitable[T]]) -> T:
        """Raises TimeoutError, which is an OSError."""
        ...


def current() -> Library:
    """That of the calling task. Trio first: as a guest it runs within a loop of asyncio."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        return OfTrio()
    return OfAsyncio()


class OfAsyncio:
    async def open(self, host: str, port: int, tls: ssl.SSLContext | None) -> Stream:
        return _AsyncioStream(*await asyncio.open_connection(host, port, ssl=tls))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def within(self, seconds: float, function: Callable[[], Awaitable[T]]) -> T:
        async with asyncio.timeout(seconds):
            return await function()


class _AsyncioStream:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> bytes:
        return await self._reader.read(READ_BYTES)

    def close(self) -> None:
        self._writer.transport.abort()


class OfTrio:
    async def open(self, host: str, port: int, tls: ssl.SSLContext | None) -> Stream:
        import trio

        stream = await trio.open_tcp_stream(host, port)
        if tls is None:
            return _TrioStream(stream, stream)
        return _TrioStream(stream, trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True))

    async def sleep(self, seconds: float) -> None:
        import trio

        await trio.sleep(seconds)

    async def within(self, seconds: float, function: Callable[[], Awaitable[T]]) -> T:
        import trio

        try:
            with trio.fail_after(seconds):
                return await function()
        except trio.TooSlowError as error:
            raise TimeoutError(f"no answer within {seconds:g} s") from error


def _lost(error: Exception) -> OSError:
    """What TLS says is behind Trio's own. To be raised when that is over: where an error is among its own causes, those
    who show it find no end."""
    return (
        error.__cause__
        if isinstance(error.__cause__, ssl.SSLError)
        else ConnectionResetError("the connection was lost")
    )


class _TrioStream:
    def __init__(self, socket: "trio.SocketStream", stream: "trio.abc.Stream") -> None:
        self._socket = socket
        self._stream = stream

    async def send(self, data: bytes) -> None:
        import trio

        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            lost = _lost(error)
        else:
            return
        raise lost

    async def receive(self) -> bytes:
        import trio

        try:
            return bytes(await self._stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            lost = _lost(error)
        raise lost

    def close(self) -> None:
        self._socket.socket.close()
