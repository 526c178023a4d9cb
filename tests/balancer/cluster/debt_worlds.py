"""Worlds of debts: nodes that link, are lost, come back and die, two proxies that tell a third one what it is owed, and
a network that is late, doubles, loses and reorders what these say, or stands still for a while. What a proxy knows of a
node is what that has told it last, each at a time of its own; and the third one is frozen now and then. Small ones, a
thousand in some seconds."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from holdfast.balancer.cluster.debts import Debts, Run
from holdfast.protocols.nodes.effects import ALL
from holdfast.protocols.peers.replication import Noted, Owed

TIMEOUTS = (2.0, 5.0)  # node.heartbeat_timeout
LATE = (0.001, 0.05, 0.5, 3.0, 8.0)
# Seconds with things going wrong, and after that. Short ones, since a later closing hides that there was none before.
BUSY, QUIET = (3.0, 6.0, 40.0), 60.0


class DebtNode:
    """A run of a node. published: when each of its effects was. come: how many of them have come to b; links: with
    whom it has a session, as it sees it, and b: whether that has a number for what is under way to b. word: what each
    proxy has heard last of what it owes b."""

    def __init__(self, name: str, incarnation: int) -> None:
        self.run = Run(name, incarnation)
        self.published: list[float] = []
        self.come = 0
        self.is_alive = True
        self.links: set[str] = set()
        self.session = 0  # with b: of a later one is nothing of a former one
        self.is_cut = self.has_noticed = False  # its way to b
        self.word: dict[str, list[tuple[str, int]]] = {}

    @property
    def owes(self) -> list[tuple[str, int]]:
        if self.come >= len(self.published):
            return []
        return [("b", len(self.published) if "b" in self.links and not self.has_noticed else ALL)]


class DebtWorld:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.time = 0.0
        self.busy = self.random.choice(BUSY)
        self.timeout = self.random.choice(TIMEOUTS)
        self.unheard: dict[str, float] = {}  # until when b does not hear of a proxy, nor that of b
        self.woke = 0.0  # when b was frozen last, its end
        self.missed: list[tuple[float, str, float]] = []  # when, of which node, who came before when
        self.here: dict[Run, int] = {}
        self.others = {name: Debts(name, self.timeout) for name in self.random.choice((("a",), ("a", "c")))}
        self.b = Debts("b", self.timeout, lambda *run: self.here.get(Run(*run), -1), self._note)
        self._order = count()
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._incarnations = count(1)
        self.runs: list[DebtNode] = []
        self.nodes = {f"n{number}": self._start(f"n{number}") for number in range(self.random.choice((1, 2, 4)))}

    def _note(self, node: str, before: float) -> None:
        self.missed.append((self.time, node, before))

    def _start(self, name: str) -> DebtNode:
        node = DebtNode(name, next(self._incarnations))
        self.runs.append(node)
        return node

    def later(self, delay: float, do: Callable[..., None], *what: Any) -> None:
        heappush(self._queue, (self.time + delay, next(self._order), do, what))

    def run(self) -> None:
        self.later(0.0, self._tick)
        self.later(0.0, self._go_wrong)
        while self._queue:
            self.time, _, do, what = heappop(self._queue)
            do(*what)

    # --- proxies ------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        for name, debts in self.others.items():
            is_heard = self.time >= self.unheard.get(name, 0.0)
            for _, frame in debts.questions("b" if is_heard else "", self.time):
                for _ in range(self.random.choice((1, 1, 1, 2, 0))):
                    self.later(self.random.choice(LATE), self._told, name, frame)
        if self.time >= self.woke:
            self.b.tick(self.time)
        if self.time < self.busy + QUIET:
            self.later(0.1, self._tick)

    def _to_b(self, do: Callable[..., None], *what: Any) -> bool:
        """Whether b is awake. Else it does that then: what its time has come for meanwhile comes first."""
        if self.time >= self.woke:
            return True
        self.later(self.woke - self.time, do, *what)
        return False

    def freeze(self) -> None:
        seconds = self.random.choice((0.3, 1.0, 3.0, 8.0))
        self.woke = self.time + seconds
        self.later(seconds, self.b.awoke, seconds)

    def part(self) -> None:
        """A proxy and b don't hear each other."""
        self.unheard[self.random.choice(list(self.others))] = self.time + self.random.choice((0.5, 2.0, 6.0, 12.0))

    def _told(self, by: str, frame: Owed) -> None:
        if not self._to_b(self._told, by, frame):
            return
        answer = self.b.told(by, frame, self.time)
        for _ in range(self.random.choice((1, 1, 2, 0))):
            self.later(self.random.choice(LATE), self._answered, by, answer)

    def _answered(self, by: str, answer: Noted) -> None:
        self.others[by].answered("b", answer)

    # --- nodes --------------------------------------------------------------------------------------------------------

    def _go_wrong(self) -> None:
        if self.random.random() < 0.05:
            self.part()
        elif self.random.random() < 0.03 and self.time >= self.woke:
            self.freeze()
        if self.time > self.busy:
            for node in self.nodes.values():
                self._end(node)
            return
        node = self.random.choice(list(self.nodes.values()))
        if not node.is_alive:
            node = self.nodes[node.run.node] = self._start(node.run.node)
        kinds = [self.link, self.reach_b, self.link, self.reach_b, self.lose, self.cut, self.cut]
        kinds += [self.publish, self.publish, self.publish, self.beat, self.beat]
        if self.random.random() < 0.1:
            kinds = [self.die]
        self.random.choice(kinds)(node)
        self.later(self.random.choice((0.001, 0.05, 0.2, 0.5, 1.5)), self._go_wrong)

    def _end(self, node: DebtNode) -> None:
        """Some last things of it, and its death."""
        for do in self.random.choice(((), (self.publish,), (self.cut, self.publish), (self.publish, self.cut))):
            self.later(self.random.uniform(0.0, 0.5), do, node)
        self.later(0.5, self.die, node)

    def link(self, node: DebtNode) -> None:
        name = self.random.choice(list(self.others))
        if name not in node.links:
            node.links.add(name)
            node.word[name] = node.owes
            self.others[name].came(node.run)

    def beat(self, node: DebtNode) -> None:
        """It tells one of them what it owes."""
        if node.is_alive and (links := sorted(node.links - {"b"} if node.is_cut else node.links)):
            node.word[self.random.choice(links)] = node.owes

    def _beats(self, node: DebtNode) -> None:
        """It tells all others, at once, that it has no way to b."""
        node.word |= dict.fromkeys(node.links - {"b"}, node.owes)

    def lose(self, node: DebtNode) -> None:
        if others := sorted(node.links - {"b"}):
            self._lost(node, self.random.choice(others))

    def _lost(self, node: DebtNode, name: str) -> None:
        """It has said at once what it owes, where it could."""
        if name in node.links:
            node.links.discard(name)
            self.others[name].lost(node.run, node.owes if node.is_alive else node.word[name], [], 0, self.time)

    def reach_b(self, node: DebtNode) -> None:
        if "b" in node.links or not node.links or self.time < self.woke:
            return
        owes = node.owes
        node.links.add("b")
        node.session += 1
        node.is_cut = node.has_noticed = False
        node.word["b"] = owes
        self.here[node.run] = node.come
        self.b.came(node.run)
        self.later(self.random.choice((0.01, 0.3, 1.0)), self._bring, node, node.session)

    def _bring(self, node: DebtNode, session: int) -> None:
        is_on_its_way = node.is_alive and node.session == session and "b" in node.links and not node.is_cut
        if is_on_its_way and self._to_b(self._bring, node, session):
            node.come = self.here[node.run] = len(node.published)
            node.word["b"] = []

    def cut(self, node: DebtNode) -> None:
        """The way to b. The node sees it, or not yet; b some time later."""
        if "b" in node.links and not node.is_cut:
            node.is_cut, node.has_noticed = True, self.random.random() < 0.5
            if node.has_noticed:
                self._beats(node)
            self.later(self.random.uniform(0.0, self.timeout), self._lost_by_b, node, node.session)

    def _lost_by_b(self, node: DebtNode, session: int) -> None:
        if "b" in node.links and node.session == session and self._to_b(self._lost_by_b, node, session):
            node.links.discard("b")
            node.is_cut = False
            if node.is_alive:
                self._beats(node)
            self.b.lost(node.run, node.word["b"], [], self.here.pop(node.run), self.time)

    def publish(self, node: DebtNode) -> None:
        """Others have it, and know what b is owed, before anybody is told that it is done."""
        if node.is_alive and node.links - {"b"}:
            node.published.append(self.time)
            if "b" not in node.links or node.has_noticed:
                self._beats(node)
            else:  # the others hear of it with a heartbeat
                node.word[self.random.choice(sorted(node.links - {"b"}))] = node.owes
            if "b" in node.links:
                self.later(self.random.choice((0.001, 0.2)), self._bring, node, node.session)

    def die(self, node: DebtNode) -> None:
        if node.is_alive:
            node.is_alive = False
            if self.random.random() < 0.5:
                self.part()
            for name in sorted(node.links - {"b"}):
                self.later(self.random.uniform(0.0, self.timeout), self._lost, node, name)
            if "b" in node.links:
                self.later(self.random.uniform(0.0, self.timeout), self._lost_by_b, node, node.session)

    # --- what has become of it ----------------------------------------------------------------------------------------

    def holes(self) -> list[tuple[Run, int]]:
        """Effects that b's clients have missed, and were not told so."""
        return [
            (node.run, number)
            for node in self.runs
            for number, at in enumerate(node.published[node.come :], node.come + 1)
            if not any(name in (node.run.node, "") and before >= at for _, name, before in self.missed)
        ]

    def left(self) -> int:
        return len(self.b) + sum(len(debts) for debts in self.others.values())
