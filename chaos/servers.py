"""The proxies and the store under test, as faults see them: who may be harmed, and how it is mended.

A proxy of several is killed or frozen when the cluster is whole only, because what is promised holds while more than
half of it lives. In turn it is started anew at once, so that it takes its own place, and after a while, so that the
others go on without it; the store likewise. Both are then where they were, and the store has forgotten everything.
All proxies are stopped and started again in turn with and without a pause; the nodes live on meanwhile.
"""

import random
import signal
import time
from collections.abc import Callable, Sequence

import trio

from holdfast.chaos.deployment import Deployment
from holdfast.chaos.failover import Fault
from holdfast.chaos.fleet import Fleet
from holdfast.chaos.processes import Process
from holdfast.chaos.proxies import OwnProxy
from holdfast.protocols.errors import HoldfastError

SINGLE_KINDS = ("kill-proxy", "kill-store", "kill-together")
WHOLE_KINDS = ("restart", "restart-kill")  # nothing else is done meanwhile
KINDS = (*SINGLE_KINDS, "freeze-proxy", "skew", *WHOLE_KINDS)
LEAST = 3  # proxies, of which one can be killed and more than half of them live, also while there is no store
AWAY = (0.0, 5.0)  # seconds until it is started anew, in turn; a proxy is evicted after 2
FREEZE_SHARE = 1.5  # of the longest limit on silence
SKEW = 2.0  # times the cluster's lease
EXIT_PATIENCE = 60.0  # for a proxy to let its clients go and to exit: more than drain.timeout and drain.spread
REFUSED_PATIENCE = 15.0  # for a proxy to find out that it may not join
WHOLE_PATIENCE = 60.0
POLL_INTERVAL = 0.1


def _harms_proxies(kind: str) -> bool:
    return kind in KINDS and kind != "kill-store"


def _harms_store(kind: str) -> bool:
    return kind in ("kill-store", "kill-together")


class Servers:
    """surprise: called with what should not have happened."""

    def __init__(
        self, deployment: Deployment, fleet: Fleet, chance: random.Random, surprise: Callable[[str], None]
    ) -> None:
        self._deployment = deployment
        self._fleet = fleet
        self._chance = chance
        self._surprise = surprise
        self._is_mending_proxy = False
        self._is_mending_store = False
        self._last: OwnProxy | None = None
        self._proxies_harmed = 0
        self._stores_killed = 0
        self._restarts = 0

    @property
    def has_store(self) -> bool:
        """Whether there is one to kill."""
        return self._deployment.redis is not None

    def may(self, kind: str) -> bool:
        """Whether that can be done now. What is done to nodes always can, but while all proxies are restarted."""
        return not (_harms_proxies(kind) and self._is_mending_proxy) and not (
            _harms_store(kind) and self._is_mending_store
        )

    def begins(self, kind: str) -> None:
        """It is decided, and done in a moment: until it is mended, nothing may be done that must not be beside it."""
        self._is_mending_proxy |= _harms_proxies(kind)
        self._is_mending_store |= _harms_store(kind) and self.has_store

    def choose(self) -> OwnProxy:
        """The one to harm: every third time the keeper; not the last one again, which has no clients yet."""
        own = self._deployment.own
        proxies = [proxy for proxy in own if proxy is not self._last] or own
        status = self._fleet.status
        if self._proxies_harmed % 3 == 2 and status.cluster is not None:
            for proxy in proxies:
                if proxy.id == status.cluster.keeper:
                    return proxy
        return self._chance.choice(proxies)

    def _harms(self, proxy: OwnProxy) -> float:
        """Seconds that it is away, if it is killed."""
        self._last = proxy
        self._proxies_harmed += 1
        return AWAY[(self._proxies_harmed - 1) % len(AWAY)]

    # --- one of them ------------------------------------------------------------------------------------------

    async def kill_proxy(self, proxy: OwnProxy, fault: Fault) -> None:
        """Returns when it serves again, and the cluster is whole. struck: when it had been done."""
        away = self._harms(proxy)
        proxy.signal(signal.SIGKILL)
        fault.struck = time.monotonic()
        await proxy.process.wait()
        await trio.sleep(away)
        if await self._start([proxy]):  # else no other will be harmed
            await self._mended(f"{proxy.name} was started anew")

    async def freeze_proxy(self, proxy: OwnProxy, fault: Fault) -> None:
        """For longer than anybody takes its silence for life; until: when all is as it was."""
        self._harms(proxy)
        seconds = FREEZE_SHARE * self._deployment.longest_silence
        fault.until = fault.at + seconds
        proxy.freeze()
        try:
            await trio.sleep(seconds)
        finally:
            proxy.thaw()
        await self._mended(f"{proxy.name} went on")
        fault.until = time.monotonic()

    async def skew(self) -> None:
        """A proxy with another lease wants to join: it must end with a line that says why."""
        process = self._deployment.skewed(SKEW)
        with trio.move_on_after(REFUSED_PATIENCE):
            await process.wait()
        if process.is_running:
            self._surprise("a proxy with another election.lease was not refused")
            await process.end(0.0)
        elif "election.lease" not in process.log_tail():
            self._surprise(f"a proxy with another election.lease ended without a word of it\n{process.log_tail()}")
        await self._mended("a proxy with another lease had come")

    async def kill_store(self) -> None:
        """Returns when it answers again; at once if it is a file."""
        redis = self._deployment.redis
        if redis is None:
            return
        away = AWAY[self._stores_killed % len(AWAY)]
        self._stores_killed += 1
        await redis.kill().wait()
        await trio.sleep(away)
        try:
            await redis.start()
        except HoldfastError as error:
            self._surprise(str(error))
            return
        self._is_mending_store = False

    # --- all of them ------------------------------------------------------------------------------------------

    async def restart_all(self, number: signal.Signals, fault: Fault) -> None:
        """SIGTERM or SIGKILL to all at the same time; then all are started anew. until: when all had ended."""
        away = AWAY[self._restarts % len(AWAY)]
        self._restarts += 1
        own = self._deployment.own
        for proxy in own:
            proxy.signal(number)
        async with trio.open_nursery() as nursery:
            for proxy in own:
                nursery.start_soon(self._wait_exit, proxy.process, number)
        fault.until = time.monotonic()
        await trio.sleep(away)
        if await self._start(own):
            await self._mended("all proxies were started anew", with_nodes=True)

    async def _wait_exit(self, process: Process, number: signal.Signals) -> None:
        with trio.move_on_after(EXIT_PATIENCE):
            status = await process.wait()
            if number is signal.SIGTERM and status:
                self._surprise(f"{process.name} exited with status {status} after SIGTERM\n{process.log_tail()}")
            return
        self._surprise(f"{process.name} did not exit within {EXIT_PATIENCE:g} s after SIGTERM")
        process.signal(signal.SIGKILL)
        await process.wait()

    # --- mending ----------------------------------------------------------------------------------------------

    async def _start(self, proxies: Sequence[OwnProxy]) -> bool:
        """Start them anew, all at once. False: one does not start."""
        failed: list[str] = []

        async def start(proxy: OwnProxy) -> None:
            try:
                await proxy.restart()
            except HoldfastError as error:
                failed.append(str(error))

        async with trio.open_nursery() as nursery:
            for proxy in proxies:
                nursery.start_soon(start, proxy)
        for one in failed:
            self._surprise(one)
        return not failed

    async def _mended(self, after: str, *, with_nodes: bool = False) -> None:
        """Wait until all is whole, and others may be harmed."""
        with trio.move_on_after(WHOLE_PATIENCE):
            while not await self._fleet.is_whole():  # noqa: ASYNC110 - it is asked over HTTP
                await trio.sleep(POLL_INTERVAL)
            if with_nodes:
                await self._fleet.wait(lambda: self._fleet.is_complete)
            self._is_mending_proxy = False
            return
        self._surprise(f"not all was whole within {WHOLE_PATIENCE:g} s after {after}")
