"""Virtual time, the network, and who lives in it. Nothing here decides anything but the one Random of the seed."""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from typing import Any

from holdfast.balancer.history.memory import MemoryLog
from holdfast.proxy.cluster.times import times_of
from tests.sim import settings, stand_ins
from tests.sim.checks import Checks
from tests.sim.clients import Client
from tests.sim.doormen import Doormen
from tests.sim.nodes import SimNode
from tests.sim.process import Process
from tests.sim.proxies import SimProxy
from tests.sim.sockets import Router, Subscriber
from tests.sim.store import Store
from tests.sim.subscribers import ChannelClient, Publications, with_rules
from tests.sim.wires import Wire


class World:
    """proxies and nodes: the living, by id. A pair (a, b) in `cut`: nothing of a arrives at b; STORE is such an end.

    pipe: messages that a node's connection holds each way. clients: by number, also those that have gone.
    """

    def __init__(
        self, seed: int, *, proxies: int = 3, nodes: int = 3, clients: int = 0, lease: float = 1.0,
        timeout: float = 1.0, takeover: float | None = None, log: Callable[[str], None] | None = None,
        spread: float = 0.7, rates: tuple[float | None, float | None] = (None, None), node_heartbeat: float = 0.5,
        fence: float = 2.0, is_alone: bool = False, is_one_host: bool = False, tunnels: bool = True,
        seeds: tuple[str, ...] = (), is_ordered: bool = False, has_doormen: bool = True,
        has_history: bool = False, subscribers: int = 0,
    ) -> None:  # fmt: skip
        self.seed = seed
        self.random = Random(seed)
        self.time = 0.0
        self.steps = 0
        self.is_alone = is_alone
        self.is_one_host = is_one_host  # so a proxy knows which others there have died
        self.is_copied = False  # of one host the names say so, but others are on a copy of it
        self.is_busy = clients + subscribers > 0  # whether clients ask and nodes publish
        # Where nodes join.
        self.seeds = [*(f"tcp://10.0.0.{number}:7510" for number in range(max(1, proxies))), *seeds]
        self._rates = rates  # of the clocks of proxies and of nodes
        self.config = settings.config(
            lease=lease,
            timeout=timeout,
            takeover=takeover,
            node_heartbeat=node_heartbeat,
            fence=fence,
            is_ordered=is_ordered,
        )
        if subscribers:
            self.config = with_rules(self.config)
        self.has_subscribers = subscribers > 0
        self.publications = Publications()
        self.times = times_of(self.config)
        self.loss = self.duplication = self.garbling = self.replay = 0.0
        self.max_delay = 0.005
        self.is_fifo = True
        self.pipe = 64
        self.subscribing = (0.001, 0.05)  # how long it takes
        self.faulty_time = 6.0
        self.quiet_until = 0.0  # no fault comes before
        self.cut: set[tuple[str, str]] = set()
        self.held_up: dict[tuple[str, str], list[tuple]] = {}  # what one proxy says to another: it comes later
        self.silent: set[str] = set()  # addresses where nobody answers what dials them, nor refuses it
        self.current: Process | None = None
        self.proxies: dict[str, SimProxy] = {}
        self.nodes: dict[str, SimNode] = {}
        self.node_runs: list[SimNode] = []  # the dead too
        self.clients: list[Client] = []
        self.drained: set[str] = set()  # nodes, by an operator: for all their lives
        self.graveyard: list[Process] = []
        self.bound: dict[str, Router] = {}
        self.subscribers: dict[str, dict[Subscriber, None]] = {}
        self.wires: dict[Wire, None] = {}
        self.stalled: dict[Wire, None] = {}  # something waits there for a cut to end
        self.severed: dict[Wire, None] = {}  # an end has not noticed
        self.store = Store(self)
        self.log = MemoryLog(1 << 24) if has_history else None
        self.has_doormen = has_doormen  # nodes that are told once of clients
        self.checks = Checks(self)
        self.doormen = Doormen(self)
        self.events: deque[tuple] = deque(maxlen=30)
        self._log = log
        self._queue: list[tuple[float, int, Callable[..., None], tuple]] = []
        self._order = count()
        self._numbers = count(1000)
        self._ids = count(1)
        self._arrivals: dict[tuple[str, str], float] = {}
        self._past: list[tuple] = []  # messages to be replayed
        stand_ins.install(self, tunnels=tunnels)
        for number in range(proxies):
            self.later(self.random.uniform(0, spread), self.start_proxy, f"tcp://10.0.0.{number}:7510")
        for number in range(nodes):
            self.later(self.random.uniform(0, spread), self.start_node, f"n{number}")
        for _ in range(clients):
            self.later(self.random.uniform(0, 2 * spread), self.start_client)
        for _ in range(subscribers):
            self.later(self.random.uniform(0, 2 * spread), self.start_client, ChannelClient)

    def close(self) -> None:
        """Nothing of it is left in memory, and modules are as they were for the next one."""
        self._log = None
        for process in [*self.proxies.values(), *self.nodes.values()]:
            process.kill()
        for process in self.graveyard:
            process.bury()
        self._queue.clear()

    def next_number(self) -> int:
        return next(self._numbers)

    # --- time ---------------------------------------------------------------------------------------------------------

    def at(self, time: float, do: Callable[..., None], *arguments: Any) -> None:
        heappush(self._queue, (time, next(self._order), do, arguments))

    def later(self, delay: float, do: Callable[..., object], *arguments: Any) -> None:
        heappush(self._queue, (self.time + delay, next(self._order), do, arguments))

    def run(self, duration: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass. Returns whether `until`, asked every quarter of a second, came true."""
        self.mended()  # stories cut and mend between two runs
        end = self.time + duration
        ask_at = inf if until is None else self.time
        queue, checks = self._queue, self.checks
        while True:
            if until is not None and self.time >= ask_at:
                if until():
                    return True
                ask_at = self.time + 0.25
            if not queue or queue[0][0] > end:
                self.time = end
                return until is not None and until()
            self.time, _, do, arguments = heappop(queue)
            self.steps += 1
            do(*arguments)
            if checks.broken is not None:
                raise checks.broken

    # --- what is told -------------------------------------------------------------------------------------------------

    @property
    def is_told(self) -> bool:
        """Whether anybody reads the log."""
        return self._log is not None

    def note(self, *what: object) -> None:
        self.events.append((self.time, *what))
        if self._log is not None:
            self._log(f"{self.time:8.3f}  " + "  ".join(map(str, what)))

    def logged(self, event: str, what: dict[str, object]) -> None:
        who = "" if self.current is None else self.current.id
        self.note(
            who,
            event,
            " ".join(f"{key}={value}" for key, value in what.items() if key not in ("exc_info", "exception")),
        )

    def crashed(self, what: str, error: BaseException | None) -> None:
        who = "" if self.current is None else self.current.id
        self.checks.crashed(who, what, error)

    # --- processes ----------------------------------------------------------------------------------------------------

    def start_proxy(self, router: str, **odd: Any) -> str:
        """The id of the new process; "" if another lives at that address. odd: as settings.odd takes it."""
        if any(proxy.router == router for proxy in self.proxies.values()):
            return ""
        proxy = SimProxy(self, f"a{next(self._ids):03x}", router, self._rates[0], odd)
        self.proxies[proxy.id] = proxy
        self.note("start", proxy.id, router)
        proxy.start()
        return proxy.id

    def start_node(self, name: str) -> str:
        if any(node.name == name for node in self.nodes.values()):
            return ""
        node = SimNode(self, name, next(self._ids), self._rates[1])
        self.nodes[node.id] = node
        self.node_runs.append(node)
        self.note("start", node.id)
        node.start()
        return node.id

    def start_client(self, kind: type[Client] = Client) -> Client:
        client = kind(self, len(self.clients))
        self.clients.append(client)
        client.connect()
        return client

    def process(self, who: str) -> Process | None:
        return self.proxies.get(who) or self.nodes.get(who)

    def kill(self, who: str) -> None:
        process = self.process(who)
        if process is not None:
            self.note("kill", who)
            if isinstance(process, SimNode):
                self.checks.dies(process)
                self._is_seen_to_die(process)
            process.kill()
            self.gone(process)

    def _is_seen_to_die(self, node: SimNode) -> None:
        """Proxies on its host know of a process's death by itself, before or after its connections end."""
        if self.is_one_host and node.node._parts.links.is_ready.is_set():
            for proxy in self.proxies.values():
                if proxy.is_up:
                    run = (node.name, node.incarnation)
                    self.later(self.delay(), proxy.when_awake, proxy.app._node_died, *run)

    def gone(self, process: Process) -> None:
        """It was killed, or has ended."""
        self.proxies.pop(process.id, None)
        self.nodes.pop(process.id, None)
        self.checks.ended(process)

    @property
    def is_excused(self) -> bool:
        """Two clusters may be there, or are, of which neither knows the other: what is promised holds of each."""
        return self.store.has_forgotten or self.is_copied or self.checks.has_reset

    @property
    def is_at_peace(self) -> bool:
        """Whether nothing is wrong but that processes restart, and nothing will be for a while."""
        return self.time < self.quiet_until and not self.cut and not self.frozen and not self.severed

    def be_at_peace(self, seconds: float) -> None:
        """Whatever is wrong ends, and no fault comes for so long."""
        self.quiet_until = self.time + seconds
        for wire in list(self.severed):
            wire.found_out()
        self.mend()
        for who in self.frozen:
            self.thaw(who)
        self.loss = self.duplication = self.garbling = self.replay = 0.0
        self.store.answers_lost = self.store.late = self.store.lag = 0.0

    def freeze(self, who: str) -> None:
        process = self.process(who)
        if process is not None and not process.is_frozen:
            self.note("freeze", who)
            process.freeze()

    def thaw(self, who: str) -> None:
        process = self.process(who)
        if process is not None and process.is_frozen:
            self.note("thaw", who)
            process.thaw()

    @property
    def frozen(self) -> list[str]:
        return [p.id for p in (*self.proxies.values(), *self.nodes.values()) if p.is_frozen]

    def client_ids(self) -> list[int]:
        """Of those that are connected, and that a node has answered. Of others nobody can know, and a node that has not
        heard of a client's proxy has no way to it."""
        books = [client.book for client in self.clients if client.book and not client.book.ended]
        return [book.client.id for book in books if book.is_known]

    def acting(self) -> list[str]:
        return [node.id for node in self.nodes.values() if node.acts_until() > self.time]

    # --- network ------------------------------------------------------------------------------------------------------

    def bind(self, address: str, router: Router) -> None:
        assert address not in self.bound, f"{address} is in use"
        self.bound[address] = router

    def unbind(self, address: str, router: Router) -> None:
        if self.bound.get(address) is router:
            del self.bound[address]

    def published(self, process: Process) -> None:
        self.checks.said(process)

    def delay(self) -> float:
        return 0.0005 + (self.max_delay - 0.0005) * self.random.random()  # as uniform, by the shortest way

    def is_cut(self, a: str, b: str) -> bool:
        return (a, b) in self.cut

    def mended(self) -> None:
        """The network is another now: what was held up goes on."""
        stalled, self.stalled = self.stalled, {}
        for wire in stalled:
            wire.mended()

    def mend(self) -> None:
        self.cut.clear()
        for pair in list(self.held_up):
            self.let_pass(*pair)
        self.mended()

    def datagram(self, source: Process, target: Process, do: Callable[..., None], *content: Any) -> None:
        """A message between proxies, or what the network makes of it; its bytes come last."""
        random = self.random
        a, b = source.id, target.id
        if (a, b) in self.cut or (self.loss and random.random() < self.loss):
            return
        self._deliver_later(a, b, do, content)
        if self.duplication and random.random() < self.duplication:
            self._deliver_later(a, b, do, content)
        if self.garbling and random.random() < self.garbling:
            garbled = bytearray(content[-1])
            garbled[random.randrange(len(garbled))] ^= 1 << random.randrange(8)
            self._deliver_later(a, b, do, (*content[:-1], bytes(garbled)))
        if self.replay:
            if random.random() < self.replay and self._past:
                self.later(random.uniform(0, 1), self._deliver, *random.choice(self._past))
            if random.random() < 0.05:
                self._past = [*self._past[-20:], (a, b, do, content)]

    def _deliver_later(self, a: str, b: str, do: Callable[..., None], content: tuple) -> None:
        arrival = self.time + self.delay()
        if self.is_fifo:
            arrival = self._arrivals[a, b] = max(arrival, self._arrivals.get((a, b), 0.0))
        self.at(arrival, self._deliver, a, b, do, content)

    def _deliver(self, a: str, b: str, do: Callable[..., None], content: tuple) -> None:
        if (a, b) in self.held_up:
            self.held_up[a, b].append((a, b, do, content))
        elif (a, b) not in self.cut:
            do(*content)

    def hold_up(self, a: str, b: str) -> None:
        """What one proxy says to another stands still, and loses nothing."""
        self.held_up.setdefault((a, b), [])

    def let_pass(self, a: str, b: str) -> None:
        """It comes, all at once and in order."""
        for message in self.held_up.pop((a, b), ()):
            self._deliver(*message)

    def part(self, one: set[str], other: set[str]) -> None:
        """Nothing passes between the two groups."""
        for a in one:
            for b in other:
                self.cut |= {(a, b), (b, a)}

    def join_again(self, who: str) -> None:
        """Whatever was cut from this one is not any more."""
        self.cut = {pair for pair in self.cut if who not in pair}
        self.mended()

    def rejoin(self, a: str, b: str) -> None:
        self.cut -= {(a, b), (b, a)}
        self.mended()

    def keeper(self) -> str:
        """The keeper of some proxy's record; "" if there is none."""
        records = [proxy.cluster.membership.record for proxy in self.proxies.values() if proxy.is_up]
        return self.random.choice(records).keeper if records else ""

    def wires_of(self, node: str, proxy: str) -> list[Wire]:
        return [wire for wire in self.wires if wire.names == (node, proxy)]

    def lose(self, node: str, proxy: str) -> None:
        """The proxy notices that the connection has ended, at this moment."""
        for wire in self.wires_of(node, proxy):
            wire.lost_at_router()

    def reset(self, node: str, proxy: str, *, node_notices: bool = True, proxy_notices: bool = True) -> None:
        """The connection between these breaks."""
        for wire in self.wires_of(node, proxy):
            wire.break_off(who_notices=(node_notices, proxy_notices))
