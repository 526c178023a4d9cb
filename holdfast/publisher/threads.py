"""Publisher: for threads. Web applications, workers of a queue, scripts."""

import os
import random
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Any, NamedTuple, Self

from holdfast.publisher.attempts import FAILURES, Attempts
from holdfast.publisher.conversation import Conversation
from holdfast.publisher.requests import Answer, Asked, Client, DoneT, Message, Requests, outcome
from holdfast.publisher.sockets import READ_BYTES, connect, is_readable, left

MAX_IDLE = 8  # connections that are kept for the next request; the admin server has 64 for all its callers


class Publisher:
    """Sends messages to clients of all proxies of a cluster, through the admin server of one.

    url: of the admin server, http://HOST:PORT. token: one of its `admin.tokens` with the scope publish (close_client:
    operate), or its `admin.token`. timeout: seconds for each call, with all its attempts,
    from looking up the name to the last byte of the answer. tls: for https://.

    A call returns when a node has done what it says: all of it. It is sent again, with an Idempotency-Key of its own,
    after a lost connection and after 503, such as while there is no node. Raises PublishError when it is refused or
    time is up; ConfigError for what is no URL, token or timeout; TypeError, ValueError for what can't be sent.

    For any number of threads at once, and of processes that are forked after it was made. Connections are kept between
    calls; `close`, or the end of `with`, closes them, and another call opens new ones. What one thread publishes, call
    after call, is done in that order.
    """

    def __init__(self, url: str, token: str = "", *, timeout: float = 30.0, tls: ssl.SSLContext | None = None) -> None:
        self._requests = Requests(url, token, timeout, tls)
        # Of which process each is: one that has come through a fork is the parent's. A deque needs no lock, which a
        # fork could leave locked.
        self._idle: deque[tuple[int, _Connection]] = deque()

    def publish(
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
        self._do(self._requests.publish(message))

    def broadcast(self, payload: Any, *, exclude: Iterable[Client] = ()) -> None:  # noqa: ANN401 - what JSON can say
        """Send a message to every client but those of `exclude`."""
        self._do(self._requests.publish(Message(payload=payload, exclude=exclude, everybody=True)))

    def publish_many(self, messages: Iterable[Message]) -> int:
        """Send up to 1000 messages, in their order: all, or none. Each is a dict of the arguments of `publish`, or with
        "everybody": True. Returns how many."""
        return self._do(self._requests.publish_many(messages)).messages

    def close_client(self, client: Client, *, code: int | None = None, reason: str = "") -> None:
        """Close a client's connection. code: of a WebSocket, 4000 to 4999; without one 1008. reason: up to 123 bytes
        for it. Nothing happens if it has gone."""
        self._do(self._requests.close(client, code, reason))

    def join(self, client: Client, channel: str) -> None:
        """Put a client into a channel. Nothing happens if it has gone. Raises PublishError (422) if a limit of channels
        is reached, as far as the proxy that is asked knows: of a client of another one it does not."""
        self._do(self._requests.member(client, channel, joined=True))

    def leave(self, client: Client, channel: str) -> None:
        """Take a client out of a channel."""
        self._do(self._requests.member(client, channel, joined=False))

    def close(self) -> None:
        """Close the connections that are kept."""
        while (connection := self._take()) is not None:
            connection.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- one request ------------------------------------------------------------------------------------------------

    def _do(self, asked: Asked[DoneT]) -> DoneT:
        attempts = Attempts(self._requests.server, self._requests.timeout, time.monotonic(), random.random)
        while True:
            now = time.monotonic()
            try:
                answer = self._exchange(asked, now + attempts.begin(now), attempts)
                if attempts.answered(answer):
                    return outcome(asked, answer, self._requests.server)
            except FAILURES as error:
                attempts.failed(error)
            time.sleep(attempts.pause(time.monotonic()))

    def _exchange(self, asked: Asked[DoneT], until: float, attempts: Attempts) -> Answer:
        connection = self._take() or self._open(until)
        wait = attempts.reached(time.monotonic())
        is_whole = False
        try:
            answer = connection.exchange(asked, until, wait)
            is_whole = connection.conversation.is_reusable()
        finally:
            if is_whole and len(self._idle) < MAX_IDLE:
                self._idle.append((os.getpid(), connection))
            else:
                connection.socket.close()
        return answer

    def _open(self, until: float) -> "_Connection":
        server = self._requests.server
        return _Connection(connect(server.host, server.port, server.tls, until), Conversation(server))

    def _take(self) -> "_Connection | None":
        """One that is kept, and that the server has not closed."""
        while self._idle:
            try:
                process, connection = self._idle.pop()
            except IndexError:  # another thread was faster
                return None
            if process == os.getpid() and not is_readable(connection.socket):
                return connection
            connection.socket.close()  # the descriptor here: the parent's connection goes on
        return None


class _Connection(NamedTuple):
    socket: socket.socket
    conversation: Conversation

    def exchange(self, asked: Asked[DoneT], until: float, wait: float) -> Answer:
        """Raises OSError, h11.ProtocolError; TimeoutError when it is later than `until`, however much has come."""
        rest = memoryview(self.conversation.ask(asked, wait))
        while rest:
            self.socket.settimeout(left(until))
            rest = rest[self.socket.send(rest) :]
        answer = None
        while answer is None:
            self.socket.settimeout(left(until))
            answer = self.conversation.heard(self.socket.recv(READ_BYTES))
        return answer
