"""One request at this node: where its reply goes, and the effects that wait to travel with it.

Owns the making of reply frames from what a handler returns. All or nothing: effects that concern the proxy that asked
leave in the frame of the reply, or of a part of it; if the proxy refuses that, it refuses them; a failure drops them.
Those that concern other proxies, which deliver to their own clients, go there before the reply, and it waits until they
are done: so a node that dies has either not replied, and the request is another's, or has lost nothing. A reply in
parts waits for its client, by the bytes that the proxy says it has taken; where it can have no body, no part is made.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from typing import Any, Protocol

import trio

from holdfast.node import effects, threads, traceparent
from holdfast.node.effects import Outlet
from holdfast.node.elsewhere import in_trio
from holdfast.node.function import kind_of
from holdfast.node.network import LinkedSession
from holdfast.node.plain import check_number, pairs_of
from holdfast.node.request import NO_REPLY, Body, Client, Reply, Request
from holdfast.node.stream import Origin, Turn
from holdfast.node.workers import Job
from holdfast.protocols.bodiless import is_bodiless
from holdfast.protocols.clients.error_reply import error_reply
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, RequestError, StaleError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import MAX_EFFECTS, Effect, weigh

STATUSES = range(200, 600)
MAX_MESSAGE = 2000  # characters of a failure; what a handler says of a request may be as large as that, and larger


Mark = tuple[list[Effect] | None, int]  # a place among the effects that wait


class RequestSession(LinkedSession, Protocol):
    """A session that requests come with. exchanges: those that are being handled, by id. stream_timeout: of replies in
    parts.
    """

    @property
    def stream_timeout(self) -> float: ...

    @property
    def exchanges(self) -> "dict[int, Exchange]": ...

    def expired(self, exchange: "Exchange") -> None:
        """Nobody waits for its reply any more."""
        ...


class Exchange(Job):
    """An Outlet until the last of the reply is made. What the handler's tasks still do then goes out at once."""

    __slots__ = (
        "_effects", "_effects_bytes", "_method", "_part", "_room", "_timeout", "_untaken", "attempt", "client",
        "deadline", "id",
        "is_http", "is_open", "is_text", "request", "seen", "session",
    )  # fmt: skip

    def __init__(
        self, session: RequestSession, id: int, attempt: int, timeout: float, is_text: bool, method: str = ""
    ) -> None:
        super().__init__()
        self.client: Client  # set with the request, before the handler begins
        self.seen: Any  # set by who watches: holdfast.node.watching
        self.session = session
        self.id = id
        self.attempt = attempt
        self.is_text = is_text
        self.is_http = method != ""
        self._method = method
        self.is_open = True
        self.request: Request | frames.Call | None = (
            None  # until the handler begins: the request refers to us, and cycles cost
        )
        self.deadline = session.now + timeout  # when the proxy gives up, unless it waits for the client
        self._timeout = timeout
        self._effects: list[Effect] | None = None
        self._effects_bytes = 0
        self._part = 0  # of the reply, from 1
        self._untaken = 0  # bytes of parts that the client has not taken
        self._room: trio.Event | None = None  # set when it has

    # --- effects ----------------------------------------------------------------------------------------------------

    def serves(self, default: Outlet) -> bool:
        return self.session.links is default

    def log_context(self) -> dict[str, object]:
        span = getattr(getattr(self, "seen", None), "span", None)
        trace = traceparent.log_context(self.client.headers.get(traceparent.TRACEPARENT), span)
        return {"request": self.id, "client": f"{self.client.id:016x}", "attempt": self.attempt, **trace}

    @property
    def came(self) -> float:
        """When it came, by Trio's clock, as long as its reply has not begun."""
        return self.deadline - self._timeout

    async def put(self, effect: Effect) -> None:
        """Keep an effect for the reply. Not a checkpoint: nothing is sent yet."""
        if not self.is_open:
            await self.session.links.put(effect)
            return
        size = self._effects_bytes + weigh(effect)
        effects.check_size(size, self.session.max_batch_bytes)
        if self._effects is None:
            self._effects = []
        elif len(self._effects) == MAX_EFFECTS:
            raise HoldfastError(f"at most {MAX_EFFECTS} effects wait for the reply: await request.flush() before more")
        self._effects.append(effect)
        self._effects_bytes = size

    def mark(self) -> Mark:
        """After what waits now."""
        return self._effects, len(self._effects or ())

    def forget_since(self, mark: Mark) -> None:
        """Drop what has been put after it, and is not flushed."""
        before, count = mark
        kept = before[:count] if before and before is self._effects else []  # another one: these have been flushed
        self._effects, self._effects_bytes = kept or None, sum(map(weigh, kept))

    async def flush(self) -> None:
        """Carry out what waits, and wait until that is done. Raises StaleError where the end of the handler is that of
        no task: in a thread, or in a task that outlives it."""
        await threads.call(self._flush)

    async def _flush(self) -> None:
        links = self.session.links
        await links.wait_room(self._effects or ())
        taken = self._take_effects()
        if self.is_open and self._may_still() and taken:
            await links.streams.wait_taken(links.streams.send(taken, Origin(self.session.proxy)))
        if self.is_cancelled:
            await trio.lowlevel.checkpoint_if_cancelled()
            raise StaleError(threads.CANCELLED)

    def _take_effects(self) -> list[Effect] | None:
        taken, self._effects, self._effects_bytes = self._effects, None, 0
        return taken

    # --- the reply --------------------------------------------------------------------------------------------------

    async def reply(self, result: object) -> None:
        """Send what a handler returned. Raises TypeError if it can't be sent, HoldfastError if it is too large."""
        if not isinstance(result, Reply):
            if result is NO_REPLY:
                await self._send(None, _NO_CONTENT)
            elif type(result) is tuple:
                raise TypeError(_NO_TUPLE)
            else:
                await self._send(result, _PLAIN)
            return
        if isinstance(result.body, AsyncGenerator):
            async with aclosing(result.body) as parts:  # one that is left early ends here, in its own task
                await self._stream(parts, result)
        elif isinstance(result.body, AsyncIterable):
            await self._stream(result.body, result)
        else:
            await self._send(result.body, result)

    def reply_nowait(self, result: object) -> bool:
        """As `reply`, also from outside Trio. False: that may have to wait, and nothing is done."""
        if self._effects or not self._is_wanted():
            return False
        if isinstance(result, Reply) and isinstance(result.body, AsyncIterable):
            return False
        try:
            self.reply(result).send(None)
        except StopIteration:
            return True
        raise RuntimeError("a reply without effects has waited")

    def fail(self, status: int, message: str, headers: Sequence[tuple[str, str]] = (), code: int = 0) -> None:
        """Send a failure instead of a reply, or of the rest of one. Drops the effects that wait.

        headers: for HTTP. A failure has none, so one that has is a reply, which says what the proxy would. code: as of
        the frame.
        """
        self._take_effects()
        if self.is_cancelled:
            return
        if len(message) > MAX_MESSAGE:
            message = message[:MAX_MESSAGE] + "..."
        message = message.encode(errors="replace").decode()
        frame: frames.Failure | frames.HttpReply = frames.Failure(self.id, self.attempt, status, message, code)
        size = 64 + 4 * len(message)
        if headers and self.is_http and not self._part:
            body = error_reply(b"", RequestError(message, Reason.NODE_ERROR, status=status))
            larger = size + len(body) + _size_of(headers)
            if larger <= effects.room_in(self.session.max_batch_bytes):
                frame, size = frames.HttpReply(self.id, self.attempt, body, status, [*headers, _JSON]), larger
        self.session.send(frame, size)

    async def _stream(self, parts: AsyncIterable[Body], reply: Reply) -> None:
        if self.is_http and is_bodiless(self._method, reply.status):  # at the first part the proxy would cancel us
            await self._send(None, reply)
            return
        async for part in parts:
            await in_trio(self._send_part, part, reply)
            if self.is_http:
                reply = _FAILED if reply.failed else _PLAIN  # status and headers went with the first part
        await in_trio(self._send, None, reply)

    async def _send_part(self, part: Body, reply: Reply) -> None:
        await self._send(part, reply, more=True)
        await self._wait_room()

    async def _send(self, body: object, reply: Reply, more: bool = False) -> None:
        text = reply.text
        if text is None and (body is None or isinstance(body, effects.BINARY)):
            text = self.is_text
        try:
            payload, is_text = (b"", bool(text)) if body is None else effects.encode(body, text)
        except TypeError as error:
            if effects.is_json(body):  # something in it
                raise
            expected = f"expected {effects.SENDABLE}, None, or in Reply(...) an async iterable of such"
            raise TypeError(f"{expected}, got {kind_of(body)}") from error
        size = 64 + len(payload) + self._effects_bytes
        if self.is_http:
            status = check_number(reply.status, STATUSES, "the status of a reply")
            headers = _headers(reply, body, is_text)
            size += _size_of(headers)
        effects.check_size(size, self.session.max_batch_bytes)
        session = self.session
        if not more:
            self.is_open = False  # what tasks of the handler do from now on would come too late to go with the reply
        self._part += 1
        kept = self._take_effects()
        if reply.failed:
            kept = None
        turn: Turn | None = None
        if kept and self._is_wanted():
            kept, turn = await self._spread(kept)
        try:
            if not self._is_wanted():
                await trio.lowlevel.checkpoint()  # parts may be made without any: they end here
                return
            if more:
                self._untaken += len(payload)
                self._prolong()
            if self.is_http:
                session.send(frames.HttpReply(self.id, self.attempt, payload, status, headers, more, kept), size)
            else:
                said = None if body is None else payload  # nothing
                session.send(frames.Reply(self.id, self.attempt, said, is_text, more, kept), size)
        finally:
            if turn is not None:
                turn.end()

    def _is_wanted(self) -> bool:
        """Else nobody waits, or the request is another node's by now; its effects are too."""
        return self.session.is_open and not self.is_cancelled

    def _may_still(self) -> bool:
        """Whether effects may be carried out. If it is too late for that it is for the reply: the handler is cancelled.

        The proxy cancels too, but says so later than its clock, and a session ends a little before its handlers: what a
        handler does between must not be half done. No deadline while its client has parts yet to take: then the proxy
        waits, for as long as it alone knows.
        """
        if not self.session.is_open or (trio.current_time() >= self.deadline and not self._untaken):
            self.session.expired(self)
        return not self.is_cancelled

    async def _spread(self, kept: list[Effect]) -> tuple[list[Effect] | None, Turn | None]:
        """Have done what concerns other proxies. Returns what goes with the reply, and its turn if others wait for it.

        If there is such, all of it is numbered and leaves in one moment, for home too: what home got with the reply, a
        round trip later, others' effects would overtake. So it is, however many proxies we know, when another node may
        have numbered it before: it may have known more. Then all get it, also those who have nobody for it: a proxy
        that has not got what that node had for it is waiting for whoever does it again.
        """
        session = self.session
        streams, home = session.links.streams, session.proxy
        if not self._may_still():
            return None, None
        origin = Origin(home, self.id, self._part)
        concerned, muted = to = streams.all() if self.attempt > 1 else streams.concerned(kept)
        if self.attempt > 1 or concerned - {home}:
            sent = streams.send(kept, origin, to)
            await streams.wait_taken(one for one in sent if one.stream.session is not session)
            await streams.wait_sent(session)
            return [], None  # the reply waits for what was sent before it
        is_muted_here = muted.pop(home, None) is not None
        streams.send(kept, origin, (set(), muted))  # where it is muted
        turn = await streams.wait_replied(session, kept)
        return kept if concerned or is_muted_here else None, turn

    # --- credit for parts -------------------------------------------------------------------------------------------

    def taken(self, count: int) -> None:
        """The client has taken so many bytes of the parts."""
        self._untaken -= count
        self._prolong()
        if self._room is not None:
            self._room.set()

    def _prolong(self) -> None:
        """A reply in parts goes on."""
        self.deadline = trio.current_time() + (self.session.stream_timeout or self._timeout)

    async def _wait_room(self) -> None:
        """Wait until the client has taken enough of the parts for another one, and the link has room."""
        while self._untaken > self.session.reply_window and self._is_wanted():
            self._room = trio.Event()
            await self._room.wait()
        await self.session.wait_room()


_NO_TUPLE = "expected no tuple: with a status it is Reply(body, status=201), and an array in JSON is a list"
_PLAIN = Reply()
_NO_CONTENT = Reply(status=204)
_FAILED = Reply(failed=True)
_JSON = ("content-type", "application/json")


def _size_of(headers: Sequence[tuple[str, str]]) -> int:
    return sum(4 * (len(name) + len(value)) + 10 for name, value in headers)


def _headers(reply: Reply, body: object, is_text: bool) -> list[tuple[str, str]]:
    """The author's headers, and the content type if they name none and there is a body."""
    headers = pairs_of(reply.headers)
    if body is not None and not any(name.lower() == "content-type" for name, _ in headers):
        if effects.is_json(body):
            kind = "application/json"
        else:
            kind = "text/plain; charset=utf-8" if is_text else "application/octet-stream"
        headers.append(("content-type", kind))
    return headers
