"""Clients of proxies that are no more, of which one node is to be told: what this node knows of them.

When a proxy is lost its clients are as well, and who knew them are the nodes. Owns what is due of the clients of such
proxies, until a proxy has had it told. Each node says that it has some; the proxies choose one that is asked, and tell
all of what is told, see proxy.nodes.orphans. Keeps nothing in a node without a function that is told once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Protocol, cast

from holdfast.protocols.nodes.announcements import CAME, WENT
from holdfast.protocols.nodes.clients import ClientView
from holdfast.protocols.nodes.frames import Closed, Due, Orphaned, Orphans, WantOrphans, encode_frame, pack_ids
from holdfast.protocols.nodes.orphans import COUNT, LATE, ORPHANS, SETTLED, Told

MAX_PROXIES = 64  # that are no more; what is due of the one that was lost first is forgotten then
PART = 500  # clients that are given at once
PART_BYTES = 256 << 10


class Link(Protocol):
    """A session with a proxy. takes: what it said that it does."""

    takes: Sequence[str]

    def send(self, frame: Orphaned | Orphans, /) -> object: ...


class Estate:
    """What is due of one proxy's clients: that they came and then went, or only that they went. Of the rest as
    Orphaned. newer: whom this node knows as of `later`; all others as of `number`."""

    __slots__ = ("coming", "going", "later", "newer", "number", "told")

    def __init__(self, view: ClientView) -> None:
        self.number, self.later, self.newer = view.number, view.later, view.newer
        self.told = 0
        there = {id: Due(client, "", id in view.coming) for id, client in view.clients.items()}
        due = there | view.gone  # who is in both was there before a snapshot that has told that he went
        self.coming = {id: each for id, each in due.items() if each.came}
        self.going = {id: each for id, each in due.items() if not each.came}

    def heard(self, id: int, due: int) -> None:
        """One node was told of it. due: what is to be told yet."""
        each = self.coming.pop(id, None)
        if not due:
            self.going.pop(id, None)
        elif each is not None:
            self.going[id] = Due(each.client, each.reason)

    def asked_for(self, frame: WantOrphans) -> Iterator[Due]:
        return chain(
            self._later(self.coming, frame.told) if frame.kinds & (CAME | LATE) else (),
            self._later(self.going, frame.told) if frame.kinds & WENT else (),
        )

    def count(self, told: int) -> int:
        """What is due, and is later than that change."""
        return sum(1 + due.came for due in chain(self._later(self.coming, told), self._later(self.going, told)))

    def _later(self, due: dict[int, Due], told: int) -> Iterable[Due]:
        """Those whom this node knows as of a later change."""
        if told < self.number:
            return due.values()
        return (each for id, each in due.items() if id in self.newer) if told < self.later else ()

    def settle(self, told: int) -> None:
        """All that is known here is told, and up to that change all."""
        self.told = max(self.told, told)
        self.coming, self.going = {}, {}


class Heir:
    """keeps: whether the author wants clients to be told once. links: the sessions with proxies, by proxy."""

    links: Mapping[str, Link] = {}

    def __init__(self, keeps: bool) -> None:
        self._keeps = keeps
        self._estates: dict[int, Estate] = {}  # by prefix
        self._back: dict[int, str] = {}  # proxies that were taken for dead, by prefix: others may be amid telling
        self._told = Told()

    @property
    def listens(self) -> bool:
        """It wants to hear who is told of what."""
        return bool(self._estates or self._back)

    def lost(self, prefix: int, view: ClientView) -> None:
        """A proxy is no more."""
        if not self._keeps:
            return
        self._forget(prefix)
        self._back.pop(prefix, None)
        self._estates[prefix] = Estate(view)
        if len(self._estates) > MAX_PROXIES:
            self._forget(next(iter(self._estates)))
        for link in list(self.links.values()):
            self._say(link, prefix)

    def lives(self, prefix: int, proxy: str) -> None:
        """It is there again, and has its clients; it is `linked`, and so has heard what others were told of them. What
        they are told from now on it hears as we do."""
        if prefix in self._estates:
            self._back[prefix] = proxy
            if len(self._back) > MAX_PROXIES:
                del self._back[next(iter(self._back))]
        self._forget(prefix)

    def _forget(self, prefix: int) -> None:
        self._estates.pop(prefix, None)
        self._told.forget(prefix)

    # --- with a proxy -----------------------------------------------------------------------------------------------

    def linked(self, link: Link) -> None:
        """A session stands."""
        for prefix in self._estates:
            self._say(link, prefix)

    def told(self, change: Closed, by: str) -> None:
        """One node has been told of a client, by this proxy."""
        prefix = change.client >> 32
        estate = self._estates.get(prefix)
        if estate is not None:
            self._told.add(change.client, change.due)
            estate.heard(change.client, change.due)
            return
        its = self._back.get(prefix, by)
        if its != by and (link := self.links.get(its)) is not None and ORPHANS in link.takes:
            ids = pack_ids([change.client])
            link.send(Orphaned(prefix, 0, 0, *((ids, b"") if change.due else (b"", ids))))

    def wanted(self, link: Link, frame: WantOrphans) -> None:
        estate = self._estates.get(frame.prefix)
        if frame.what == COUNT:
            if estate is not None:
                self._say(link, frame.prefix)
        elif frame.what == SETTLED:
            if estate is not None:
                estate.settle(frame.told)
                if estate.told >= max(estate.number, estate.later):
                    self._told.forget(frame.prefix)  # the number says it
        else:
            part = [] if estate is None else _part(estate.asked_for(frame))
            left = 0 if estate is None or part else estate.count(frame.told)
            link.send(Orphans(frame.prefix, part, left))

    def _say(self, link: Link, prefix: int) -> None:
        if ORPHANS not in link.takes:
            return
        came, went = b"", b""
        for page in self._told.pages(prefix):
            if came or went:
                link.send(Orphaned(prefix, 0, 0, came, went))
            came, went = map(pack_ids, page)
        estate = self._estates[prefix]
        count = estate.count(estate.told)
        link.send(Orphaned(prefix, estate.number, count, came, went, estate.later, estate.told))


def _part(due: Iterable[Due]) -> list[Due]:
    """As many of these as are given at once."""
    part: list[Due] = []
    size = 0
    for each in due:
        encoded = encode_frame(each)
        part.append(cast("Due", encoded))  # msgspec puts a Raw into the frame as it is
        size += len(bytes(encoded))
        if len(part) == PART or size >= PART_BYTES:
            break
    return part
