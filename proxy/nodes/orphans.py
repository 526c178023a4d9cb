"""Clients of a proxy that is no more: that they went, and if need be that they came, is told from here.

There is one way, whoever finds it out: another proxy of the cluster, or the one that was started in its place. Nodes
know the clients, and of whom something is due (protocols.nodes.orphans); they say so when they forget the proxy, and
when a session begins. The keeper, which is one for all, takes over what is due when the proxy can't have clients any
more, from the node that was told the latest, a part at a time; and what is told is said to all nodes as it is of our
own clients. So if the keeper is lost in the midst of that, the next one goes on with what is left: all that any node
has heard of as told is told.

Owns what nodes have said of such proxies. Keeps nothing that is not in a node's memory as well, but for which clients
were told of: a node that knows less than the one that was asked, and says so late, has nothing told once more.
"""

from collections.abc import Callable
from typing import NamedTuple

import structlog

from holdfast.balancer.directory import Node
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.announcements import CAME, WENT
from holdfast.protocols.nodes.frames import Orphaned, Orphans, WantOrphans, encode_frame, unpack_ids
from holdfast.protocols.nodes.orphans import COUNT, SETTLED
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.nodes.announcer import Announcer
from holdfast.proxy.nodes.once import Once

log = structlog.get_logger("holdfast.orphans")

# Seconds for all nodes to say what they know, before one is asked: each dials a proxy that was restarted once a second.
GATHERING = 2.5
FEW = 250  # of a part, that are not told yet when the next one is asked for
MAX_PROXIES = 256  # that are no more; of those before them is forgotten who was taken over


class Word(NamedTuple):
    """What a node knows of such a proxy. number: of the last change that it was told; 0: it knows a part, and whoever
    has the rest knows nothing of its number. due: how much is."""

    number: int
    due: int

    @property
    def rank(self) -> tuple[int, int]:
        """The later change, and of the same one the less that is due, the better; of parts the larger one."""
        return self.number, -self.due if self.number else self.due


class House:
    """A proxy that is no more. words: what nodes have said; is_counted: they were asked for it just now, and
    asked_again: who has not answered yet. asked: who is to give them, and number, of its word.

    is_given: it has, a part. has_told: some of that was told. open: who was taken over, and is not told yet.
    came, went: of whom that was told, by us or another proxy, as far as any node has heard of it.
    settled: up to which number all is told; -1: nothing is.
    """

    __slots__ = (
        "asked", "asked_again", "came", "has_told", "is_counted", "is_given", "number", "open", "settled", "since",
        "went", "words",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.since = now
        self.words: dict[Node, Word] = {}
        self.asked: Node | None = None
        self.asked_again: set[Node] = set()
        self.is_counted = self.is_given = self.has_told = False
        self.open: set[int] = set()
        self.came: set[int] = set()
        self.went: set[int] = set()
        self.number = self.settled = -1


class OrphanCare:
    """Called by the gateway: `said`, `given`, `lost`; by the ticker: `tick`; and by Once: `told`.

    is_ours: whether it is for us to tell of the clients with this prefix now.
    """

    is_ours: Callable[[int], bool]

    def __init__(self, once: Once, announcer: Announcer, reactor: Reactor) -> None:
        self._once = once
        self._announcer = announcer
        self._reactor = reactor
        self._houses: dict[int, House] = {}  # by prefix

    # --- frames of nodes ----------------------------------------------------------------------------------------

    def said(self, node: Node, frame: Orphaned) -> None:
        house = self._houses.get(frame.prefix)
        if house is None:
            house = self._houses[frame.prefix] = House(self._reactor.now)
            if len(self._houses) > MAX_PROXIES:
                del self._houses[next(iter(self._houses))]
        elif not house.words:
            house.since = self._reactor.now
        house.words[node] = Word(frame.number, frame.count)
        house.came.update(unpack_ids(frame.came))
        house.went.update(unpack_ids(frame.went))
        house.asked_again.discard(node)

    def given(self, node: Node, frame: Orphans) -> None:
        house = self._houses.get(frame.prefix)
        if house is None or house.asked is not node:
            return
        house.is_given = True
        if not frame.due:
            if not house.open:
                self._settle(frame.prefix, house, node, house.number)
            return
        for due in frame.due:
            id = due.client.id
            if id >> 32 != frame.prefix:
                raise FrameError(f"clients with the prefix {frame.prefix} are wanted, got {id}")
            if id not in house.went and id not in house.open:
                house.open.add(id)
                came = due.came and id not in house.came
                self._once.inherit(id, bytes(encode_frame(due.client)), due.reason, came=came)
            elif id in house.went:  # it was told before this node knew of any
                house.has_told = True
                self._announcer.client_told(id, WENT)

    def lost(self, node: Node) -> None:
        """Its session is over."""
        for house in self._houses.values():
            house.words.pop(node, None)
            house.asked_again.discard(node)
            if house.asked is node:
                house.asked, house.is_counted = None, False

    # ------------------------------------------------------------------------------------------------------------

    def told(self, client: int, what: int) -> None:
        """As Once.on_told: all nodes are to know."""
        self._announcer.client_told(client, what)
        house = self._houses.get(client >> 32)
        if house is None:
            return
        if what == CAME:
            house.came.add(client)
        else:
            house.open.discard(client)
            house.went.add(client)
            house.has_told = True

    def tick(self) -> None:
        if not self._houses or not self._once.has_listeners:
            return
        now = self._reactor.now
        for prefix, house in self._houses.items():
            if house.asked is not None:
                is_due = house.is_given and (house.has_told or not house.open) and len(house.open) <= FEW
            elif house.is_counted:
                is_due = not house.asked_again or now >= house.since + GATHERING
            else:
                is_due = now >= house.since + GATHERING
            if house.words and is_due and self.is_ours(prefix):
                if house.is_counted:
                    self._ask(prefix, house)
                else:
                    self._count(prefix, house, now)

    def _count(self, prefix: int, house: House, now: float) -> None:
        """Who has heard the most by now? Another proxy may have begun to tell it, and have been lost."""
        house.is_counted, house.since = True, now
        house.asked_again = set(house.words)
        for node in house.words:
            node.link.send(WantOrphans(prefix, COUNT))

    def _ask(self, prefix: int, house: House) -> None:
        if house.asked is None:
            best = max(house.words, key=lambda node: house.words[node].rank)
            word = house.words[best]
            if not word.due or 0 < word.number <= house.settled:
                self._settle(prefix, house, best, word.number)
                return
            log.info("orphans", prefix=f"{prefix:08x}", node=best.id, count=word.due)
            house.asked, house.number = best, word.number
        house.is_given = house.has_told = False
        self._announcer.catch_up(house.asked)  # with what was told it gives no more
        house.asked.link.send(WantOrphans(prefix))

    def _settle(self, prefix: int, house: House, asked: Node, number: int) -> None:
        """All is told that this node knows, and with that what is known up to its number, but for the parts of others:
        these are asked as well."""
        house.settled = max(house.settled, number)
        house.asked, house.is_counted = None, False
        frame = WantOrphans(prefix, SETTLED)
        for node in [node for node, word in house.words.items() if node is asked or 0 < word.number <= house.settled]:
            del house.words[node]
            node.link.send(frame)
