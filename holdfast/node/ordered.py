"""The jobs of one client one after the other, whoever does them: Node(order="client").

Owns whose turn it is. The next message of a client begins when the handler of the former one has ended, cancelled or
not; those of other clients don't wait for it. An HTTP request is a client of its own, and never waits.
"""

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from holdfast.node.elsewhere import current_time
from holdfast.node.exchange import Exchange
from holdfast.node.workers import Jobs

Handle = Callable[[Exchange], Coroutine[Any, Any, None]]
WorkersT = TypeVar("WorkersT", bound=Jobs[Exchange])


def queue(make: Callable[[Handle], WorkersT], handle: Handle, is_ordered: bool) -> tuple[Jobs[Exchange], WorkersT]:
    """Where jobs are put, and the workers that do them."""
    if is_ordered:
        ordered = Ordered(make, handle)
        return ordered, ordered.workers
    workers = make(handle)
    return workers, workers


class Ordered(Generic[WorkersT]):
    """In front of workers, which `make` makes; what is put to those themselves is alone. handle: does a job. A job that
    waits for its turn is bounded as every other: by who puts."""

    def __init__(self, make: Callable[[Handle], WorkersT], handle: Handle) -> None:
        self.workers = make(self._in_turn)
        self._handle_one = handle
        self._turns: dict[int, deque[Exchange]] = {}  # by client; the first one is being done, or about to be

    def __len__(self) -> int:
        return len(self.workers) + sum(len(turns) - 1 for turns in self._turns.values())

    def wake(self, now: float) -> bool:
        return self.workers.wake(now)

    def put(self, job: Exchange) -> None:
        if _is_alone(job):
            self.workers.put(job)
            return
        turns = self._turns.get(job.client.id)
        if turns is None:
            self._turns[job.client.id] = deque([job])
            self.workers.put(job)
        else:
            turns.append(job)

    def cancel(self, job: Exchange, reason: str) -> None:
        self.workers.cancel(job, reason)
        if job.worker is None:
            self._next(job)  # it never begins

    async def _in_turn(self, job: Exchange) -> None:
        try:
            await self._handle_one(job)
        finally:
            self._next(job)

    def _next(self, job: Exchange) -> None:
        """It has ended. If it was the first one of its client, the next one begins."""
        client = job.client.id
        turns = self._turns.get(client)
        if turns is None or turns[0] is not job:
            return
        turns.popleft()
        while turns and turns[0].is_cancelled:
            turns.popleft()
        if turns:
            self.workers.put(turns[0])
            self.workers.wake(current_time())  # the links may have nothing to do at present
        else:
            del self._turns[client]


def _is_alone(job: Exchange) -> bool:
    """An HTTP request, or what no client has asked."""
    return job.is_http or not job.client.id
