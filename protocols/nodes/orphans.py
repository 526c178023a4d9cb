"""Clients of a proxy that is no more, of which one node is to be told: what nodes know of them, and who is told it.

Frames of the node link, see protocols.nodes.frames.
"""

from typing import Annotated

from msgspec import Meta, Struct

from holdfast.protocols.nodes.announcements import Due

ORPHANS = "orphans"  # of what a Welcome says that it takes
MAX_PAGE = 1000  # clients in a page


class Orphaned(Struct, array_like=True, frozen=True, gc=False, tag=34):
    """node to proxy: a proxy is no more, for all that the node knows, and so much of its clients is to be told to one
    node yet. For each such proxy when a session begins, when it is forgotten, and when it is asked.

    prefix: upper 32 bits of the ids of its clients. number: of the last change of its clients that the node was told;
    0: not all of them. count: of what is due, that one went and that one came; 0, too, when all is told. came, went:
    packed ids of clients of which that was told after the proxy was lost, by the word of others.
    """

    prefix: Annotated[int, Meta(ge=0)]
    number: Annotated[int, Meta(ge=0)]
    count: Annotated[int, Meta(ge=0)]
    came: bytes = b""
    went: bytes = b""


class WantOrphans(Struct, array_like=True, frozen=True, gc=False, tag=76):
    """proxy to node, of a proxy that is no more. what: GIVE, an Orphans with those of whom no Closed has said that
    nothing is due any more; COUNT, an Orphaned; SETTLED, nothing: all is told."""

    prefix: int
    what: int = 0


GIVE, COUNT, SETTLED = 0, 1, 2


class Orphans(Struct, array_like=True, frozen=True, gc=False, tag=35):
    """node to proxy: some of these clients; none: there are no more."""

    prefix: int
    due: Annotated[list[Due], Meta(max_length=MAX_PAGE)]
