"""What the replication of the state has to do with others: phases, the keeper, which it drives, and counters."""

from enum import Enum
from typing import Protocol

from msgspec import Struct

from holdfast.protocols.nodes.frames import Entry
from holdfast.protocols.nodes.state import Position


class Phase(Enum):
    OUTSIDE = "outside"  # not a member: takes nothing and counts for nothing
    FOLLOWING = "following"  # takes what the keeper orders, and tells it how far it is
    GATHERING = "gathering"  # has become keeper: hears from all members what they hold, and takes the latest of it
    RECOVERING = "recovering"  # has it; what nodes, or who joins, have beyond that is adopted (proxy.nodes.keeper)
    BEGINNING = "beginning"  # has stamped: it is above all that an older term has left. More than half are to hold that
    KEEPING = "keeping"  # may order


class ReplicationCounters(Struct):
    """foreign: messages of another term, or of who has nothing to say here. garbled: what no member means to send.
    takeovers: terms that we began. copies: whole states that we took."""

    foreign: int = 0
    garbled: int = 0
    takeovers: int = 0
    copies: int = 0


class Keeping(Protocol):
    """What the keeper does with the state: proxy.nodes.keeper."""

    def lead(self, now: float) -> None:
        """We are keeper in a new term, and our copy is the latest that members have. `begin` is to be called."""
        ...

    def begun(self) -> None:
        """More than half hold our copy as it is: `order` may be called."""
        ...

    def committed(self, entry: Entry) -> None:
        """More than half hold it. Told once for each, in order."""
        ...

    def gave_up(self, position: Position, for_position: Position, changes: int) -> None:
        """Our copy was at the first position, and so many changes of it are not in the one that has replaced it."""
        ...

    def forsake(self) -> None:
        """We are not keeper any more, or not yet again."""
        ...
