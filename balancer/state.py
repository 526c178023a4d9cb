"""The proxy's copy of the nodes' replicated state: what the master has put in order, checked.

Owns the keys, their position, and the proposals that no master has answered yet. Refuses entries of anyone but the
master, holes, and what is past a limit of StateSettings. Knows no links; who is master it is told.

The way of a change: Propose -> `check`, `pend` -> Proposed to the master -> Entry -> `apply` -> Entry to every node,
the master too (protocols.nodes.state says why). Pending proposals stay here, in order, and are sent again to
the next master: so each is applied once while this proxy runs, and a node that stays in its session need not ask twice.
"""

from collections import deque
from collections.abc import Iterator

from msgspec import Raw

from balancer.settings import StateSettings
from protocols.errors import FrameError, StaleError
from protocols.nodes.frames import Entry, Propose, Proposed, State, StateItem, encode_frame
from protocols.nodes.state import Position, StatePages, item_bytes, pages


class StateCopy:
    """The state at `position`, and what is proposed beyond it.

    items: every key. bytes: of all keys and values. pending: to be sent to a new master, oldest first.
    """

    def __init__(self, settings: StateSettings) -> None:
        self.items: dict[str, StateItem] = {}
        self.position: Position = (0, 0)
        self.bytes = 0
        self.pending: deque[Proposed] = deque()
        self.pending_bytes = 0
        self._settings = settings

    def check(self, propose: Propose) -> str | None:
        """Why a proposal is refused; None: it is not.

        Pending proposals count as if each added a key, so that together they can't pass a limit when they are applied.
        A deletion needs room among the pending ones only: it must be possible when the state is full.
        """
        limits = self._settings
        size = item_bytes(propose.key, propose.value)
        pending, pending_bytes = len(self.pending) + 1, self.pending_bytes + size
        if propose.proposal < 1:
            return f"proposals are numbered from 1, got {propose.proposal}"
        if size - len(propose.value or b"") > limits.max_key_bytes:
            return f"a key has at most {limits.max_key_bytes} bytes (state.max_key_bytes)"
        if len(propose.value or b"") > limits.max_value_bytes:
            return f"a value has at most {limits.max_value_bytes} bytes (state.max_value_bytes)"
        if propose.value is not None:
            pending_bytes += self.bytes
            if propose.key not in self.items:
                pending += len(self.items)
        if pending > limits.max_keys:
            return f"the state has at most {limits.max_keys} keys (state.max_keys)"
        if pending_bytes > limits.max_bytes:
            return f"the state has at most {limits.max_bytes} bytes (state.max_bytes)"
        return None

    def pend(self, node: str, propose: Propose) -> Proposed:
        """Take a proposal that `check` does not refuse. Returns the frame for the master, if there is one."""
        proposed = Proposed(node, propose.proposal, propose.key, propose.value, propose.owner)
        self.pending.append(proposed)
        self.pending_bytes += item_bytes(propose.key, propose.value)
        return proposed

    def apply(self, entry: Entry, epoch: int) -> None:
        """Take an entry from a node that is master of `epoch` (0: it is not); then relay it to every node.

        Raises StaleError for an entry of another epoch: it leaves no trace. Raises FrameError if the master breaks
        the order: the next index is expected, and the answer to the oldest pending proposal, or a deletion of its own.
        """
        if not epoch or entry.epoch != epoch:
            raise StaleError(f"expected an entry of epoch {epoch}, got one of {entry.epoch}")
        if entry.index != self.position[1] + 1:
            raise FrameError(f"expected entry {self.position[1] + 1} of the state, got {entry.index}")
        oldest = self.pending[0] if self.pending else None
        if oldest is not None and (oldest.node, oldest.proposal) == (entry.node, entry.proposal):
            if (entry.key, entry.owner) != (oldest.key, oldest.owner) or entry.value not in (None, oldest.value):
                raise FrameError(f"entry {entry.index} of the state is not what node {entry.node} proposed")
            self.pending.popleft()
            self.pending_bytes -= item_bytes(oldest.key, oldest.value)
        elif entry.proposal or entry.value is not None:
            raise FrameError(f"entry {entry.index} of the state does not answer the oldest pending proposal")
        self.position = (entry.epoch, entry.index)
        former = self.items.pop(entry.key, None)
        if former is not None:
            self.bytes -= item_bytes(former.key, former.value)
        if entry.value is not None:
            self.items[entry.key] = StateItem(entry.key, entry.value, entry.owner)
            self.bytes += item_bytes(entry.key, entry.value)

    def snapshot(self, page_size: int) -> "Snapshot":
        """The state as it is now, for one node."""
        return Snapshot(pages(self.position, list(self.items.values()), page_size))

    def adoption(self) -> StatePages:
        """For the pages of a node whose Hello told a higher position than ours."""
        return StatePages(self._settings.max_keys, self._settings.max_bytes)

    def adopt(self, adoption: StatePages, epoch: int) -> bool:
        """A node's last page has come. True: its state is ours now, and every node needs a new snapshot.

        Only a higher position is taken, and only before this run's first master: `epoch` of the election is 0.
        What was pending before may then take the state past a limit, by no more than its own size.
        """
        if epoch or adoption.position is None or adoption.position <= self.position:
            return False
        self.items, self.position, self.bytes = adoption.items, adoption.position, adoption.bytes
        return True


class Snapshot:
    """The state for one node, as it was when the snapshot was made, in frames made when the link has room for them.

    Until `next_frame` returns None, the node's Entry, Proposed and Master frames go through `hold`, so that they come
    after the last page, in order. held_bytes: what waits so; the link's limit applies to it.
    """

    def __init__(self, state_pages: Iterator[State]) -> None:
        self.held_bytes = 0
        self._pages = state_pages
        self._held: deque[Raw] = deque()

    def hold(self, frame: Raw) -> None:
        """Keep a frame until the last page has gone."""
        self._held.append(frame)
        self.held_bytes += memoryview(frame).nbytes

    def next_frame(self) -> Raw | None:
        """The next page or held frame; None: there is no more, and frames go to the node directly from now on."""
        page = next(self._pages, None)
        if page is not None:
            return encode_frame(page)
        if not self._held:
            return None
        frame = self._held.popleft()
        self.held_bytes -= memoryview(frame).nbytes
        return frame
