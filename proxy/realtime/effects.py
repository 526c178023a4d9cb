"""What nodes do to clients and channels: what comes in is checked, numbered and bounded here, and done in their lanes.

Owns what is known of each run of a node: which of its effects have come, so that what comes again in another session is
not done again, and how much of them waits. Says what was carried out, and how much more may be sent before it is.
Refuses effects that can't be read, those of a master that is none, and more than a window allows, by far. It is by the
window that a node which publishes faster than clients take is slowed, at its own `await`, and nobody else.
"""

from collections.abc import Callable

from holdfast.balancer.directory import Node, NodeState
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import FIRST_WINDOW, MAX_EFFECTS, AsMaster, Effect, check_ids, weigh
from holdfast.proxy.metrics import Counters
from holdfast.proxy.realtime.lane import Lane, Work
from holdfast.proxy.realtime.lanes import Lanes
from holdfast.proxy.realtime.mutes import Mutes

STREAM_SECONDS = 600.0  # how long a node without a session is remembered; it numbers on if it comes back
MAX_GONE = 10_000  # such nodes, 1 KiB each. One that comes back is back in seconds: those before it can be as many
# A window is as many Effects as make half a second of deliveries: enough for a node never to wait for a round trip, and
# what its lane holds is what a change of rate takes to be felt.
TARGET_DELIVERIES = 50_000
MIN_WINDOW, MAX_WINDOW = FIRST_WINDOW, 1024
# A window may have been larger when it was used, and a session begins with a new one. Beyond that it is ignored.
TOLERANCE = 4
OVERHEAD = 64  # bytes of a reply, and of a header of it, beside what it says: those that say nothing count too
MAX_HOME = 64  # characters of Effects.home: it is remembered


class Effects:
    """heeds: whether what a node does as master of an epoch counts; then nothing of an older one does any more.
    refuse: answers a request whose effects have no room.
    """

    def __init__(
        self,
        lanes: Lanes,
        mutes: Mutes,
        counters: Counters,
        heeds: Callable[[Node, int], bool],
        refuse: Callable[[Node, frames.Answer], None],
    ) -> None:
        self._heeds = heeds
        self._refuse = refuse
        self.lanes = lanes
        self._mutes = mutes
        self._counters = counters
        self._of: dict[str, Lane] = {}  # with a session
        self._gone: dict[str, Lane] = {}  # without one, in the order in which they went

    # --- sessions -------------------------------------------------------------------------------------------------

    def seen(self, node: Node) -> int:
        """A session begins. Returns the number of the last effects of this run of the node that have come."""
        lane = self._gone.pop(node.id, None)
        if lane is not None and lane.node.incarnation == node.incarnation:
            lane.node = node
            lane.window = FIRST_WINDOW
        else:
            lane = Lane(node)  # what a former run has sent is done all the same
        self._of[node.id] = lane
        return lane.last

    def lost(self, node: Node, now: float) -> int:
        """The session is over. Called before another one of the same node begins. What has come is still done.

        Returns the number of the last effects of this run that have come.
        """
        self._mutes.lost(node)
        lane = self._of.get(node.id)
        if lane is None or lane.node is not node:
            return 0
        del self._of[node.id]
        if lane.last or lane.is_busy:  # else there is nothing to remember
            lane.gone_at = now
            gone = self._gone
            gone[node.id] = lane
            if len(gone) > MAX_GONE:
                del gone[next(iter(gone))]
                self._counters.limits_hit["node.gone"] += 1
        return lane.last

    def come(self, node: str, incarnation: int) -> int:
        """The number of the last effects of this run that have come in its session; -1: it has none."""
        lane = self._of.get(node)
        return lane.last if lane is not None and lane.node.incarnation == incarnation else -1

    def tick(self, now: float) -> None:
        """Now and then: forget what is old enough."""
        self.lanes.tick(now)
        self.answer()
        gone = self._gone
        while gone and now - gone[oldest := next(iter(gone))].gone_at > STREAM_SECONDS:
            del gone[oldest]

    # --- what comes -------------------------------------------------------------------------------------------------

    def take(self, node: Node, frame: frames.Effects) -> None:
        """Carry them out in their turn, unless they have come before. `answer` must follow when the batch is taken."""
        lane = self._of[node.id]
        if frame.number <= lane.last:
            self.lanes.repeated += 1
            self.lanes.acknowledge(lane)
            return
        if len(frame.home) > MAX_HOME:
            raise FrameError(f"the id of a proxy has at most {MAX_HOME} characters, got {len(frame.home)}")
        self._admit(lane)
        effects: list[Effect] = []
        size = epoch = 0
        count = len(frame.effects)
        for effect in frame.effects:
            if isinstance(effect, AsMaster):
                count += len(effect.effects)
                if count > MAX_EFFECTS:
                    raise FrameError(f"Effects hold at most {MAX_EFFECTS} effects, with those as master")
                for inner in effect.effects:
                    check_ids(inner)
                if self._heeds(node, effect.epoch):
                    effects += effect.effects
                    epoch = effect.epoch
                else:
                    self._counters.stale_effects += 1
            else:
                check_ids(effect)
                effects.append(effect)
            size += weigh(effect)
        lane.last = frame.number
        work = Work(node, frame, effects, size)
        if epoch:
            self.lanes.as_master(work, epoch)
        self.lanes.put(lane, work)

    def hole(self, node: Node, frame: frames.Hole) -> None:
        """The node could not keep all of what was for our clients: they must not go on as if nothing was missing."""
        lane = self._of[node.id]
        if frame.number <= lane.last:
            self.lanes.acknowledge(lane)
            return
        self._admit(lane)
        lane.last = frame.number
        self.lanes.put(lane, Work(node, frame, [], 0))

    def _admit(self, lane: Lane) -> None:
        """Raises FrameError if its node has gone on, far beyond what it may."""
        if lane.frames >= TOLERANCE * MAX_WINDOW or lane.bytes > TOLERANCE * self.lanes.max_bytes:
            self._counters.limits_hit["realtime.max_unacknowledged_bytes"] += 1
            raise FrameError(
                f"{lane.frames} Effects with {lane.bytes} bytes wait already: {self.lanes.max_bytes} bytes, and as "
                "many as Ack says, may be without acknowledgement"
            )

    def reply(self, node: Node, frame: frames.Answer) -> None:
        """A reply that has effects, or follows one that waits. Raises FrameError before the request is given up."""
        lane = self._of[node.id]
        if lane.answer_bytes > TOLERANCE * self.lanes.max_bytes:
            self._counters.limits_hit["realtime.max_unacknowledged_bytes"] += 1
            self._refuse(node, frame)
            return
        effects: list[Effect] = []
        if isinstance(frame, frames.Failure):
            size = OVERHEAD + len(frame.message)
        else:
            effects = frame.effects or []
            size = OVERHEAD + len(frame.payload or b"")
            if isinstance(frame, frames.HttpReply):
                size += sum(OVERHEAD + len(name) + len(value) for name, value in frame.headers)
        for effect in effects:
            check_ids(effect)
            size += weigh(effect)
        self.lanes.put(lane, Work(node, frame, effects, size))

    def is_behind(self, node: Node) -> bool:
        """Whether something that it did waits here: its handlers may wait for that. Not if it is done, and only not
        acknowledged: what they wait for is said at once, and the rest with each tick, before anything is late."""
        lane = self._of.get(node.id)
        return lane is not None and lane.is_busy

    # --- what nodes are told ----------------------------------------------------------------------------------------

    def answer(self) -> None:
        """Say which channels were in vain, then acknowledge what is done.

        In this order, because a node takes a Mute that comes before an acknowledgement for one that may cross its Join.
        """
        lanes = self.lanes
        unanswered = lanes.unanswered
        lanes.is_due = False
        while unanswered:  # one by one, so that no lane's fault costs another its acknowledgement
            lane = unanswered.pop()
            lane.is_unanswered = False
            lane.unsaid = lane.unsaid_bytes = 0
            vain, node = lane.vain, lane.node
            if vain:
                lane.vain = {}
            if node.state is NodeState.LOST:
                continue
            if vain:
                self._mutes.mute(node, vain)
            target = TARGET_DELIVERIES / max(1, lanes.busy)  # what others have waiting, this one waits for too
            window = int(target / lane.average) if lane.average else MAX_WINDOW
            lane.window = max(MIN_WINDOW, min(MAX_WINDOW, window))
            node.link.send(frames.Ack(lane.done, lane.window))

    def step(self, now: float) -> bool:
        """Turn's end: go on with what waits. True: more is left, or somebody is to be told."""
        more = self.lanes.step(now)
        if self.lanes.is_due:
            self.answer()
            more = True
        return more
