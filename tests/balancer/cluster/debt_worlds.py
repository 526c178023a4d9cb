"""Worlds of debts: runs of nodes that publish to three proxies, one of which is owed.

A session is a way that keeps its order. Its two ends learn on their own that it is over: by reading its end, by
silence, by a newer one. It may stand still, and a node can't dial where its way is cut. What a proxy knows of a node is
what that has said there last, each at a time of its own. Words of proxies travel by themselves: late, doubled, lost,
and not at all while two don't hear each other. Clocks are fast or slow, proxies and nodes are frozen for a while, and
effects of a request may be done again by another node. What goes wrong when is told by stories (debt_stories).

Only the debts are the real ones.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from holdfast.balancer.cluster.debts import Debts, Run
from holdfast.protocols.nodes.effects import ALL, Identity, Pending
from holdfast.protocols.peers.replication import Noted, Owed
from tests.balancer.cluster.debt_nodes import PROXIES, DebtNode, Effect, Way

OTHERS = "ac"  # that can tell b
TIMEOUTS = (0.6, 2.0, 2.0, 5.0)  # node.heartbeat_timeout
BEATS = 4  # in that time
ACKNOWLEDGED = ((0.001, 0.003, 0.02), (0.02, 0.2, 0.5, 1.0))  # seconds, by world
ON_THE_WAY = (0.001, 0.003, 0.02)
LONGEST = 10.0  # that a request may take
BUSY, END = 45.0, 120.0


class DebtWorld:
    """missed: when b has closed clients, for which node, and those from before when, by b's clock."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.time = 0.0
        self.timeout = random.choice(TIMEOUTS)
        self.acknowledged = random.choice(ACKNOWLEDGED)
        self.publishes, self.of_requests = random.choice((0.1, 0.15, 0.2)), random.choice((0.0, 0.3, 0.5, 0.9))
        self.patience = 2 * max(self.timeout, 2.0)
        self.rate = {proxy: random.choice((1.0, 1.0, 1.08, 0.92)) for proxy in PROXIES}
        self.offset = {proxy: random.uniform(0.0, 1e4) for proxy in PROXIES}
        self.frozen_until = dict.fromkeys(PROXIES, 0.0)
        self.unheard_until = dict.fromkeys(OTHERS, 0.0)
        self.waiting: dict[str, list[tuple[Callable[..., None], tuple[Any, ...]]]] = {proxy: [] for proxy in PROXIES}
        self.here: dict[Run, int] = {}
        self.done: set[Identity] = set()
        self.missed: list[tuple[str, float]] = []
        self.told: list[tuple[Run, int, float]] = []  # what proxies knew of runs that they have lost, and when
        self.debts = {proxy: Debts(proxy, self.timeout) for proxy in OTHERS}
        self.debts["b"] = Debts("b", self.timeout, self._come, self._note, self._is_done, LONGEST)
        for debts in self.debts.values():
            debts.know(PROXIES)
        self._order, self._incarnations, self._requests = count(), count(1), count(1)
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.runs: list[DebtNode] = []
        self.nodes = [self._start(f"n{number}") for number in range(random.choice((1, 1, 2, 3)))]
        self.busy_until = BUSY

    def story(self) -> None:
        raise NotImplementedError

    def _come(self, node: str, incarnation: int) -> int:
        return self.here.get(Run(node, incarnation), -1)

    def _note(self, node: str, before: float) -> None:
        self.missed.append((node, before))

    def _is_done(self, home: str, request: int, part: int) -> bool:
        return (home, request, part) in self.done

    def clock(self, proxy: str) -> float:
        return self.time * self.rate[proxy] + self.offset[proxy]

    def later(self, delay: float, do: Callable[..., None], *what: Any) -> None:
        heappush(self._queue, (self.time + delay, next(self._order), do, what))

    def at(self, proxy: str, do: Callable[..., None], *what: Any) -> None:
        """It does that when it is awake."""
        if self.time < self.frozen_until[proxy]:
            self.waiting[proxy].append((do, what))
        else:
            do(*what)

    def run(self) -> None:
        for proxy in PROXIES:
            self.later(self.random.uniform(0.0, 0.1), self._tick, proxy)
        self.later(1.0, self.story)
        while self._queue and self.time < END:
            self.time, _, do, what = heappop(self._queue)
            do(*what)

    # --- proxies ------------------------------------------------------------------------------------------------------

    def _tick(self, proxy: str) -> None:
        self.later(0.1, self._tick, proxy)
        if self.time < self.frozen_until[proxy]:
            return
        now = self.clock(proxy)
        for way in self._ways_of(proxy):
            if now - way.seen_at > self.timeout:
                self._lost(way)
        if proxy == "b":
            self.debts["b"].tick(now)
            return
        is_heard = self.time >= self.unheard_until[proxy]
        for _, frame in self.debts[proxy].questions("b" if is_heard else "", now):
            for _ in range(self.random.choice((1, 1, 1, 1, 2, 0))):
                self.later(self._delay(), self.at, "b", self._tell, proxy, frame)

    def _ways_of(self, proxy: str) -> list[Way]:
        return [way for node in self.runs for way in node.all_ways if way.proxy == proxy and way.is_open_there]

    def _delay(self) -> float:
        is_quick = self.random.random() < 0.85
        return self.random.choice((0.001, 0.01, 0.05, 0.3) if is_quick else (1.0, 3.0, 6.0))

    def _tell(self, by: str, frame: Owed) -> None:
        answer = self.debts["b"].told(by, frame, self.clock("b"))
        for _ in range(self.random.choice((1, 1, 1, 2, 0))):
            self.later(self._delay(), self.at, by, self._answer, by, answer)

    def _answer(self, by: str, answer: Noted) -> None:
        self.debts[by].answered("b", answer)

    def freeze(self, proxy: str, seconds: float) -> None:
        if self.time >= self.frozen_until[proxy]:
            self.frozen_until[proxy] = self.time + seconds
            self.later(seconds, self._wake, proxy, seconds)

    def _wake(self, proxy: str, seconds: float) -> None:
        """What was not heard meanwhile was not silence."""
        excused = max(0.0, seconds * self.rate[proxy] - self.timeout / BEATS)
        if proxy == "b":
            self.debts["b"].awoke(excused)
        for way in self._ways_of(proxy):
            way.seen_at = min(self.clock(proxy), way.seen_at + excused)
        waiting, self.waiting[proxy] = self.waiting[proxy], []
        for do, what in waiting:
            do(*what)

    def _lost(self, way: Way) -> None:
        if not way.is_open_there:
            return
        way.is_open_there = False
        node = way.node
        self.told += ((node.run, number, self.time) for _, number in way.owes)
        if way.proxy == "b":
            self.here.pop(node.run, None)
        had = node.come if way.proxy == "b" else 0
        self.debts[way.proxy].lost(node.run, way.owes, way.pending, had, self.clock(way.proxy))

    # --- what a node says ---------------------------------------------------------------------------------------------

    def _say(self, way: Way, do: Callable[..., None], *what: Any) -> None:
        if way.is_up:
            way.arrives_at = max(way.arrives_at + 1e-6, self.time + self.random.choice(ON_THE_WAY))
            self.later(way.arrives_at - self.time, self._arrive, way, do, what)

    def _arrive(self, way: Way, do: Callable[..., None], what: tuple[Any, ...]) -> None:
        if way.is_up or way.is_read:
            self.at(way.proxy, self._heard, way, do, what)

    def _heard(self, way: Way, do: Callable[..., None], what: tuple[Any, ...]) -> None:
        if way.is_open_there or do == self._hello:
            way.seen_at = self.clock(way.proxy)
            do(way, *what)

    def _hello(self, way: Way, owes: list[tuple[str, int]]) -> None:
        for other in self._ways_of(way.proxy):
            if other is not way and other.node.run.node == way.node.run.node:
                self._lost(other)
        way.is_open_there, way.owes = True, owes
        if way.proxy == "b":
            self.here[way.node.run] = way.node.come
        self.debts[way.proxy].came(way.node.run)
        self._reply(way, ON_THE_WAY, self._welcome, way.node.come)

    def _beat(self, way: Way, owes: list[tuple[str, int]], pending: list[Pending]) -> None:
        way.owes, way.pending = owes, pending
        self._reply(way, ON_THE_WAY, lambda way: None)

    def _effects(self, way: Way, number: int) -> None:
        node = way.node
        node.come = self.here[node.run] = max(node.come, number)
        request = node.effects[number].request
        if request is not None:
            self.done.add(request)
        self._reply(way, self.acknowledged, self._acknowledge, number)

    def _reply(self, way: Way, delays: tuple[float, ...], do: Callable[..., None], *what: Any) -> None:
        if way.is_up:
            self.later(self.random.choice(delays), self._replied, way, do, what)

    def _replied(self, way: Way, do: Callable[..., None], what: tuple[Any, ...]) -> None:
        if way.node.is_alive and way.is_open_here and way.is_up:
            way.heard_at = self.time
            do(way, *what)

    def _welcome(self, way: Way, come: int) -> None:
        way.is_welcome = True
        if way.proxy == "b":
            self._acknowledge(way, come)
            for number in way.node.kept:
                self._say(way, self._effects, number)

    def _acknowledge(self, way: Way, number: int) -> None:
        node = way.node
        node.kept = [kept for kept in node.kept if kept > number]
        if 0 < node.owed <= number:
            node.owed = 0
            self._beats(node)

    # --- nodes --------------------------------------------------------------------------------------------------------

    def _start(self, name: str) -> DebtNode:
        node = DebtNode(name, next(self._incarnations))
        self.runs.append(node)
        self.later(self.random.uniform(0.0, 0.2), self._live, node)
        return node

    def _live(self, node: DebtNode) -> None:
        if not node.is_alive:
            return
        self.later(0.05, self._live, node)
        if self.time < node.frozen_until:
            return
        for proxy in PROXIES:
            way = node.ways.get(proxy)
            if way is None:
                is_reached = self.time >= max(node.cut_until[proxy], self.frozen_until[proxy])
                if is_reached and self.random.random() < 0.1:
                    self._dial(node, proxy)
            elif self.time - way.heard_at > self.timeout:
                self._gives_up(way)
            elif way.is_welcome and self.time - way.beaten_at >= self.timeout / BEATS:
                self._beats(node, proxy)
        others = (node.ways.get(proxy) for proxy in OTHERS)
        if self.random.random() < self.publishes and any(way is not None and way.is_welcome for way in others):
            self.publish(node)

    def _dial(self, node: DebtNode, proxy: str) -> None:
        way = node.ways[proxy] = Way(node, proxy, self.time)
        node.all_ways.append(way)
        way.beaten_at += self.random.uniform(0.0, self.timeout / BEATS)
        owes = node.owes(proxy) if proxy != "b" else [("b", ALL)] if node.owed else []
        self._say(way, self._hello, owes)

    def _beats(self, node: DebtNode, to: str = PROXIES) -> None:
        for way in node.ways.values():
            if way.is_welcome and way.proxy in to:
                way.beaten_at = self.time
                self._say(way, self._beat, node.owes(way.proxy), node.pending(way.proxy))

    def _gives_up(self, way: Way) -> None:
        node = way.node
        del node.ways[way.proxy]
        self._say(way, self._lost)
        way.is_open_here = False
        if way.proxy == "b" and node.kept:
            was_owed, node.owed = node.owed, node.kept[-1]
            if not was_owed:
                self._beats(node)

    def publish(self, node: DebtNode) -> None:
        """The others are told, where there is no way to b, before anybody hears that it is done."""
        number = len(node.effects) + 1
        is_of_one = self.random.random() < self.of_requests
        node.effects[number] = Effect(self.time, ("home", next(self._requests), 1) if is_of_one else None)
        node.kept.append(number)
        to_b = node.ways.get("b")
        if to_b is not None and to_b.is_welcome:
            self._say(to_b, self._effects, number)
            return
        was_owed, node.owed = node.owed, number
        if not was_owed:
            self._beats(node)

    def die(self, node: DebtNode) -> None:
        if not node.is_alive:
            return
        node.is_alive = False
        for way in node.all_ways:
            if way.is_open_here:
                if self.random.random() < 0.6:
                    self._say(way, self._lost)
                    way.is_read = True
                elif self.random.random() < 0.5:
                    way.is_up = False
        for effect in node.effects.values():
            if effect.request is not None and effect.request not in self.done and self.random.random() < 0.9:
                self.later(self.random.uniform(0.0, 8.0), self.at, "b", self.done.add, effect.request)
        self.later(self.random.uniform(0.5, 6.0), self._follow, node)

    def _follow(self, node: DebtNode) -> None:
        if self.time < self.busy_until:
            self.nodes[self.nodes.index(node)] = self._start(node.run.node)
