"""The state between nodes and proxies: proposals, entries and copies; frames of the node link."""

from msgspec import Struct


class Propose(Struct, array_like=True, frozen=True, gc=False, tag=40):
    """A change of the replicated state that the node wants. `proposal` is the node's own number for it, growing.

    value None deletes. owner: the client whose going deletes the entry; 0: none. expected: the version that the key
    must have, 0: it must not be there, -1: whatever it is. epoch: of the state that the node has; the keeper ignores
    what was proposed before its snapshot came, because that is proposed again.
    """

    proposal: int
    key: str
    value: bytes | None
    owner: int = 0
    expected: int = -1
    epoch: int = 0


class StateItem(Struct, array_like=True, frozen=True, gc=False):
    """One key of the state. Not a frame of its own: part of State.

    version: index of the entry that set it. proposal: its number; 0: it is not told. Numbers begin at random, so it is
    one node's.
    """

    key: str
    value: bytes
    owner: int = 0
    version: int = 0
    proposal: int = 0


class Applied(Struct, array_like=True, frozen=True, gc=False):
    """Which proposals of a node are in the state. Not a frame of its own: part of State.

    newest: the highest that is. bits: little-endian; the lowest is for `newest`, the next for the number before it.
    """

    node: str
    newest: int
    bits: bytes


class State(Struct, array_like=True, frozen=True, gc=False, tag=72):
    """Both ways: a page of the state as it is after entry (epoch, index). Entries come only after the last page.

    page: its number in the snapshot, from 0; -1: it is not told. items: if the first has the key of the last one of the
    page before, it goes on with its value, which was too long for a page. applied: with the last pages; the node that
    wrote last comes last.
    """

    epoch: int
    index: int
    items: list[StateItem]
    last: bool
    applied: list[Applied] = []
    page: int = -1


class Entry(Struct, array_like=True, frozen=True, gc=False, tag=41):
    """A change that was put in order and will stay: `index` grows by one, across epochs too.

    node, proposal: who asked, so that it can stop waiting; "", 0: the keeper did, because the key's owner has gone.
    """

    epoch: int
    index: int
    node: str
    proposal: int
    key: str
    value: bytes | None
    owner: int = 0


class ProposalRefused(Struct, array_like=True, frozen=True, gc=False, tag=74):
    """A proposal is not made. conflict: the key does not have the version expected; else it breaks a rule or a limit,
    which `reason` names. It comes after the entries that were ordered before."""

    proposal: int
    reason: str
    conflict: bool = False


class WantState(Struct, array_like=True, frozen=True, gc=False, tag=75):
    """This node has told a later state than the keeper has: send it, as State pages."""
