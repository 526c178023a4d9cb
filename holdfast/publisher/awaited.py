"""AsyncPublisher: for tasks of asyncio, or of Trio."""

import os
import random
import ssl
import time
from collections import deque
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

from holdfast.publisher.attempts import FAILURES, Attempts
from holdfast.publisher.conversation import Conversation
from holdfast.publisher.requests import Answer, Asked, Client, DoneT, Message, Requests, outcome
from holdfast.publisher.streams import Library, Stream, current
from holdfast.publisher.threads import MAX_IDLE


class _Connection(NamedTuple):
    conversation: Conversation
    stream: Stream


class AsyncPublisher:
    """As Publisher, with `await` and `async with`. For any number of tasks of one event loop; a process that was forked
    after it was made opens connections of its own. A call that is cancelled may have been done."""

    def __init__(self, url: str, token: str = "", *, timeout: float = 30.0, tls: ssl.SSLContext | None = None) -> None:
        self._requests = Requests(url, token, timeout, tls)
        self._idle: deque[tuple[int, _Connection]] = deque()

    async def publish(
        self,
        payload: Any,  # noqa: ANN401 - what JSON can say
        *,
        channels: Iterable[str] = (),
        clients: Iterable[Client] = (),
        exclude: Iterable[Client] = (),
    ) -> None:
        """Send a message to all clients in the channels, once per channel, and to each of `clients`; none to `exclude`.

        payload: str goes as text, bytes as binary, anything else as JSON. clients: ids, as numbers or as the admin
        server writes them.
        """
        message = Message(payload=payload, channels=channels, clients=clients, exclude=exclude)
        await self._do(self._requests.publish(message))

    async def broadcast(self, payload: Any, *, exclude: Iterable[Client] = ()) -> None:  # noqa: ANN401 - as above
        """Send a message to every client but those of `exclude`."""
        await self._do(self._requests.publish(Message(payload=payload, exclude=exclude, everybody=True)))

    async def publish_many(self, messages: Iterable[Message]) -> int:
        """Send up to 1000 messages, in their order: all, or none. Returns how many. See Publisher."""
        return (await self._do(self._requests.publish_many(messages))).messages

    async def close_client(self, client: Client, *, code: int | None = None, reason: str = "") -> None:
        """Close a client's connection. See Publisher."""
        await self._do(self._requests.close(client, code, reason))

    async def join(self, client: Client, channel: str) -> None:
        """Put a client into a channel. Nothing happens if it has gone. See Publisher."""
        await self._do(self._requests.member(client, channel, joined=True))

    async def leave(self, client: Client, channel: str) -> None:
        """Take a client out of a channel."""
        await self._do(self._requests.member(client, channel, joined=False))

    def close(self) -> None:
        """Close the connections that are kept. Waits for nothing."""
        while self._idle:
            process, connection = self._idle.pop()
            if process == os.getpid():
                connection.stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- one request ------------------------------------------------------------------------------------------------

    async def _do(self, asked: Asked[DoneT]) -> DoneT:
        library = current()
        attempts = Attempts(self._requests.server, self._requests.timeout, time.monotonic(), random.random)
        while True:
            now, is_kept = time.monotonic(), bool(self._idle)
            limit = attempts.begin(now)
            try:
                exchange = partial(self._exchange, library, asked, attempts)
                answer = await library.within(limit, exchange)
                if attempts.answered(answer):
                    return outcome(asked, answer, self._requests.server)
            except FAILURES as error:
                attempts.failed(error, is_kept=is_kept)
            await library.sleep(attempts.pause(time.monotonic()))

    async def _exchange(self, library: Library, asked: Asked[DoneT], attempts: Attempts) -> Answer:
        connection = self._take()
        if connection is None:
            server = self._requests.server
            connection = _Connection(Conversation(server), await library.open(server.host, server.port, server.tls))
        wait = attempts.reached(time.monotonic())
        conversation, stream = connection
        is_whole = False
        try:
            await stream.send(conversation.ask(asked, wait))
            while (answer := conversation.heard(await stream.receive())) is None:
                pass
            is_whole = conversation.is_reusable()
        finally:
            if is_whole and len(self._idle) < MAX_IDLE:
                self._idle.append((os.getpid(), connection))
            else:
                stream.close()
        return answer

    def _take(self) -> _Connection | None:
        while self._idle:
            process, connection = self._idle.pop()
            if process == os.getpid():
                return connection
        return None
