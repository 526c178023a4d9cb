"""What holds for which channels: the first rule that matches a name counts. Pure.

Without a rule nobody but nodes has clients join a channel, nobody but they publish to it, and nothing of it is kept.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from holdfast.protocols.channel_names import ChannelPattern

MAX_KNOWN = 10_000  # names of which the rule is known; one more, and all are forgotten


class ChannelRule(Struct, frozen=True):
    """One [[channel]] of the configuration. match: a pattern of names. subscribe: which clients may, by themselves;
    publish: likewise. history_messages: so many are kept, the newest; 0: no history. history_bytes: of their payloads;
    0: no limit by that. history_age: seconds. presence: who is there can be asked for."""

    match: str
    subscribe: Literal["never", "anyone", "token", "node"] = "never"
    publish: Literal["never", "node"] = "never"
    history_messages: int = 0
    history_bytes: int = 0
    history_age: float = 300.0
    presence: bool = False


class ChannelRules:
    """has_history, has_presence: whether any of them has."""

    def __init__(self, rules: Sequence[ChannelRule]) -> None:
        self.rules = [(ChannelPattern(rule.match), rule) for rule in rules]
        self.has_history = any(rule.history_messages for rule in rules)
        self.has_presence = any(rule.presence for rule in rules)
        self._known: dict[str, ChannelRule | None] = {}

    def of(self, channel: str) -> ChannelRule | None:
        known = self._known
        if channel in known:
            return known[channel]
        if len(known) >= MAX_KNOWN:
            known.clear()
        rule = known[channel] = next((rule for pattern, rule in self.rules if pattern.match(channel) is not None), None)
        return rule
