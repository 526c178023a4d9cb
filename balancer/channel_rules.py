"""What holds for which channels: the first rule that matches a name counts. Pure.

Without a rule nobody but nodes has clients join a channel, nobody but they publish to it, and nothing of it is kept.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from holdfast.protocols.channel_names import ChannelPattern

# Names of which the rule is known, and their characters; with one more, all are forgotten. Clients choose names.
MAX_KNOWN = 10_000
MAX_KNOWN_CHARACTERS = 1 << 20


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


class Matched(NamedTuple):
    """The rule that counts for a name. number: its place, from 1. parameters: their values in the name."""

    number: int
    rule: ChannelRule
    parameters: dict[str, str]


class ChannelRules:
    """has_history, has_presence: whether any of them has."""

    def __init__(self, rules: Sequence[ChannelRule]) -> None:
        self.rules = [(ChannelPattern(rule.match), rule) for rule in rules]
        self.has_history = any(rule.history_messages for rule in rules)
        self.has_presence = any(rule.presence for rule in rules)
        self._known: dict[str, ChannelRule | None] = {}
        self._known_characters = 0

    def of(self, channel: str) -> ChannelRule | None:
        known = self._known
        if channel in known:
            return known[channel]
        matched = self.matched(channel)
        rule = None if matched is None else matched.rule
        self._remember(channel, rule)
        return rule

    def matched(self, channel: str) -> Matched | None:
        """As `of`, with all that there is to say of it. Looked for anew."""
        for number, (pattern, rule) in enumerate(self.rules, start=1):
            if (parameters := pattern.match(channel)) is not None:
                return Matched(number, rule, parameters)
        return None

    def _remember(self, channel: str, rule: ChannelRule | None) -> None:
        if len(channel) > MAX_KNOWN_CHARACTERS:
            return
        if len(self._known) >= MAX_KNOWN or self._known_characters + len(channel) > MAX_KNOWN_CHARACTERS:
            self._known.clear()
            self._known_characters = 0
        self._known[channel] = rule
        self._known_characters += len(channel)
