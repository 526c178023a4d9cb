"""Clients of a proxy that is no more, of which one node is to be told: what nodes know of them, and who is told it.

Frames of the node link, see protocols.nodes.frames.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from holdfast.protocols.nodes.announcements import CAME, WENT, Due

ORPHANS = "orphans"  # of what a Welcome says that it takes
MAX_PAGE = 1000  # clients in a page
MAX_PAGE_BYTES = 8 * MAX_PAGE  # of their ids
MAX_TOLD = 100_000  # ids that are kept of who was told; some 10 MB, all proxies together


class Orphaned(Struct, array_like=True, frozen=True, gc=False, tag=34):
    """node to proxy: a proxy is no more, for all that the node knows, and so much of its clients is to be told to one
    node yet. For each such proxy when a session begins, also with that proxy itself; when it is forgotten, and when it
    is asked.

    prefix: upper 32 bits of the ids of its clients. number: up to this change of its clients the node knows all; 0:
    nothing. later: and some up to this one, which came in a snapshot that is not complete; 0: nothing more. count: of
    what is due, that one went and that one came. told: up to this change all is told, and count is of what is later.
    came, went: packed ids of clients of which that was told after the proxy was lost, by the word of others. If they
    are many they come before, in frames of which all numbers are 0; and so the proxy itself hears of those that others
    are told after it is back.
    """

    prefix: Annotated[int, Meta(ge=0)]
    number: Annotated[int, Meta(ge=0)]
    count: Annotated[int, Meta(ge=0)]
    came: bytes = b""
    went: bytes = b""
    later: Annotated[int, Meta(ge=0)] = 0
    told: Annotated[int, Meta(ge=0)] = 0


class WantOrphans(Struct, array_like=True, frozen=True, gc=False, tag=76):
    """proxy to node, of a proxy that is no more. what: GIVE, an Orphans with those of whom no Closed has said that
    nothing is due any more; COUNT, an Orphaned; SETTLED, nothing: all that this node knows is told.

    told: up to this change all is told, by anybody. kinds: which of what is due; of a client that came and went, that
    it went only with CAME, or if it is too LATE to wait for those who want that.
    """

    prefix: int
    what: int = 0
    kinds: int = WENT | CAME
    told: int = 0


GIVE, COUNT, SETTLED = 0, 1, 2
LATE = 4  # of WantOrphans.kinds


class Orphans(Struct, array_like=True, frozen=True, gc=False, tag=35):
    """node to proxy: some of these clients; none: there are no more. left: then so much is due that was not asked for,
    counted as in Orphaned."""

    prefix: int
    due: Annotated[list[Due], Meta(max_length=MAX_PAGE)]
    left: Annotated[int, Meta(ge=0)] = 0


class Told:
    """Of which clients of proxies that are no more somebody was told. Of MAX_TOLD: then those are forgotten whose proxy
    was lost first. One of them may be told once more, if a node is asked that does not know."""

    def __init__(self) -> None:
        # By prefix and client, as Closed.due. Ordered: the first of a dict is behind all places that became free.
        self._due: OrderedDict[int, OrderedDict[int, int]] = OrderedDict()
        self._count = 0

    def add(self, client: int, due: int) -> None:
        """due: what is to be told yet, as Closed.due."""
        known = self._due.setdefault(client >> 32, OrderedDict())
        self._count += client not in known
        known[client] = min(due, known.get(client, due))
        while self._count > MAX_TOLD:
            prefix, oldest = next(iter(self._due.items()))
            oldest.popitem(last=False)
            self._count -= 1
            if not oldest:
                del self._due[prefix]

    def due(self, client: int) -> int:
        """What may be due, as Closed.due: all, if nothing is known of it."""
        known = self._due.get(client >> 32)
        return WENT | CAME if known is None else known.get(client, WENT | CAME)

    def forget(self, prefix: int) -> None:
        self._count -= len(self._due.pop(prefix, ()))

    def pages(self, prefix: int) -> Iterator[tuple[list[int], list[int]]]:
        """Those who came and those who went, so many that they fit into a frame."""
        known = list(self._due.get(prefix, OrderedDict()).items())
        for start in range(0, len(known), MAX_PAGE):
            page = known[start : start + MAX_PAGE]
            yield [client for client, due in page if due], [client for client, due in page if not due]
