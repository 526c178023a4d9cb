"""HTTP/1.1 for the operator: h11 in one Trio task per connection. Knows nothing of what it serves.

It is not on the way of clients, so it is simple rather than fast. Limits keep it from costing them anything: so many
connections, so large a header and a body, so long for each step, and one answer of all connections between two looks
at the sockets of clients. What breaks a limit gets an answer, then the end. Of too many connections the one goes that
we have waited for longest: who says nothing does not keep a probe out.
"""

import re
import uuid
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import h11
import msgspec
import structlog
import trio

from holdfast.masses import INTERVAL, Masses, quietly
from holdfast.protocols.answers import MARK
from holdfast.proxy.admin.http import HttpError, Request, Response, as_error
from holdfast.proxy.config import split_address
from holdfast.proxy.open_files import PAUSE, Shortage

MAX_CONNECTIONS = 64  # a few scrapers, probes and people
MAX_HEADER_BYTES = 16 << 10
MAX_HEADERS = 100  # 3,000 fit into those bytes, and h11 takes 4 us for each
MAX_BODY_BYTES = 64 << 10  # where nobody says otherwise
READ_BYTES = 16 << 10
REQUEST_TIMEOUT = 75.0  # from the connection's beginning, or the last answer, to a whole next header
BODY_TIMEOUT = 10.0
WRITE_TIMEOUT = 10.0
LINGER_TIMEOUT = 1.0  # for a caller to read a refusal while it still sends
BACKLOG = 128

_BLANK_LINE = re.compile(rb"\n\r?\n")

log = structlog.get_logger("holdfast.admin")


class AdminServer:
    """Serves `answer` at `address`, HOST:PORT. If `answer` raises, the caller sees 500. room: how many bytes the body
    of a request may have, of which the head is there."""

    def __init__(
        self,
        address: str,
        answer: Callable[[Request], Awaitable[Response]],
        max_connections: int = MAX_CONNECTIONS,
        room: Callable[[Request], int] = lambda request: MAX_BODY_BYTES,
    ) -> None:
        self._address = address
        self._answer = answer
        self._max_connections = max_connections
        self._room = room
        self._open = 0
        self._is_full = False
        self._masses = Masses()
        self._lost = Masses(quietly)
        self._turns = RoundRobin()
        self._awaited: dict[_Connection, None] = {}  # whose caller is to do something, longest first

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Started with the bound address. Raises OSError if it can't be bound."""
        host, port = split_address(self._address)
        try:
            listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(error.errno, f"can't bind {self._address} (admin.bind): {reason}") from error
        bound: Any = listeners[0].socket.getsockname()
        bound_host = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(self._accept, listener, f"{bound_host}:{bound[1]}", nursery)
            nursery.start_soon(self._tell)
            task_status.started(f"{bound_host}:{bound[1]}")

    async def _accept(self, listener: trio.SocketListener, address: str, nursery: trio.Nursery) -> None:
        """Task: whoever comes. Trio's own has a traceback for each time that there is no descriptor."""
        shortage = Shortage()
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if not shortage.is_met(error, address):
                        raise
                    await trio.sleep(PAUSE)
                else:
                    nursery.start_soon(self._serve, stream)

    async def _tell(self) -> None:
        """Task: of how much the log has said nothing."""
        while True:
            await trio.sleep(INTERVAL)
            for masses in (self._masses, self._lost):
                masses.tick(trio.current_time())

    async def _serve(self, stream: trio.SocketStream) -> None:
        """One connection, from its beginning to its end. What goes wrong in it ends it, and nothing else."""
        if self._open >= self._max_connections:
            awaited = next(iter(self._awaited), None)
            is_new = not self._is_full  # one line, however many come
            if is_new and self._masses.admits("admin_connections", trio.current_time()):
                log.warning(
                    "admin_connections", limit=self._max_connections, why="those that were idle the longest are ended"
                )
            self._is_full = True
            if awaited is None:
                await trio.aclose_forcefully(stream)
                return
            awaited.end()
        else:
            self._is_full = False
        self._open += 1
        try:
            await _Connection(stream, self._answer, self._room, self._awaited, self._turns).run()
        except (trio.BrokenResourceError, trio.TooSlowError):
            if self._lost.admits("admin_connection_lost", trio.current_time()):
                log.debug("admin_connection_lost")
        finally:
            self._open -= 1
            await trio.aclose_forcefully(stream)


class RoundRobin:
    """Lets one of all connections go on between two looks at the sockets, and the others wait in line.

    Trio runs every task that can go on before it looks again: 64 connections that pipeline would have 64 answers made,
    of 1.4 ms each for /metrics, while all clients wait. In line each connection stands once, so a probe waits for one
    answer to each of the others, however much they ask.
    """

    def __init__(self) -> None:
        self._lock = trio.StrictFIFOLock()

    async def wait(self) -> None:
        # Whose turn it is gives the lock on at once, but who gets it runs after the next look, and may work until it
        # waits for something. Free or not, the lock itself takes one look.
        async with self._lock:
            pass


class _Connection:
    """Requests and responses over one stream, one after another. awaited: has it, but while it is answered."""

    def __init__(
        self,
        stream: trio.SocketStream,
        answer: Callable[[Request], Awaitable[Response]],
        room: Callable[[Request], int],
        awaited: "dict[_Connection, None]",
        turns: RoundRobin,
    ) -> None:
        self._stream = stream
        self._answer = answer
        self._room = room
        self._awaited = awaited
        self._turns = turns
        self._life = trio.CancelScope()
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)

    def end(self) -> None:
        """Another one needs its place."""
        del self._awaited[self]
        self._life.cancel(reason="too many connections")

    async def run(self) -> None:
        self._awaited[self] = None
        try:
            with self._life:
                await self._converse()
        finally:
            self._awaited.pop(self, None)

    async def _converse(self) -> None:
        try:
            while await self._exchange():
                self._h11.start_next_cycle()
                await self._turns.wait()  # a hundred pipelined requests are a hundred turns for others
        except HttpError as error:
            await self._refuse(error)
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint)
            await self._refuse(HttpError(status, f"not a request that can be read: {status.phrase}"))

    async def _exchange(self) -> bool:
        """One request and its response. Whether another request may follow."""
        head: h11.Event | None = None
        with trio.move_on_after(REQUEST_TIMEOUT):
            head = await self._next_event()
        if not isinstance(head, h11.Request):
            return False  # the caller has left, is idle, or too slow with its header
        came = trio.current_time()
        request = Request(
            method=head.method.decode("ascii"),
            target=head.target.decode("ascii"),
            headers={name.decode("ascii"): value.decode("latin-1") for name, value in head.headers},
        )
        body = await self._body(self._room(request))
        request = msgspec.structs.replace(request, body=body, spent=trio.current_time() - came)
        await self._respond(await self._guard(request), with_body=request.method != "HEAD")
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE

    async def _body(self, room: int) -> bytes:
        if self._h11.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        body = bytearray()
        with trio.move_on_after(BODY_TIMEOUT):
            while isinstance(event := await self._next_event(), h11.Data):
                body += event.data
                if len(body) > room:
                    raise HttpError(413, f"the body is larger than {room} bytes")
                await self._turns.wait()  # a chunk may be one byte, and thousands may have come at once
            return bytes(body)
        raise HttpError(408, f"the body did not come within {BODY_TIMEOUT:g} seconds")

    async def _guard(self, request: Request) -> Response:
        """The one guard of a connection: a fault of a route costs its own answer, and is logged under an id."""
        self._awaited.pop(self, None)
        try:
            return await self._answer(request)
        except Exception:
            failure = uuid.uuid4().hex[:16]
            log.exception("admin_request_failed", id=failure, method=request.method)
            return as_error(HttpError(500, f"internal error {failure}: the log says more"))
        finally:
            self._awaited[self] = None

    async def _refuse(self, error: HttpError) -> None:
        """Answer what could not be read to its end, and give up the connection."""
        await self._respond(as_error(error), with_body=True, close=True)
        # closing over unread bytes resets the connection, and the caller would never see the answer
        with trio.move_on_after(LINGER_TIMEOUT):
            await self._stream.send_eof()
            while await self._receive():
                pass

    async def _respond(self, response: Response, with_body: bool, close: bool = False) -> None:
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            MARK,
            *response.headers,
        ]
        if close:
            headers.append(("Connection", "close"))
        await self._send(
            h11.Response(status_code=response.status, reason=HTTPStatus(response.status).phrase, headers=headers),
            *([h11.Data(data=response.body)] if with_body else []),
            h11.EndOfMessage(),
        )

    async def _send(self, *events: h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage) -> None:
        data = b"".join([self._h11.send(event) or b"" for event in events])
        with trio.fail_after(WRITE_TIMEOUT):
            await self._stream.send_all(data)

    async def _next_event(self) -> h11.Event:
        while True:
            if self._h11.their_state is h11.IDLE:
                self._count_headers()
            event = self._h11.next_event()
            if isinstance(event, h11.Event):
                return event
            self._h11.receive_data(await self._receive())

    def _count_headers(self) -> None:
        """Before they cost anything."""
        received, _ = self._h11.trailing_data
        blank = _BLANK_LINE.search(received)
        if received.count(b"\n", 0, blank.start() if blank else None) > MAX_HEADERS:
            raise HttpError(431, f"more than {MAX_HEADERS} headers")

    async def _receive(self) -> bytes:
        data = await self._stream.receive_some(READ_BYTES)
        await self._turns.wait()  # what it costs to read and to answer comes next
        return bytes(data)
