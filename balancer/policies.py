"""Which of the available nodes takes a request. Each policy is one class; its `name` is the configuration's word.

A policy sees only nodes that are available, never time, and gets randomness as a function. `select` runs once per
request: 0.2-0.6 us with three nodes. `pull` is a node's weight times its slow start.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import ClassVar, Protocol

from holdfast.balancer.directory import Node, Random

Measured = Callable[[Node, float], object]


class Policy(Protocol):
    """Chooses a node. `nodes` is not empty; `key` is what sticky hashes, 0 for the others.

    measured: is told how long a node took to reply, in seconds; None: nobody wants to know, which costs nothing.
    """

    name: ClassVar[str]
    needs_key: ClassVar[bool]

    @property
    def measured(self) -> Measured | None: ...

    def select(self, nodes: Sequence[Node], key: int, random: Random) -> Node: ...


FADES = 0.99  # per choice of another node


class Failover:
    """The longest-standing node takes all; one that returns goes to the end of the line: no fail-back."""

    name: ClassVar[str] = "failover"
    needs_key: ClassVar[bool] = False
    measured: ClassVar[None] = None

    def select(self, nodes: Sequence[Node], key: int, random: Random) -> Node:
        return min(nodes, key=_standing)


class RoundRobin:
    """Each in turn, whatever it has."""

    name: ClassVar[str] = "round-robin"
    needs_key: ClassVar[bool] = False
    measured: ClassVar[None] = None

    def __init__(self) -> None:
        self._turn = -1

    def select(self, nodes: Sequence[Node], key: int, random: Random) -> Node:
        self._turn = turn = (self._turn + 1) % len(nodes)
        return nodes[turn]


class LeastInFlight:
    """The node with the fewest requests in flight for its pull; a random one among equals."""

    name: ClassVar[str] = "least-in-flight"
    needs_key: ClassVar[bool] = False
    measured: ClassVar[None] = None

    def select(self, nodes: Sequence[Node], key: int, random: Random) -> Node:
        count = len(nodes)
        if count == 1:
            return nodes[0]
        first = int(random() * count)  # ties go to whoever is met first: start anywhere
        best = nodes[first]
        least = (best.in_flight + 1) / best.pull
        for index in range(first + 1 - count, first):  # the others, wrapping through negative indices
            node = nodes[index]
            score = (node.in_flight + 1) / node.pull
            if score < least:
                best, least = node, score
        return best


class PowerOfTwoChoices:
    """The better of two random nodes by reply time x load: O(1), and no herd to the one that is best just now.

    A longer reply time fades whenever the other of the two is chosen: who was slow once, a thousand times as slow, gets
    a request again after it was drawn some 700 times, and shows what it is now. That is as many choices with two nodes,
    and n / 2 times as many with n.
    """

    name: ClassVar[str] = "p2c-ewma"
    needs_key: ClassVar[bool] = False

    def measured(self, node: Node, seconds: float) -> None:
        """A reply. The average moves by a tenth of the difference."""
        latency = node.latency
        node.latency = latency + (seconds - latency) * 0.1 if latency else seconds

    def select(self, nodes: Sequence[Node], key: int, random: Random) -> Node:
        count = len(nodes)
        if count == 1:
            return nodes[0]
        first = int(random() * count)
        second = int(random() * (count - 1))
        if second >= first:
            second += 1
        one, two = nodes[first], nodes[second]
        if _cost(one) > _cost(two):
            one, two = two, one
        if two.latency > one.latency:
            two.latency *= FADES
        return one


class Weighted:
    """Shares in proportion to pull, evenly spread (smooth weighted round-robin, as nginx does it)."""

    name: ClassVar[str] = "weighted"
    needs_key: ClassVar[bool] = False
    measured: ClassVar[None] = None

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def select(self, nodes: Sequence[Node], key: int, random: Random) -> Node:
        credit = self._credit
        total = 0.0
        best = nodes[0]
        most = -1.0
        for node in nodes:
            total += node.pull
            credit[node.id] = now = credit.get(node.id, 0.0) + node.pull
            if now > most:
                best, most = node, now
        credit[best.id] -= total
        if len(credit) > 2 * len(nodes) + 16:  # nodes that are gone
            self._credit = {node.id: credit[node.id] for node in nodes}
        return best


class Sticky:
    """The same key goes to the same node while that is available (rendezvous hash: only a lost node's keys move)."""

    name: ClassVar[str] = "sticky"
    needs_key: ClassVar[bool] = True
    measured: ClassVar[None] = None

    def __init__(self) -> None:
        self._seeds: dict[str, int] = {}

    def select(self, nodes: Sequence[Node], key: int, random: Random) -> Node:
        seeds = self._seeds
        best = nodes[0]
        most = -1
        for node in nodes:
            seed = seeds.get(node.id)
            if seed is None:
                if len(seeds) > 2 * len(nodes) + 16:
                    seeds.clear()
                seed = seeds[node.id] = hash_key(node.id.encode())
            mixed = ((seed ^ key) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
            mixed = ((mixed ^ (mixed >> 29)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
            mixed ^= mixed >> 32
            if mixed > most:
                best, most = node, mixed
        return best


def hash_key(data: bytes) -> int:
    """64 bits of a key, equal in every process and on every machine."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _standing(node: Node) -> int:
    return node.standing


def _cost(node: Node) -> float:
    # A node without a measurement yet counts as 1 ms: it is tried, and not flooded.
    return (node.latency or 0.001) * (node.in_flight + 1) / node.pull


POLICIES: dict[str, Callable[[], Policy]] = {
    policy.name: policy for policy in (Failover, RoundRobin, LeastInFlight, PowerOfTwoChoices, Weighted, Sticky)
}
