"""Workers that do the jobs of one client one after the other: Node(order="client").

Owns whose turn it is. The next message of a client begins when the handler of the former one has ended, cancelled or
not; those of other clients don't wait for it. An HTTP request is a client of its own, and never waits.
"""

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import trio

from holdfast.node.exchange import Exchange
from holdfast.node.workers import Workers


class OrderedWorkers(Workers[Exchange]):
    """As Workers. A job that waits for its turn is bounded as every other: by who puts."""

    def __init__(self, handle: Callable[[Exchange], Coroutine[Any, Any, None]]) -> None:
        super().__init__(self._in_turn)
        self._handle_one = handle
        self._turns: dict[int, deque[Exchange]] = {}  # by client; the first one is being done, or about to be

    def put(self, job: Exchange) -> None:
        if _is_alone(job):
            super().put(job)
            return
        client = _client_of(job)
        turns = self._turns.get(client)
        if turns is None:
            self._turns[client] = deque([job])
            super().put(job)
        else:
            turns.append(job)

    def cancel(self, job: Exchange, reason: str) -> None:
        super().cancel(job, reason)
        if job.worker is None and not _is_alone(job) and self._turns[client := _client_of(job)][0] is job:
            self._next(client)  # it never begins

    async def _in_turn(self, job: Exchange) -> None:
        if _is_alone(job):
            await self._handle_one(job)
            return
        client = _client_of(job)
        try:
            await self._handle_one(job)
        finally:
            self._next(client)

    def _next(self, client: int) -> None:
        """The first one of this client has ended."""
        turns = self._turns[client]
        turns.popleft()
        while turns and turns[0].is_cancelled:
            turns.popleft()
        if turns:
            super().put(turns[0])
            self.wake(trio.current_time())  # the links may have nothing to do at present
        else:
            del self._turns[client]


def _is_alone(job: Exchange) -> bool:
    """An HTTP request, or what no client has asked."""
    return job.is_http or not job.client.id


def _client_of(job: Exchange) -> int:
    return job.client.id
