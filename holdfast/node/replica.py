"""This node's replica of the state: follows the keeper, and proposes changes to it.

Owns the view (protocols.nodes.state), who keeps the state, and the proposals that are under way. One proxy keeps the
state; what others say of it counts for nothing. Refuses a snapshot that is behind what it has: the heartbeat that
follows tells the keeper so, which asks for ours or raises its own above it.
"""

from collections import OrderedDict
from collections.abc import Callable

import structlog
import trio

from holdfast.node.callbacks import Callbacks
from holdfast.node.effects import check_size, room_in
from holdfast.node.errors import StateConflict, StateError, StateRefused
from holdfast.node.network import Network
from holdfast.node.seams import ProxySession
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.state import PROPOSAL_WINDOW, StatePages, StateView, item_bytes, page_bytes

log = structlog.get_logger("holdfast.node")

PROPOSAL_TIMEOUT = 10.0
PAGE_ITEMS = 500


class Proposal:
    """A change that this node wants. is_abandoned: its caller waits no more. version: what the key has got by it."""

    __slots__ = ("expected", "is_abandoned", "key", "owner", "refusal", "settled", "value", "version")

    def __init__(self, key: str, value: bytes | None, owner: int, expected: int) -> None:
        self.key = key
        self.value = value
        self.owner = owner
        self.expected = expected
        self.is_abandoned = False
        self.settled = trio.Event()
        self.refusal: StateError | None = None
        self.version = 0


class Replica:
    """node: our id. first: number of the first proposal; no other run of this node uses it or one near it.

    on_change: told each key that changed, with its new value, encoded, or None.
    """

    def __init__(
        self,
        node: str,
        first: int,
        links: Network,
        callbacks: Callbacks,
        on_change: Callable[[str, bytes | None], None],
    ) -> None:
        self.view = StateView()
        self._node = node
        self._next = first
        self._links = links
        self._callbacks = callbacks
        self._on_change = on_change
        self._words: dict[
            ProxySession, tuple[int, str]
        ] = {}  # who keeps the state: what proxies said last, and the epoch
        self._keeper = ""  # the proxy whose word counts
        self._kept_since = 0  # the epoch of what made it so
        self._session: ProxySession | None = None  # with the keeper
        self._coming = StatePages()  # a snapshot that is coming in
        self._has_begun = False  # whether the keeper's snapshot has come in its session
        self._is_asked = False  # whether the keeper wants to have what we have
        self._has_any = False  # whether any snapshot has come
        self._waiting: OrderedDict[Proposal, None] = OrderedDict()  # not sent to anybody yet
        self._sent: dict[int, Proposal] = {}  # by number: answered in this order

    # --- the keeper -------------------------------------------------------------------------------------------------

    @property
    def is_synced(self) -> bool:
        """Whether the state here is the keeper's, or will be; or a former one's, while there is none to ask."""
        return self._has_any if self._session is None else self._has_begun or self._is_asked

    def kept_by(self, session: ProxySession, keeper: str, epoch: int) -> None:
        """A proxy says who keeps the state in an epoch; "": that it does. epoch 0: it does not know of any."""
        former, _ = self._words.get(session, (0, ""))
        self._words[session] = max(epoch, former), keeper or session.proxy
        self._choose()

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
        self._coming = StatePages()
        self._has_begun = self._is_asked = False
        self._check_sessions()

    def _check_sessions(self) -> None:
        """Those that wait for the state may have it now."""
        for session in list(self._words):
            session.check_synced()

    def lost(self, session: ProxySession) -> None:
        self._words.pop(session, None)
        self._choose()

    # --- following --------------------------------------------------------------------------------------------------

    def page(self, session: ProxySession, frame: frames.State) -> None:
        """A page of the keeper's snapshot. With the last, the view becomes what the keeper has, unless we have more.

        The keeper may begin another one at any time, also before the last page of this one.
        """
        if session is not self._session:
            return
        if self._coming.position not in (None, (frame.epoch, frame.index)):
            self._coming = StatePages()
        if not self._coming.add(frame):
            return
        coming, self._coming = self._coming, StatePages()
        assert coming.position is not None
        self._has_begun = coming.position >= self.view.position
        if not self._has_begun:
            session.beat()
            return
        self._replace(coming)
        if not self._has_any:
            self._has_any = True
            self._callbacks.release()
        self._propose_again()
        self._check_sessions()

    def _replace(self, coming: StatePages) -> None:
        assert coming.position is not None
        former, position = self.view.items, self.view.position
        if lost := self.view.adopt(coming):
            log.warning("state_given_up", position=position, for_position=coming.position, changes=lost)
        items = self.view.items
        for key in former.keys() - items.keys():
            self._on_change(key, None)
        for key, item in list(items.items()):
            if key not in former or former[key].value != item.value:
                self._on_change(key, item.value)

    def entry(self, session: ProxySession, frame: frames.Entry) -> None:
        if session is not self._session or not self._has_begun:
            return  # another's, or one that follows a snapshot that was behind
        self.view.apply(frame)
        if frame.node == self._node:
            self._settle(frame.proposal, frame.index)
        self._on_change(frame.key, frame.value)

    def want_state(self, session: ProxySession, frame: frames.WantState) -> None:
        """The keeper was restarted, or has just become it, and we have more than it has: it will have what we have."""
        for page in self.view.snapshot(PAGE_ITEMS, room_in(session.max_batch_bytes)):
            session.send(page, page_bytes(page))
        self._is_asked = session is self._session
        self._check_sessions()

    # --- proposing --------------------------------------------------------------------------------------------------

    async def propose(self, key: str, value: bytes | None, owner: int, expected: int) -> int:
        """Have a change made. Returns when it is applied here, the version that the key has got by it, as `State.set`.

        Raises StateConflict if the key does not have the version expected (-1: whatever it is), StateRefused if
        the change is refused, StateError if it is too late.
        """
        proposal = Proposal(key, value, owner, expected)
        try:
            with trio.move_on_after(PROPOSAL_TIMEOUT):
                await self._links.wait_room()
                self.put(proposal)
                await proposal.settled.wait()
                if proposal.refusal is not None:
                    raise proposal.refusal
                return proposal.version
            raise StateError(f"no proxy put the change of {key!r} in order within {PROPOSAL_TIMEOUT:g} s")
        finally:
            self.abandon(proposal)

    def put(self, proposal: Proposal) -> None:
        """Send it as soon as it may be sent; `settled` is set when it is known what came of it."""
        self._waiting[proposal] = None
        self._submit()

    def abandon(self, proposal: Proposal) -> None:
        """Nobody waits for it any more. What was sent may be made all the same."""
        proposal.is_abandoned = True
        self._waiting.pop(proposal, None)

    def refused(self, session: ProxySession, frame: frames.ProposalRefused) -> None:
        proposal = self._sent.get(frame.proposal)
        if session is self._session and proposal is not None:
            if frame.conflict:  # what it is due to has come before
                item = self.view.items.get(proposal.key)
                found = 0 if item is None else item.version
                proposal.refusal = StateConflict(frame.reason, proposal.expected, found)
            else:
                proposal.refusal = StateRefused(frame.reason)
            self._settle(frame.proposal, 0)

    def _settle(self, number: int, version: int) -> None:
        proposal = self._sent.pop(number, None)
        if proposal is not None:
            proposal.version = version
            proposal.settled.set()
            self._submit()

    def _propose_again(self) -> None:
        """A snapshot has come: it tells what was made of our proposals. The others are proposed again, in order."""
        applied = self.view.applied
        former, self._sent = self._sent, {}
        for number, proposal in former.items():
            if (self._node, number) in applied:
                proposal.version = self._version_of(number, proposal.key)
                proposal.settled.set()
            elif not proposal.is_abandoned:
                self._sent[number] = proposal
        for number, proposal in list(self._sent.items()):
            self._send(number, proposal)
        self._submit()

    def _version_of(self, number: int, key: str) -> int:
        """The one that the key got by that proposal. If another change hides it: one that the key never has again."""
        item = self.view.items.get(key)
        if item is None:
            return self.view.position[1]
        return item.version if item.proposal == number else item.version - 1

    def _submit(self) -> None:
        """Send what waits. The numbers under way stay within a window: those may have to be told apart later."""
        while self._has_begun and self._waiting:
            if self._sent and self._next - next(iter(self._sent)) >= PROPOSAL_WINDOW:
                return
            proposal, _ = self._waiting.popitem(last=False)
            self._sent[self._next] = proposal
            self._send(self._next, proposal)
            self._next += 1

    def _send(self, number: int, proposal: Proposal) -> None:
        assert self._session is not None
        key, value, epoch = proposal.key, proposal.value, self.view.position[0]
        size = 64 + item_bytes(key, value)
        try:
            check_size(size, self._session.max_batch_bytes)
        except HoldfastError as error:  # far beyond state.max_value_bytes; the proxy would end the session, not say so
            del self._sent[number]
            proposal.refusal = StateRefused(str(error))
            proposal.settled.set()
            return
        frame = frames.Propose(number, key, value, proposal.owner, proposal.expected, epoch)
        self._session.send(frame, size)
