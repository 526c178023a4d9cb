"""The nodes' state, held by more than half of the members: one proxy's part of it.

Owns our copy, what we know of the others' positions, and which entries are *committed*: nodes are told those only, and
telling them is the acknowledgement. Refuses what is not of the term that we follow, or not from where we take it. It is
told what comes and what time it is, and `take` gives what is to be sent; it knows no links and no limits of the state.

A log whose leader and terms come from the cluster's record (as in Raft, whose paper's sections are named). A *term* is
the version with which a member became keeper, so no two keepers have the same one, nor has one process it twice. A
*position* is (term, index); the keeper of the term alone makes positions of it, each of them once, so equal positions
are equal states. Whoever follows a term takes nothing of an older one from then on.

Why no later state lacks a committed entry.
(a) Within a term there is one sequence, and members hold the beginning of it.
(b) An entry counts when more than half of the members *hold a position of the present term* (5.4.2): so the stamp. The
    entries of older terms below it might still be replaced by others, if members counted that hold them only; above
    it they can't, since a position of the term is later than any of an older one.
(c) From set S, of the record that the keeper follows, to the next. C holds the entry: more than half of S. Those who
    decide on the next set stay in it, and they are half of S at least, if S was *firm*: all members have followed it,
    and more than half of S hold all that was committed before. Exactly half, D, and C have a member in common, and so
    has each set after this one as long as it is not firm itself: until then it takes more than half of it and of the
    last firm set as well (balancer.cluster.changes), and nobody is added to it, so C can't be outvoted without one of
    its own. Confirmed is not enough: {A..E}, C = {A, D, E}; D and E die; {A, B, C} is confirmed while B and C are
    still behind; A dies; and {B, C} would go on without the entry. Who leaves waits for that as well, for a while.
(d) So when the next term begins, the member in common is in its keeper's set. It took the entry before it followed the
    term, because after that it takes none of an older one. The keeper hears from *all* of its set, so from this one
    too, and takes the latest state: no position is later than that one's without having the entry, by (a) and (b).
Evidence that members are dead (their address has another, the store has not seen them for takeover_timeout, the
operator's reset) removes more than votes would. If that was more than half since the last firm set, an entry may have
been held by them only. Nodes have it then: so the keeper looks at what they have before it begins (proxy.nodes.keeper).
"""

from collections import deque

from holdfast.balancer.cluster.copying import Given, Taken
from holdfast.balancer.cluster.keeping import Keeping, Phase, ReplicationCounters
from holdfast.balancer.cluster.recent import Recent, chunks, position_of
from holdfast.balancer.state import Refusal, StateCopy
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.frames import Entry, Propose
from holdfast.protocols.nodes.state import Position, StatePages, item_bytes
from holdfast.protocols.peers.frames import Record
from holdfast.protocols.peers.replication import Entries, Held, Replicated, Stamp, StatePage, Step, WantPage

RETRY = 0.3  # a question is asked again after this; less than a heartbeat, and many times a round trip
NOTHING: Position = (0, 0)


def _rank(position: Position) -> Position:
    """Of two states the one to begin a term with. One without any entry gives way to any: a node may have brought that
    when the term of the other had begun already."""
    return position if position[1] else NOTHING


class Replication:
    """`follow` each record, tell what comes (`received`, `beat`), `tick` now and then, and send what `take` gives.

    keeping: called within all of those. is_keeper: by the record. above: not 0: the state that is to be begun with is
    of this term, or nodes have seen it, so the record needs a later one.
    """

    keeping: Keeping

    def __init__(self, me: str, copy: StateCopy) -> None:
        self.copy = copy
        self.counters = ReplicationCounters()
        self.phase = Phase.OUTSIDE
        self.term = self.above = self._ballot = 0
        self.is_keeper = False
        self.is_held = False  # as keeper: more than half of this set hold all that was committed before it
        self.waits_for: list[str] = []  # as keeper: members that have not told their position
        self._me = me
        self._keeper = ""
        self._members: tuple[str, ...] = ()
        self._quorum = 1
        self._recent = Recent()
        self._held: dict[str, Position] = {}  # as keeper: other members' positions; once begun, those of this term
        self._stamp = NOTHING
        self._held_from = NOTHING  # where we were when this set began
        self.uncommitted: deque[Entry] = deque()  # as keeper: ordered, and not held by more than half yet
        self.uncommitted_bytes = 0
        self._unsent: list[Step] = []
        self._unsent_from = NOTHING  # the position before them
        self._given: Given | None = None
        self._taken: Taken | None = None
        self._source = ""  # whose steps and pages we take
        self._is_behind = False  # and have asked the source
        self._asked_at = float("-inf")
        self._question: tuple[str, Held | WantPage] | None = None

    # --- what is so ---------------------------------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """What we hold, if our term is told with it."""
        return self.copy.position

    @property
    def has_to_send(self) -> bool:
        return bool(self._unsent) or self._question is not None

    @property
    def _keeps(self) -> bool:
        return self.phase not in (Phase.OUTSIDE, Phase.FOLLOWING)

    @property
    def _has_begun(self) -> bool:
        return self.phase in (Phase.BEGINNING, Phase.KEEPING)

    # --- the record ---------------------------------------------------------------------------------------------------

    def follow(self, record: Record, now: float) -> None:
        """The record that our proxy follows from now on."""
        members = record.ids if self._me in record.ids else ()
        is_new = (record.term, record.keeper) != (self.term, self._keeper) or bool(members) != bool(self._members)
        if record.ballot != self._ballot or members != self._members:
            self.is_held = False
            self._held_from = self.position
        self.term, self._keeper, self._ballot = record.term, record.keeper, record.ballot
        self._members, self._quorum = members, record.quorum
        self.is_keeper = bool(members) and record.keeper == self._me
        self._held = {proxy: position for proxy, position in self._held.items() if proxy in members}
        if len(members) == 1:
            self._recent.clear()  # from here on nothing is put there: what is there must lead to our tip
        if is_new:
            self._enter(now)
        elif self._keeps:
            self._go_on(now)

    def _enter(self, now: float) -> None:
        if self._keeps:
            self.keeping.forsake()
        self._held.clear()
        self.uncommitted.clear()
        self._unsent.clear()
        self._given = self._taken = self._question = None
        self._recent.is_copied = self._is_behind = False
        self._source = ""
        self.above = self.uncommitted_bytes = 0
        self.waits_for = []
        if not self._members:
            self.phase = Phase.OUTSIDE
        elif self.is_keeper:
            self.phase = Phase.GATHERING
            self._go_on(now)
        else:
            self.phase = Phase.FOLLOWING
            self._source = self._keeper
            self._want()

    # --- as keeper ----------------------------------------------------------------------------------------------------

    def begin(self, clock: int) -> None:
        """Stamp our copy: the term begins with that. clock: lowest index of what is ordered in it."""
        assert self.phase is Phase.RECOVERING
        assert self.position[0] < self.term
        former = self.position
        self.copy.begin(self.term, clock)
        self._stamp = self.position
        self._held.clear()
        self.counters.takeovers += 1
        self.phase = Phase.BEGINNING
        if len(self._members) > 1:
            self._tell(former, Stamp(*self._stamp))
        self._count()

    def adopt(self, pages: StatePages) -> None:
        """Take a whole state in place of ours: another member's, or what a node has brought before the term begins."""
        former = self.position
        if lost := self.copy.adopt(pages):
            self.keeping.gave_up(former, self.position, lost)
        self._recent.clear()

    def recover(self) -> None:
        """Nothing has been ordered in this term yet, and a node has come that has entries: it is asked for them."""
        assert self.phase is Phase.KEEPING
        self.phase = Phase.RECOVERING

    def raise_term(self, above: int) -> None:
        """The keeper needs a later term than that: `lead` follows, in one."""
        self.above = above

    def order(self, node: str, propose: Propose) -> Entry | Refusal | None:
        """As the copy does. `committed` follows when more than half have it; within this call if we are alone."""
        former, outcome = self.position, self.copy.order(node, propose, self.term)
        if isinstance(outcome, Entry):
            self._append(former, outcome)
        return outcome

    def delete(self, key: str) -> Entry:
        """The owner of the key has gone. Otherwise as `order`."""
        former, entry = self.position, self.copy.order_deletion(key, self.term)
        self._append(former, entry)
        return entry

    def _append(self, former: Position, entry: Entry) -> None:
        assert self.phase is Phase.KEEPING
        if len(self._members) == 1:
            self.keeping.committed(entry)
        else:
            self.uncommitted.append(entry)
            self.uncommitted_bytes += item_bytes(entry.key, entry.value)
            self._tell(former, entry)

    def _tell(self, former: Position, step: Step) -> None:
        self._recent.add(former, step)
        if not self._unsent:
            self._unsent_from = former
        self._unsent.append(step)

    def _go_on(self, now: float) -> None:
        """Something has changed for the keeper."""
        if self._has_begun:
            self._count()
            return
        self.waits_for = [proxy for proxy in self._members if proxy != self._me and proxy not in self._held]
        if self.waits_for:
            return
        latest = max(self._held, key=lambda proxy: _rank(self._held[proxy]), default="")
        if latest and self._lacks(self._held[latest]):
            if self.phase is Phase.RECOVERING:  # one that was given up has joined again
                self.phase = Phase.GATHERING
                self.keeping.forsake()
            if latest != self._source:
                self._source, self._taken = latest, None
                self._want()
            return
        self.is_held |= self.position[1] == 0  # there is no entry yet that anybody could lack
        if self.phase is Phase.GATHERING:
            self._source, self._taken, self._is_behind, self.phase = "", None, False, Phase.RECOVERING
            self.keeping.lead(now)

    def _count(self) -> None:
        """What more than half of the members hold."""
        held = [self.position if proxy == self._me else self._held.get(proxy, NOTHING) for proxy in self._members]
        position = min(sorted(held, reverse=True)[self._quorum - 1], self.position)
        if position < self._stamp:
            return
        self.is_held |= position >= self._held_from
        if self.phase is Phase.BEGINNING:
            self.phase = Phase.KEEPING
            self.keeping.begun()
        while self.uncommitted and self.uncommitted[0].index <= position[1]:
            entry = self.uncommitted.popleft()
            self.uncommitted_bytes -= item_bytes(entry.key, entry.value)
            self.keeping.committed(entry)

    # --- what comes ---------------------------------------------------------------------------------------------------

    def received(self, peer: str, frame: Replicated, now: float) -> Entries | StatePage | None:
        """From another proxy. Returns the answer to it, if there is one."""
        if frame.term == self.term and peer in self._members:
            match frame:
                case Held(_, position, wants):
                    return self._held_by(peer, position, wants, now)
                case WantPage(_, position, number) if self._gives_to(peer):
                    return self._page(position, number, now)
                case Entries() if peer == self._source:
                    self._take_steps(frame, now)
                    return None
                case StatePage() if peer == self._source:
                    self._take_page(frame, now)
                    return None
        self.counters.foreign += 1
        return None

    def beat(self, peer: str, term: int, position: Position, now: float) -> None:
        """What a heartbeat says: it finds what was lost with nothing after it."""
        if term != self.term or peer not in self._members:
            return
        if self._keeps:
            self._held_by(peer, position, False, now)
        elif peer == self._source and position[0] == term and self._lacks(position):
            self._is_behind = True

    def tick(self, now: float) -> None:
        if self._keeps:
            self._go_on(now)
        if self._is_behind and now - self._asked_at >= RETRY:
            self._want()
        if self._given is not None and self._given.is_forgotten(now):
            self._given, self._recent.is_copied = None, False

    def take(self, now: float) -> tuple[list[Entries], tuple[str, Held | WantPage] | None]:
        """What is to be published, and what is to be asked of whom."""
        published = []
        former = self._unsent_from
        for steps in chunks(self._unsent):
            tip = position_of(steps[-1])
            published.append(Entries(self.term, former, steps, tip))
            former = tip
        self._unsent.clear()
        question, self._question = self._question, None
        if question is not None:
            self._asked_at = now
        return published, question

    # --- giving -------------------------------------------------------------------------------------------------------

    def _gives_to(self, peer: str) -> bool:
        """Who follows takes from the keeper; the keeper that gathers takes from whoever has most."""
        return peer == self._keeper or self._has_begun

    def _held_by(self, peer: str, position: Position, wants: bool, now: float) -> Entries | StatePage | None:
        if self._keeps:
            counts = not self._has_begun or position[0] == self.term
            if counts and position >= self._held.get(peer, NOTHING):  # else it is late
                self._held[peer] = position
                self._go_on(now)
        if not wants or not self._gives_to(peer):
            return None
        steps = self._recent.after(position)
        if steps or position == self.position:
            return Entries(self.term, position, steps, self.position)
        return self._page(self.position, 0, now)

    def _page(self, position: Position, number: int, now: float) -> StatePage | None:
        """A page of the state that is given at present; the first one, if it is not the state that was asked for."""
        given = self._given
        if given is None or (given.position != self.position and given.position not in self._recent):
            given = self._given = Given(self.copy, now)
            self._recent.is_copied = True
        if position != given.position:
            number = 0
        state = given.page(number, now)
        return None if state is None else StatePage(self.term, number, state)

    # --- taking -------------------------------------------------------------------------------------------------------

    def _lacks(self, position: Position) -> bool:
        """Whether a source that is there has what we have not. Of a term that is none, we have nothing that counts."""
        if self._keeps:
            return _rank(position) > _rank(self.position)
        return position > self.position or self.position[0] > self.term

    def _want(self) -> None:
        """Ask the source for what follows."""
        self._is_behind = True
        taken = self._taken
        page = None if taken is None else WantPage(self.term, taken.position, taken.next)
        self._question = (self._source, page or Held(self.term, self.position, True))

    def _take_steps(self, frame: Entries, now: float) -> None:
        before = self.position
        at = frame.former
        for step in frame.steps:
            if at == self.position and not self._apply(step):
                return
            at = position_of(step)
        if self.position != before:
            self._taken = None
        if self.position == frame.tip:
            self._in_step(now)
        elif self.position != before or (self._lacks(frame.tip) and not self._is_behind):
            self._want()

    def _apply(self, step: Step) -> bool:
        former = self.position
        try:
            if isinstance(step, Entry):
                self.copy.apply(step)
            elif step.index == former[1] and former[0] < step.epoch:
                self.copy.begin(step.epoch)
            else:
                raise FrameError(f"a term begins at {step.epoch, step.index}, and we are at {former}")
        except FrameError:
            self.counters.garbled += 1
            return False
        self._recent.add(former, step)
        return True

    def _in_step(self, now: float) -> None:
        """We have what the source has."""
        self._is_behind = False
        self._taken = None
        if self._keeps:
            self._go_on(now)
        else:
            self._question = (self._source, Held(self.term, self.position))

    def _take_page(self, frame: StatePage, now: float) -> None:
        position = (frame.state.epoch, frame.state.index)
        if not self._lacks(position):
            return  # a late one
        taken = self._taken
        if taken is None or (taken.position != position and frame.page == 0):
            taken = self._taken = Taken(position, StatePages())
        if taken.position != position:
            return
        try:
            is_last = taken.add(frame.page, frame.state)
        except FrameError:
            self.counters.garbled += 1
            self._taken = None
            return
        if is_last:
            self.adopt(taken.pages)
            self._taken = None
            self.counters.copies += 1
        if is_last is not None:
            self._want()
