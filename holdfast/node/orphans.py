"""Clients of proxies that are no more, of which one node is to be told: what this node knows of them.

When a proxy is lost its clients are as well, and who knew them are the nodes. Owns what is due of the clients of such
proxies, until a proxy has had it told. Each node says that it has some; the proxies choose one that is asked, and tell
all of what is told, see proxy.nodes.orphans. Keeps nothing in a node without a function that is told once.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Protocol, cast

from msgspec import Struct

from holdfast.protocols.nodes.announcements import WENT
from holdfast.protocols.nodes.clients import ClientView
from holdfast.protocols.nodes.frames import Closed, Due, Orphaned, Orphans, WantOrphans, encode_frame, pack_ids
from holdfast.protocols.nodes.orphans import COUNT, ORPHANS, SETTLED

MAX_PROXIES = 64  # that are no more; what is due of the one that was lost first is forgotten then
PART = 500  # clients that are given at once
PART_BYTES = 256 << 10


class Link(Protocol):
    """A session with a proxy. takes: what it said that it does."""

    takes: Sequence[str]

    def send(self, frame: Orphaned | Orphans, /) -> object: ...


class Estate(Struct):
    """What is due of one proxy's clients. number: of the last change of which this node was told. came, went: clients
    of which others have had that told since, known here or not."""

    number: int
    due: dict[int, Due]
    came: set[int] = set()
    went: set[int] = set()


class Heir:
    """keeps: whether the author wants clients to be told once. links: the sessions with proxies, by proxy."""

    links: Mapping[str, Link] = {}

    def __init__(self, keeps: bool) -> None:
        self._keeps = keeps
        self._estates: dict[int, Estate] = {}  # by prefix

    @property
    def has_estates(self) -> bool:
        return bool(self._estates)

    # --- what becomes of proxies ------------------------------------------------------------------------------------

    def lost(self, prefix: int, view: ClientView) -> None:
        """A proxy is no more."""
        if not self._keeps:
            return
        due = dict(view.gone)
        due |= {id: Due(client, "", id in view.coming) for id, client in view.clients.items()}
        self._estates.pop(prefix, None)
        self._estates[prefix] = Estate(view.number, due)
        if len(self._estates) > MAX_PROXIES:
            del self._estates[next(iter(self._estates))]
        for link in list(self.links.values()):
            self._say(link, prefix)

    def lives(self, prefix: int) -> None:
        """It is there again, and has its clients."""
        self._estates.pop(prefix, None)

    # --- with a proxy -----------------------------------------------------------------------------------------------

    def linked(self, link: Link) -> None:
        """A session stands."""
        for prefix in self._estates:
            self._say(link, prefix)

    def told(self, change: Closed) -> None:
        """One node has been told of a client."""
        id = change.client
        estate = self._estates.get(id >> 32)
        if estate is None:
            return
        if not change.due:
            estate.went.add(id)
            estate.due.pop(id, None)
        elif change.due == WENT:
            estate.came.add(id)
            if (due := estate.due.get(id)) is not None:
                estate.due[id] = Due(due.client, due.reason)

    def wanted(self, link: Link, frame: WantOrphans) -> None:
        estate = self._estates.get(frame.prefix)
        if frame.what == SETTLED:
            if estate is not None:
                self._estates[frame.prefix] = Estate(estate.number, {})
            return
        if frame.what == COUNT:
            if estate is not None:
                self._say(link, frame.prefix)
            return
        part: list[Due] = []
        size = 0
        for due in islice([] if estate is None else estate.due.values(), PART):
            encoded = encode_frame(due)
            part.append(cast("Due", encoded))  # msgspec puts a Raw into the frame as it is
            size += len(bytes(encoded))
            if size >= PART_BYTES:
                break
        link.send(Orphans(frame.prefix, part))

    def _say(self, link: Link, prefix: int) -> None:
        if ORPHANS in link.takes:
            estate = self._estates[prefix]
            count = len(estate.due) + sum(due.came for due in estate.due.values())
            link.send(Orphaned(prefix, estate.number, count, pack_ids(estate.came), pack_ids(estate.went)))
