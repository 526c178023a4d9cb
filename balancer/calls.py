"""What one node is asked that no client has asked: whether a client may come in, that one has gone, another's question.

To the ledger these are requests as any other: at one node at a time, parked while there is none, sent again to another
one when theirs is lost, answered once and by their deadline.
"""

from collections.abc import Callable
from typing import ClassVar

from msgspec import Struct

from holdfast.balancer.taken import Taken
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, ProtocolError
from holdfast.protocols.nodes import frames


class Call(Struct, gc=False):
    """The fields are those of protocols.nodes.calls.Call."""

    kind: str
    payload: bytes = b""
    is_text: bool = False
    client: int = 0
    info: bytes = b""
    sender: str = ""
    before: int = 0
    channel: str = ""
    token: str = ""
    is_filter: bool = False

    @property
    def redeliverable(self) -> bool:
        return True

    def frame(self, id: int, attempt: int, timeout: int) -> frames.Call:
        """What the node is told. timeout: ms."""
        said = self.payload, self.is_text, self.client, self.info, self.sender, self.before
        return frames.Call(id, attempt, timeout, self.kind, *said, self.channel, self.token, self.is_filter)


def check_whole(head: ReplyHead | None, *, more: bool) -> None:
    """The answer to a call is one payload. Raises ProtocolError for an HTTP reply, whose status would be lost, and for
    a part of one."""
    if more or head is not None:
        raise ProtocolError("a call is answered by one reply, not of HTTP, or by a failure", Reason.BAD_REPLY)


class Origin:
    """Where a caller stands in a connection's place, for logs."""

    name: ClassVar[str] = "call"


class Caller:
    """Base class of who calls: the ledger's Requester. Subclasses say what comes of it."""

    id: int = 0
    protocol: Origin = Origin()

    @property
    def is_closed(self) -> bool:
        """Nobody waits for the answer any more."""
        return False

    def reply(self, event: Call, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool) -> Taken:
        """A node's answer. Raises ProtocolError if it is none; `fail` follows then."""
        raise NotImplementedError

    def fail(self, event: Call, error: HoldfastError) -> int:
        """There is none. Returns 0: nothing is written."""
        raise NotImplementedError

    def when_drained(self, callback: Callable[[], None]) -> None:
        callback()
