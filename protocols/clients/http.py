"""HTTP/1.1 (RFC 9112), server side: one connection's requests, one at a time; and the door to WebSocket.

Every new connection begins here. Owns the connection's life: which part of a request is awaited and until when, that
one request is with a node at a time, when the connection must end. The rest is told in files of its own: http_head,
http_body, http_reply, encodings, forwarded, upgrade. Refuses with a typed error (JSON) and `Connection: close` what
breaks a rule or a limit: after a refusal nobody knows where the next request would begin.
"""

from collections.abc import Sequence
from enum import IntEnum
from math import inf
from typing import ClassVar

from holdfast.protocols.clients import encodings, http_head, upgrade
from holdfast.protocols.clients.base import Limits, ReplyHead
from holdfast.protocols.clients.doors import Door
from holdfast.protocols.clients.events import Event, Finished, HttpRequest, Opened, Output, Request, Silent, Switch
from holdfast.protocols.clients.forwarded import client_address, is_trusted_peer
from holdfast.protocols.clients.http_body import ChunkedBody
from holdfast.protocols.clients.http_head import CHUNKED, Fields, Head
from holdfast.protocols.clients.http_reply import CONTINUE, ReplyWriter, error_bytes
from holdfast.protocols.clients.websocket import WebSocketProtocol
from holdfast.protocols.clients.within import Handshake, WithinWebSocket
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, ProtocolError, RequestError

# Behind a request that is with a node: the rest of the read that completed it, and one more of the reactor's reads.
_MAX_PIPELINED_BYTES = 128 << 10
_RETRY_AFTER = 1.0  # who is refused for the proxy's sake
# Of a request's headers, to compare them with the next one's: longer ones are not worth an idle connection's memory.
_MAX_KEPT_BYTES = 2 << 10


class _State(IntEnum):
    NEW = 0  # nothing has come yet
    IDLE = 1  # between requests
    HEAD = 2  # a part of a head has come
    BODY = 3  # a head, and not yet all of its body
    WITH_NODE = 4  # a request is out, its reply may have begun; paused
    REPLIED = 5  # all is said; the next request, or the end
    CLOSED = 6  # Finished or Switch was told
    AT_DOOR = 7  # another adapter answers a request, and then it is our turn again: see http_doors


# Names of this module: to look up a member of an Enum costs 0.1 us, and a request does that a dozen times.
_NEW, _IDLE, _HEAD, _BODY, _WITH_NODE, _REPLIED, _CLOSED, _AT_DOOR = _State

_MOVES = {
    _NEW: {_HEAD, _BODY, _WITH_NODE, _REPLIED, _CLOSED},
    _IDLE: {_HEAD, _BODY, _WITH_NODE, _REPLIED, _CLOSED},
    _HEAD: {_BODY, _WITH_NODE, _REPLIED, _CLOSED},
    _BODY: {_WITH_NODE, _REPLIED, _CLOSED},
    _WITH_NODE: {_REPLIED, _CLOSED, _AT_DOOR},
    _REPLIED: {_IDLE, _REPLIED, _CLOSED},
    _CLOSED: set(),
    _AT_DOOR: {_IDLE},
}
_ARRIVING = frozenset({_HEAD, _BODY})


class HttpProtocol:
    """The adapter. See protocols.clients.base.ClientProtocol.

    address: the socket's peer, "ip:port". An end of file while a request is with a node does not cancel it: a client
    may close its sending side and wait. `Finished` comes after the reply then. `close()` lets a request that is with a
    node be answered, and DRAINING also one that has begun to arrive, until it is said again; for any other reason
    that one is answered with the reason at once, and so is a new connection. One between requests is told nothing.
    """

    __slots__ = (
        "_address", "_buffer", "_chunked", "_decoder", "_ending", "_eof", "_fields", "_head", "_head_bytes",
        "_is_trusted", "_limits", "_request", "_searched", "_state", "_writer",
        "client_address", "deadline", "has_more", "held_bytes", "paused",
    )  # fmt: skip

    name: ClassVar[str] = "http"
    eventless: int = 0
    wire_format: object = None

    def __init__(self, limits: Limits, address: str, now: float) -> None:
        self._limits = limits
        self._address = self.client_address = address
        self._is_trusted = is_trusted_peer(address, limits.trusted_peers)
        self._state = _NEW
        self._buffer = bytearray()
        self._searched = 0  # so many bytes of the buffer hold no end of a head
        self._eof = False
        self._fields: Fields | None = None  # of the last request
        self._head_bytes = 0  # of the last request, if they are many
        self._head: Head | None = None  # of the request whose body is awaited
        self._chunked: ChunkedBody | None = None  # of the same, if it comes in chunks
        self._decoder: encodings.Decoder | None = None  # of the same, when it has come and is being decoded
        self._request: HttpRequest | None = None  # the one with a node
        self._writer: ReplyWriter | None = None  # of the same
        self._ending: Finished | None = None  # to be told when all is said
        self.deadline = now + limits.handshake_timeout
        self.has_more = False
        self.held_bytes = 0
        self.paused = False

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        if self._state is _CLOSED:
            return []
        self._buffer += data
        if not data:
            self._eof = True
        if self.paused:
            self.held_bytes += len(data)
            if data and len(self._buffer) > _MAX_PIPELINED_BYTES:
                return self._finish(Finished(Reason.PROTOCOL_ERROR, "too much data behind a request without a reply"))
            return []
        return self.resume(now) if self._state is _REPLIED else self._advance(now)

    def resume(self, now: float) -> Sequence[Event]:
        if self._state is not _REPLIED:
            if not self.has_more:
                return []
            self.has_more = self.paused = False
            return self._advance(now)
        if self._ending is not None:
            return self._finish(self._ending)
        self._move(_IDLE)
        self.deadline = now + self._limits.keepalive_timeout
        return self._advance(now) if self._buffer or self._eof else []

    def on_deadline(self, now: float) -> Sequence[Event]:
        if now < self.deadline:
            return []
        if self._state is _REPLIED:
            return self.resume(now)
        if self._state is _IDLE:
            self.deadline = now + self._limits.keepalive_timeout
            return [Silent(f"no request within {self._limits.keepalive_timeout:g} s")]
        if self._state is _BODY:
            detail = f"no complete body within {self._limits.body_timeout:g} s"
        else:
            detail = f"no complete request head within {self._limits.handshake_timeout:g} s"
        return self._refuse(ProtocolError(detail, Reason.TOO_SLOW))

    def reply(
        self, request: Request, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool
    ) -> bytes:
        writer = self._writer
        if writer is None or request is not self._request:
            raise ProtocolError("no such request waits for a reply", Reason.BAD_REPLY)
        said = writer.write(head, payload or b"", is_text, more)
        if not more or not writer.has_body:
            self._end_request(writer)
        return said

    @property
    def all_said(self) -> bool:
        return self._writer is None

    def error(self, request: Request, error: HoldfastError) -> bytes:
        writer = self._writer
        if writer is None or request is not self._request:
            return b""
        if writer.begun:
            self._ending = Finished(error.reason, f"the reply was broken off: {error}", is_broken=True)
        said = writer.error(error, request.payload)
        self._end_request(writer)
        return said

    def notification(self, payload: bytes, is_text: bool) -> bytes:
        return b""

    def close(self, reason: Reason, detail: str, now: float) -> bytes:
        was = self._state
        is_arriving = was in _ARRIVING
        if was is _CLOSED or (self._ending is not None and not is_arriving):
            return b""
        is_patient = reason is Reason.DRAINING and self._ending is None
        self._ending = Finished(reason, detail)
        if self._writer is not None:
            self._writer.keeps_alive = False
        elif not (is_patient and is_arriving):
            self._move(_REPLIED)
            self.has_more = self.paused = False
            self.deadline = now
            # A new client has not asked yet, but will, and takes this for its answer.
            if is_arriving or (was is _NEW and reason is not Reason.DRAINING):
                return error_bytes(RequestError(detail, reason, _RETRY_AFTER if reason.http == 503 else None))
        return b""

    def _advance(self, now: float) -> list[Event]:
        """Go as far as the buffer reaches: to the next request, or to the end."""
        events: list[Event] = []
        if self._buffer or self._decoder is not None:
            try:
                head = self._head or self._take_head(now, events)
                if head is not None:
                    self._take_body(head, now, events)
            except HoldfastError as error:
                events += self._refuse(error)
        if self._eof and not self.paused and self._state < _CLOSED:
            detail = "in the middle of a request" if self._state in _ARRIVING else ""
            events += self._finish(Finished(Reason.CLIENT_LEFT, detail))
        if self._buffer or self._head is not None or self._head_bytes or self.held_bytes:
            self._count_held()
        return events

    def _count_held(self) -> None:
        chunked, decoder = self._chunked, self._decoder
        self.held_bytes = (
            len(self._buffer)
            + self._head_bytes
            + (0 if chunked is None else chunked.held_bytes)
            + (0 if decoder is None else decoder.held_bytes)
        )

    def _take_head(self, now: float, events: list[Event]) -> Head | None:
        """The head that the buffer begins with, when all of it is there and it is a request's."""
        buffer = self._buffer
        try:
            head = http_head.take(buffer, self._searched, self._limits, self._is_trusted, self._fields)
        except HoldfastError:
            self._take_address(http_head.forwarded_for(buffer))
            raise
        if head is None:
            if self._state is not _HEAD and http_head.has_begun(buffer):
                self._move(_HEAD)
                self.deadline = now + self._limits.handshake_timeout
                self.client_address = self._address  # of this one nothing is known yet
            self._searched = len(buffer)
            return None
        self._searched = 0
        fields = head.fields
        if self._is_trusted:  # before anything can be wrong with the rest: the log names who it was
            self._take_address(fields.named.get("x-forwarded-for", ""))
        if fields is not self._fields:
            size = len(fields.lines)
            self._fields, self._head_bytes = (fields, 0) if size <= _MAX_KEPT_BYTES else (None, size)
        if fields.is_plain:
            return head
        if fields.codings:
            encodings.check(fields.codings, self._limits)
        if "upgrade" in fields.named and upgrade.is_upgrade(head):
            self._upgrade(head, now, events)
            return None
        # Also if the body is here already: what is said must not depend on how the bytes were cut.
        if "expect" in fields.named and head.expects_continue:
            events.append(Output(CONTINUE))
        if fields.length == CHUNKED:
            self._chunked = ChunkedBody(self._limits)
        return head

    def _take_body(self, head: Head, now: float, events: list[Event]) -> None:
        buffer, fields = self._buffer, head.fields
        if fields.is_plain:
            body: bytes | None = b""
        elif self._decoder is not None:
            body = None
        elif self._chunked is not None:
            body = self._chunked.take(buffer)
        elif len(buffer) == fields.length:  # and nothing behind it: so it is for most, and spares a copy
            body = bytes(buffer)
            buffer.clear()
        elif len(buffer) > fields.length:
            body = bytes(buffer[: fields.length])
            del buffer[: fields.length]
        else:
            body = None
        if fields.codings:
            body = self._decode(body, fields)
        if body is None:
            if self._head is None:
                self._head = head
                self._move(_BODY)
                self.deadline = now + self._limits.body_timeout
            if self._decoder is not None or (self._chunked is not None and self._chunked.has_more):
                self.has_more = self.paused = True
            return
        self._request = HttpRequest(head.method, head.target, head.headers, body, self.client_address)
        self._writer = ReplyWriter(head.method == "HEAD", head.is_http10, head.keeps_alive and self._ending is None)
        self._head = self._chunked = None
        self._move(_WITH_NODE)
        self.deadline = inf
        self.paused = True
        events.append(self._request)

    def _decode(self, body: bytes | None, fields: Fields) -> bytes | None:
        """The body, when it has come and is decoded. None: not yet.

        Not within the call that has brought it: of many that come at once each would have its first share in one turn.
        """
        decoder = self._decoder
        if decoder is None:
            if body is None:
                return None
            decoder = encodings.Decoder(body, fields.codings, self._limits.max_body_bytes)
            if not decoder.is_decoded:
                self._decoder = decoder
                return None
        decoded = decoder.advance()
        if decoded is not None:
            self._decoder = None
        return decoded

    def _end_request(self, writer: ReplyWriter) -> None:
        if not writer.keeps_alive and self._ending is None:
            self._ending = Finished(Reason.CLIENT_LEFT, "after the last reply")
        self._request = self._writer = None
        if self._head_bytes:
            self._head_bytes = 0
            self._count_held()
        self.paused = False
        self._move(_REPLIED)

    def _upgrade(self, head: Head, now: float, events: list[Event]) -> None:
        if self._ending is not None:
            raise HoldfastError(self._ending.detail, self._ending.reason)
        path, _, query = head.target.partition("?")
        door = self._door(path)
        answer, deflate = upgrade.accept(head, self._limits if door is None else door.limits)
        address = self.client_address
        headers = [header for header in head.headers if header[0] not in upgrade.NOT_FOR_NODES]
        protocol: WebSocketProtocol | WithinWebSocket
        if door is None:
            protocol = WebSocketProtocol(self._limits, address, now, deflate=deflate)
            events.append(Opened(WebSocketProtocol.name, path, headers, address, query, error_bytes))
        else:  # it says by itself when a session begins
            inner = door.make(self._limits, Handshake(path, headers, address, query), now)
            protocol = WithinWebSocket(door.limits, inner, now, deflate=deflate)
        events += Output(answer), Switch(protocol, bytes(self._buffer))
        self._leave()

    def _door(self, path: str) -> Door | None:
        """What a WebSocket speaks at this path; None: plain messages."""
        return None

    def _lend(self) -> bytes:
        """The request that has come is answered elsewhere. Returns what has come behind it."""
        self._move(_AT_DOOR)
        data, self._buffer = bytes(self._buffer), bytearray()
        self._request = self._writer = None
        self._head_bytes = self.held_bytes = 0
        self.paused = False
        self.deadline = inf
        return data

    def _back(self, now: float) -> "HttpProtocol":
        """It has been, and the connection is ours again."""
        self._move(_IDLE)
        self.deadline = now + self._limits.keepalive_timeout
        return self

    def _take_address(self, forwarded_for: str) -> None:
        """Who asks, by the headers of this request and no other one's."""
        if self._is_trusted:
            self.client_address = client_address(forwarded_for, self._limits.trusted_peers) or self._address

    def _refuse(self, error: HoldfastError) -> list[Event]:
        return [Output(error_bytes(error)), *self._finish(Finished(error.reason, str(error)))]

    def _finish(self, finished: Finished) -> list[Event]:
        self._leave()
        return [finished]

    def _leave(self) -> None:
        """Nothing more is taken or said; what is held goes."""
        self._move(_CLOSED)
        self._buffer = bytearray()
        self._fields = self._head = self._chunked = self._decoder = self._request = self._writer = None
        self.has_more = self.paused = False
        self.held_bytes = 0
        self.deadline = inf

    def _move(self, state: _State) -> None:
        if state not in _MOVES[self._state]:
            raise HoldfastError(f"an HTTP connection can't go from {self._state.name} to {state.name}")
        self._state = state
