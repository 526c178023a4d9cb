"""A node's view of the replicated state, fed by the frames State and Entry; and the pages that carry the state.

Owns the keys as they are after one entry, their position. One rule keeps all views equal: nothing changes a view
but what the proxy relays. The master's own is no exception: `order` gives a proposal its place and changes nothing;
the entry counts when it comes back. So a master that is lost with entries on their way has nothing to undo, and the
proxy's word on what was taken is the only one. Refuses holes and older epochs: FrameError, and the session ends.
"""

from collections import deque
from collections.abc import Container, Iterator, Sequence

from protocols.errors import FrameError, StaleError
from protocols.nodes.frames import Entry, Proposed, State, StateItem

Position = tuple[int, int]  # (epoch, index) of the last entry in a state; (0, 0): none

PAGE_BYTES = 256 << 10  # a page of large values ends here: one frame must not hold up a link for long


def pages(position: Position, items: Sequence[StateItem], size: int) -> Iterator[State]:
    """State frames of at most `size` items each, at least one frame; the last one says so. `items` must not change."""
    page: list[StateItem] = []
    page_bytes = 0
    for item in items:
        if len(page) == size or page_bytes >= PAGE_BYTES:
            yield State(*position, page, last=False)
            page, page_bytes = [], 0
        page.append(item)
        page_bytes += item_bytes(item.key, item.value)
    yield State(*position, page, last=True)


def item_bytes(key: str, value: bytes | None) -> int:
    """What a key and its value count for in StateSettings.max_bytes."""
    return len(key.encode()) + len(value or b"")


class StatePages:
    """A snapshot that is coming in. Raises FrameError for pages of different positions, and past the limits."""

    def __init__(self, max_keys: int | None = None, max_bytes: int | None = None) -> None:
        self.items: dict[str, StateItem] = {}
        self.position: Position | None = None
        self.bytes = 0
        self._max_keys = max_keys
        self._max_bytes = max_bytes

    def add(self, page: State) -> bool:
        """Take a page. True: it was the last."""
        position = (page.epoch, page.index)
        if self.position is not None and position != self.position:
            raise FrameError(f"expected a page of the state at {self.position}, got one at {position}")
        self.position = position
        for item in page.items:
            former = self.items.get(item.key)
            if former is not None:
                self.bytes -= item_bytes(former.key, former.value)
            self.items[item.key] = item
            self.bytes += item_bytes(item.key, item.value)
        if self._max_keys is not None and len(self.items) > self._max_keys:
            raise FrameError(f"a snapshot of the state has more than {self._max_keys} keys")
        if self._max_bytes is not None and self.bytes > self._max_bytes:
            raise FrameError(f"a snapshot of the state has more than {self._max_bytes} bytes")
        return page.last


class StateView:
    """The receiving end of balancer.state.

    `items` is whole at all times: a snapshot replaces it with its last page, and until then it is what it was.
    """

    def __init__(self) -> None:
        self.items: dict[str, StateItem] = {}
        self.position: Position = (0, 0)
        self._owned: dict[int, set[str]] = {}  # owner: its keys
        self._pages: StatePages | None = StatePages()  # the snapshot that is expected; None: it has come
        self._leading = 0  # epoch in which this node is master; 0: it is not
        self._ordered: deque[Entry] = deque()  # by this node in that epoch, and not come back yet

    @property
    def is_synced(self) -> bool:
        """Whether this session's snapshot has come."""
        return self._pages is None

    def welcome(self) -> None:
        """A session stands; its snapshot follows. What was on its way in a former one is forgotten."""
        self._begin()

    def page(self, page: State) -> bool:
        """A page of a snapshot. True: it was the last, and the view is what the proxy has, be it older or newer.

        The proxy may begin another snapshot in the same session, also before the last page of this one: it has
        adopted a later state from some node.
        """
        coming = self._pages
        if coming is None or coming.position not in (None, (page.epoch, page.index)):
            coming = self._begin()
        if not coming.add(page):
            return False
        self.items = coming.items
        self.position = (page.epoch, page.index)
        self._pages = None
        self._owned = {}
        for item in self.items.values():
            self._own(item)
        return True

    def entry(self, entry: Entry) -> None:
        """Apply an entry that the proxy relayed. Raises FrameError if it is not the next one."""
        epoch, index = self.position
        if self._pages is not None:
            raise FrameError(f"expected a snapshot of the state, got entry {entry.index} of epoch {entry.epoch}")
        if entry.index != index + 1 or entry.epoch < epoch:
            raise FrameError(
                f"expected entry {index + 1} of epoch {epoch} or later, got entry {entry.index} of epoch {entry.epoch}"
            )
        self.position = (entry.epoch, entry.index)
        if self._ordered:
            self._ordered.popleft()
        former = self.items.pop(entry.key, None)
        if former is not None and former.owner:
            keys = self._owned[former.owner]
            keys.remove(former.key)
            if not keys:
                del self._owned[former.owner]
        if entry.value is not None:
            item = self.items[entry.key] = StateItem(entry.key, entry.value, entry.owner)
            self._own(item)

    def snapshot(self, page_size: int) -> Iterator[State]:
        """The state as it is now, in pages: for a proxy that asks for it with WantState."""
        return pages(self.position, list(self.items.values()), page_size)

    def _begin(self) -> StatePages:
        self._pages = StatePages()
        self._leading = 0
        self._ordered.clear()
        return self._pages

    def _own(self, item: StateItem) -> None:
        if item.owner:
            self._owned.setdefault(item.owner, set()).add(item.key)

    # --- as master ------------------------------------------------------------------------------------------------

    def lead(self, epoch: int, clients: Container[int]) -> list[str]:
        """A Master frame has named this node. Returns keys whose owner is not in `clients`, to be deleted first.

        Their owners went when nobody was master, or with a former run of the proxy. Entries that were on their
        way in an older epoch are forgotten: the proxy refuses them, and sends their proposals again.
        """
        if self._pages is not None or epoch < self.position[0]:
            raise StaleError(f"can't be master of epoch {epoch}: the state is at {self.position}")
        self._leading = epoch
        self._ordered.clear()
        return sorted(key for owner, keys in self._owned.items() if owner not in clients for key in keys)

    def order(self, proposed: Proposed, clients: Container[int]) -> Entry:
        """Give a proposal the next place; send the entry to the proxy. Once for each, in the order they came.

        Also while the lease is in doubt: the proxy decides what counts, and waits for an answer as long as it
        names this node. The master's own deletions are proposals of its own with number 0. An owner that is not in
        `clients` has gone already, and nobody would delete the key later: so the entry deletes it.
        """
        if not self._leading:
            raise StaleError("can't order a proposal: no Master frame of this session has named this node")
        index = self.position[1] + len(self._ordered) + 1
        value = proposed.value if not proposed.owner or proposed.owner in clients else None
        entry = Entry(self._leading, index, proposed.node, proposed.proposal, proposed.key, value, proposed.owner)
        self._ordered.append(entry)
        return entry

    def owners_but(self, clients: Container[int]) -> list[int]:
        """Owners of keys that are not in `clients`, with those of entries that have not come back. Sorted."""
        owners = self._owned.keys() | {entry.owner for entry in self._ordered if entry.owner}
        return sorted(owner for owner in owners if owner not in clients)

    def owned_by(self, client: int) -> list[str]:
        """Keys to delete because the client went: as they are once what is ordered has come back. Sorted."""
        keys = set(self._owned.get(client, ()))
        for entry in self._ordered:
            if entry.value is not None and entry.owner == client:
                keys.add(entry.key)
            else:
                keys.discard(entry.key)
        return sorted(keys)
