"""One connection of a Centrifuge client: from whole messages to events, and back to messages.

Owns the order of a connection: `connect` is first, and only then is anything else taken. What carries the messages (a
WebSocket, ...) is a door's matter: this knows no frames, gives text only, and may put several lines into one message.
What it refuses ends the connection, as the protocol's description has it: a line that is no command, a command before
`connect` or without an id. What a channel says or holds is not kept here.
"""

import re
from collections.abc import Sequence
from enum import Enum, auto
from functools import partial
from math import inf
from typing import ClassVar, Final

from msgspec import Struct

from holdfast.protocols.clients.base import Begun, Limits, ReplyHead, Subscribed
from holdfast.protocols.clients.centrifuge import codes, commands, replies
from holdfast.protocols.clients.centrifuge.heartbeat import Due, Heartbeat
from holdfast.protocols.clients.embedding import embed, is_json
from holdfast.protocols.clients.events import (
    Event,
    Finished,
    HttpRequest,
    Message,
    Opened,
    Output,
    Publish,
    Refresh,
    Request,
    Silent,
    Subscribe,
    Unsubscribe,
)
from holdfast.protocols.clients.within import Handshake
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, ProtocolError
from holdfast.protocols.positions import Position, Publication

WIRE_FORMAT: Final = "centrifuge"

# What `connect` brings, as headers of the handshake: nodes find it there.
DATA_HEADER: Final = "centrifuge-data"
NAME_HEADER: Final = "centrifuge-name"
VERSION_HEADER: Final = "centrifuge-version"


_has_controls = re.compile(r"[\x00-\x1f\x7f]").search


_NO_HANDSHAKE: Final = Handshake("")


class Asked(Struct, frozen=True, gc=False):
    """The context of an event: the command that it is of. id: 0: no reply is wanted."""

    id: int
    field: str


class _Phase(Enum):
    NEW = auto()  # nothing but `connect` may come
    OPENING = auto()  # Opened is given
    OPEN = auto()  # and the client has been told
    FINISHED = auto()


# Names of this module: to look up a member of an Enum costs 0.05 us, and a message does that several times.
_NEW, _OPENING, _OPEN, _FINISHED = _Phase

_MOVES = {
    _NEW: {_OPENING, _FINISHED},
    _OPENING: {_OPEN, _FINISHED},
    _OPEN: {_FINISHED},
    _FINISHED: set[_Phase](),
}


class CentrifugeProtocol:
    """See the module, and protocols.clients.within.MessageProtocol, of which it is one.

    A command counts as a unit. A line of 100 bytes takes 2 us, and its reply 1 us.
    """

    __slots__ = (
        "_at", "_connect_id", "_handshake", "_heartbeat", "_limits", "_phase", "_rest",
        "deadline", "eventless", "has_more",
    )  # fmt: skip

    name: ClassVar[str] = "centrifuge"
    subprotocols: ClassVar[tuple[str, ...]] = ("centrifuge-json",)
    wire_format: str = WIRE_FORMAT

    def __init__(self, limits: Limits, handshake: Handshake, now: float) -> None:
        self._limits = limits
        self._handshake = handshake
        self._heartbeat = Heartbeat(limits.ping_interval, limits.ping_timeout)
        self._phase = _NEW
        self._rest = b""  # what was more than a call's share, from _at on
        self._at = 0
        self._connect_id = 0
        self.has_more = False
        self.eventless = 0
        self.deadline = now + limits.handshake_timeout

    @property
    def held_bytes(self) -> int:
        return len(self._rest) - self._at

    # --- what comes -------------------------------------------------------------------------------------------

    def receive_message(self, payload: bytes, is_text: bool, now: float, share: int) -> Sequence[Event]:
        """A whole message of the client. Text is valid UTF-8."""
        if self._phase is _FINISHED:
            return ()
        self._heartbeat.heard()
        if not is_text:
            if self._phase is _NEW and _wants_protobuf(self._handshake):
                return [self._finish(Reason.UNSUPPORTED_ENCODING, "expected JSON: Protobuf is not spoken here")]
            try:
                payload.decode()
            except UnicodeDecodeError:
                return [self._finish(Reason.NOT_UTF8, "expected JSON, got what is no UTF-8")]
        self._rest, self._at = payload, 0
        return self.resume(now, share)

    def resume(self, now: float, share: int) -> Sequence[Event]:
        """Go on with what is left of it."""
        events: list[Event] = []
        payload, at, size = self._rest, self._at, len(self._rest)
        for _ in range(share):
            if at >= size:
                break
            end = payload.find(b"\n", at)
            line = payload[at:] if end < 0 else payload[at:end]
            at = size if end < 0 else end + 1
            made = len(events)
            try:
                self._take(line, now, events)
            except ProtocolError as error:
                events.append(self._finish(error.reason, str(error)))
                return events
            if len(events) == made:
                self.eventless += 1
        self.has_more = at < size
        self._rest, self._at = (payload, at) if self.has_more else (b"", 0)
        return events

    def on_deadline(self, now: float) -> Sequence[Event]:
        if now < self.deadline:
            return ()
        limits = self._limits
        if self._phase is _NEW:
            detail = f"no connect within {limits.handshake_timeout:g} seconds, the limit"
            return [self._finish(Reason.TOO_SLOW, detail)]
        if self._phase is _OPENING:  # who waits to be let in is not pinged
            self._heartbeat.start(now)
            self.deadline = self._heartbeat.deadline
            return ()
        due = self._heartbeat.look(now)
        self.deadline = self._heartbeat.deadline
        if due is Due.PING:
            return [Output(replies.PING)]
        return [Silent(f"nothing came within {limits.ping_timeout:g} seconds of a ping")] if due is Due.SILENT else ()

    def finish(self) -> None:
        """The connection is over: nothing is taken or said any more."""
        if self._phase is not _FINISHED:
            self._finish(Reason.CLIENT_LEFT, "")

    def close_code(self, reason: Reason) -> int:
        """See protocols.clients.within.MessageProtocol."""
        return codes.close_code(reason)

    def close_text(self, detail: str) -> str:
        """As above. The JavaScript client takes JSON for an advice, and a number there for one to stay away."""
        return f"it was: {detail}" if is_json(detail.encode()) else detail

    def _finish(self, reason: Reason, detail: str) -> Finished:
        self._move(_FINISHED)
        self._rest, self._at, self.has_more = b"", 0, False
        self.deadline = inf
        return Finished(reason, detail)

    def _move(self, phase: _Phase) -> None:
        if phase not in _MOVES[self._phase]:
            raise RuntimeError(f"illegal move from {self._phase.name} to {phase.name}")
        self._phase = phase

    def _take(self, line: bytes, now: float, events: list[Event]) -> None:
        """One line. Raises ProtocolError."""
        if not line or line.isspace():  # as after the last one
            return
        command = commands.decode(line)
        request = command.request
        if request is None and not command.id:
            return  # it answers a ping
        if self._phase is _NEW:
            if not isinstance(request, commands.Connect):
                raise ProtocolError("expected connect as the first command", Reason.BAD_REQUEST)
            events.append(self._connect(command.id, request, now))
            return
        if isinstance(request, commands.Send):
            events.append(Message(bytes(request.data) or b"null", True, Asked(0, "send")))
            return
        if not command.id:
            raise ProtocolError("expected an id with a command that has a reply", Reason.BAD_REQUEST)
        if isinstance(request, commands.Connect):
            raise ProtocolError("expected connect as the first command only", Reason.BAD_REQUEST)
        events.append(_event(command.id, request))

    def _connect(self, id: int, request: commands.Connect, now: float) -> Opened:
        """Raises ProtocolError for what can't be in headers of a handshake."""
        if not id:
            raise ProtocolError("expected an id with connect", Reason.BAD_REQUEST)
        brought = {
            "authorization": f"Bearer {request.token}" if request.token else "",
            DATA_HEADER: embed(bytes(request.data), is_text=True).decode() if request.data else "",
            NAME_HEADER: request.name,
            VERSION_HEADER: request.version,
        }
        if any(map(_has_controls, brought.values())):
            raise ProtocolError("expected no control characters in token, name and version", Reason.BAD_REQUEST)
        limit = self._limits.max_header_bytes
        if sum(len(value.encode()) for value in brought.values()) > limit:
            detail = f"token and data of connect are over {limit} bytes, the limit"
            raise ProtocolError(detail, Reason.HEADERS_TOO_LARGE)
        self._move(_OPENING)
        self._connect_id = id
        self._handshake, shake = _NO_HANDSHAKE, self._handshake  # a session keeps nothing of it
        self._heartbeat.start(now)
        self.deadline = self._heartbeat.deadline
        theirs = brought.keys() if request.token else brought.keys() - {"authorization"}
        headers = [header for header in shake.headers if header[0] not in theirs]
        headers += [(name, value) for name, value in brought.items() if value]
        refuse = partial(replies.error, id)
        return Opened(self.name, shake.path, headers, shake.address, shake.query, refuse)

    # --- what is said -----------------------------------------------------------------------------------------

    def begun(self, opened: Opened, said: Begun) -> bytes:
        """See protocols.clients.base.KnowsSession. Also if the end has come with connect, and is told after this."""
        if self._phase is _OPENING:
            self._move(_OPEN)
        return replies.connected(self._connect_id, said, self._heartbeat.interval)

    def refreshed(self, request: Refresh, expires: float | None) -> bytes:
        return self._say(replies.refreshed(request.context.id, "refresh", expires))

    def not_refreshed(self, request: Refresh, error: HoldfastError) -> bytes:
        return self._say(replies.error(request.context.id, error))

    def reply(
        self, request: Request, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool
    ) -> bytes:
        """To `rpc`: its data. Raises ProtocolError (BAD_REPLY) for a reply in parts: the protocol has one to each."""
        id = _asked(request).id
        if more and id:
            raise ProtocolError("a reply to rpc is one, got a part of one", Reason.BAD_REPLY)
        return self._say(replies.rpc(id, payload, is_text)) if id else b""

    def error(self, request: Request, error: HoldfastError) -> bytes:
        id = _asked(request).id
        return self._say(replies.error(id, error)) if id else b""

    def notification(self, payload: bytes, is_text: bool) -> bytes:
        """A message of no channel; the same in every state, as are publications."""
        return replies.message(payload, is_text)

    def subscribed(self, request: Subscribe, said: Subscribed) -> bytes:
        """See protocols.clients.base.KnowsChannels, of this and what follows."""
        asked: Asked = request.context
        if asked.field == "sub_refresh":
            return self._say(replies.refreshed(asked.id, asked.field, said.expires))
        return self._say(replies.subscribed(asked.id, said))

    def unsubscribed(self, request: Unsubscribe) -> bytes:
        return self._say(replies.result(request.context.id, "unsubscribe"))

    def dropped(self, channel: str, error: HoldfastError) -> bytes:
        return self._say(replies.unsubscribe(channel, codes.unsubscribe_code(error), str(error)))

    def joined(self, channel: str) -> bytes:
        """A subscription of the server's. One with which the session begins is told by `begun`."""
        return replies.push(channel, "subscribe") if self._phase is _OPEN else b""

    def left(self, channel: str) -> bytes:
        said = b'{"code":%d,"reason":"left"}' % codes.SERVER_UNSUBSCRIBE
        return self._say(replies.push(channel, "unsubscribe", said))

    def published(self, request: Publish) -> bytes:
        return self._say(replies.result(request.context.id, "publish"))

    def publication(self, channel: str, epoch: str, publication: Publication) -> bytes:
        return replies.publication(channel, publication)

    def _say(self, data: bytes) -> bytes:
        return b"" if self._phase is _FINISHED else data


def _asked(request: Request) -> Asked:
    """All of them are of this adapter's making."""
    assert not isinstance(request, HttpRequest)
    asked: Asked = request.context
    return asked


def _event(id: int, request: commands.AnyRequest | None) -> Event:
    """What a command is that has a reply, and that may come at any time."""
    if isinstance(request, commands.Rpc):
        data = bytes(request.data) or b"null"
        payload = b'{"method":%b,"data":%b}' % (replies.text(request.method), data) if request.method else data
        return Message(payload, True, Asked(id, "rpc"))
    if isinstance(request, commands.Ping):
        return Output(replies.result(id, "ping"))
    if isinstance(request, commands.Refresh):
        return Refresh(request.token, Asked(id, "refresh"))
    if request is None or isinstance(request, commands.Connect | commands.Send):
        return Output(replies.failure(id, codes.METHOD_NOT_FOUND, "expected a request of this protocol"))
    if not request.channel:
        return Output(replies.failure(id, codes.BAD_REQUEST, "expected the name of a channel"))
    if isinstance(request, commands.Publish):
        return Publish(request.channel, bytes(request.data) or b"null", True, Asked(id, "publish"))
    if isinstance(request, commands.Subscribe):
        since = Position(request.epoch, request.offset) if request.recover else None
        return Subscribe(request.channel, since, bytes(request.data), request.token, False, Asked(id, "subscribe"))
    if isinstance(request, commands.SubRefresh):
        return Subscribe(request.channel, None, b"", request.token, False, Asked(id, "sub_refresh"))
    if isinstance(request, commands.Unsubscribe):
        return Unsubscribe(request.channel, False, Asked(id, "unsubscribe"))
    return Output(replies.failure(id, codes.NOT_AVAILABLE, "history and presence are not available here"))


def _wants_protobuf(handshake: Handshake) -> bool:
    """By the subprotocol that its clients name then."""
    return any("centrifuge-protobuf" in value for name, value in handshake.headers if name == "sec-websocket-protocol")
