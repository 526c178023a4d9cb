"""What is typed into `holdfast dev`: lines become messages of a client, and what comes for it is shown.

Owns one WebSocket connection to the proxy, as any client has, and single HTTP requests. It reads stdin as it is: a
terminal, a pipe or a file.
"""

import http.client
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from string import punctuation
from urllib.parse import quote, urlsplit

import msgspec
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream
from wsproto.utilities import LocalProtocolError

from holdfast.console.output import printable

HELP = """\
TEXT            send it as a message      //TEXT   the same of one that begins with a slash
/json VALUE     send it, checked to be JSON
/get PATH       make a request by HTTP; also /post, /put, /delete PATH [BODY]
/path PATH      connect anew, at this path
/reload         start the node anew
/quit           end; so does Ctrl-D, and Ctrl-C"""
METHODS = {"get", "post", "put", "delete"}
HTTP_TIMEOUT = 60.0  # the proxy answers within request.timeout
CONNECT_TIMEOUT = 10.0
MAX_LINE = 1 << 20  # bytes
MAX_SHOWN = 10_000  # characters of a message

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class Console:
    """url: of the proxy, ws://HOST:PORT. say: shows a line. reload: has the node started anew."""

    def __init__(self, url: str, say: Callable[[str], None], reload: Callable[[], None]) -> None:
        self._url = url
        self._host, self._port = str(urlsplit(url).hostname), urlsplit(url).port or 0
        self._say = say
        self._reload = reload
        self._path = "/"
        self._connection: WebSocketConnection | None = None
        self._tls: ssl.SSLContext | None = None
        if url.startswith("wss:"):  # our own proxy: its certificate is for another name, if for any
            self._tls = ssl.create_default_context()
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE

    async def run(self) -> bool:
        """Until /quit, or the end of a terminal: True. False: what is read has ended, and all else goes on."""
        async with trio.open_nursery() as nursery:
            await self._connect(nursery)
            async for line in _lines():
                if line.strip() == "/quit":
                    break
                await self._obey(line, nursery)
            else:
                if not os.isatty(0):  # what was sent may be answered yet
                    self._say("dev: stdin has ended; Ctrl-C ends all")
                    await trio.sleep_forever()
            nursery.cancel_scope.cancel(reason="the console has ended")
        return True

    async def _obey(self, line: str, nursery: trio.Nursery) -> None:
        if not line.startswith("/") or line.startswith("//"):
            if line:
                await self._send(line.removeprefix("/"), nursery)
            return
        word, _, rest = line[1:].partition(" ")
        rest = rest.strip()
        if word == "json":
            try:
                value = msgspec.json.decode(rest)
            except (ValueError, RecursionError) as error:
                self._say(f"dev: no JSON: {error}")
            else:
                await self._send(msgspec.json.encode(value).decode(), nursery)
        elif word == "path" and rest.startswith("/"):
            self._path = _target(rest)
            await self._close()
            await self._connect(nursery)
        elif word in METHODS and rest.startswith("/"):
            path, _, body = rest.partition(" ")
            nursery.start_soon(self._request, word.upper(), _target(path), body)
        elif word == "reload":
            self._reload()
        elif word == "help":
            for help in HELP.splitlines():
                self._say(help)
        else:
            self._say(f"dev: /{printable(word)}? What there is: /help")

    # --- messages -------------------------------------------------------------------------------------------------

    async def _send(self, text: str, nursery: trio.Nursery) -> None:
        for _ in range(2):  # it may have been closed a moment ago
            if self._connection is None:
                await self._connect(nursery)
            if self._connection is None:
                return
            try:
                await self._connection.send_message(text)
                return
            except (ConnectionClosed, LocalProtocolError):  # that: it ends just now
                self._connection = None

    async def _connect(self, nursery: trio.Nursery) -> None:
        """Returns when it is open, or a line has said why not."""
        await nursery.start(self._run)

    async def _run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Task: one connection to its end. What goes wrong in it, whatever it is, is a line and ends nothing else."""
        connection: WebSocketConnection | None = None
        stream: Stream | None = None
        try:
            async with trio.open_nursery() as nursery:  # of its own: what the library can't read ends all tasks in it
                with trio.fail_after(CONNECT_TIMEOUT):
                    stream = await self._open()
                    connection = await wrap_client_stream(nursery, stream, urlsplit(self._url).netloc, self._path)
                self._connection = connection
                task_status.started()
                await self._receive(connection)
        except Exception as error:  # the guard of a connection
            self._say(f"dev: {self._url}{self._path}: no WebSocket: {printable(_reason(error))}")
            if connection is not None and self._connection is connection:
                self._connection = None
        finally:
            if stream is not None:
                await trio.aclose_forcefully(stream)
        if connection is None:
            task_status.started()

    async def _open(self) -> Stream:
        host, port = self._host, self._port
        if self._tls is None:
            return await trio.open_tcp_stream(host, port)
        return await trio.open_ssl_over_tcp_stream(host, port, ssl_context=self._tls, https_compatible=True)

    async def _receive(self, connection: WebSocketConnection) -> None:
        try:
            while True:
                self._say(f"< {_shown(await connection.get_message())}")
        except ConnectionClosed as closed:
            if self._connection is connection:
                self._connection = None
                why = closed.reason
                text = "" if why is None else f" with {why.code} {printable(why.reason or '')}".rstrip()
                self._say(f"dev: the connection was closed{text}; the next line opens another one")

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with trio.move_on_after(1):
                await connection.aclose()

    # --- HTTP -----------------------------------------------------------------------------------------------------

    async def _request(self, method: str, path: str, body: str) -> None:
        try:
            status, text = await trio.to_thread.run_sync(self._ask, method, path, body, abandon_on_cancel=True)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._say(f"dev: {method} {path}: {printable(_reason(error))}")
            return
        self._say(f"< {status} {_shown(text)}".rstrip())

    def _ask(self, method: str, path: str, body: str) -> tuple[int, str | bytes]:
        host, port = self._host, self._port
        connection: http.client.HTTPConnection
        if self._tls is not None:
            connection = http.client.HTTPSConnection(host, port, timeout=HTTP_TIMEOUT, context=self._tls)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=HTTP_TIMEOUT)
        try:
            connection.request(method, path, body.encode() if body else None)
            response = connection.getresponse()
            content = response.read(MAX_LINE)
        finally:
            connection.close()
        with suppress(UnicodeDecodeError):
            return response.status, content.decode()
        return response.status, content


def _shown(message: str | bytes) -> str:
    if isinstance(message, bytes):
        text = f"({len(message)} bytes) {message[:MAX_SHOWN].hex(' ')}"
    else:
        text = printable(message[: MAX_SHOWN + 1])
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def _target(path: str) -> str:
    """A path as a request has it: what is typed may be anything, and is sent as a browser would."""
    return quote(path.partition("#")[0], safe=punctuation)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


async def _lines() -> AsyncIterator[str]:
    """Of stdin, until it ends."""
    rest = b""
    while True:
        try:
            await trio.lowlevel.wait_readable(0)
        except (OSError, ValueError):  # a file, which can always be read; or it is closed
            await trio.lowlevel.checkpoint()
        try:
            data = os.read(0, 4096)
        except OSError:
            return
        *lines, rest = (rest + data).split(b"\n")
        if not data and rest:
            lines, rest = [rest], b""
        if len(rest) > MAX_LINE:
            rest = b""
        for line in lines:
            yield line.decode(errors="replace").removesuffix("\r")
        if not data:
            return
