"""Clients of a proxy that is no more: that they went, and if need be that they came, is told from here.

There is one way, whoever finds it out: another proxy of the cluster, or the one that was started in its place. Nodes
know the clients, and of whom something is due (protocols.nodes.orphans); they say so when they forget the proxy, and
when a session begins. The keeper, which is one for all, takes over what is due and wanted here when the proxy can't
have clients any more, from the node that was told the latest, a part at a time; and what is told is said to all nodes
as it is of our own clients. So if the keeper is lost in the midst of that, the next one goes on with what is left: all
that any node has heard of as told is told. One that is the keeper no more leaves what it has taken to the next.

It may be we who were away, and are taken for dead: what others have told of our clients we need not tell.

Owns what nodes have said of such proxies. Keeps nothing that is not in a node's memory as well, but for which clients
were told of: a node that knows less than the one that was asked, and says so late, has nothing told once more.
"""

import sys
from collections.abc import Callable
from math import inf
from typing import NamedTuple

import structlog

from holdfast.balancer.directory import Node
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.announcements import CAME, WENT
from holdfast.protocols.nodes.frames import Orphaned, Orphans, WantOrphans, unpack_ids
from holdfast.protocols.nodes.orphans import COUNT, GIVE, LATE, MAX_PAGE_BYTES, SETTLED, Told
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.nodes.announcer import Announcer
from holdfast.proxy.nodes.once import LEFT, PATIENCE, Once

log = structlog.get_logger("holdfast.orphans")

# Seconds for all nodes to say what they know, before one is asked: each dials a proxy that was restarted once a second.
GATHERING = 2.5
ANSWER = 10.0  # seconds for one that is asked to give something; then others are asked first
LONGEST_AWAY = 60.0  # seconds; who says after that that we were away means another time
FEW = 250  # of a part, that are not told yet when the next one is asked for
MAX_PROXIES = 256  # that are no more; of those before them is forgotten who was taken over


class Word(NamedTuple):
    """What a node knows of such a proxy, as in Orphaned: all up to number, some up to later. due: how much is."""

    number: int
    later: int
    due: int

    @property
    def latest(self) -> int:
        return max(self.number, self.later)


class House:
    """A proxy that is no more. words: what nodes have said, since `first`; is_counted: they were asked for it just now,
    and asked_again: who has not answered yet. asked: who is to give them, and number, up to which it knows all.

    is_given: it has, a part. has_told: some of that was told. open: who was taken over, and is not told yet.
    settled: up to which change all is told. kinds: what is asked for; of these is told what anybody knows up to the
    change `done`, and what `drained` know. mute: who was asked and did not answer in time: they come last.
    """

    __slots__ = (
        "asked", "asked_again", "done", "drained", "first", "has_told", "is_counted", "is_given", "kinds", "mute",
        "number", "open", "settled", "since", "words",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.first = self.since = now
        self.words: dict[Node, Word] = {}
        self.asked: Node | None = None
        self.asked_again: set[Node] = set()
        self.drained: set[Node] = set()
        self.mute: set[Node] = set()
        self.is_counted = self.is_given = self.has_told = False
        self.open: set[int] = set()
        self.kinds = self.number = self.done = self.settled = 0

    def settle(self, number: int) -> None:
        self.settled = max(self.settled, number)
        self.done = max(self.done, number)

    def want(self, kinds: int) -> None:
        if kinds != self.kinds:
            self.kinds, self.done = kinds, self.settled
            self.drained.clear()

    def best(self) -> Node | None:
        """Whom to ask. Who knows all up to a later change than others is the better, and of the same one who has less
        that is due; then those who know some that is later than all that, the more the better."""
        best, best_rank = None, (False, 0, 0, 0)
        for node, word in self.words.items():
            knows_all = word.number > self.done
            if knows_all or (word.later > self.done and node not in self.drained):
                rank = node not in self.mute, *((1, word.number, -word.due) if knows_all else (0, 0, word.due))
                if best is None or rank > best_rank:
                    best, best_rank = node, rank
        return best


class OrphanCare:
    """Called by the gateway: `said`, `given`, `lost`; by the ticker: `tick`; and by Once: `told`.

    prefix: of our own clients. is_ours: whether it is for us to tell of the clients with this prefix now.
    """

    is_ours: Callable[[int], bool]

    def __init__(self, prefix: int, once: Once, announcer: Announcer, reactor: Reactor) -> None:
        self._prefix = prefix
        self._once = once
        once.on_told = self.told
        once.is_ours = lambda each: each == prefix or self.is_ours(each)
        self._announcer = announcer
        self._reactor = reactor
        self._houses: dict[int, House] = {}  # by prefix
        self._told = Told()
        self._held_from = self._held_at = -inf
        self._spoken: set[Node] = set()  # of our own clients: each says so when its session begins, and not again

    def evicted(self) -> None:
        """We are taken for dead. What nodes know of that they say when they are linked to us again."""
        self._once.doubt(self._prefix, 0)
        self._held_at = -inf  # no node has said so
        self._hold()

    def _hold(self) -> None:
        """Others may still tell of our clients. For some seconds: who says so again and again is not heeded."""
        now = self._reactor.now
        if now - self._held_at > LONGEST_AWAY:
            self._held_from = now
        self._held_at = now
        if now - self._held_from < ANSWER:
            self._once.hold(GATHERING)

    # --- frames of nodes ----------------------------------------------------------------------------------------

    def said(self, node: Node, frame: Orphaned) -> None:
        is_here = frame.prefix == self._prefix
        if len(frame.came) + len(frame.went) > MAX_PAGE_BYTES:
            raise FrameError(f"{len(frame.came) + len(frame.went)} bytes of ids, above the limit of {MAX_PAGE_BYTES}")
        for due, ids in ((WENT, frame.came), (0, frame.went)):
            for id in unpack_ids(ids):
                _check(id, frame.prefix)
                self._once.withdraw(id, due)
                if not is_here:
                    self._told.add(id, due)
        is_word = frame.number or frame.later or frame.count
        if is_here:
            if (is_word or frame.told) and node not in self._spoken:
                self._spoken.add(node)
                # What is later than all that we have said somebody has made up: perhaps not the one who says it.
                self._once.doubt(frame.prefix, frame.told if frame.told <= self._announcer.sequence else 0)
                self._hold()
            if frame.told or frame.came or frame.went:
                self._once.doubted = self._announcer.newest
        elif is_word:
            self._heard(node, frame)

    def _heard(self, node: Node, frame: Orphaned) -> None:
        house = self._houses.get(frame.prefix)
        if house is None:
            house = self._houses[frame.prefix] = House(self._reactor.now)
            if len(self._houses) > MAX_PROXIES:
                del self._houses[next(iter(self._houses))]
        elif not house.words:
            house.first = house.since = self._reactor.now
        house.asked_again.discard(node)
        if frame.told > house.settled:
            self._once.doubt(frame.prefix, frame.told)
            house.settle(frame.told)
        is_older = frame.count and not frame.number and not frame.later  # such a node says no number of a part
        word = house.words[node] = Word(frame.number, sys.maxsize if is_older else frame.later, frame.count)
        if word.latest <= house.settled:
            del house.words[node]
            if house.asked is node:
                house.asked, house.is_counted = None, False
            if word.latest > frame.told:
                node.link.send(WantOrphans(frame.prefix, SETTLED, told=house.settled))

    def given(self, node: Node, frame: Orphans) -> None:
        house = self._houses.get(frame.prefix)
        if house is None or house.asked is not node:
            return
        house.is_given = True
        house.mute.discard(node)
        for each in frame.due:
            id = each.client.id
            _check(id, frame.prefix)
            if id in self._once:
                house.open.add(id)
                continue
            due = WENT | CAME if each.came else WENT
            left = due & self._told.due(id)
            if left != due:  # it was told before this node knew of any
                house.has_told = True
                self._announcer.client_told(id, CAME if left else WENT)
            if left & house.kinds:
                self._once.inherit(each, left & house.kinds, house.words[node].latest)
                if id in self._once:
                    house.open.add(id)
        if not house.open and not (frame.due and house.has_told):
            self._has_no_more(frame.prefix, house, node, frame.left or len(frame.due))

    def lost(self, node: Node) -> None:
        """Its session is over."""
        self._spoken.discard(node)
        for house in self._houses.values():
            house.words.pop(node, None)
            house.asked_again.discard(node)
            house.drained.discard(node)
            house.mute.discard(node)
            if house.asked is node:
                house.asked, house.is_counted = None, False

    # ------------------------------------------------------------------------------------------------------------

    def told(self, client: int, what: int) -> None:
        """As Once.on_told: all nodes are to know."""
        if what:
            self._announcer.client_told(client, what)
        house = self._houses.get(client >> 32)
        if house is None:
            return
        if what:
            self._told.add(client, WENT if what == CAME else 0)
            house.has_told = True
        if client not in self._once:
            house.open.discard(client)

    def tick(self) -> None:
        now, kinds = self._reactor.now, self._once.kinds
        for prefix, house in self._houses.items():
            if not (house.words or house.open):
                continue
            if not self.is_ours(prefix):
                for client in house.open:
                    self._once.withdraw(client, 0, LEFT)
                house.asked, house.is_counted = None, False
            elif kinds:
                if house.asked is not None and not house.is_given and now >= house.since + ANSWER:
                    house.mute.add(house.asked)
                    house.asked, house.is_counted = None, False
                house.want(kinds | LATE if now >= house.first + PATIENCE else kinds)
                if self._is_due(house, now):
                    self._go_on(prefix, house, now)

    def _is_due(self, house: House, now: float) -> bool:
        if house.asked is not None:
            return house.is_given and (house.has_told or not house.open) and len(house.open) <= FEW
        if house.is_counted and not house.asked_again:
            return True
        return now >= house.since + GATHERING and house.best() is not None

    def _go_on(self, prefix: int, house: House, now: float) -> None:
        if not house.is_counted:
            # Who knows the most by now? Another proxy may have begun to tell it, and have been lost.
            house.is_counted, house.since = True, now
            house.asked_again = set(house.words)
            for node in house.words:
                node.link.send(WantOrphans(prefix, COUNT))
            return
        if house.asked is None:
            best = house.best()
            if best is None:
                house.is_counted = False
                return
            word = house.words[best]
            if not word.due:
                self._settle(prefix, house, best, word.number)
                return
            log.info("orphans", prefix=f"{prefix:08x}", node=best.id, count=word.due)
            house.asked, house.number = best, word.number
        house.is_given = house.has_told = False
        house.since = now
        self._announcer.catch_up(house.asked)  # with what was told it gives no more
        house.asked.link.send(WantOrphans(prefix, GIVE, house.kinds, house.done))

    def _has_no_more(self, prefix: int, house: House, node: Node, left: int) -> None:
        """Of what was asked for all is told that this node knows."""
        if left and house.kinds & LATE:
            log.warning("once_unwanted", prefix=f"{prefix:08x}", count=left)
        if not left or house.kinds & LATE:
            self._settle(prefix, house, node, house.number)
        else:
            house.done = max(house.done, house.number)
            house.drained.add(node)
            house.asked, house.is_counted = None, False

    def _settle(self, prefix: int, house: House, asked: Node, number: int) -> None:
        """All is told that this node knows, and with that what is known up to its number, but for the parts of others:
        these are asked as well."""
        house.settle(number)
        house.asked, house.is_counted = None, False
        frame = WantOrphans(prefix, SETTLED, told=house.settled)
        for node in [node for node, word in house.words.items() if node is asked or word.latest <= house.settled]:
            del house.words[node]
            node.link.send(frame)


def _check(id: int, prefix: int) -> None:
    if id >> 32 != prefix:
        raise FrameError(f"clients with the prefix {prefix} are wanted, got {id}")
