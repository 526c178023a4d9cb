"""The replicated state as every copy of it is, at nodes and proxies alike: fed by the frames State and Entry.

Owns the keys as they are after one entry, their position, and which proposals of each node are among what was applied.
One rule keeps all copies equal: everything here is a function of the entries, in their order. Refuses holes and older
epochs: FrameError. Knows no limits but those that no proxy's configuration may exceed, no owners, no links.

A change is judged once, by the keeper that puts it in order, by its own limits. From then on everybody bears it: limits
may differ from proxy to proxy, and who refused what others have acknowledged would hold them all up.
"""

from collections.abc import Iterator, Sequence

from msgspec import structs

from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.frames import Applied, Entry, State, StateItem

Position = tuple[int, int]  # (epoch, index) of the last entry in a state; (0, 0): none

# What the settings of no proxy may exceed, so that a state which comes in has a bound whatever anybody is set to.
MAX_KEYS = 10_000_000
MAX_BYTES = 1 << 30
MAX_KEY_BYTES = 32 << 10  # half of the smallest batch that a proxy may take: a key is whole in each page

PAGE_BYTES = 256 << 10  # of a page: one frame must not hold up a link for long
ITEM_BYTES = 64  # of an item or of what was applied, around its texts
LEAST_PART = 1 << 10  # of a value, whatever there is room for
PROPOSAL_WINDOW = 256  # a node's proposals that are under way at a time: those that may have to be told apart
RUN = 2**32  # numbers nearer to each other are of one run of a node, since those of another begin at random
APPLIED_NODES = 1000  # whose proposals are remembered: as many as may be linked; the one that wrote last stays longest


class AppliedProposals:
    """Which proposals were applied: for each node the newest number, and of those just below it a bit each.

    A node numbers its proposals in order and has PROPOSAL_WINDOW of them under way at most. So a number that is far
    from the newest, up or down, is of another run of the node, and replaces what is known of the former.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[int, int]] = {}  # node: newest, bits; the one that wrote last at the end

    def __contains__(self, proposal: tuple[str, int]) -> bool:
        node, number = proposal
        newest, bits = self._nodes.get(node, (0, 0))
        return 0 <= newest - number < PROPOSAL_WINDOW and bool(bits >> newest - number & 1)

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, node: str, number: int) -> None:
        newest, bits = self._nodes.pop(node, (number, 0))
        ahead = number - newest
        if abs(ahead) >= PROPOSAL_WINDOW:
            newest, bits = number, 1
        elif ahead > 0:
            newest, bits = number, (bits << ahead | 1) & (1 << PROPOSAL_WINDOW) - 1
        else:
            bits |= 1 << -ahead
        self._nodes[node] = newest, bits
        if len(self._nodes) > APPLIED_NODES:
            del self._nodes[next(iter(self._nodes))]

    def lacking(self, of: "AppliedProposals") -> int:
        """How many of the other's are not here, as far as both tell."""
        lacking = 0
        for node, (newest, bits) in of._nodes.items():
            if node not in self._nodes:
                lacking += bits.bit_count() if len(self) < APPLIED_NODES else 0  # else it may be forgotten
                continue
            ours, our_bits = self._nodes[node]
            ahead = newest - ours
            if 0 <= ahead < PROPOSAL_WINDOW:
                lacking += (bits & ~(our_bits << ahead)).bit_count()
            elif -PROPOSAL_WINDOW < ahead < 0:
                lacking += ((bits << -ahead) & (1 << PROPOSAL_WINDOW) - 1 & ~our_bits).bit_count()
            elif 0 < ahead < RUN:
                lacking += bits.bit_count()
        return lacking

    def dump(self) -> list[Applied]:
        size = PROPOSAL_WINDOW // 8
        return [
            Applied(node, newest, bits.to_bytes(size, "little").rstrip(b"\0"))
            for node, (newest, bits) in self._nodes.items()
        ]

    def load(self, dumped: Sequence[Applied]) -> None:
        """Become what was dumped elsewhere. Raises FrameError for what no dump is."""
        if len(dumped) > APPLIED_NODES:
            raise FrameError(f"a snapshot of the state tells the proposals of at most {APPLIED_NODES} nodes")
        nodes = {}
        for applied in dumped:
            bits = int.from_bytes(applied.bits, "little")
            if bits.bit_length() > PROPOSAL_WINDOW:
                raise FrameError(f"expected {PROPOSAL_WINDOW} proposals of a node at most, got {bits.bit_length()}")
            nodes[applied.node] = applied.newest, bits
        self._nodes = nodes


def pages(
    position: Position, items: Sequence[StateItem], applied: Sequence[Applied], size: int, most: int = 0
) -> Iterator[State]:
    """State frames of at most `size` items and `most` bytes each, at least one frame; the last one says so.

    Whatever there is fits: a value that is longer goes on in the next page, and what was applied in several, if need
    be. most: 0 is PAGE_BYTES, and no more than that. `items` must not change.
    """
    most = min(most or PAGE_BYTES, PAGE_BYTES) - ITEM_BYTES
    page: list[StateItem] = []
    told: list[Applied] = []
    number, left = 0, most
    for item in _parts(items, most):
        weight = ITEM_BYTES + item_bytes(item.key, item.value)
        if page and (len(page) == size or weight > left):
            yield State(*position, page, last=False, page=number)
            page, number, left = [], number + 1, most
        page.append(item)
        left -= weight
    for each in applied:
        weight = _applied_bytes(each)
        if weight > left and (page or told):
            yield State(*position, page, False, told, number)
            page, told, number, left = [], [], number + 1, most
        told.append(each)
        left -= weight
    yield State(*position, page, True, told, number)


def _parts(items: Sequence[StateItem], most: int) -> Iterator[StateItem]:
    """The items; in place of one with a value that fits into no page, several with parts of it."""
    for item in items:
        room = max(most - ITEM_BYTES - item_bytes(item.key, None), LEAST_PART)
        if len(item.value) <= room:
            yield item
            continue
        for start in range(0, len(item.value), room):
            yield structs.replace(item, value=item.value[start : start + room])


def item_bytes(key: str, value: bytes | None) -> int:
    """What a key and its value count for in StateSettings.max_bytes."""
    return len(key.encode()) + len(value or b"")


def _applied_bytes(applied: Applied) -> int:
    return ITEM_BYTES + len(applied.node.encode()) + len(applied.bits)


def page_bytes(page: State) -> int:
    """At most how many bytes a page takes in a batch."""
    items = sum(ITEM_BYTES + item_bytes(item.key, item.value) for item in page.items)
    return ITEM_BYTES + items + sum(map(_applied_bytes, page.applied))


class StatePages:
    """A snapshot that is coming in. Raises FrameError for pages of different positions or out of order, and past the
    bounds. Its first page may come again, with all that follow.
    """

    def __init__(self) -> None:
        self.position: Position | None = None
        self.applied = AppliedProposals()
        self._begin()

    def _begin(self) -> None:
        self.items: dict[str, StateItem] = {}
        self.bytes = 0
        self._next = 0  # page
        self._last_key: str | None = None
        self._growing: dict[str, bytearray] = {}  # values that come in parts
        self._applied: list[Applied] = []

    def add(self, page: State) -> bool:
        """Take a page. True: it was the last."""
        if page.page > 0 == self._next:
            return False  # of a snapshot that was on its way before we asked for this one
        position = (page.epoch, page.index)
        if self.position is not None and position != self.position:
            raise FrameError(f"expected a page of the state at {self.position}, got one at {position}")
        self.position = position
        if page.page == 0:
            self._begin()
        elif page.page not in (-1, self._next):
            raise FrameError(f"expected page {self._next} of the state, got page {page.page}")
        self._next = page.page + 1
        self._take(page)
        if len(self.items) > MAX_KEYS:
            raise FrameError(f"a snapshot of the state has more than {MAX_KEYS} keys")
        if self.bytes > MAX_BYTES:
            raise FrameError(f"a snapshot of the state has more than {MAX_BYTES} bytes")
        self._applied += page.applied
        if page.last or len(self._applied) > APPLIED_NODES:
            self.applied.load(self._applied)
        if page.last:
            for key, value in self._growing.items():
                self.items[key] = structs.replace(self.items[key], value=bytes(value))
        return page.last

    def _take(self, page: State) -> None:
        for place, item in enumerate(page.items):
            former = self.items.get(item.key)
            if former is not None:
                if place or page.page < 1 or (item.key, item.version) != (self._last_key, former.version):
                    raise FrameError("a key comes once in a snapshot, or its value goes on in the next page")
                self._go_on(former, item)
                continue
            key_bytes = item_bytes(item.key, None)
            if key_bytes > MAX_KEY_BYTES:
                raise FrameError(f"a key of the state has at most {MAX_KEY_BYTES} bytes, got {key_bytes}")
            self.items[item.key] = item
            self.bytes += key_bytes + len(item.value)
        if page.items:
            self._last_key = page.items[-1].key

    def _go_on(self, former: StateItem, item: StateItem) -> None:
        grown = self._growing.get(item.key)
        if grown is None:
            grown = self._growing[item.key] = bytearray(former.value)
        grown += item.value
        self.bytes += len(item.value)


class StateView:
    """The state at `position`. What is read of it is as new as the last entry that was applied here."""

    def __init__(self) -> None:
        self.items: dict[str, StateItem] = {}
        self.position: Position = (0, 0)
        self.applied = AppliedProposals()
        self._may_jump = True  # what comes next may be the first entry of a term, whose index is any that is higher
        self._listed: tuple[list[StateItem], list[Applied]] | None = None  # for snapshots, until the next change

    def version(self, key: str) -> int:
        """The index of the entry that set the key; 0: it is not there."""
        item = self.items.get(key)
        return 0 if item is None else item.version

    def apply(self, entry: Entry) -> StateItem | None:
        """Take the next entry. Returns what the key was. Raises FrameError if it is not the next one."""
        epoch, index = self.position
        is_next = entry.index > index if self._may_jump else entry.index == index + 1
        if not is_next or entry.epoch < epoch:
            raise FrameError(
                f"expected entry {index + 1} of epoch {epoch} or later, got entry {entry.index} of epoch {entry.epoch}"
            )
        self._may_jump = False
        self.position = (entry.epoch, entry.index)
        self._listed = None
        former = self.items.pop(entry.key, None)
        if entry.value is not None:
            self.items[entry.key] = StateItem(entry.key, entry.value, entry.owner, entry.index, entry.proposal)
        if entry.proposal:
            self.applied.add(entry.node, entry.proposal)
        return former

    def adopt(self, coming: StatePages) -> int:
        """Become a snapshot whose last page has come: it replaces everything.

        Returns how many changes that were made here are not in it: 0 if it continues what was here. More than the
        snapshot can tell of may be missing, and what was not acknowledged may be made in it later.
        """
        assert coming.position is not None
        lost = max(coming.applied.lacking(self.applied), int(coming.position[1] < self.position[1]))
        self.items, self.position, self.applied = coming.items, coming.position, coming.applied
        self._may_jump = True
        self._listed = None
        return lost

    def snapshot(self, page_size: int, most: int = 0) -> Iterator[State]:
        """The state as it is now, in pages, as `pages` says; they are made as they are asked for.

        Those of one position share its list: after a restart every node wants one.
        """
        if self._listed is None:
            self._listed = list(self.items.values()), self.applied.dump()
        return pages(self.position, *self._listed, page_size, most)
