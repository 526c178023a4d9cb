"""The question what is kept of a channel with history, and its answer: frames of the node link, see
protocols.nodes.frames.

Field order is the wire order; new fields go to the end with a default.
"""

from typing import Annotated

from msgspec import Meta, Struct

HISTORY = "history"  # of what a Welcome says that it takes
NEWEST = -1  # of AskHistory, after
MAX_PAGE = 1000  # publications in one answer
PAGE_BYTES = 1 << 20  # of their payloads; one larger one comes alone


class AskHistory(Struct, array_like=True, frozen=True, gc=False, tag=36):
    """node to proxy: what is kept of a channel? `ask` is the node's own number for the question. Answered by History.

    after: those above this offset, the oldest first; NEWEST: the newest ones. epoch: of the log of which that is an
    offset; "": of whichever there is. limit: so many, and no more than MAX_PAGE.
    """

    ask: int
    channel: str
    after: Annotated[int, Meta(ge=-1, lt=2**53)] = NEWEST
    epoch: Annotated[str, Meta(max_length=64)] = ""
    limit: Annotated[int, Meta(gt=0)] = MAX_PAGE


class Kept(Struct, array_like=True, frozen=True, gc=False):
    """A publication in History, no frame of its own. at: when it was published, in seconds since 1970. sender: of a
    client that has published it, what others may know, as JSON; b"": a node has."""

    offset: int
    payload: bytes
    is_text: bool
    at: float
    sender: bytes = b""


class History(Struct, array_like=True, frozen=True, gc=False, tag=66):
    """proxy to node: the answer to AskHistory. status: 200, or of the failure that `message` tells: 404, the channel
    has no history; 409, the position is in no log that there is; 429, too many questions of the node have no answer
    yet; 503, the log can't be asked.

    epoch, first, last: of the log, its oldest offset that is kept (last + 1 if none is) and the newest that was given;
    no log: "", 1, 0. publications: without gaps, in the order of offsets. If the last one of them is before `last`,
    there are more: none at all are in the answer only if none are kept above `after`.
    """

    ask: int
    status: int = 200
    message: str = ""
    epoch: str = ""
    first: int = 1
    last: int = 0
    publications: list[Kept] = []
