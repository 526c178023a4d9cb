"""One request at this node: where its reply goes, and the effects that wait to travel with it.

Owns the making of reply frames from what a handler returns. All or nothing: effects leave in the frame of the reply,
or of a part of it; if the proxy refuses that, it refuses them; a failure drops them. With several proxies the other
ones are sent them at the same moment, because each delivers to its own clients.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

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

    __slots__ = ("_effects", "_effects_bytes", "attempt", "id", "is_http", "is_open", "is_text", "request", "session")

    def __init__(self, session: "Session", id: int, attempt: int, is_text: bool, is_http: bool) -> None:
        super().__init__()
        self.session = session
        self.id = id
        self.attempt = attempt
        self.is_text = is_text
        self.is_http = is_http
        self.is_open = True
        self.request: Request | None = None  # until the handler begins: the request refers to us, and cycles cost
        self._effects: list[Effect] | None = None
        self._effects_bytes = 0

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
            if self.session.is_open and not self.is_cancelled:  # else the request is another node's by now
                self.session.links.send(effect)

    def _take_effects(self) -> list[Effect] | None:
        taken, self._effects, self._effects_bytes = self._effects, None, 0
        return taken

    # --- the reply --------------------------------------------------------------------------------------------------

    async def reply(self, result: object) -> None:
        """Send what a handler returned. Raises TypeError if it can't be sent, HoldfastError if it is too large."""
        if not isinstance(result, Reply):
            self._send(result, _PLAIN)
        elif isinstance(result.body, AsyncGenerator):
            async with aclosing(result.body) as parts:  # one that is left early ends here, in its own task
                await self._stream(parts, result)
        elif isinstance(result.body, AsyncIterable):
            await self._stream(result.body, result)
        else:
            self._send(result.body, result)

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
                self._send(part, reply, more=True)
                reply = _PLAIN  # status and headers went with the first part
                await self.session.wait_room()
            self._send(None, reply)
            return
        # To a client of a message protocol each part is a message of its own, the last one too.
        former: Body = None
        is_first = True
        async for part in parts:
            if not is_first:
                self._send(former, reply, more=True)
                await self.session.wait_room()
            former, is_first = part, False
        self._send(former, reply)

    def _send(self, body: object, reply: Reply, more: bool = False) -> None:
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
        if self.is_cancelled or not session.is_open:
            return  # nobody waits, or the request is another node's by now; its effects are too
        kept = self._take_effects()
        if self.is_http:
            session.send(frames.HttpReply(self.id, self.attempt, payload, reply.status, headers, more, kept), size)
        else:
            session.send(frames.Reply(self.id, self.attempt, payload, is_text, more, kept), size)
        for effect in kept or ():
            session.links.send(effect, but=session)


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
