"""Lanes: the order in which what nodes do to clients is carried out, and how much of it in one turn.

Each run of a node has a lane: its Effects, and its replies that have effects, strictly one after the other. A fan-out
is over before the next effect, a close, the acknowledgement or the reply begins, so last words come before the end and
a client's own notification before its reply. A turn of the reactor does SLICE deliveries' worth of it, whatever a batch
holds, and lanes with work take turns: nobody waits behind another node, but who is master behind who was it before.
What needs no lane (heartbeats, replies without effects, requests) passes. Knows no numbers, limits or sessions: those
are proxy.realtime.effects'.
"""

from collections import deque
from collections.abc import Callable, Sized
from math import inf
from typing import Protocol, cast

import structlog

from holdfast.balancer.directory import Node
from holdfast.balancer.ledger import Entry
from holdfast.balancer.remembered import Remembered
from holdfast.protocols.close import Reason, shown
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import Effect, unpack_ids
from holdfast.proxy.clients.clients import Clients
from holdfast.proxy.clients.session import Session
from holdfast.proxy.metrics import Counters
from holdfast.proxy.realtime.channels import Channels
from holdfast.proxy.realtime.fan_out import FanOut
from holdfast.proxy.realtime.histories import Histories
from holdfast.proxy.realtime.lane import Lane, Work
from holdfast.proxy.realtime.publishing import Publishing

log = structlog.get_logger("holdfast.lanes")

# Deliveries in a turn: 256 sockets take about 2 ms, what a reply may wait behind a fan-out. Smaller slices cost more
# checkpoints. What is no delivery (a join, a channel without anybody) counts as one.
SLICE = 256
BYTES_PER_UNIT = 16 << 10  # of a payload that take as long to write as one delivery
EXCLUDED_PER_UNIT = 64  # ids that take as long to put into a set as one delivery
CRASH_UNITS = 64  # what takes as long as the traceback in the log: a batch that crashes at each effect has its turns


class Replies(Protocol):
    """Who has the requests: proxy.nodes.dispatch."""

    def take(self, node: Node, frame: frames.Reply | frames.HttpReply) -> Entry | None:
        """The reply's turn has come: the request is its. None: nobody waits for it, so it leaves no trace."""
        ...

    def finish(self, node: Node, frame: frames.Answer, entry: Entry | None) -> None:
        """What was before it is done: write it."""
        ...

    def delay(self, node: Node, frame: frames.Answer) -> None:
        """It came, and waits here. `finish` ends that, or `forget` if nobody wants it any more."""
        ...

    def forget(self, frame: frames.Answer) -> None: ...


class Lanes:
    """unanswered: lanes whose node is to be told what was carried out. is_due: one of them must be told now.

    max_bytes: that may be without acknowledgement. repeated: effects that had been done before. update: to be set: who
    keeps what the application keeps of a client. histories: channels that have a log; None: none has.
    """

    update: Callable[[int, bytes], None]
    histories: Histories | None = None

    def __init__(
        self,
        clients: Clients,
        channels: Channels,
        counters: Counters,
        remembered: Remembered,
        max_bytes: int,
        replies: Replies,
    ) -> None:
        self.replies = replies
        self._clients = clients
        self._channels = channels
        self._counters = counters
        self._remembered = remembered
        self._busy: deque[Lane] = deque()
        self._budget = SLICE  # deliveries that are left in this turn
        self.max_bytes = max_bytes
        self._interrupted: deque[Session] = deque()  # to be closed, with nobody left to acknowledge it to
        # How much of masters is not done, by epoch: the oldest first. Nothing comes of an older one than has come.
        self._of_masters: dict[int, int] = {}
        self.unanswered: list[Lane] = []
        self.is_due = False
        self.repeated = 0

    @property
    def busy(self) -> int:
        """Lanes with work that is not done."""
        return len(self._busy)

    def tick(self, now: float) -> None:
        """Now and then: forget requests that are old enough."""
        self._remembered.tick(now)
        if self._remembered.early:
            self._counters.limits_hit["realtime.max_remembered_bytes"] = self._remembered.early

    def as_master(self, work: Work, epoch: int) -> None:
        """To be put next. It begins when nothing of an older epoch is left in any lane, so that nothing of that comes
        after it. That ends: what is before it in its own lane is of no later one, and nothing older is taken."""
        work.epoch = epoch
        self._of_masters[epoch] = self._of_masters.get(epoch, 0) + 1

    def put(self, lane: Lane, work: Work) -> None:
        """Carry it out, at once if nothing is before it and the turn has room."""
        frame = work.frame
        answer = None if isinstance(frame, frames.Effects | frames.Hole) else frame
        if answer is None:
            lane.frames += 1
            lane.bytes += work.size
        else:
            lane.answer_bytes += work.size
        if not lane.is_busy and self._budget > 0:
            lane.work = work
            if self._go_on(lane):
                return
        else:
            lane.queue.append(work)
        if answer is not None:
            work.is_late = True
            self.replies.delay(work.node, answer)
        if not lane.is_busy:
            lane.is_busy = True
            self._busy.append(lane)

    def step(self, now: float) -> bool:
        """Turn's end: go on with what waits. True: more is left, or it has been."""
        self._budget = SLICE
        busy = self._busy
        more = False
        if self.histories is not None:
            more = self.histories.step(now)
            self._budget = self.histories.give_out(self._budget)
        if not busy and not self._interrupted:
            return more
        while self._interrupted and self._budget > 0:
            self._budget -= 1
            self._interrupted.popleft().close(Reason.INTERRUPTED)
        for _ in range(len(busy)):
            lane = busy[0]
            busy.rotate(-1)
            lane.is_waiting = False
            if self._go_on(lane):
                lane.is_busy = False
                busy.pop()
            more |= not lane.is_waiting
            if self._budget <= 0:
                return True
        return more or bool(self._interrupted)

    # ----------------------------------------------------------------------------------------------------------------

    def _go_on(self, lane: Lane) -> bool:
        """With one lane, until it is empty, True, or the turn has had enough.

        The one guard here: what crashes is a fault of ours. It is not done, or not to all, and the log says so; what
        follows it in the lane, and all other lanes, go on.
        """
        while True:
            work = lane.work
            if work is None:
                if not lane.queue:
                    return True
                if self._budget <= 0:
                    return False
                work = lane.work = lane.queue.popleft()
            try:
                if not work.has_begun:
                    if work.epoch and work.epoch > next(iter(self._of_masters)):
                        return False
                    self._begin(work)
                    if not work.effects:
                        self._budget -= 1
                if not self._carry_out(lane, work):
                    return False
                lane.work = None
                self._finish(lane, work)
            except Exception:
                log.exception("effect_crashed", node=work.node.id)
                lane.fan_out = None
                self._budget -= CRASH_UNITS

    def _begin(self, work: Work) -> None:
        """Its turn has come, so now is decided whether it is done at all, and to whom. Not, if that crashes."""
        work.has_begun = True
        effects, work.effects = work.effects, []
        frame = work.frame
        if isinstance(frame, frames.Effects):
            if frame.request and not self._remembered.add(frame.home, frame.request, frame.part):
                self.repeated += 1
                return
        elif isinstance(frame, frames.Hole):
            effects = self._clients.all_sessions()
            self._missing(work.node.id, effects)
        elif not isinstance(frame, frames.Failure):
            work.entry = self.replies.take(work.node, frame)
            if work.entry is None:
                return
        if self.histories is not None and not isinstance(frame, frames.Hole):
            effects = self.histories.begin(work.node, frame, cast("list[Effect]", effects))
        work.effects = effects

    def _carry_out(self, lane: Lane, work: Work) -> bool:
        """Go on with its effects. False: the turn has had enough."""
        channels = self._channels
        effects = work.effects
        before = budget = self._budget
        fan_out = lane.fan_out
        try:
            while True:
                if fan_out is not None:
                    units = 1 + len(fan_out.payload) // BYTES_PER_UNIT
                    count = max(1, budget // units)
                    budget -= units * count
                    budget += units * channels.deliver(fan_out, count)
                    if not fan_out.is_done:
                        break
                    fan_out = None
                if budget <= 0 or work.place == len(effects):
                    break
                effect = effects[work.place]
                work.place += 1
                if isinstance(effect, frames.Notify):
                    budget -= len(effect.exclude) // (8 * EXCLUDED_PER_UNIT)
                    fan_out = FanOut(
                        effect.payload,
                        effect.is_text,
                        effect.channels,
                        unpack_ids(effect.clients) if effect.clients else (),
                        self._excluded(effect.exclude),
                        lane.vain if isinstance(work.frame, frames.Effects) else None,
                        effect.tail,
                        sender=effect.sender,
                    )
                    self._counters.notifications += 1
                    budget -= fan_out.is_done
                elif isinstance(effect, frames.Broadcast):
                    budget -= len(effect.exclude) // (8 * EXCLUDED_PER_UNIT)
                    fan_out = channels.broadcast(effect.payload, effect.is_text, self._excluded(effect.exclude))
                    self._counters.notifications += 1
                    budget -= fan_out.is_done
                else:
                    budget -= 1
                    if isinstance(effect, frames.Join):
                        if self.histories is not None and not self.histories.may_join(effect.channel):
                            work.place -= 1
                            lane.is_waiting = True
                            return False
                        channels.join(effect.client, effect.channel, effect.version)
                    elif isinstance(effect, frames.Leave):
                        under_way = self.under_way()
                        channels.leave(effect.client, effect.channel, under_way, effect.version)
                        budget -= len(under_way) // EXCLUDED_PER_UNIT
                    elif isinstance(effect, frames.CloseClient):
                        self.kick(effect.client, effect.reason, effect.code)
                    elif isinstance(effect, frames.Update):
                        self._update(effect)
                    elif isinstance(effect, FanOut):
                        fan_out = effect
                    elif isinstance(effect, Publishing):
                        assert self.histories is not None
                        if not self.histories.is_done(effect):
                            budget = self.histories.give_out(budget)
                            if not self.histories.is_done(effect):
                                work.place -= 1
                                lane.is_waiting = budget > 0
                                return False
                    else:
                        effect.close(Reason.INTERRUPTED)
        finally:  # what one that crashes has cost counts too
            lane.fan_out = fan_out
            work.cost += before - budget
            self._budget = budget
        return fan_out is None and work.place == len(effects)

    def under_way(self) -> list[FanOut]:
        """Fan-outs that have begun."""
        begun = [lane.fan_out for lane in self._busy if lane.fan_out is not None]
        return begun if self.histories is None else begun + self.histories.under_way()

    def _update(self, effect: frames.Update) -> None:
        if effect.data is not None:
            self.update(effect.client, effect.data)
        if effect.expires is not None and (session := self._clients.find(effect.client)) is not None:
            session.connection.expire_in(effect.expires)

    def _excluded(self, packed: bytes) -> set[int] | None:
        return set(unpack_ids(packed)) if packed else None

    def _finish(self, lane: Lane, work: Work) -> None:
        frame = work.frame
        if isinstance(frame, frames.Effects | frames.Hole):
            if work.epoch:
                self._done_as_master(work.epoch)
            lane.frames -= 1
            lane.bytes -= work.size
            lane.done = frame.number
            lane.average = lane.average + (work.cost - lane.average) / 8 if lane.average else float(work.cost)
            lane.unsaid += 1
            lane.unsaid_bytes += work.size
            self.acknowledge(lane)
            # Else soon: an acknowledgement for each costs as much as ten deliveries. But somebody may wait for it.
            if (
                4 * lane.unsaid >= lane.window
                or 4 * lane.unsaid_bytes >= self.max_bytes
                or lane.vain
                or (isinstance(frame, frames.Effects) and frame.home)
            ):
                self.is_due = True
            return
        lane.answer_bytes -= work.size
        if work.is_late:
            self.replies.forget(frame)
        if work.entry is not None or isinstance(frame, frames.Failure):
            self.replies.finish(work.node, frame, work.entry)

    def _done_as_master(self, epoch: int) -> None:
        self._of_masters[epoch] -= 1
        if not self._of_masters[epoch]:
            del self._of_masters[epoch]

    def interrupt(self, node: str, before: float = inf) -> None:
        """A node is lost, and has told other proxies of what it had for our clients that came before then: as a Hole,
        which it can't send."""
        sessions = [session for session in self._clients.all_sessions() if session.since < before]
        self._missing(node, sessions)
        self._interrupted += sessions

    def _missing(self, node: str, sessions: Sized) -> None:
        if sessions:
            log.warning("effects_missing", node=node, clients=len(sessions))

    def acknowledge(self, lane: Lane) -> None:
        """Have its node told what is done."""
        if not lane.is_unanswered:
            lane.is_unanswered = True
            self.unanswered.append(lane)

    def kick(self, client: int, reason: str, code: int = 0) -> bool:
        """Close a client's connection. code: see CloseClient. False: there is no such client."""
        session = self._clients.find(client)
        if session is None:
            return False
        session.close(Reason.KICKED, shown(reason), code)
        return True
