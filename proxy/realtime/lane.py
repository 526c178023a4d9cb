"""One lane: what one run of a node does to clients, one after the other, and how far that is. See proxy.realtime.lanes,
which owns the order."""

from collections import deque
from math import inf

from holdfast.balancer.directory import Node
from holdfast.balancer.ledger import Entry
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import FIRST_WINDOW, Effect
from holdfast.proxy.clients.session import Session
from holdfast.proxy.realtime.fan_out import FanOut
from holdfast.proxy.realtime.publishing import Done


class Work:
    """What is carried out as one: Effects, a Hole, or a reply with its effects.

    effects: all of them; sessions are closed as interrupted. place: of the next one. size: bytes that it may take.
    cost: deliveries, or as much as that, so far. has_begun: its turn has come. entry: the request that a reply is for,
    from then on. epoch: in which some of it is done as master; 0: nothing is.
    """

    __slots__ = ("cost", "effects", "entry", "epoch", "frame", "has_begun", "is_late", "node", "place", "size")

    def __init__(
        self, node: Node, frame: frames.Effects | frames.Hole | frames.Answer, effects: list[Effect], size: int
    ) -> None:
        self.node = node
        self.frame = frame
        self.effects: list[Effect] | list[Done] | list[Session] = effects
        self.size = size
        self.entry: Entry | None = None
        self.place = self.cost = self.epoch = 0
        self.has_begun = False
        self.is_late = False


class Lane:
    """One run of a node. node: its present session, or the last one. gone_at: since when it has none.

    last, done: numbers of the last effects that came, and that were carried out. average: what those cost, lately.
    window: what it was told last. unsaid, unsaid_bytes: what is done since then, and it has not been told.
    frames, bytes: numbered ones that wait or are under way. answer_bytes: of replies that do. vain: channels in it that
    had nobody. is_waiting: for the log of a channel, which says when it goes on.
    """

    __slots__ = (
        "answer_bytes", "average", "bytes", "done", "fan_out", "frames", "gone_at", "is_busy", "is_unanswered",
        "is_waiting", "last", "node", "queue", "unsaid", "unsaid_bytes", "vain", "window", "work",
    )  # fmt: skip

    def __init__(self, node: Node) -> None:
        self.node = node
        self.gone_at = inf
        self.last = 0
        self.done = 0
        self.average = 0.0
        self.frames = self.bytes = self.answer_bytes = 0
        self.window = FIRST_WINDOW
        self.unsaid = self.unsaid_bytes = 0
        self.queue: deque[Work] = deque()
        self.work: Work | None = None
        self.fan_out: FanOut | None = None
        self.vain: dict[str, None] = {}
        self.is_busy = False
        self.is_unanswered = False
        self.is_waiting = False
