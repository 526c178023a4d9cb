"""What goes to one proxy: kept until it is acknowledged, sent again in the next session.

Owns what has been sent and not acknowledged, how much of that there may be, and what is withheld because the proxy has
nobody for it. Refuses to skip anything: what can't be kept, or turns out to be larger than the proxy takes, is replaced
by a Hole, by which the proxy closes the clients that would miss it.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import inf
from typing import NamedTuple

import structlog
import trio
from msgspec import Raw

from holdfast.node.effects import room_in
from holdfast.node.failures import Failures
from holdfast.node.seams import ProxySession
from holdfast.protocols.nodes.effects import ALL, FIRST_WINDOW, MAX_PENDING, AsMaster, Effect, Effects, Hole, Identity
from holdfast.protocols.nodes.frames import encode_frame

log = structlog.get_logger("holdfast.node")

MAX_KEPT_BYTES = 64 << 20  # for each proxy
# A proxy to which a node had no way for so long is dead to it, and its clients are better told than served so late.
MAX_KEPT_SECONDS = 60.0
OVERHEAD = 64  # number, home, request and part

Effective = Effect | AsMaster


class Origin(NamedTuple):
    """Of the effects of a request: the proxy that has it, its id, the part of the reply. request 0: they are its
    handler's, but of no reply. home "": of no request; nobody waits for them.
    """

    home: str = ""
    request: int = 0
    part: int = 0


NOWHERE = Origin()


class Kept(NamedTuple):
    """On its way, until it is acknowledged. since: when it was made."""

    number: int
    frame: Raw
    size: int
    since: float
    origin: Origin = NOWHERE

    @property
    def is_hole(self) -> bool:
        return self.since == inf


def hole(number: int) -> Kept:
    """In place of what has this number."""
    return Kept(number, encode_frame(Hole(number)), OVERHEAD, inf)


@dataclass(slots=True, eq=False)
class Withheld:
    """What a proxy need not be sent, by its word. is_out: it has been sent all the same."""

    effects: Sequence[Effective]
    origin: Origin
    channels: Collection[str]
    size: int
    place: int  # among all that is withheld from this proxy
    is_out: bool = False


@dataclass(slots=True, eq=False)
class Turn:
    """A reply's, in a stream. after: the number of the last that was to leave before it."""

    stream: "Stream"
    after: int

    def end(self) -> None:
        """The reply has left, or never will."""
        self.stream.end_turn(self)


class Stream:
    """To one proxy. session: the present one with it, if there is any. lost_at: since when there is none.

    acknowledged: highest number that it has. sent: in this session, and not acknowledged. waiting: for room to be sent,
    or for a session. changed: something was acknowledged, sent or muted, or the session is another. owed: while there
    was no session this was the last that waited for one; 0: the proxy has it, and would miss nothing if we died.
    shared: number of the last that goes to other proxies, too.
    owes: told when `owed` begins or ceases to be above 0.
    """

    def __init__(self, numbers: "Numbers", now: float, owes: Callable[[], None], failures: Failures) -> None:
        self._numbers = numbers
        self._failures = failures
        self._owes = owes
        self.session: ProxySession | None = None
        self.lost_at = now
        self.acknowledged = self.owed = self.shared = 0
        self.sent: deque[Kept] = deque()
        self.sent_bytes = 0
        self.waiting: deque[Kept] = deque()
        self.waiting_bytes = 0
        self.muted: set[str] = set()
        self.withheld: dict[str, deque[Withheld]] = {}  # by channel
        self.withheld_bytes = 0
        self._places = 0
        self._asked: deque[tuple[float, int, int]] = deque()  # heartbeats: stamp, last place and last number before it
        self._heard = -inf  # stamp of the last heartbeat that was answered
        self._window = FIRST_WINDOW
        self._max_bytes: int  # these two as the session's proxy says
        self._largest: int
        self._joins: dict[str, int] = {}  # channel: a Mute before this is acknowledged may not know of our Join
        self.turns: deque[Turn] = deque()  # of replies that wait for what was sent before them
        self.changed = trio.lowlevel.ParkingLot()

    # --- sending ----------------------------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """More may not be sent before something is acknowledged. Without a session nobody waits for that."""
        return self.session is not None and not self._has_room  # what waits has found no room

    @property
    def _has_room(self) -> bool:
        return len(self.sent) < self._window and self.sent_bytes < self._max_bytes

    def keep(self, kept: Kept) -> None:
        """Send it, now or when there is room or a session."""
        self.waiting.append(kept)
        self.waiting_bytes += kept.size
        if self.waiting_bytes + self.withheld_bytes > MAX_KEPT_BYTES:
            self.listen()  # so that there is one queue, in order
        self._flow()
        if self.waiting_bytes > MAX_KEPT_BYTES:  # and can't be sent
            self._drop(len(self.waiting))
        if self.session is None:
            self.owe()

    @property
    def due(self) -> int:
        """The last that others are told of, if it dies with us; 0: nothing.

        Without a session, or while that has not brought all of before: whatever comes, since nobody is told of each.
        Else what was sent, or waits for room while other proxies have it.
        """
        if self.owed:
            return ALL
        last = self.sent[-1].number if self.sent else 0
        return max(last, self.shared) if self.waiting and self.waiting[0].number <= self.shared else last

    def pending(self) -> tuple[int, list[Identity]] | None:
        """Of what is `due`: the number of the last that is of no request, and the identities of the others. None: there
        are none, or more than can be said. Linear in what is not acknowledged."""
        if self.owed:
            return None
        final, due = 0, self.due
        requests: dict[Identity, None] = {}
        for kept in (*self.sent, *takewhile(lambda kept: kept.number <= due, self.waiting)):
            if kept.origin.request:
                requests[kept.origin] = None
            else:
                final = kept.number
        return (final, [*requests]) if 0 < len(requests) <= MAX_PENDING else None

    def owe(self) -> None:
        """What is not acknowledged is lost if we die now: others have to know, before we say that it is done."""
        former, self.owed = self.owed, self.last
        if self.owed and not former:
            self._owes()

    def _flow(self) -> None:
        session = self.session
        while session is not None and self.waiting and self._has_room:
            if self.turns and self.waiting[0].number > self.turns[0].after:
                break  # it goes behind that reply
            kept = self.waiting.popleft()
            self.waiting_bytes -= kept.size
            if kept.size > self._largest:  # nobody could ask when it was kept
                if self._failures.admits("effects_given_up"):
                    log.warning("effects_given_up", proxy=session.proxy, count=1, limit=self._largest, bytes=kept.size)
                kept = hole(kept.number)
            self.sent.append(kept)
            self.sent_bytes += kept.size
            session.send(kept.frame, kept.size)

    def begin_turn(self) -> "Turn":
        """Of a reply that has effects: behind all that waits, and before all that comes later, until it is ended."""
        turn = Turn(self, self.waiting[-1].number if self.waiting else 0)
        self.turns.append(turn)
        return turn

    def is_turn(self, turn: "Turn") -> bool:
        """All that is before it has left."""
        return self.turns[0] is turn and not self.has_waiting(turn.after)

    def end_turn(self, turn: "Turn") -> None:
        if turn in self.turns:  # else the session is over
            self.turns.remove(turn)
            self._flow()
            self.changed.unpark_all()

    def has_waiting(self, number: int) -> bool:
        """Whether any up to this number has not left."""
        return bool(self.waiting) and self.waiting[0].number <= number

    def _drop(self, count: int) -> None:
        """Give up so many that wait: a hole is in their place."""
        for _ in range(count):
            kept = self.waiting.popleft()
            self.waiting_bytes -= kept.size
        self.waiting.appendleft(hole(kept.number))
        self.waiting_bytes += OVERHEAD

    def give_up_old(self, now: float) -> int:
        """Without a session: what was kept for too long. Returns how much that was."""
        end = count = 0
        if self.session is None:
            for place, kept in enumerate(self.waiting, 1):
                if kept.since == inf:
                    continue  # a hole
                if now - kept.since <= MAX_KEPT_SECONDS:
                    break
                end, count = place, count + 1
        if end:
            self._drop(end)
        return count

    # --- sessions ---------------------------------------------------------------------------------------------------

    def has_seen(self, number: int) -> None:
        """The proxy of the session that is to follow has all up to this number."""
        while self.waiting and self.waiting[0].number <= number:
            self.waiting_bytes -= self.waiting.popleft().size

    def attach(self, session: ProxySession, seen: int) -> None:
        self.session = session
        self._window = FIRST_WINDOW
        self._max_bytes = session.max_unacknowledged_bytes
        self._largest = room_in(session.max_batch_bytes)
        self.has(seen)

    def detach(self, now: float) -> None:
        """What is not acknowledged goes again in the next session, and what was withheld: nobody says any more that it
        need not be sent."""
        self.session = None
        self.lost_at = now
        self.waiting.extendleft(reversed(self.sent))
        self.waiting_bytes += self.sent_bytes
        self.sent.clear()
        self.sent_bytes = 0
        self._joins.clear()
        self.turns.clear()
        self.listen()
        self.owe()
        self.changed.unpark_all()

    def has(self, number: int, window: int = FIRST_WINDOW) -> None:
        """The proxy has all up to this number, and takes so many more before it says so again."""
        self.acknowledged = max(self.acknowledged, number)
        self._window = window
        while self.sent and self.sent[0].number <= number:
            self.sent_bytes -= self.sent.popleft().size
        for channel in [channel for channel, joined in self._joins.items() if joined <= number]:
            del self._joins[channel]
        self._forget()
        self._flow()
        self.changed.unpark_all()
        if 0 < self.owed <= number:
            self.owed = 0
            self._owes()

    # --- channels without anybody -----------------------------------------------------------------------------------

    def joins(self, channels: Iterable[str], number: int) -> None:
        """The proxy will have somebody in these when it has this: what it says of them until then does not count."""
        if number > self.acknowledged:
            self._joins.update(dict.fromkeys(channels, number))

    @property
    def last(self) -> int:
        """Number of the last that is not acknowledged; 0: there is none."""
        if self.waiting:
            return self.waiting[-1].number
        return self.sent[-1].number if self.sent else 0

    def mute(self, channels: Iterable[str]) -> None:
        """Nobody is in these. The proxy did not yet know of joins that it has not acknowledged."""
        self.muted.update(channel for channel in channels if channel not in self._joins)

    def unmute(self, channels: Iterable[str]) -> None:
        """Somebody is: what was withheld in the moment of the join is sent, in order."""
        self.muted.difference_update(channels)
        self.release(channels)

    def release(self, channels: Iterable[str]) -> None:
        """Something for these is sent: what was withheld of them comes before it, and what comes before that."""
        todo, before = [*channels], list[Withheld]()
        while todo:
            for each in self.withheld.pop(todo.pop(), ()):
                if not each.is_out:
                    each.is_out = True
                    before.append(each)
                    todo += each.channels
        self._send_withheld(before)

    def listen(self) -> None:
        """As if nothing had ever been muted."""
        self.muted.clear()
        self._asked.clear()
        self._heard = -inf
        self.release([*self.withheld])

    def withhold(self, effects: Sequence[Effective], origin: Origin, channels: Collection[str], size: int) -> None:
        """Nobody is in these channels, as far as we know. The proxy is asked, so that it is soon known."""
        self._places += 1
        withheld = Withheld(effects, origin, channels, size, self._places)
        for channel in channels:
            self.withheld.setdefault(channel, deque()).append(withheld)
        self.withheld_bytes += size
        if self.waiting_bytes + self.withheld_bytes > MAX_KEPT_BYTES:
            self.listen()
        else:
            assert self.session is not None  # without one nothing is muted
            self.session.beat_soon()

    def _send_withheld(self, withheld: list[Withheld]) -> None:
        for each in sorted(withheld, key=lambda each: each.place):
            self.withheld_bytes -= each.size
            self.keep(self._numbers.number(each.effects, each.origin, each.size))

    def asked(self, stamp: float) -> None:
        """A heartbeat is sent, with a stamp of its own."""
        if self.withheld and (not self._asked or self._asked[-1][1] < self._places):
            self._asked.append((stamp, self._places, self.last))

    def answered(self, stamp: float) -> None:
        """The answer to a heartbeat: whoever had joined before what was withheld before that, we would know of.

        But not who joins before it is the turn of what was sent before that: who hears the one would miss the other.
        """
        self._heard = max(self._heard, stamp)
        self._forget()

    def _forget(self) -> None:
        place = 0
        while self._asked and self._asked[0][0] <= self._heard and self._asked[0][2] <= self.acknowledged:
            _, place, _ = self._asked.popleft()
        if not place:
            return
        for channel, queue in list(self.withheld.items()):
            while queue and (queue[0].is_out or queue[0].place <= place):
                each = queue.popleft()
                if not each.is_out:
                    each.is_out = True
                    self.withheld_bytes -= each.size
            if not queue:
                del self.withheld[channel]


class Numbers:
    """Of all streams of a run of the node. last: the highest."""

    def __init__(self) -> None:
        self.last = 0

    def next(self) -> int:
        self.last += 1
        return self.last

    def number(self, effects: Sequence[Effective], origin: Origin, size: int) -> Kept:
        self.next()
        frame = encode_frame(Effects(self.last, list(effects), *origin))
        return Kept(self.last, frame, size, trio.current_time(), origin)
