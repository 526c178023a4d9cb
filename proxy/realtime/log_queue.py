"""What is asked of the log of channels, one thing after the other, so that what is asked later sees what was before.

Owns the order, whether the log is away, and for which channels something was given out meanwhile that is not in it: as
soon as it is back, before anything else is asked, their logs are begun anew, so that nobody is told that nothing is
missing. A log that blocks is asked in a thread, by one task; what waits is asked together. What does not block is asked
at once, but for reading, which has its time in each turn.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Generic, NamedTuple, TypeVar

import structlog
import trio

from holdfast.balancer.history.base import END, Append, Appended, Log, LogUnavailable, Page
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.metrics import Counters

log = structlog.get_logger("holdfast.history")

AT_ONCE = 256  # publications that are appended together
BYTES_AT_ONCE = 1 << 20  # of theirs; one larger one goes alone
READING_TIME = 0.002  # of a turn, for a log that does not block; others wait so long for it
RETRY_INTERVAL = 1.0  # how often a log that is away is asked again
MAX_STALE = 100_000  # channels whose logs are to be begun anew; of more nothing is given out without the log
MAX_LATE_BYTES = 16 << 20  # of what was given out without the log, and is appended when it is back; of more, the newest
LATE_OVERHEAD = 500  # bytes of each
BEGIN = -1  # of Asked, after: where it ends, and it is begun if there is none

ResultT = TypeVar("ResultT")
Told = Callable[[Appended | None], None]
Shown = Callable[[Page | None], None]
News = tuple[str, list[tuple[str, str, int]]]


class Asked(NamedTuple):
    """append: what is to be appended, or else a channel to read, or "": news, or with limit 0 that the log is to clean
    up. done: told what came of it, or None: the log is away."""

    append: Append | None
    done: Callable[[Any], None]
    channel: str = ""
    after: int = 0
    limit: int = 0
    max_bytes: int = 0


class LogQueue:
    """clock: of the wall. in_thread: calls a function with arguments, in one. on_renewed: told each log that was begun
    anew, with its epoch. is_away: the last thing that was asked had no answer.

    stale: channels of which something was given out that is in no log. What that was is appended to the logs that begin
    then, first: others may be behind with it, and what a node publishes is in its order there.
    """

    def __init__(
        self,
        store: Log,
        reactor: Reactor,
        counters: Counters,
        clock: Callable[[], float],
        in_thread: Callable[..., Awaitable[Any]] = trio.to_thread.run_sync,
    ) -> None:
        self._log = store
        self._reactor = reactor
        self._counters = counters
        self._clock = clock
        self._in_thread = in_thread
        self._queue: deque[Asked] = deque()
        self._is_asked = trio.Event()
        self._late: deque[Asked] = deque()
        self._late_bytes = 0
        self._retry_at = 0.0
        self._cursor = ""
        self.is_away = False
        self.stale: dict[str, None] = {}
        self.on_renewed: Callable[[str, str], None] = lambda channel, epoch: None

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_blocking(self) -> bool:
        return self._log.is_blocking

    # --- asking -----------------------------------------------------------------------------------------------------

    def append(self, append: Append, done: Told) -> None:
        """done is called before this returns if the log does not block."""
        if self._log.is_blocking:
            self._ask(Asked(append, done))
            return
        result = self._at_once(lambda: self._log.append([append], self._clock()))
        done(None if result is None else result[0])

    def read(self, channel: str, after: int, limit: int, max_bytes: int, done: Shown) -> None:
        self._ask(Asked(None, done, channel, after, limit, max_bytes))

    def top(self, channel: str, done: Shown) -> None:
        """The end of a log. done is called before this returns if the log does not block."""
        if self._log.is_blocking:
            self.read(channel, END, 1, 1, done)
        else:
            done(self._at_once(lambda: self._log.read(channel, END, 1, 1, self._clock())))

    def begin(self, channel: str, done: Shown) -> None:
        """As `top`, of a log that is begun if there is none."""
        if self._log.is_blocking:
            self.read(channel, BEGIN, 1, 1, done)
        else:
            done(self._at_once(lambda: _begin(self._log, channel, self._clock())))

    def news(self, limit: int, done: Callable[[News | None], None]) -> None:
        """What has changed since this was asked last."""
        self._ask(Asked(None, done, "", 0, limit))

    def look(self) -> None:
        """News are from now on; and whether it is there."""
        self.news(1, lambda news: None)

    def clean(self) -> None:
        """Have it forget some of what has ended."""
        self._ask(Asked(None, lambda done: None))

    def later(self, append: Append, done: Told) -> None:
        """It was given out, and is to be appended as soon as the log is back; done is told then, if it is not dropped
        for want of room."""
        self._late.append(Asked(append, done))
        self._late_bytes += len(append.payload) + LATE_OVERHEAD
        while self._late_bytes > MAX_LATE_BYTES:
            dropped = self._late.popleft().append
            assert dropped is not None
            self._late_bytes -= len(dropped.payload) + LATE_OVERHEAD
            self._counters.limits_hit["history.max_late_bytes"] += 1
        self._is_asked.set()

    def _ask(self, asked: Asked) -> None:
        self._queue.append(asked)
        self._is_asked.set()

    def without(self, channel: str) -> bool:
        """Something is to be given out of it that is not in its log. False: it may not."""
        if channel not in self.stale:
            if len(self.stale) >= MAX_STALE:
                self._counters.limits_hit["history.max_stale"] += 1
                return False
            self.stale[channel] = None
        return True

    # --- answers ----------------------------------------------------------------------------------------------------

    def step(self, now: float) -> bool:
        """Turn's end, for a log that does not block. True: more waits."""
        if self._log.is_blocking or not self._queue:
            return False
        until = trio.current_time() + READING_TIME
        while self._queue:
            asked = self._queue.popleft()
            asked.done(self._at_once(lambda: self._read(asked)))  # noqa: B023 - called at once
            if trio.current_time() >= until:
                break
        return bool(self._queue)

    async def run(self) -> None:
        """Ask a log that blocks. Ends only by cancellation."""
        while True:
            if not self._queue and not (self._late and self._may_ask):
                self._is_asked = trio.Event()
                with trio.move_on_after(RETRY_INTERVAL if self._late else inf):
                    await self._is_asked.wait()
                continue
            is_late = bool(self._late) and self._may_ask
            asked = self._take(self._late if is_late else self._queue)
            results: list[object] = [None] * len(asked)
            if self._may_ask:
                stale, self.stale = self.stale, {}
                outcome = await self._in_thread(_ask, lambda: self._answers(asked), self._log, stale)  # noqa: B023 - waited for
                self._conclude(outcome, stale)
                results = outcome.result or results
            else:
                await trio.lowlevel.checkpoint()
            if is_late and self.is_away:
                self._late.extendleft(reversed(asked))
                continue
            if is_late:
                self._late_bytes -= sum(len(each.append.payload) + LATE_OVERHEAD for each in asked if each.append)
            self._reactor.look_at_clock()
            for each, result in zip(asked, results, strict=True):
                each.done(result)
            self._reactor.settle()

    @staticmethod
    def _take(queue: deque[Asked]) -> list[Asked]:
        """What is asked together: appends that follow each other, or one of the others."""
        taken = [queue.popleft()]
        if taken[0].append is None:
            return taken
        size = len(taken[0].append.payload)
        while queue and len(taken) < AT_ONCE and (append := queue[0].append) is not None:
            size += len(append.payload)
            if size > BYTES_AT_ONCE:
                break
            taken.append(queue.popleft())
        return taken

    def _answers(self, asked: list[Asked]) -> list[Any]:
        appends = [each.append for each in asked if each.append is not None]
        return self._log.append(appends, self._clock()) if appends else [self._read(asked[0])]

    def _read(self, asked: Asked) -> Page | News | list[Appended]:
        if not asked.limit:
            return self._log.append([], self._clock())
        if asked.after == BEGIN:
            return _begin(self._log, asked.channel, self._clock())
        if asked.channel:
            return self._log.read(asked.channel, asked.after, asked.limit, asked.max_bytes, self._clock())
        news = self._log.news(self._cursor, asked.limit)
        self._cursor = news[0]
        return news

    @property
    def _may_ask(self) -> bool:
        return not self.is_away or self._reactor.clock() >= self._retry_at

    def _at_once(self, ask: Callable[[], ResultT]) -> ResultT | None:
        """Of a log that does not block."""
        if not self._may_ask:
            return None
        late, self._late = self._late, deque()
        self._late_bytes = 0
        for each in late:
            assert each.append is not None
            self.append(each.append, each.done)
        stale, self.stale = self.stale, {}
        outcome = _ask(ask, self._log, stale)
        self._conclude(outcome, stale)
        return outcome.result

    def _conclude(self, outcome: "Outcome[Any]", stale: dict[str, None]) -> None:
        """stale: what was to be begun anew, without what was."""
        self.stale = {**stale, **self.stale}
        if outcome.error is not None:
            self._retry_at = self._reactor.clock() + RETRY_INTERVAL
            if not self.is_away:
                log.warning("history_away", why=str(outcome.error))
        elif self.is_away:
            log.info("history_back")
        self.is_away = outcome.error is not None
        for channel, epoch in outcome.renewed:
            self.on_renewed(channel, epoch)


class Outcome(NamedTuple, Generic[ResultT]):
    """What came of asking. renewed: logs that were begun anew before that, with their epochs."""

    result: ResultT | None
    error: LogUnavailable | None
    renewed: list[tuple[str, str]]


def _begin(store: Log, channel: str, now: float) -> Page:
    """The end of a log, which is begun if there is none."""
    page = store.read(channel, END, 1, 1, now)
    if page.epoch:
        return page
    store.renew(channel, "")
    return store.read(channel, END, 1, 1, now)


def _ask(ask: Callable[[], ResultT], store: Log, stale: dict[str, None]) -> Outcome[ResultT]:
    """Perhaps in a thread. Takes from `stale` what it has begun anew: before anything is asked, so that it is in the
    logs that something is missing."""
    renewed = list[tuple[str, str]]()
    try:
        while stale:
            channel = next(iter(stale))
            page = store.read(channel, END, 1, 1, 0.0)
            renewed.append((channel, store.renew(channel, page.epoch) if page.epoch else ""))
            del stale[channel]
        return Outcome(ask(), None, renewed)
    except LogUnavailable as error:
        return Outcome(None, error, renewed)
