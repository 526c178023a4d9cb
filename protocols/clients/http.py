"""HTTP/1.1 (RFC 9112), server side: one connection's requests, one at a time; and the door to WebSocket.

Every new connection begins here. Owns the connection's life: which part of a request is awaited and until when, that
one request is with a node at a time, when the connection must end. The rest is told in files of its own: http_head,
http_body, http_reply, encodings, forwarded, upgrade. Refuses with a typed error (JSON) and `Connection: close` what
breaks a rule or a limit: after a refusal nobody knows where the next request would begin.
"""

from collections.abc import Iterable
from enum import Enum, auto
from math import inf
from typing import ClassVar

from protocols.clients import encodings, http_head, upgrade
from protocols.clients.base import Limits, ReplyHead
from protocols.clients.events import Event, Finished, HttpRequest, Opened, Output, Request, Switch
from protocols.clients.forwarded import client_address, is_trusted_peer
from protocols.clients.http_body import ChunkedBody
from protocols.clients.http_head import CHUNKED, Head
from protocols.clients.http_reply import CONTINUE, ReplyWriter
from protocols.clients.websocket import WebSocketProtocol
from protocols.close import Reason
from protocols.errors import HoldfastError, ProtocolError

# Behind a request that is with a node: the rest of the read that completed it, and one more of the reactor's reads.
_MAX_PIPELINED_BYTES = 128 << 10


class _State(Enum):
    NEW = auto()  # nothing has come yet
    IDLE = auto()  # between requests
    HEAD = auto()  # a part of a head has come
    BODY = auto()
    WITH_NODE = auto()  # a request is out, its reply may have begun; paused
    REPLIED = auto()  # all is said; the next request, or the end
    CLOSED = auto()  # Finished or Switch was told


_MOVES = {
    _State.NEW: {_State.HEAD, _State.REPLIED, _State.CLOSED},
    _State.IDLE: {_State.HEAD, _State.REPLIED, _State.CLOSED},
    _State.HEAD: {_State.BODY, _State.REPLIED, _State.CLOSED},
    _State.BODY: {_State.WITH_NODE, _State.REPLIED, _State.CLOSED},
    _State.WITH_NODE: {_State.REPLIED, _State.CLOSED},
    _State.REPLIED: {_State.IDLE, _State.REPLIED, _State.CLOSED},
    _State.CLOSED: set(),
}
_ARRIVING = frozenset({_State.HEAD, _State.BODY})


class HttpProtocol:
    """The adapter. See protocols.clients.base.ClientProtocol.

    address: the socket's peer, "ip:port". An end of file while a request is with a node does not cancel it: a client
    may close its sending side and wait. `Finished` comes after the reply then. `close()` lets a request that is with a
    node be answered, and DRAINING also one that has begun to arrive; for any other reason that one is answered with
    the reason, and so is a new connection. One between requests is told nothing.
    """

    __slots__ = (
        "_address", "_buffer", "_chunked", "_ending", "_eof", "_head", "_is_trusted", "_limits",
        "_request", "_searched", "_state", "_writer", "deadline", "paused",
    )  # fmt: skip

    name: ClassVar[str] = "http"
    wire_format: object = None

    def __init__(self, limits: Limits, address: str, now: float) -> None:
        self._limits = limits
        self._address = address
        self._is_trusted = is_trusted_peer(address, limits.trusted_peers)
        self._state = _State.NEW
        self._buffer = bytearray()
        self._searched = 0  # so many bytes of the buffer hold no end of a head
        self._eof = False
        self._head: Head | None = None  # of the request whose body is awaited
        self._chunked: ChunkedBody | None = None  # of the same, if it comes in chunks
        self._request: HttpRequest | None = None  # the one with a node
        self._writer: ReplyWriter | None = None  # of the same
        self._ending: Finished | None = None  # to be told when all is said
        self.deadline = now + limits.handshake_timeout
        self.paused = False

    def receive_data(self, data: bytes, now: float) -> Iterable[Event]:
        if self._state is _State.CLOSED:
            return []
        self._buffer += data
        self._eof = self._eof or not data
        if self.paused:
            if data and len(self._buffer) > _MAX_PIPELINED_BYTES:
                return self._finish(Finished(Reason.PROTOCOL_ERROR, "too much data behind a request without a reply"))
            return []
        return self.resume(now) if self._state is _State.REPLIED else self._advance(now)

    def resume(self, now: float) -> Iterable[Event]:
        if self._state is not _State.REPLIED:
            return []
        if self._ending is not None:
            return self._finish(self._ending)
        self._move(_State.IDLE)
        self.deadline = now + self._limits.keepalive_timeout
        return self._advance(now)

    def on_deadline(self, now: float) -> Iterable[Event]:
        if now < self.deadline:
            return []
        if self._state is _State.REPLIED:
            return self.resume(now)
        if self._state is _State.IDLE:
            return self._finish(Finished(Reason.IDLE, f"no request within {self._limits.keepalive_timeout:g} s"))
        if self._state is _State.BODY:
            detail = f"no complete body within {self._limits.body_timeout:g} s"
        else:
            detail = f"no complete request head within {self._limits.handshake_timeout:g} s"
        return self._refuse(ProtocolError(detail, Reason.TOO_SLOW))

    def reply(self, request: Request, head: ReplyHead | None, payload: bytes, is_text: bool, more: bool) -> bytes:
        writer = self._writer
        if writer is None or request is not self._request:
            raise ProtocolError("no such request waits for a reply", Reason.BAD_REPLY)
        said = writer.write(head, payload, is_text, more)
        if not more:
            self._end_request(writer)
        return said

    def error(self, request: Request, error: HoldfastError) -> bytes:
        writer = self._writer
        if writer is None or request is not self._request:
            return b""
        if writer.begun and self._ending is None:
            self._ending = Finished(error.reason, f"the reply was broken off: {error}")
        said = writer.error(error, request.payload)
        self._end_request(writer)
        return said

    def notification(self, payload: bytes, is_text: bool) -> bytes:
        return b""

    def close(self, reason: Reason, detail: str, now: float) -> bytes:
        if self._state is _State.CLOSED or self._ending is not None:
            return b""
        was = self._state
        self._ending = Finished(reason, detail)
        if self._writer is not None:
            self._writer.keeps_alive = False
        elif reason is not Reason.DRAINING or was not in _ARRIVING:
            self._move(_State.REPLIED)
            self.deadline = now
            # A new client has not asked yet, but will, and takes this for its answer.
            if reason is not Reason.DRAINING and (was in _ARRIVING or was is _State.NEW):
                return _error_bytes(HoldfastError(detail, reason))
        return b""

    def _advance(self, now: float) -> list[Event]:
        """Go as far as the buffer reaches: to the next request, or to the end."""
        events: list[Event] = []
        try:
            if self._state is not _State.BODY:
                self._take_head(now, events)
            if self._head is not None:
                self._take_body(self._head, events)
        except HoldfastError as error:
            events += self._refuse(error)
        if self._eof and not self.paused and self._state is not _State.CLOSED:
            detail = "in the middle of a request" if self._state in _ARRIVING else ""
            events += self._finish(Finished(Reason.CLIENT_LEFT, detail))
        return events

    def _take_head(self, now: float, events: list[Event]) -> None:
        buffer, limits = self._buffer, self._limits
        start = http_head.find_start(buffer)
        if start is None:
            return
        if self._state is not _State.HEAD:
            self._move(_State.HEAD)
            self.deadline = now + limits.handshake_timeout
        end = http_head.find_end(buffer, start, self._searched, limits)
        if end is None:
            self._searched = len(buffer)
            return
        self._searched = 0
        block = bytes(buffer[start:end])
        del buffer[:end]
        head = http_head.read_head(block, limits)
        encodings.check(head.tokens("content-encoding"), limits)
        if upgrade.is_upgrade(head):
            self._upgrade(head, now, events)
            return
        # Also if the body is here already: what is said must not depend on how the bytes were cut.
        if head.expects_continue:
            events.append(Output(CONTINUE))
        self._head = head
        self._chunked = ChunkedBody(limits) if head.length == CHUNKED else None
        self._move(_State.BODY)
        self.deadline = now + limits.body_timeout

    def _take_body(self, head: Head, events: list[Event]) -> None:
        buffer = self._buffer
        if self._chunked is not None:
            body = self._chunked.take(buffer)
            if body is None:
                return
        else:
            if len(buffer) < head.length:
                return
            body = bytes(buffer[: head.length])
            del buffer[: head.length]
        payload = encodings.decode(body, head.tokens("content-encoding"), self._limits.max_body_bytes)
        headers = http_head.headers_for_node(head, self._is_trusted)
        request = HttpRequest(head.method, head.target, headers, payload, self._forwarded_for(head))
        self._request = request
        self._writer = ReplyWriter(
            is_head=head.method == "HEAD",
            is_http10=head.is_http10,
            keeps_alive=head.keeps_alive and self._ending is None,
        )
        self._head = self._chunked = None
        self._move(_State.WITH_NODE)
        self.deadline = inf
        self.paused = True
        events.append(request)

    def _end_request(self, writer: ReplyWriter) -> None:
        if not writer.keeps_alive and self._ending is None:
            self._ending = Finished(Reason.CLIENT_LEFT, "after the last reply")
        self._request = self._writer = None
        self.paused = False
        self._move(_State.REPLIED)

    def _upgrade(self, head: Head, now: float, events: list[Event]) -> None:
        if self._ending is not None:
            raise HoldfastError(self._ending.detail, self._ending.reason)
        answer, deflate = upgrade.accept(head, self._limits)
        address = self._forwarded_for(head)
        headers = [
            header
            for header in http_head.headers_for_node(head, self._is_trusted)
            if header[0] not in upgrade.NOT_FOR_NODES
        ]
        protocol = WebSocketProtocol(self._limits, address or self._address, now, deflate=deflate)
        events.append(Output(answer))
        events.append(Opened(WebSocketProtocol.name, head.target, headers, address))
        events.append(Switch(protocol, bytes(self._buffer)))
        self._leave()

    def _forwarded_for(self, head: Head) -> str | None:
        if not self._is_trusted:
            return None
        return client_address(head.values("x-forwarded-for"), self._limits.trusted_peers)

    def _refuse(self, error: HoldfastError) -> list[Event]:
        return [Output(_error_bytes(error)), *self._finish(Finished(error.reason, str(error)))]

    def _finish(self, finished: Finished) -> list[Event]:
        self._leave()
        return [finished]

    def _leave(self) -> None:
        """Nothing more is taken or said; what is held goes."""
        self._move(_State.CLOSED)
        self._buffer = bytearray()
        self._head = self._chunked = self._request = self._writer = None
        self.paused = False
        self.deadline = inf

    def _move(self, state: _State) -> None:
        if state not in _MOVES[self._state]:
            raise HoldfastError(f"an HTTP connection can't go from {self._state.name} to {state.name}")
        self._state = state


def _error_bytes(error: HoldfastError) -> bytes:
    return ReplyWriter(is_head=False, is_http10=False, keeps_alive=False).error(error, b"")
