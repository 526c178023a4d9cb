"""Virtual time, the network, and who lives in it. Nothing here decides anything but the one Random of the seed."""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random

from balancer.cluster.membership import Times
from balancer.election import MAX_DRIFT
from tests.sim.checks import Checks
from tests.sim.processes import Node, Proxy
from tests.sim.store import Store


class Clock:
    """A process's own: from any start, up to 8.3 % fast or slow."""

    def __init__(self, random: Random, rate: float | None = None) -> None:
        self.rate = random.uniform(0.925, 1.083) if rate is None else rate
        self.offset = random.uniform(0, 1000)

    def at(self, time: float) -> float:
        return self.offset + time * self.rate


class World:
    """proxies and nodes: the living, by id. A pair (a, b) in `cut`: nothing of a arrives at b; STORE is such an end."""

    def __init__(
        self, seed: int, *, proxies: int = 3, nodes: int = 3, lease: float = 1.0, timeout: float = 1.0,
        takeover: float | None = None, log: Callable[[str], None] | None = None, spread: float = 1.0,
        rates: tuple[float | None, float | None] = (None, None), node_heartbeat: float = 0.5,
    ) -> None:  # fmt: skip
        self.random = Random(seed)
        self.time = 0.0
        self.steps = 0
        self.lease = lease
        self.node_heartbeat = node_heartbeat
        self._rates = rates  # of the clocks of proxies and of nodes
        wait = lease * (1 + MAX_DRIFT)
        takeover = 4 * (timeout + wait) if takeover is None else takeover
        self.times = Times(0.5, timeout, 1.5, 2.0, takeover, 1.5 * timeout, 3.0, wait)
        self.loss = self.duplication = self.garbling = self.replay = 0.0
        self.max_delay = 0.005
        self.is_fifo = True
        self.cut: set[tuple[str, str]] = set()
        self.proxies: dict[str, Proxy] = {}
        self.nodes: dict[str, Node] = {}
        self.frozen: dict[str, list[tuple[Callable[..., None], tuple]]] = {}
        self.store = Store(self)
        self.checks = Checks(self)
        self.events: deque[tuple] = deque(maxlen=30)
        self._log = log
        self._queue: list[tuple[float, int, Callable[..., None], tuple]] = []
        self._numbers = count()
        self._ids = count(1)
        self._arrivals: dict[tuple[str, str], float] = {}
        self._past: list[tuple] = []  # messages to be replayed
        for number in range(proxies):
            self.later(self.random.uniform(0, spread), self.start_proxy, f"tcp://10.0.0.{number}:7510")
        for number in range(nodes):
            self.later(self.random.uniform(0, spread), self.start_node, f"n{number}")

    # --- time ---------------------------------------------------------------------------------------------------------

    def later(self, delay: float, do: Callable[..., None], *arguments) -> None:
        heappush(self._queue, (self.time + delay, next(self._numbers), do, arguments))

    def run(self, duration: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass. Returns whether `until`, asked every quarter of a second, came true."""
        end = self.time + duration
        ask_at = self.time
        while True:
            if until is not None and self.time >= ask_at:
                if until():
                    return True
                ask_at = self.time + 0.25
            if not self._queue or self._queue[0][0] > end:
                self.time = end
                return until is not None and until()
            self.time, _, do, arguments = heappop(self._queue)
            self.steps += 1
            do(*arguments)

    def note(self, *what) -> None:
        self.events.append((self.time, *what))
        if self._log is not None:
            self._log(f"{self.time:8.3f}  " + "  ".join(map(str, what)))

    # --- processes ----------------------------------------------------------------------------------------------------

    def start_proxy(self, router: str) -> str:
        """The id of the new process; "" if another lives at that address."""
        if any(proxy.me.router == router for proxy in self.proxies.values()):
            return ""
        proxy = Proxy(self, f"p{next(self._ids)}", router, Clock(self.random, self._rates[0]))
        self.proxies[proxy.id] = proxy
        self.note("start", proxy.id, router)
        proxy.start()
        return proxy.id

    def start_node(self, name: str) -> str:
        node = Node(self, name, next(self._ids), Clock(self.random, self._rates[1]))
        self.nodes[node.id] = node
        self.note("start", node.id)
        node.start()
        return node.id

    def kill(self, who: str) -> None:
        self.note("kill", who)
        self.frozen.pop(who, None)
        self.proxies.pop(who, None)
        self.nodes.pop(who, None)

    def freeze(self, who: str) -> None:
        self.note("freeze", who)
        self.frozen.setdefault(who, [])

    def thaw(self, who: str) -> None:
        self.note("thaw", who)
        for do, arguments in self.frozen.pop(who, []):
            self.on(who, do, *arguments)

    def on(self, who: str, do: Callable[..., None], *arguments) -> None:
        """In that process: now, when it thaws, or never."""
        if who in self.frozen:
            self.frozen[who].append((do, arguments))
        elif who in self.proxies or who in self.nodes:
            do(*arguments)

    def acting(self) -> list[str]:
        return [node.id for node in self.nodes.values() if node.is_acting]

    # --- network ------------------------------------------------------------------------------------------------------

    def send(self, a: str, b: str, do: Callable[..., None], *content) -> None:
        """A message from a to b, or what the network makes of it. Only bytes can be garbled."""
        random = self.random
        if (a, b) in self.cut or (self.loss and random.random() < self.loss):
            return
        self._deliver_later(a, b, do, content)
        if self.duplication and random.random() < self.duplication:
            self._deliver_later(a, b, do, content)
        if self.garbling and content and isinstance(content[-1], bytes) and random.random() < self.garbling:
            garbled = bytearray(content[-1])
            garbled[random.randrange(len(garbled))] ^= 1 << random.randrange(8)
            self._deliver_later(a, b, do, (*content[:-1], bytes(garbled)))
        if self.replay:
            if random.random() < self.replay and self._past:
                self.later(random.uniform(0, 1), self._deliver, *random.choice(self._past))
            if random.random() < 0.05 and isinstance(content[-1], bytes):
                self._past = [*self._past[-20:], (a, b, do, content)]

    def _deliver_later(self, a: str, b: str, do: Callable[..., None], content: tuple) -> None:
        arrival = self.time + self.random.uniform(0.0005, self.max_delay)
        if self.is_fifo:
            arrival = self._arrivals[a, b] = max(arrival, self._arrivals.get((a, b), 0.0))
        self.later(arrival - self.time, self._deliver, a, b, do, content)

    def _deliver(self, a: str, b: str, do: Callable[..., None], content: tuple) -> None:
        if (a, b) not in self.cut:
            self.on(b, do, *content)

    def part(self, one: set[str], other: set[str]) -> None:
        """Nothing passes between the two groups."""
        for a in one:
            for b in other:
                self.cut |= {(a, b), (b, a)}

    def join_again(self, who: str) -> None:
        """Whatever was cut from this one is not any more."""
        self.cut = {pair for pair in self.cut if who not in pair}
