"""Whether this node is master, and the running of @on_master while it is.

Owns the epoch, the lease, and the end of all acting when the lease ends. The lease counts from the moment at which the
heartbeat was sent whose answer brought it, by this node's clock, so it ends here before the proxy lets another begin.
Nothing has to arrive for that: a cancel scope's deadline stands for the lease, and whoever acts asks the clock before.
So a process that was stopped (SIGSTOP) and goes on does nothing more as master. With several proxies each grants for
itself, and the lease is what more than half of them grant (protocols.nodes.leases).
"""

from collections.abc import Sequence
from functools import partial

import structlog
import trio

from holdfast.node import backoff, effects
from holdfast.node.elsewhere import in_trio
from holdfast.node.function import Function
from holdfast.node.network import Network
from holdfast.node.raised import guarded, traceback_of
from holdfast.node.threads import current_time
from holdfast.protocols.errors import StaleError
from holdfast.protocols.nodes.frames import AsMaster, Effect, Heartbeat, Master
from holdfast.protocols.nodes.leases import Leases

log = structlog.get_logger("holdfast.node")


class Mastership:
    """node: our id. functions: the author's. epoch: the highest that was seen.

    master: who is master of `epoch` by the proxies' word; "": nobody has told yet. It acts only with a lease, see
    `is_acting`.
    """

    def __init__(self, node: str, functions: Sequence[Function], links: Network) -> None:
        self._node = node
        self._functions = functions
        self._links = links
        self._leases = Leases()
        self._is_stopped = False
        self._term: Term | None = None
        self._renewed = trio.Event()
        self._ended = trio.Event()
        self.master = ""

    @property
    def is_elected(self) -> bool:
        return self.master == self._node

    @property
    def epoch(self) -> int:
        return self._leases.epoch

    @property
    def is_acting(self) -> bool:
        """Whether this node may act as master at this moment."""
        return self.is_elected and not self._is_stopped and current_time() < self._leases.end

    # --- from the sessions ------------------------------------------------------------------------------------------

    def announced(self, frame: Master) -> None:
        """A proxy says who is master."""
        if frame.epoch < self.epoch:
            return
        self.saw(frame.epoch)
        self.master = frame.node
        if not self.is_elected:
            self._end_term("another node is master, or none")

    def saw(self, epoch: int) -> None:
        """Something of an epoch has come. If it is the highest we are no master until we are told."""
        if self._leases.saw(epoch):
            self.master = ""
            self._end_term(f"epoch {epoch} has begun")

    def renew(self, proxy: str, frame: Heartbeat) -> None:
        """The answer to a heartbeat, which is sent with the time by Trio's clock."""
        self.saw(frame.epoch)
        if not self.is_elected or frame.epoch != self.epoch or frame.lease <= 0:
            return
        self._leases.forget_before(trio.current_time())
        self._leases.granted(proxy, frame.epoch, frame.ballot, frame.quorum, frame.stamp + frame.lease)
        if not self.is_acting:
            return  # too few grant it yet
        if self._term is not None:
            self._term.scope.deadline = self._leases.end
        self._renewed.set()

    # --- acting -----------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Act no more, for good. Returns when the author's functions have ended."""
        self._is_stopped = True
        self._end_term("the node drains")
        if self._term is not None:
            await self._ended.wait()

    async def run(self) -> None:
        """Task: run the author's functions during each term, one term at a time."""
        while True:
            while not self.is_acting:
                self._renewed = trio.Event()
                await self._renewed.wait()
            log.info("master_began", epoch=self.epoch)
            with trio.CancelScope(deadline=self._leases.end) as scope:
                term = self._term = Term(self.epoch, scope, self, self._links)
                effects.current.set(term)  # inherited by the tasks
                async with trio.open_nursery() as nursery:
                    for function in self._functions:
                        nursery.start_soon(self._guarded, function)
                    await trio.sleep_forever()
            log.info("master_ended", epoch=term.epoch)
            self._term = None
            self._ended.set()
            self._ended = trio.Event()

    async def _guarded(self, function: Function) -> None:
        """The guard of the author's functions: one that raises is begun anew while the term lasts."""
        for delay in backoff.delays():
            with guarded(partial(_tell, function, delay)):
                await function()
                return
            await trio.sleep(delay)

    def _end_term(self, reason: str) -> None:
        if self._term is not None:
            self._term.scope.cancel(reason=reason)


def _tell(function: Function, delay: float, error: BaseException) -> None:
    log.error("on_master_failed", function=function.said, retry_in=delay, exception=traceback_of(error))


class Term:
    """One stretch of being master, and the Outlet of what is done in it: the proxies refuse it in another epoch."""

    def __init__(self, epoch: int, scope: trio.CancelScope, mastership: Mastership, links: Network) -> None:
        self.epoch = epoch
        self.scope = scope
        self._mastership = mastership
        self._links = links

    def serves(self, default: effects.Outlet) -> bool:
        return default is self._links

    def log_context(self) -> dict[str, object]:
        return {"epoch": self.epoch}

    async def put(self, effect: Effect) -> None:
        """Send an effect under the epoch. Raises StaleError, or trio.Cancelled within the term, if it has ended."""
        await in_trio(self._put, effect)

    async def _put(self, effect: Effect) -> None:
        to = await self._links.wait_room([effect])
        if self._mastership.epoch != self.epoch or not self._mastership.is_acting:
            self.scope.cancel(reason="the lease has ended")
            await trio.lowlevel.checkpoint()
            raise StaleError(f"no longer master of epoch {self.epoch}")
        self._links.streams.send([AsMaster(self.epoch, [effect])], to=to)
