"""What is done to nodes, proxies and the store, and to which.

kill          SIGKILL; started anew at once
freeze-node   SIGSTOP and later SIGCONT: in turn for longer than lease and heartbeat limit, which costs the node its
              session, and for shorter, which costs it nothing
slow          the node answers each request late, for a while
drain         the proxy is asked to give the node no more requests; when it has none, it is stopped and started anew
restart-node  SIGTERM: the node drains by itself and exits; then it is started anew
burst         a node publishes far more at once than clients can be sent (chaos.flood)
all           SIGKILL to all nodes at once; one is started, and the others when it has served alone for a while

To proxies of ours (chaos.servers):

restart       SIGTERM to all proxies at once; when they have ended they are started anew
restart-kill  the same with SIGKILL
freeze-proxy  SIGSTOP for longer than anybody takes silence for life, and SIGCONT

And to a cluster:

skew           a proxy with another lease wants to join, and must be refused
kill-proxy     SIGKILL to a proxy
kill-store     SIGKILL to the store
kill-together  SIGKILL to a proxy, a node and the store, unless that is a file, at the same moment

Victims are chosen by the seed, every third time the master. One node that is ready and unharmed is left (but for
`all`). While all proxies are restarted nothing else is done: somebody must live who has the nodes' state. Nodes that
are not ours are not started anew.
"""

import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

from holdfast.chaos import servers
from holdfast.chaos.deployment import Deployment
from holdfast.chaos.failover import Fault
from holdfast.chaos.fleet import Fleet, NodeStatus
from holdfast.chaos.servers import Servers

NODE_KINDS = ("kill", "freeze-node", "slow", "drain", "restart-node", "burst")
KINDS = (*NODE_KINDS, *servers.KINDS)
OPTIONAL_KINDS = tuple(kind for kind in KINDS if kind != "burst")  # which has an option of its own
SLOW_SECONDS = 2.0  # as chaos.node does
FREEZE_SHARES = (servers.FREEZE_SHARE, 0.4)  # of the limit on silence
EXIT_PATIENCE = 15.0  # for a node to finish its requests and exit
READY_PATIENCE = 30.0  # for a node that was started to be ready
ALONE = 3.0  # seconds that one node serves alone after all were killed


def _needs_node(kind: str) -> bool:
    return kind in NODE_KINDS or kind == "kill-together"


class Faults:
    """happened: what was done. skipped: turns at which there was no node to harm. surprises: what should not have
    happened. tell: for people. burst: has the node with a pid publish one.
    """

    def __init__(
        self,
        deployment: Deployment,
        fleet: Fleet,
        kinds: Sequence[str],
        seed: int,
        tell: Callable[[str], None],
        burst: Callable[[int], None],
    ) -> None:
        self._fleet = fleet
        self._kinds = kinds
        self._deployment = deployment
        self._random = random.Random(seed)
        self._servers = Servers(deployment, fleet, self._random, self._surprise)
        self._tell = tell
        self._order_burst = burst
        self._under_fault: set[int] = set()  # pids
        self._under_way: list[str] = []  # kinds
        self._deck: list[str] = []
        self._freezes = 0
        self.happened: list[Fault] = []
        self.skipped = 0
        self.surprises: list[str] = []

    async def run(self, every: float, until: float) -> None:
        """Do something to a node every so many seconds until a time of Trio's clock; return when all is mended."""
        async with trio.open_nursery() as nursery:
            turn = 0
            begun = trio.current_time()
            while (at := begun + (turn + 1) * every) < until:
                await trio.sleep_until(at)
                self._take_turn(turn, nursery)
                turn += 1

    def _take_turn(self, turn: int, nursery: trio.Nursery) -> None:
        node = self._choose(turn)
        kind = self._next_kind(has_node=node is not None)
        if kind is None:
            self.skipped += 1
            return
        # Now: after a moment in which the machine stood still the next turn comes before the task does.
        self._under_way.append(kind)
        self._servers.begins(kind)
        if node is not None and _needs_node(kind):
            self._under_fault.add(node.pid)
        nursery.start_soon(self._harm, kind, node)

    def _next_kind(self, *, has_node: bool) -> str | None:
        """Each kind as often as the others, in a new order each time. None: of what is left nothing can be done now.

        has_node: there is one that may be harmed.
        """
        if not self._deck:
            self._deck = self._random.sample(self._kinds, len(self._kinds))
        for kind in reversed(self._deck):
            if self._servers.may(kind) and self._is_time(kind) and (has_node or not _needs_node(kind)):
                self._deck.remove(kind)
                return kind
        return None

    def _is_time(self, kind: str) -> bool:
        if kind in servers.WHOLE_KINDS:
            return not self._under_way
        return not any(other in servers.WHOLE_KINDS for other in self._under_way)

    def _choose(self, turn: int) -> NodeStatus | None:
        candidates = [node for node in self._fleet.harmable() if node.pid not in self._under_fault]
        if sum(node.pid not in self._under_fault for node in self._fleet.ready()) < 2:
            return None
        if turn % 3 == 2:
            for node in candidates:
                if self._is_master(node):
                    return node
        return self._random.choice(candidates) if candidates else None

    def _is_master(self, node: NodeStatus) -> bool:
        return node.id == self._fleet.status.master.node

    # --- faults -----------------------------------------------------------------------------------------------

    async def _harm(self, kind: str, node: NodeStatus | None) -> None:
        on_nodes = {
            "kill": self._kill,
            "freeze-node": self._freeze_node,
            "slow": self._slow,
            "drain": self._drain,
            "restart-node": self._restart_node,
            "burst": self._burst,
            "kill-together": self._kill_together,
        }
        on_servers: dict[str, Callable[[], Awaitable[None]]] = {
            "kill-proxy": self._kill_proxy,
            "freeze-proxy": self._freeze_proxy,
            "kill-store": self._kill_store,
            "skew": self._skew,
            "restart": partial(self._restart_all, "restart", signal.SIGTERM),
            "restart-kill": partial(self._restart_all, "restart-kill", signal.SIGKILL),
        }
        if kind in on_servers:
            await on_servers[kind]()
        else:
            assert node is not None
            await on_nodes[kind](node)
            self._under_fault.discard(node.pid)
        self._under_way.remove(kind)

    def _begin(self, kind: str, node: NodeStatus, number: signal.Signals | None = None) -> Fault:
        """number: the signal that it begins with."""
        fault = Fault(kind, node.name, time.monotonic(), self._is_master(node))
        if number is not None:
            self._fleet.signal(node.pid, number)
        self._record(fault, node.pid)
        return fault

    def _record(self, fault: Fault, pid: int | None = None) -> None:
        """pid: whose, if there is one only."""
        self.happened.append(fault)
        notes = ([] if pid is None else [f"pid {pid}"]) + ["the master"] * fault.hit_master
        self._tell(f"{fault.kind} {fault.node}" + (f" ({', '.join(notes)})" if notes else ""))

    async def _kill(self, node: NodeStatus) -> None:
        self._begin("kill", node, signal.SIGKILL)
        await self._replace(node, -signal.SIGKILL)

    async def _freeze_node(self, node: NodeStatus) -> None:
        seconds = self._deployment.longest_silence * FREEZE_SHARES[self._freezes % len(FREEZE_SHARES)]
        self._freezes += 1
        fault = self._begin("freeze-node", node, signal.SIGSTOP)
        fault.until = fault.at + seconds
        try:
            await trio.sleep(seconds)
        finally:
            self._fleet.signal(node.pid, signal.SIGCONT)
            fault.until = time.monotonic()
        await self._wait_ready(node.name, node.pid)

    async def _slow(self, node: NodeStatus) -> None:
        fault = self._begin("slow", node, signal.SIGUSR1)
        fault.until = fault.at + SLOW_SECONDS
        await trio.sleep(SLOW_SECONDS)

    async def _burst(self, node: NodeStatus) -> None:
        self._begin("burst", node)
        self._order_burst(node.pid)

    async def _drain(self, node: NodeStatus) -> None:
        self._begin("drain", node)
        await self._fleet.drain(node.id)
        with trio.move_on_after(EXIT_PATIENCE):
            await self._fleet.wait(lambda: all(one.pid != node.pid or not one.in_flight for one in self._nodes()))
        self._fleet.signal(node.pid, signal.SIGTERM)
        await self._replace(node, 0)

    async def _restart_node(self, node: NodeStatus) -> None:
        self._begin("restart-node", node, signal.SIGTERM)
        await self._replace(node, 0)

    async def _kill_proxy(self) -> None:
        proxy = self._servers.choose()
        fault = Fault("kill-proxy", proxy.name, time.monotonic(), proxies=[proxy.number])
        self._record(fault, proxy.process.pid)
        await self._servers.kill_proxy(proxy, fault)

    async def _freeze_proxy(self) -> None:
        proxy = self._servers.choose()
        # One that is alone keeps its clients: nobody else could have taken its place.
        proxies = [proxy.number] if self._deployment.is_cluster else []
        fault = Fault("freeze-proxy", proxy.name, time.monotonic(), proxies=proxies)
        self._record(fault, proxy.process.pid)
        await self._servers.freeze_proxy(proxy, fault)

    async def _skew(self) -> None:
        self._record(Fault("skew", "one more proxy", time.monotonic()))
        await self._servers.skew()

    async def _restart_all(self, kind: str, number: signal.Signals) -> None:
        numbers = [proxy.number for proxy in self._deployment.own]
        fault = Fault(kind, "all proxies", time.monotonic(), proxies=numbers)
        self._record(fault)
        await self._servers.restart_all(number, fault)

    async def _kill_store(self) -> None:
        self._record(Fault("kill-store", "the store", time.monotonic()))
        await self._servers.kill_store()

    async def _kill_together(self, node: NodeStatus) -> None:
        proxy = self._servers.choose()
        names = [proxy.name, node.name, *(["the store"] if self._servers.has_store else [])]
        harmed, hit_master = ", ".join(names), self._is_master(node)
        fault = Fault("kill-together", harmed, time.monotonic(), hit_master, proxies=[proxy.number])
        self._record(fault)
        self._fleet.signal(node.pid, signal.SIGKILL)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._servers.kill_proxy, proxy, fault)
            nursery.start_soon(self._servers.kill_store)
            nursery.start_soon(self._replace, node, -signal.SIGKILL)

    def _nodes(self) -> tuple[NodeStatus, ...]:
        return self._fleet.status.nodes

    async def kill_all(self) -> None:
        """The fault `all`. Returns when as many nodes as before are ready again."""
        victims = self._fleet.harmable()
        if not victims:
            self.skipped += 1
            return
        ours = [node for node in victims if self._fleet.is_ours(node.pid)]
        with_master = any(self._is_master(node) for node in victims)
        fault = Fault("all", ", ".join(node.name for node in victims), time.monotonic(), with_master)
        for node in victims:
            self._fleet.signal(node.pid, signal.SIGKILL)
        self.happened.append(fault)
        self._tell(f"kill all: {fault.node}")
        for node in victims:
            await self._wait_exit(node, -signal.SIGKILL)
        for first_or_later in (ours[:1], ours[1:]):
            started = [(node.name, self._fleet.start(node.name).pid) for node in first_or_later]
            for name, pid in started:
                await self._wait_ready(name, pid)
            if started:
                fault.until = fault.until or time.monotonic()
                await trio.sleep(ALONE)

    # --- mending ----------------------------------------------------------------------------------------------

    async def _replace(self, node: NodeStatus, expected_status: int) -> None:
        """Wait for its end; then, if it was ours, start another in its place."""
        is_ours = self._fleet.is_ours(node.pid)
        await self._wait_exit(node, expected_status)
        if is_ours:
            await self._wait_ready(node.name, self._fleet.start(node.name).pid)

    async def _wait_exit(self, node: NodeStatus, expected_status: int) -> None:
        with trio.move_on_after(EXIT_PATIENCE) as patience:
            status = await self._fleet.wait_exit(node.pid)
        if patience.cancelled_caught:
            self._surprise(f"{node.name} (pid {node.pid}) did not exit within {EXIT_PATIENCE:g} s")
            self._fleet.signal(node.pid, signal.SIGKILL)
            status = await self._fleet.wait_exit(node.pid)
        elif status not in (None, expected_status):
            self._surprise(f"{node.name} (pid {node.pid}) exited with status {status}, expected {expected_status}")

    async def _wait_ready(self, name: str, pid: int) -> None:
        with trio.move_on_after(READY_PATIENCE) as patience:
            await self._fleet.wait(lambda: self._fleet.is_ready(pid))
        if patience.cancelled_caught:
            self._surprise(f"{name} (pid {pid}) was not ready within {READY_PATIENCE:g} s")

    def _surprise(self, what: str) -> None:
        self.surprises.append(what)
        self._tell(what)
