"""What nodes ask each other through this proxy: each question is a request of the ledger, and its asker a node.

Owns a pool for each name or id that is asked; those that nobody has and nobody waits for go when there are many.
"""

from holdfast.balancer.calls import Call, Caller, check_whole
from holdfast.balancer.directory import Directory, Node, NodeState, Pool, Select
from holdfast.balancer.ledger import Ledger
from holdfast.balancer.settings import RequestSettings
from holdfast.balancer.taken import ALL, Taken
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, RequestError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import ASK
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.metrics import Counters
from holdfast.proxy.nodes.dispatch import Dispatch

MAX_POOLS = 4_000  # names and ids that are asked; when there are so many, those that nobody has or waits for go
LOOK_INTERVAL = 1.0  # seconds between two looks for them
MAX_ASKED = 10_000  # questions of one node that are not answered


class Asker(Caller):
    """One question of a node. left: of the answers, how many are not there, shared by all nodes that are asked it.
    target: who is asked, if that is one by its id."""

    __slots__ = ("_ask", "_left", "_node", "_target")

    def __init__(self, node: Node, ask: int, left: list[int], target: str) -> None:
        node.questions += 1
        self._node = node
        self._ask = ask
        self._left = left
        self._target = target

    @property
    def is_closed(self) -> bool:
        return self._node.state is NodeState.LOST

    def reply(self, event: Call, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool) -> Taken:
        check_whole(head, more=more)
        self._answer(200, payload or b"", is_text)
        return ALL

    def fail(self, event: Call, error: HoldfastError) -> int:
        self._answer(error.http_status, message=str(error))
        return 0

    def _answer(self, status: int, payload: bytes = b"", is_text: bool = False, message: str = "") -> None:
        self._left[0] -= 1
        self._node.questions -= 1
        if self._node.state is not NodeState.LOST:
            self._node.link.send(
                frames.Answered(self._ask, self._target, status, payload, is_text, message, self._left[0])
            )


class Asks:
    """What nodes ask. Called by the gateway: `take`, and `lost` when a node is gone and what it had is elsewhere."""

    def __init__(
        self,
        ledger: Ledger,
        directory: Directory,
        select: Select,
        settings: RequestSettings,
        dispatch: Dispatch,
        reactor: Reactor,
        counters: Counters,
    ) -> None:
        self._ledger = ledger
        self._directory = directory
        self._select = select
        self._settings = settings
        self._dispatch = dispatch
        self._reactor = reactor
        self._counters = counters
        self._pools: dict[str, Pool] = {}
        self._look_after = 0.0

    def take(self, node: Node, frame: frames.Ask) -> None:
        """A node asks."""
        if frame.everyone:
            targets = [
                each.id
                for each in self._directory
                if each.name == frame.to and each.state is NodeState.READY and ASK in each.takes
            ]
        else:
            targets = [frame.to]
        if not targets:
            nobody = f"no node of the name {frame.to} with on_ask is ready"
            node.link.send(frames.Answered(frame.ask, "", 404, message=nobody))
            return
        if node.questions + len(targets) > MAX_ASKED:
            self._counters.limits_hit["node.asks"] += 1
            node.link.send(frames.Answered(frame.ask, "", 429, message="too many questions have no answer yet"))
            return
        left = [len(targets)]
        for target in targets:
            asker = Asker(node, frame.ask, left, target if frame.everyone else "")
            call = Call(ASK, frame.payload, frame.is_text, sender=node.id, before=frame.attempt - 1)
            pool = self._pool(target)
            if pool is None:
                self._counters.limits_hit["node.ask_names"] += 1
                asker.fail(call, RequestError("too many names and ids are asked", Reason.PARKING_FULL))
            else:
                self._dispatch.call(asker, call, pool, frame.timeout / 1000)

    def lost(self, node: Node) -> None:
        """Nobody waits for what it has asked."""
        if node.questions:
            self._dispatch.abandon()

    def _pool(self, target: str) -> Pool | None:
        """None: there are too many."""
        pool = self._pools.get(target)
        if pool is None:
            if len(self._pools) >= MAX_POOLS and self._reactor.now >= self._look_after:
                self._look_after = self._reactor.now + LOOK_INTERVAL
                self._forget_unused()
            if len(self._pools) >= MAX_POOLS:
                return None

            def takes(node: Node) -> bool:
                return ASK in node.takes and target in (node.id, node.name)

            nobody = f"no node of the name or id {target} with on_ask"
            pool = self._pools[target] = Pool.of(f"ask {target}", takes, self._select, self._settings, nobody)
            self._ledger.add_pool(pool)
        return pool

    def _forget_unused(self) -> None:
        used = self._ledger.pools_in_use()
        for target, pool in list(self._pools.items()):
            if pool not in used and not pool.ready:
                del self._pools[target]
                self._directory.remove_pool(pool)
