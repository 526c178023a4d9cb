"""Clients of a proxy that is no more, of which one node is to be told: what nodes know of them, and who is told it.

Frames of the node link, see protocols.nodes.frames.
"""

from typing import Annotated

from msgspec import Meta, Struct

from holdfast.protocols.nodes.announcements import Due

ORPHANS = "orphans"  # of what a Welcome says that it takes
MAX_PAGE = 1000  # clients in a page


class Orphaned(Struct, array_like=True, frozen=True, gc=False, tag=34):
    """node to proxy: a proxy is no more, for all that the node knows, and of so many of its clients one node is to be
    told yet. For each such proxy when a session begins, and when it is forgotten.

    prefix: upper 32 bits of the ids of its clients. number: of the last change of its clients that the node was told;
    0: not all of them. count: 0, too, when all is told.
    """

    prefix: Annotated[int, Meta(ge=0)]
    number: Annotated[int, Meta(ge=0)]
    count: Annotated[int, Meta(ge=0)]


class WantOrphans(Struct, array_like=True, frozen=True, gc=False, tag=76):
    """proxy to node: an Orphans of that proxy, with those of whom no Closed has said that nothing is due any more.
    settled: all is told, and nothing is asked."""

    prefix: int
    settled: bool = False


class Orphans(Struct, array_like=True, frozen=True, gc=False, tag=35):
    """node to proxy: some of these clients; none: there are no more."""

    prefix: int
    due: Annotated[list[Due], Meta(max_length=MAX_PAGE)]
