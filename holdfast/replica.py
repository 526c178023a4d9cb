"""This node's replica of the state: follows the proxies, proposes changes, and orders them while the node is master.

Owns the view (protocols.nodes.state), the proposals that are under way, and as master the ones to be ordered. Every
proxy relays the same entries, so with several each one is taken from whoever brings it first. Nothing is ordered
without a lease: what comes before the first one, or during a lapse, waits.
"""

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

import trio

from holdfast.clients import Clients
from holdfast.errors import StateError
from holdfast.links import Links
from holdfast.mastership import Mastership
from holdfast.session import Session
from protocols.nodes import frames
from protocols.nodes.state import StateView, item_bytes

PROPOSAL_TIMEOUT = 10.0
PAGE_ITEMS = 500

OnState = Callable[[str, Any], Any]


class Proposal:
    """A change that this node wants. session: where it was sent; None: it has to be sent."""

    __slots__ = ("frame", "refusal", "session", "settled")

    def __init__(self, frame: frames.Propose) -> None:
        self.frame = frame
        self.session: Session | None = None
        self.settled = trio.Event()
        self.refusal = ""


class Replica:
    """node: our id. first: number of the first proposal; no other run of this node uses it or one near it.

    on_change: told each key that changed, with its new value, encoded, or None.
    """

    def __init__(
        self,
        node: str,
        first: int,
        clients: Clients,
        mastership: Mastership,
        links: Links,
        on_change: Callable[[str, bytes | None], None],
    ) -> None:
        self.view = StateView()
        self._node = node
        self._numbers = count(first)
        self._clients = clients
        self._mastership = mastership
        self._links = links
        self._on_change = on_change
        self._pages: dict[Session, list[frames.State]] = {}  # snapshots that are coming in
        self._synced: dict[Session, None] = {}  # sessions whose snapshot has come, oldest first
        self._proposals: dict[int, Proposal] = {}
        self._to_order: deque[tuple[Session, frames.Proposed]] = deque()  # bounded by the proxy: it keeps them as well
        self._gone: deque[int] = deque()  # clients whose keys are to be deleted
        self._leading = 0  # the epoch in which this node has begun to order; 0: it has not

    # --- following --------------------------------------------------------------------------------------------------

    def page(self, session: Session, frame: frames.State) -> None:
        """A page of a proxy's snapshot. With the last, the view becomes what the proxy has, unless it has more."""
        snapshot = self._pages.setdefault(session, [])
        snapshot.append(frame)
        if not frame.last:
            return
        del self._pages[session]
        self._mastership.saw(frame.epoch)
        others = self._synced.keys() - {session}
        if not others or (frame.epoch, frame.index) > self.view.position:
            self._replace(snapshot)
        self._synced[session] = None
        self._submit()
        self.lead()

    def _replace(self, snapshot: list[frames.State]) -> None:
        former = self.view.items
        self._leading = 0
        self.view.welcome()
        for page in snapshot:
            self.view.page(page)
        items = self.view.items
        for key in former.keys() - items.keys():
            self._on_change(key, None)
        for key, item in list(items.items()):
            if key not in former or former[key].value != item.value:
                self._on_change(key, item.value)

    def entry(self, session: Session, frame: frames.Entry) -> None:
        if frame.index <= self.view.position[1] and len(self._synced) > 1:
            return  # another proxy was faster
        self.view.entry(frame)
        self._mastership.saw(frame.epoch)
        if frame.node == self._node:
            self._settle(frame.proposal, "")
        self._on_change(frame.key, frame.value)

    def want_state(self, session: Session, frame: frames.WantState) -> None:
        """The proxy was restarted, and we have more than it has."""
        for page in self.view.snapshot(PAGE_ITEMS):
            session.send(page, 64 + sum(32 + item_bytes(item.key, item.value) for item in page.items))

    def lost(self, session: Session) -> None:
        self._pages.pop(session, None)
        self._synced.pop(session, None)
        self._leading = 0
        self._to_order = deque(waiting for waiting in self._to_order if waiting[0] is not session)
        for proposal in self._proposals.values():
            if proposal.session is session:
                proposal.session = None
        self._submit()

    # --- proposing --------------------------------------------------------------------------------------------------

    async def propose(self, key: str, value: bytes | None, owner: int) -> None:
        """Have a change made. Returns when it is applied here; raises StateError if it is refused, or too late."""
        number = next(self._numbers)
        proposal = self._proposals[number] = Proposal(frames.Propose(number, key, value, owner))
        try:
            with trio.move_on_after(PROPOSAL_TIMEOUT):
                await self._links.wait_room()
                self._submit()
                await proposal.settled.wait()
                if proposal.refusal:
                    raise StateError(proposal.refusal)
                return
            raise StateError(f"no master put the change of {key!r} in order within {PROPOSAL_TIMEOUT:g} s")
        finally:
            del self._proposals[number]

    def refused(self, session: Session, frame: frames.ProposalRefused) -> None:
        self._settle(frame.proposal, frame.reason)

    def _settle(self, number: int, refusal: str) -> None:
        proposal = self._proposals.get(number)
        if proposal is not None:
            proposal.refusal = refusal
            proposal.settled.set()

    def _submit(self) -> None:
        """Send what has to be sent, in order, to a proxy that will stay."""
        session = next(iter(self._synced), None)
        if session is None:
            return
        for proposal in self._proposals.values():
            if proposal.session is None:
                proposal.session = session
                frame = proposal.frame
                session.send(frame, 64 + item_bytes(frame.key, frame.value))

    # --- ordering, as master ----------------------------------------------------------------------------------------

    def proposed(self, session: Session, frame: frames.Proposed) -> None:
        self._to_order.append((session, frame))
        self.lead()

    def new_epoch(self) -> None:
        """What was to be ordered in the former epoch is sent anew to the master of this one."""
        self._to_order.clear()
        self._gone.clear()
        self._leading = 0

    def owner_gone(self, client: int) -> None:
        """A client has gone: if this node is master, its keys go too."""
        if self._leading:
            self._gone.append(client)
            self.lead()

    def lead(self) -> None:
        """If this node acts as master: order what waits. To be called after each renewal of the lease."""
        if not self._mastership.is_acting or not self._synced:
            return
        view, clients = self.view, self._clients
        session = next(iter(self._synced))
        if not self._leading:
            self._leading = self._mastership.epoch
            for key in view.lead(self._leading, clients):
                self._order(session, frames.Proposed("", 0, key, None))
        while self._gone:
            for key in view.owned_by(self._gone.popleft()):
                self._order(session, frames.Proposed("", 0, key, None))
        while self._to_order:
            self._order(*self._to_order.popleft())

    def _order(self, session: Session, proposed: frames.Proposed) -> None:
        entry = self.view.order(proposed, self._clients)
        session.send(entry, 64 + 4 * len(entry.node) + item_bytes(entry.key, entry.value))
