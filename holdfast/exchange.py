"""One request at this node: where its reply goes, and the effects that wait to travel with it.

Owns the making of reply frames from what a handler returns. All or nothing: effects leave in the frame of the reply,
or of a part of it; if the proxy refuses that, it refuses them; a failure drops them. Effects that concern other proxies
too, which deliver to their own clients, go to all of them before the reply, and it waits until the others have them: so
a node that dies has either not replied, and the request is another's, or has lost nothing.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import aclosing
from math import inf
from typing import TYPE_CHECKING

import trio

from holdfast import effects
from holdfast.effects import Outlet, check_text
from holdfast.request import Body, Reply
from holdfast.workers import Job
from protocols.nodes import frames
from protocols.nodes.frames import Effect

if TYPE_CHECKING:
    from holdfast.request import Request
    from holdfast.session import Session


class Exchange(Job):
    """An Outlet while the handler runs. What its tasks still do when it has returned goes out at once."""

    __slots__ = (
        "_effects", "_effects_bytes", "_part", "attempt", "deadline", "id", "is_http", "is_open", "is_text", "request",
        "session",
    )  # fmt: skip

    def __init__(self, session: "Session", id: int, attempt: int, is_text: bool, is_http: bool) -> None:
        super().__init__()
        self.session = session
        self.id = id
        self.attempt = attempt
        self.is_text = is_text
        self.is_http = is_http
        self.is_open = True
        self.request: Request | None = None  # until the handler begins: the request refers to us, and cycles cost
        self.deadline = inf  # by Trio's clock
        self._effects: list[Effect] | None = None
        self._effects_bytes = 0
        self._part = 0  # of the reply, from 1

    # --- effects ----------------------------------------------------------------------------------------------------

    def serves(self, default: Outlet) -> bool:
        return self.session.links is default

    async def put(self, effect: Effect) -> None:
        """Keep an effect for the reply. Not a checkpoint: nothing is sent yet."""
        if not self.is_open:
            await self.session.links.put(effect)
            return
        size = self._effects_bytes + effects.weigh(effect)
        effects.check_size(size, self.session.max_batch_bytes)
        if self._effects is None:
            self._effects = []
        self._effects.append(effect)
        self._effects_bytes = size

    async def flush(self) -> None:
        await self.session.links.wait_room()
        for effect in self._take_effects() or ():
            if self._is_wanted() and trio.current_time() < self.deadline:
                self.session.links.send(effect)

    def _take_effects(self) -> list[Effect] | None:
        taken, self._effects, self._effects_bytes = self._effects, None, 0
        return taken

    # --- the reply --------------------------------------------------------------------------------------------------

    async def reply(self, result: object) -> None:
        """Send what a handler returned. Raises TypeError if it can't be sent, HoldfastError if it is too large."""
        if not isinstance(result, Reply):
            await self._send(result, _PLAIN)
        elif isinstance(result.body, AsyncGenerator):
            async with aclosing(result.body) as parts:  # one that is left early ends here, in its own task
                await self._stream(parts, result)
        elif isinstance(result.body, AsyncIterable):
            await self._stream(result.body, result)
        else:
            await self._send(result.body, result)

    def fail(self, status: int, message: str) -> None:
        """Send a failure instead of a reply, or of the rest of one. Drops the effects that wait."""
        self._take_effects()
        if self.is_cancelled:
            return
        message = message.encode(errors="replace").decode()
        self.session.send(frames.Failure(self.id, self.attempt, status, message), 64 + 4 * len(message))

    async def _stream(self, parts: AsyncIterable[Body], reply: Reply) -> None:
        if self.is_http:
            async for part in parts:
                await self._send(part, reply, more=True)
                reply = _PLAIN  # status and headers went with the first part
                await self.session.wait_room()
            await self._send(None, reply)
            return
        # To a client of a message protocol each part is a message of its own, the last one too.
        former: Body = None
        is_first = True
        async for part in parts:
            if not is_first:
                await self._send(former, reply, more=True)
                await self.session.wait_room()
            former, is_first = part, False
        await self._send(former, reply)

    async def _send(self, body: object, reply: Reply, more: bool = False) -> None:
        text = reply.text
        if text is None and not isinstance(body, str | dict | list):
            text = self.is_text
        payload, is_text = (b"", bool(text)) if body is None else effects.encode(body, text)
        size = 64 + len(payload) + self._effects_bytes
        if self.is_http:
            if not 200 <= reply.status <= 599:
                raise ValueError(f"the status of a reply is 200 to 599, got {reply.status}")
            headers = _headers(reply, body, is_text)
            size += sum(len(name) + 4 * len(value) + 10 for name, value in headers)
        effects.check_size(size, self.session.max_batch_bytes)
        session = self.session
        if not self._is_wanted():
            return
        self._part += 1
        kept = self._take_effects()
        if kept and session.links.streams.is_clustered:
            kept = await self._spread(kept)
            if not self._is_wanted():
                return
        if self.is_http:
            session.send(frames.HttpReply(self.id, self.attempt, payload, reply.status, headers, more, kept), size)
        else:
            session.send(frames.Reply(self.id, self.attempt, payload, is_text, more, kept), size)

    def _is_wanted(self) -> bool:
        """Else nobody waits, or the request is another node's by now; its effects are too."""
        return self.session.is_open and not self.is_cancelled

    async def _spread(self, kept: list[Effect]) -> list[Effect] | None:
        """Carry out what concerns other proxies. Returns what is left to go with the reply.

        A request that was at another node before may have had its effects then: numbered, they are known again.
        """
        streams, home = self.session.links.streams, self.session.proxy
        concerned = streams.concerned(kept)
        if self.attempt == 1 and concerned <= {home}:
            streams.replied(self.session, kept)
            return kept
        if trio.current_time() < self.deadline:  # else this process was stopped, and the request is over
            sent = streams.send(kept, concerned, home, self.id, self._part)
            await streams.wait_taken(one for one in sent if one.stream.session is not self.session)
        return None


_PLAIN = Reply()


def _headers(reply: Reply, body: object, is_text: bool) -> list[tuple[str, str]]:
    """The author's headers, and the content type if they name none and there is a body."""
    given = reply.headers
    pairs = given.items() if isinstance(given, Mapping) else given
    headers = [(check_text(name), check_text(value)) for name, value in pairs]
    if body is not None and not any(name.lower() == "content-type" for name, _ in headers):
        if isinstance(body, dict | list):
            kind = "application/json"
        else:
            kind = "text/plain; charset=utf-8" if is_text else "application/octet-stream"
        headers.append(("content-type", kind))
    return headers
