"""What nodes ask of channels with history: what is kept of one, a page of it, from the log.

Owns the questions without an answer. Of each node one is asked of the log at a time, so that a node that asks much
waits for itself, and publications do not wait for it. Who is in a channel, and what is given out there, is the affair
of proxy.realtime.histories.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from holdfast.balancer.directory import Node
from holdfast.balancer.history.base import END, Page
from holdfast.balancer.history.pages import answer_of, place_of
from holdfast.protocols.nodes.histories import MAX_PAGE, NEWEST, PAGE_BYTES, AskHistory, History
from holdfast.proxy.metrics import Counters
from holdfast.proxy.realtime.log_queue import LogQueue

MAX_ASKED = 1000  # questions of one node that are not answered
NO_HISTORY = "the channel has no history: no [[channel]] rule with history_messages takes it"


class HistoryAsks:
    """Called by the gateway: `take`, and `lost` when a node is gone. log: None: no channel has history. has_history:
    whether this one has."""

    def __init__(self, log: LogQueue | None, has_history: Callable[[str], bool], counters: Counters) -> None:
        self._log = log
        self._has_history = has_history
        self._counters = counters
        self._asked: dict[Node, deque[AskHistory]] = {}  # the first one of each is asked of the log

    def take(self, node: Node, frame: AskHistory) -> None:
        """A node asks."""
        if self._log is None or not self._has_history(frame.channel):
            node.link.send(History(frame.ask, 404, NO_HISTORY))
            return
        asked = self._asked.setdefault(node, deque())
        if len(asked) >= MAX_ASKED:
            self._counters.limits_hit["node.history_asks"] += 1
            node.link.send(History(frame.ask, 429, "too many questions of this node have no answer yet"))
            return
        asked.append(frame)
        if len(asked) == 1:
            self._ask(node, self._log, frame)

    def lost(self, node: Node) -> None:
        """Nobody waits for what it has asked."""
        self._asked.pop(node, None)

    def _ask(self, node: Node, log: LogQueue, frame: AskHistory, top: Page | None = None) -> None:
        """top: the end of the log, if that has been asked for."""
        limit = min(frame.limit, MAX_PAGE)
        place = place_of(frame, limit, top)
        if place is None:
            log.read(frame.channel, END, 1, 1, partial(self._has_top, node, log, frame))
        else:
            log.read(frame.channel, place[0], limit, PAGE_BYTES, partial(self._has_page, node, log, frame, *place))

    def _has_top(self, node: Node, log: LogQueue, frame: AskHistory, page: Page | None) -> None:
        if page is None:
            self._has_page(node, log, frame, 0, "", None)
        elif self._is_asked(node, frame):
            self._ask(node, log, frame, page)

    def _has_page(
        self, node: Node, log: LogQueue, frame: AskHistory, after: int, epoch: str, page: Page | None
    ) -> None:
        if not self._is_asked(node, frame):
            return
        if page is not None and frame.after == NEWEST and page.epoch != epoch:
            self._ask(node, log, frame)  # it was begun anew just now
            return
        node.link.send(answer_of(frame, after, epoch, page))
        asked = self._asked[node]
        asked.popleft()
        if asked:
            self._ask(node, log, asked[0])
        else:
            del self._asked[node]

    def _is_asked(self, node: Node, frame: AskHistory) -> bool:
        """False: the node is lost."""
        asked = self._asked.get(node)
        return asked is not None and asked[0] is frame
