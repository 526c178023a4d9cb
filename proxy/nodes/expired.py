"""Requests past their time: each is answered that it is, in slices, for all that are parked are late at once.

They are not the ledger's any more: a reply that comes now is too late.
"""

from collections import deque
from collections.abc import Callable

from holdfast.balancer.directory import Directory, Node
from holdfast.balancer.ledger import Entry
from holdfast.balancer.settings import RequestSettings
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import RequestError
from holdfast.protocols.nodes import frames
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.nodes.troubles import Troubles

ANSWERED_PER_TURN = 256  # then clients get their turn: 50,000 are 150 ms


class Expired:
    """answer: sends a request's client the error. strike: the node has failed with the request. is_behind: our own
    work for a node is not done: what its handlers wait for.
    """

    is_behind: Callable[[Node], bool]

    def __init__(
        self,
        reactor: Reactor,
        settings: RequestSettings,
        directory: Directory,
        troubles: Troubles,
        answer: Callable[[Entry, RequestError], None],
        strike: Callable[[Node, Entry], None],
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self.pause = settings.pause
        self._directory = directory
        self._troubles = troubles
        self._answer = answer
        self._strike = strike
        self._entries: deque[tuple[Entry, Reason]] = deque()

    def __len__(self) -> int:
        """How many are not answered yet."""
        return len(self._entries)

    def add(self, entries: list[tuple[Entry, Reason]]) -> None:
        """Answer these, and why; the next turns do what is more than one's share."""
        self._entries += entries
        self._go_on()

    def _go_on(self) -> None:
        now = self._reactor.now
        for _ in range(min(ANSWERED_PER_TURN, len(self._entries))):
            entry, reason = self._entries.popleft()
            self._troubles.timed_out(entry, reason)
            if entry.node is not None:
                self._call_off(entry, entry.node, now)
            self._answer(entry, self._error(entry, reason, now))
        if self._entries:
            self._reactor.in_next_turn(self._go_on)

    def _call_off(self, entry: Entry, node: Node, now: float) -> None:
        """It counts against a node that has answered nothing since: one that hangs. Who answers others may have a queue
        of its own, or a handler that waits for something that all nodes wait for. No fault of its own either if it
        waits for us, or was only offered the request, nor if the time was spent before (parked, or at a lost node), or
        was short by the will of who asked.
        """
        node.link.send(frames.Cancel(entry.id, entry.attempt))
        since = entry.since if entry.parts is None else entry.parts.since
        answers = node.answered_at > since
        is_excused = answers or entry.is_offered or self.is_behind(node)
        if not is_excused and now - entry.since >= entry.pool.timeout / 2:
            self._strike(node, entry)

    def _error(self, entry: Entry, reason: Reason, now: float) -> RequestError:
        settings = self._settings
        if entry.node is None:  # its deadline may have come before parked_timeout
            waited = min(settings.parked_timeout, max(0.0, round(now - entry.since, 1)))
            if entry.pool.share and entry.pool.available:
                why = f"nodes look at as many as they may at once, and those were not done for {waited:g} s"
                return RequestError(why, Reason.PARKING_FULL, settings.retry_after)
            missing = self._directory.missing(entry.pool)
            return RequestError(f"{missing} was available for {waited:g} s", reason, settings.retry_after)
        if entry.parts is None:
            return RequestError(f"no reply within {round(entry.deadline - entry.opened, 3):g} s", reason, None)
        return RequestError(f"no further part of the reply within {self.pause:g} s", reason, None)
