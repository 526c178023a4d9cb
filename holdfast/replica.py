"""This node's replica of the state: follows the proxies, proposes changes, and orders them while the node is master.

Owns the view (protocols.nodes.state), the proposals that are under way, and as master the ones to be ordered. One
proxy keeps the state, the keeper; what others say of it counts for nothing. Nothing is ordered without a lease: what
comes before the first one, or during a lapse, waits.
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
    """A change that this node wants. is_sent: to the present keeper."""

    __slots__ = ("frame", "is_sent", "refusal", "settled")

    def __init__(self, frame: frames.Propose) -> None:
        self.frame = frame
        self.is_sent = False
        self.settled = trio.Event()
        self.refusal = ""


class Owners:
    """Who may own a key: a client that is not known counts too, until every proxy that lives has told all of its."""

    def __init__(self, clients: Clients, links: Links) -> None:
        self._clients = clients
        self._links = links

    @property
    def is_certain(self) -> bool:
        return all(map(self._clients.has_snapshot, self._links.alive))

    def __contains__(self, client_id: object) -> bool:
        return client_id in self._clients or not self.is_certain


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
        self._owners = Owners(clients, links)
        self._mastership = mastership
        self._links = links
        self._on_change = on_change
        self._words: dict[Session, tuple[int, str]] = {}  # who keeps the state: what proxies said last, and the epoch
        self._keeper = ""  # the proxy whose word counts
        self._kept_since = 0  # the epoch of what made it so
        self._session: Session | None = None  # with the keeper
        self._pages: list[frames.State] = []  # of a snapshot that is coming in
        self._has_begun = False  # whether the keeper's snapshot has come in its session
        self._has_any = False  # whether any has
        self._proposals: dict[int, Proposal] = {}
        self._to_order: deque[frames.Proposed] = deque()  # bounded by the proxy: it keeps them as well
        self._gone: deque[int] = deque()  # clients whose keys are to be deleted
        self._leading = 0  # the epoch in which this node has begun to order; 0: it has not
        self._must_check = False  # keys may have owners that we do not know and that are gone

    # --- the keeper -------------------------------------------------------------------------------------------------

    @property
    def is_synced(self) -> bool:
        """Whether the state here is the keeper's; or a former one's, while there is none that we could ask."""
        return self._has_begun if self._session is not None else self._has_any

    def kept_by(self, session: Session, keeper: str, epoch: int) -> None:
        """A proxy says who keeps the state in an epoch; "": that it does. epoch 0: it does not know of any."""
        former, _ = self._words.get(session, (0, ""))
        self._words[session] = max(epoch, former), keeper or session.proxy
        self._choose()
        if session is self._session and epoch > former:
            self.new_epoch()  # also if another proxy was faster to tell: what came since was sent before this

    def _choose(self) -> None:
        """The word of the highest epoch counts. An older one does only when who was named in a newer one is gone."""
        if self._words:
            epoch, keeper = max(self._words.values(), key=lambda word: (word[0], word[1] == self._keeper))
            if epoch >= self._kept_since or self._keeper not in self._links.streams:
                self._keeper, self._kept_since = keeper, epoch
        session = self._links.sessions.get(self._keeper)
        if session is self._session:
            return
        self._session = session
        self._has_begun = False
        self._leading = 0
        self._pages.clear()
        self._to_order.clear()
        for proposal in self._proposals.values():
            proposal.is_sent = False
        self._check_sessions()

    def _check_sessions(self) -> None:
        """Those that wait for the state may have it now."""
        for session in list(self._words):
            session.check_synced()

    def lost(self, session: Session) -> None:
        self._words.pop(session, None)
        self._choose()

    # --- following --------------------------------------------------------------------------------------------------

    def page(self, session: Session, frame: frames.State) -> None:
        """A page of the keeper's snapshot. With the last, the view becomes what the keeper has."""
        if session is not self._session:
            return
        self._pages.append(frame)
        if not frame.last:
            return
        self._mastership.saw(frame.epoch)
        snapshot, self._pages = self._pages, []
        self._replace(snapshot)
        self._has_begun = self._has_any = True
        self._submit()
        self._check_sessions()
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
        if session is not self._session:
            return
        self.view.entry(frame)
        self._mastership.saw(frame.epoch)
        if frame.node == self._node:
            self._settle(frame.proposal, "")
        self._on_change(frame.key, frame.value)

    def want_state(self, session: Session, frame: frames.WantState) -> None:
        """The proxy was restarted, or has become the keeper, and we have more than it has."""
        for page in self.view.snapshot(PAGE_ITEMS):
            session.send(page, 64 + sum(32 + item_bytes(item.key, item.value) for item in page.items))

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
        """Send what has to be sent, in order, to the keeper."""
        if self._session is None or not self._has_begun:
            return
        for proposal in self._proposals.values():
            if not proposal.is_sent:
                proposal.is_sent = True
                frame = proposal.frame
                self._session.send(frame, 64 + item_bytes(frame.key, frame.value))

    # --- ordering, as master ----------------------------------------------------------------------------------------

    def proposed(self, session: Session, frame: frames.Proposed) -> None:
        if session is self._session:
            self._to_order.append(frame)
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
        session = self._session
        if session is None or not self._has_begun or not self._mastership.is_acting:
            return
        if self._words[session][0] < self._mastership.epoch:
            return  # what comes from the keeper is not of this epoch yet
        view = self.view
        if not self._leading:
            self._leading = self._mastership.epoch
            for key in view.lead(self._leading, self._owners):
                self._order(session, frames.Proposed("", 0, key, None))
        if not self._owners.is_certain:
            self._must_check = True
        elif self._must_check:
            self._must_check = False
            self._gone.extend(view.owners_but(self._clients))
        while self._gone:
            for key in view.owned_by(self._gone.popleft()):
                self._order(session, frames.Proposed("", 0, key, None))
        while self._to_order:
            self._order(session, self._to_order.popleft())

    def _order(self, session: Session, proposed: frames.Proposed) -> None:
        entry = self.view.order(proposed, self._owners)
        session.send(entry, 64 + 4 * len(entry.node) + item_bytes(entry.key, entry.value))
