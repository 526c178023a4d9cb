"""Channels with history, put together: whose they are, by the rules, the log, and what stands between it and clients.

Without a rule that has history there is none of it, and it costs nothing. A log that can't be reached is no reason not
to serve: what becomes of publications then is said by `history.without_store`.
"""

from collections.abc import Callable

import structlog
import trio

from holdfast.balancer.channel_rules import ChannelRules
from holdfast.balancer.history.base import Keep, Log
from holdfast.balancer.history.store import open_log
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.config import Config
from holdfast.proxy.metrics import Counters
from holdfast.proxy.realtime.channels import Channels
from holdfast.proxy.realtime.histories import NEWS_INTERVAL, Histories
from holdfast.proxy.realtime.history_asks import HistoryAsks
from holdfast.proxy.realtime.lanes import Lanes
from holdfast.proxy.realtime.log_queue import LogQueue

log = structlog.get_logger("holdfast.history")

CLEAN_INTERVAL = 5.0  # how often the log forgets some of what has ended, whether anything is published or not


class History:
    """clock: of the wall, in seconds. histories: None if no channel has one. rules: of channels. asks: of nodes.
    on_interrupted: to be set: who tells members, when they may have missed something, and why."""

    def __init__(
        self,
        config: Config,
        rules: ChannelRules,
        channels: Channels,
        lanes: Lanes,
        reactor: Reactor,
        counters: Counters,
        clock: Callable[[], float],
        proxy: str,
    ) -> None:
        self.rules = rules
        # Of two rules with one pattern the first one counts.
        self._keeps = {
            rule.match: Keep(rule.history_messages, rule.history_bytes, rule.history_age)
            for _, rule in reversed(rules.rules)
        }
        self._reactor = reactor
        self.histories: Histories | None = None
        self._log: Log | None = None
        self._queue: LogQueue | None = None
        if rules.has_history:
            self._log = open_log(config.store, config.history)
            self._queue = queue = LogQueue(self._log, reactor, counters, clock)
            parts = queue, channels, reactor, counters, self.keep_of, self._interrupted
            gives_without = config.history.without_store == "deliver"
            self.histories = Histories(*parts, proxy, gives_without=gives_without)
            lanes.histories = self.histories
            channels.on_last = self.histories.forget
        self.on_interrupted: Callable[[str, str], None] = lambda channel, why: None
        self.asks = HistoryAsks(self._queue, lambda channel: self.keep_of(channel) is not None, counters)

    def keep_of(self, channel: str) -> Keep | None:
        """What is kept of it; None: nothing."""
        rule = self.rules.of(channel)
        return None if rule is None or not rule.history_messages else self._keeps[rule.match]

    async def run(self) -> None:
        """Ask the log, look for what no node has brought, have it forget what has ended. Ends by cancellation, or at
        once if there is nothing to do."""
        if self._queue is None:
            return
        self._queue.look()  # a log that is away is said to be at the start
        async with trio.open_nursery() as nursery:
            if self._queue.is_blocking:
                nursery.start_soon(self._queue.run)
            nursery.start_soon(self._tick, self._queue)

    async def _tick(self, queue: LogQueue) -> None:
        assert self.histories is not None
        cleans_at = trio.current_time() + CLEAN_INTERVAL
        while True:
            await trio.sleep(NEWS_INTERVAL)
            now = trio.current_time()
            self.histories.tick(now)
            if now >= cleans_at:
                cleans_at = now + CLEAN_INTERVAL
                queue.clean()
            self._reactor.settle()

    def close(self) -> None:
        """After `run`."""
        if self._log is not None:
            self._log.close()

    def _interrupted(self, channel: str, why: str) -> None:
        if self._reactor.masses.admits("history_interrupted", self._reactor.now):
            log.info("history_interrupted", channel=channel[:100], why=why)
        self.on_interrupted(channel, why)
