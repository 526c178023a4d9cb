"""The frames with which members hold the nodes' state together, and tell what lost nodes owed. What they mean say
balancer.cluster.replication and balancer.cluster.debts.

Each about the state names the term of its sender's record: who follows another one takes nothing from it. A position is
the epoch and index that a state is at; it stands for one state only, whoever tells it.
"""

from typing import Annotated

from msgspec import Meta, Struct

from holdfast.protocols.nodes.effects import MAX_PENDING, Identity
from holdfast.protocols.nodes.frames import Entry, State
from holdfast.protocols.peers.ranges import MAX_RUNS, Id, Number, Seconds, Word


class Stamp(Struct, array_like=True, frozen=True, gc=False, tag=104):
    """A step of the state that changes nothing but its position: a keeper's term begins. Part of Entries."""

    epoch: Number
    index: Number


Step = Entry | Stamp


class Entries(Struct, array_like=True, frozen=True, tag=100):
    """What follows the position `former`, in order. Published by the keeper; or the answer to Held, by who was asked.

    tip: where the sender of an answer is; the position after the last step if the keeper publishes them.
    """

    term: Number
    former: tuple[Number, Number]
    steps: list[Step]
    tip: tuple[Number, Number]


class Held(Struct, array_like=True, frozen=True, gc=False, tag=101):
    """The sender has the state at this position, and takes nothing of an older term from now on.

    wants: send what follows, as Entries, or all of it, as StatePage.
    """

    term: Number
    position: tuple[Number, Number]
    wants: bool = False


class WantPage(Struct, array_like=True, frozen=True, gc=False, tag=102):
    """Send this page, counted from 0, of the state as it was at the position."""

    term: Number
    position: tuple[Number, Number]
    page: Number


class StatePage(Struct, array_like=True, frozen=True, tag=103):
    """A page of the state, as nodes get it too."""

    term: Number
    page: Number
    state: State


class Watch(Struct, array_like=True, frozen=True, gc=False, tag=105):
    """Answer Gone for those of your clients that are not there, and say it when one of the others goes. Packed ids."""

    term: Number
    clients: bytes


class Gone(Struct, array_like=True, frozen=True, gc=False, tag=106):
    """These clients of the sender are not there, and never again."""

    term: Number
    clients: bytes


Replicated = Entries | Held | WantPage | StatePage
Runs = Annotated[list[tuple[Word, int]], Meta(max_length=MAX_RUNS)]


class LostRun(Struct, array_like=True, frozen=True, gc=False):
    """A run of a node that is lost, and had effects for whom it is said to, up to this number. Part of Owed.

    final, requests: as in protocols.nodes.effects.Pending: what of that another node may do again. word: the number of
    the word by which we know that it is lost. seconds: for how long it has been so, at least.
    """

    node: Word
    incarnation: int
    number: Number
    word: Number
    seconds: Seconds
    final: Number
    requests: Annotated[list[Identity], Meta(max_length=MAX_PENDING)] = []


class Owed(Struct, array_like=True, frozen=True, gc=False, tag=113):
    """What is owed to you.

    proxy: to whom it is said; another run of it has none of those clients. word: the number of our last word about what
    we have for it.
    """

    proxy: Id
    runs: Annotated[list[LostRun], Meta(max_length=MAX_RUNS)]
    word: Number


class Noted(Struct, array_like=True, frozen=True, gc=False, tag=114):
    """The answer to Owed: it need not be said again. word: as in Owed."""

    runs: Runs
    word: Number


Owned = Watch | Gone
Debt = Owed | Noted
