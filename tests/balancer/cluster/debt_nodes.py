"""Runs of nodes and their sessions in worlds of debts (debt_worlds): what each end knows of the other."""

from typing import NamedTuple

from holdfast.balancer.cluster.debts import Run
from holdfast.protocols.nodes.effects import ALL, Identity, Pending

PROXIES = "abc"  # b is owed


class Effect(NamedTuple):
    at: float
    request: Identity | None


class Way:
    """A session: as the node has it, and as its proxy does. is_up: what is said comes. owes, pending: the node's last
    word there."""

    def __init__(self, node: "DebtNode", proxy: str, now: float) -> None:
        self.node, self.proxy = node, proxy
        self.is_up, self.is_read = True, False  # is_read: to its end, though its node is dead
        self.is_open_here, self.is_open_there, self.is_welcome = True, False, False
        self.owes: list[tuple[str, int]] = []
        self.pending: list[Pending] = []
        self.heard_at = self.beaten_at = self.arrives_at = now
        self.seen_at = 0.0  # by the proxy's clock


class DebtNode:
    """A run of a node. come: of its effects to b, the last that has. kept: not acknowledged by b. owed: the last of
    those that have no session to go by."""

    def __init__(self, name: str, incarnation: int) -> None:
        self.run = Run(name, incarnation)
        self.effects: dict[int, Effect] = {}
        self.kept: list[int] = []
        self.come = self.owed = 0
        self.is_alive = True
        self.frozen_until = 0.0
        self.cut_until = dict.fromkeys(PROXIES, 0.0)
        self.ways: dict[str, Way] = {}
        self.all_ways: list[Way] = []

    def owes(self, proxy: str) -> list[tuple[str, int]]:
        to_b = self.ways.get("b")
        if proxy == "b" and to_b is not None and to_b.is_welcome:
            return []
        if self.owed:
            return [("b", ALL)]
        return [("b", self.kept[-1])] if self.kept else []

    def pending(self, proxy: str) -> list[Pending]:
        if [number for _, number in self.owes(proxy)] in ([], [ALL]):
            return []
        final = max((number for number in self.kept if self.effects[number].request is None), default=0)
        requests = [request for number in self.kept if (request := self.effects[number].request) is not None]
        return [Pending("b", final, requests)] if requests else []
