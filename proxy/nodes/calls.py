"""What one node is asked that no client has asked: the parts of it, and the pools of who takes what."""

from collections.abc import Callable

import trio

from holdfast.balancer.calls import Call, Caller
from holdfast.balancer.directory import Directory, Node, Pool, Select
from holdfast.balancer.ledger import Ledger
from holdfast.balancer.policies import LeastInFlight
from holdfast.balancer.settings import RequestSettings
from holdfast.balancer.taken import ALL, PART, Taken
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.nodes.calls import CLOSE, CONNECT, OPEN, PUBLICATION, PUBLISH, SUBSCRIBE, encode_effects
from holdfast.protocols.nodes.frames import Effect
from holdfast.proxy.clients.admission import Admission
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.metrics import Counters
from holdfast.proxy.nodes.announcer import Announcer
from holdfast.proxy.nodes.asks import Asks
from holdfast.proxy.nodes.channel_calls import ChannelCalls
from holdfast.proxy.nodes.dispatch import Dispatch
from holdfast.proxy.nodes.once import Once
from holdfast.proxy.nodes.orphans import OrphanCare

# The kinds, and who is missing when no node takes one.
NOBODY = {
    CONNECT: "no node with on_connect",
    OPEN: "no node with on_open(once=True)",
    CLOSE: "no node with on_close(once=True)",
    PUBLISH: "no node that can publish",
    SUBSCRIBE: "no node with on_subscribe",
    PUBLICATION: "no node with on_publish",
}
# Of its nodes' capacity, for what anybody causes by coming and going. It is the same capacity and the same line as of
# the requests of clients, and 600 strangers, whom a node lets in or not within 50 ms, had them wait for half a second.
# A quarter is for requests alone, whatever comes, if the capacity is 8 or more: each has one place at least.
SHARES = {CONNECT: 1 / 2, OPEN: 1 / 8, CLOSE: 1 / 8}


class Publication(Caller):
    """Effects that a node is to do for somebody who is none."""

    def __init__(self) -> None:
        self.is_over = trio.Event()
        self.error: HoldfastError | None = None

    def reply(self, event: Call, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool) -> Taken:
        if not more:
            self.is_over.set()
        return PART if more else ALL

    def fail(self, event: Call, error: HoldfastError) -> int:
        self.error = error
        self.is_over.set()
        return 0


class Calls:
    """admission: for the clients' side, mode as of that. asks, orphans: for the gateway. once: who is told of them.
    of_channels: what clients ask of channels.

    prefix: of our clients' ids.
    """

    def __init__(
        self,
        mode: str,
        prefix: int,
        ledger: Ledger,
        directory: Directory,
        announcer: Announcer,
        dispatch: Dispatch,
        settings: RequestSettings,
        reactor: Reactor,
        counters: Counters,
    ) -> None:
        select = LeastInFlight().select
        pools = {kind: Pool.of(kind, _takes(kind), select, settings, nobody) for kind, nobody in NOBODY.items()}
        for kind, pool in pools.items():
            if kind in SHARES:
                pool.share = SHARES[kind]
                pool.select = _within_share(pool, ledger)
            ledger.add_pool(pool)
        self._pools = pools
        self._dispatch = dispatch
        self._reactor = reactor
        self.admission = Admission(mode, pools[CONNECT], dispatch.call, ledger.waiting, reactor, counters)
        of_channels = pools[SUBSCRIBE], pools[PUBLICATION], dispatch.call, directory, announcer.info, reactor
        self.of_channels = ChannelCalls(*of_channels)
        self.once = Once(pools[OPEN], pools[CLOSE], dispatch.call, reactor, counters)
        self.orphans = OrphanCare(prefix, self.once, announcer, reactor)
        self.asks = Asks(ledger, directory, select, settings, dispatch, reactor, counters)

    async def publish(self, effects: list[Effect], within: float) -> None:
        """Have a node do these, to clients of all proxies. Raises HoldfastError if none has; perhaps some are done then
        all the same. within: seconds until then, if those are less than `request.timeout`."""
        publication = Publication()
        self._reactor.look_at_clock()  # whoever calls is in no turn
        self._dispatch.call(publication, Call(PUBLISH, encode_effects(effects)), self._pools[PUBLISH], within)
        self._reactor.settle()
        await publication.is_over.wait()
        if publication.error is not None:
            raise publication.error


def _within_share(pool: Pool, ledger: Ledger) -> Select:
    """The pool's policy, while it has not got its share. Who is to get a node counts as at one already."""
    select = pool.select
    return lambda nodes, key, random: select(nodes, key, random) if ledger.at_nodes(pool) <= pool.most else None


def _takes(kind: str) -> Callable[[Node], bool]:
    return lambda node: kind in node.takes
