"""Who gets what is published to channels that match a filter of theirs (`+`, `#`), besides those who are in a channel.

A filter was allowed by a rule, that which matches its text as if that was a channel's name. It gives what is published
to channels of the same rule, and to those to which anyone may subscribe: nothing else, whatever it matches. While there
is no filter nothing here is asked, and it costs nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

from holdfast.balancer.channel_rules import ChannelRule
from holdfast.balancer.filters import Filters
from holdfast.proxy.clients.session import Session
from holdfast.proxy.clients.transport import Transport

Members = dict[Session, Transport]


class Filtering(NamedTuple):
    """A session with a filter. rule: that which allowed it."""

    session: Session
    rule: ChannelRule


class Filtered:
    """rule_of: a channel. counts: how many each session has."""

    def __init__(self, rule_of: Callable[[str], ChannelRule | None]) -> None:
        self._rule_of = rule_of
        self._filters: Filters[Filtering] = Filters()
        self.counts: dict[Session, int] = {}

    def __len__(self) -> int:
        """How many pairs of a filter and a session there are."""
        return len(self._filters)

    def add(self, pattern: str, filtering: Filtering) -> bool:
        """Whether it is new. Raises as balancer.filters.Filters."""
        is_new = self._filters.add(pattern, filtering)
        if is_new:
            self.counts[filtering.session] = self.counts.get(filtering.session, 0) + 1
        return is_new

    def remove(self, pattern: str, filtering: Filtering) -> None:
        """Nothing, if it is not there."""
        if self._filters.remove(pattern, filtering):
            self.counts[filtering.session] -= 1
            if not self.counts[filtering.session]:
                del self.counts[filtering.session]

    def matched(self, channel: str, members: Members | None) -> Members | None:
        """These, and who gets what is published to the channel by a filter; each once. None: nobody."""
        found = self._filters.match(channel)
        if not found:
            return members
        rule = self._rule_of(channel)
        if rule is None:
            return members
        matched: Members = {} if members is None else dict(members)
        for session, allowed_by in found:
            if rule.subscribe == "anyone" or allowed_by is rule:
                matched.setdefault(session, session.connection.transport)
        return matched or None
