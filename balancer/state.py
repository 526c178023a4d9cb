"""A proxy's copy of the nodes' replicated state, and what its keeper does with it: check a proposal, give it its place.

Owns the keys, their position and owners, and what has been applied of whom. Refuses what is past a limit of
StateSettings, a change of a version that the key does not have, and the same proposal twice. Pure: it knows neither
time nor links, neither who is keeper nor how many have an entry; who drives it does (proxy.nodes.keeper).

Limits are for `order` alone, and for what grows. What others have ordered is borne, whatever it is: their limits may be
higher, or ours may have been. So a state above our limits takes deletions, and values that are no longer than before.

Copies are equal because nothing but entries changes them: `order` applies what it orders at once, so that the next
proposal is checked against it; the others `apply` the same entries in the same order.

An index is the version of the key that its entry sets, and no other change may ever have it: a compare-and-set that
was read in a state which is lost would undo one that counts. Two states can part only where a term begins. So the
first entry of a term has the keeper's clock for its index, in microseconds since 1970, and the others follow one by
one: the next term's clock is beyond all of them, as long as fewer than a million changes are made in a second. Below
2**53, which JSON can say, until 2255.
"""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Raw

from holdfast.balancer.settings import StateSettings
from holdfast.protocols.nodes.frames import Entry, Propose, State, StateItem, encode_frame
from holdfast.protocols.nodes.state import StatePages, StateView, item_bytes

ANY_VERSION = -1


class Refusal(NamedTuple):
    """Why a proposal is none. limit: the key of the configuration that it would break, if it is that."""

    reason: str
    limit: str = ""
    conflict: bool = False


class StateCopy(StateView):
    """bytes: of all keys and values."""

    def __init__(self, settings: StateSettings) -> None:
        super().__init__()
        self.bytes = 0
        self._settings = settings
        self._owned: dict[int, set[str]] = {}  # owner: its keys
        self._first = 0  # lowest index of what is ordered

    # --- as keeper ------------------------------------------------------------------------------------------------

    def order(self, node: str, propose: Propose, epoch: int) -> Entry | Refusal | None:
        """Give a node's proposal the next place, and apply it. None: it has been applied before."""
        if (node, propose.proposal) in self.applied:
            return None
        refusal = self._refusal(propose)
        if refusal is not None:
            return refusal
        owner = 0 if propose.value is None else propose.owner
        return self._next(epoch, node, propose.proposal, propose.key, propose.value, owner)

    def order_deletion(self, key: str, epoch: int) -> Entry:
        """The keeper's own change: the owner of a key has gone."""
        return self._next(epoch, "", 0, key, None, 0)

    def begin(self, epoch: int, clock: int = 0) -> None:
        """A keeper's term begins: from here on the state is above all that was of former terms. What is ordered here
        has this index and those above it."""
        self.position = (epoch, self.position[1])
        self._may_jump = True
        self._first = clock

    def _next(self, epoch: int, node: str, proposal: int, key: str, value: bytes | None, owner: int) -> Entry:
        entry = Entry(epoch, max(self.position[1] + 1, self._first), node, proposal, key, value, owner)
        self.apply(entry)
        return entry

    def _refusal(self, propose: Propose) -> Refusal | None:
        """What takes no more room than what was there needs none: it must be possible when the state is full."""
        limits = self._settings
        if propose.proposal < 1:
            return Refusal(f"proposals are numbered from 1, got {propose.proposal}")
        version = self.version(propose.key)
        if propose.expected not in (ANY_VERSION, version):
            return Refusal(f"expected version {propose.expected} of the key, it is {version}", conflict=True)
        key_bytes, value_bytes = len(propose.key.encode()), len(propose.value or b"")
        former = self.items.get(propose.key)
        growth = value_bytes + key_bytes if former is None else value_bytes - len(former.value)
        if former is None and key_bytes > limits.max_key_bytes:
            return _too_much(f"a key has at most {limits.max_key_bytes} bytes", "state.max_key_bytes")
        if propose.value is None or (former is not None and growth <= 0):
            return None
        if value_bytes > limits.max_value_bytes:
            return _too_much(f"a value has at most {limits.max_value_bytes} bytes", "state.max_value_bytes")
        if former is None and len(self.items) >= limits.max_keys:
            return _too_much(f"the state has at most {limits.max_keys} keys", "state.max_keys")
        if self.bytes + growth > limits.max_bytes:
            return _too_much(f"the state has at most {limits.max_bytes} bytes", "state.max_bytes")
        return None

    def excess(self) -> str:
        """The limit that what is here exceeds, because others' are higher, or ours was; "": none."""
        if len(self.items) > self._settings.max_keys:
            return "state.max_keys"
        return "state.max_bytes" if self.bytes > self._settings.max_bytes else ""

    # --- as any copy ----------------------------------------------------------------------------------------------

    def apply(self, entry: Entry) -> StateItem | None:
        former = super().apply(entry)
        if former is not None:
            self.bytes -= item_bytes(former.key, former.value)
            if former.owner:
                keys = self._owned[former.owner]
                keys.remove(former.key)
                if not keys:
                    del self._owned[former.owner]
        if entry.value is not None:
            self._count(self.items[entry.key])
        return former

    def adopt(self, coming: StatePages) -> int:
        lost = super().adopt(coming)
        self.bytes = 0
        self._owned = {}
        for item in self.items.values():
            self._count(item)
        return lost

    def _count(self, item: StateItem) -> None:
        self.bytes += item_bytes(item.key, item.value)
        if item.owner:
            self._owned.setdefault(item.owner, set()).add(item.key)

    def owned_by(self, client: int) -> list[str]:
        """The keys that end with a client. Sorted."""
        return sorted(self._owned.get(client, ()))

    def owners(self) -> set[int]:
        """Clients that own a key."""
        return set(self._owned)


def _too_much(limit: str, key: str) -> Refusal:
    return Refusal(f"{limit} ({key})", key)


class StateSnapshot:
    """The state for one node, as it was when the snapshot was made, in pages made when the link has room for them.

    index: of the last entry that is in it. Until the last page has been taken, the node's Entry and ProposalRefused
    frames go through `hold`, so that they come after it, in order. held_bytes: what waits so; the link's limit applies
    to it.
    """

    def __init__(self, copy: StateCopy, page_size: int) -> None:
        self.index = copy.position[1]
        self.held_bytes = 0
        self._pages: Iterator[State] = copy.snapshot(page_size)
        self._held: list[Raw] = []

    def hold(self, frame: Raw) -> None:
        """Keep a frame until the last page goes."""
        self._held.append(frame)
        self.held_bytes += memoryview(frame).nbytes

    def next_frames(self) -> tuple[list[Raw], bool]:
        """The next page, and whether it is the last. All that was held comes with that one: the node is synced when it
        has it, so what follows, requests too, must not overtake anything."""
        page = next(self._pages)
        frames = [encode_frame(page)]
        return (frames + self._held if page.last else frames), page.last
