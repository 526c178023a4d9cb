"""Which of a node's functions takes a channel: by patterns of names, the most specific one of those that match.

Part by part, as `:` and `/` separate them, a word is before a parameter, and that before `*`.
"""

import re
from collections.abc import Sequence

from holdfast.node.admission import Refused
from holdfast.node.function import said
from holdfast.node.typed import Handler
from holdfast.protocols.channel_names import SEPARATORS, ChannelPattern
from holdfast.protocols.errors import ConfigError

MAX_SHOWN = 80  # characters of what a client sent, in what it is told
WILD = ("+", "#")
_PART = re.compile(f"[{SEPARATORS}]")


class ChannelFunctions:
    """Those of one decorator, `name`. False: there is none."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._all: list[tuple[list[tuple[int, int]], ChannelPattern, Handler]] = []

    def __len__(self) -> int:
        return len(self._all)

    def add(self, pattern: ChannelPattern, handler: Handler) -> None:
        """Raises ConfigError if there is one for the same channels already."""
        handler.route = f"{self._name} {pattern.text}"
        for _, other, former in self._all:
            if pattern.covers(other) and other.covers(pattern):
                one, another = said(former.function.function), said(handler.function.function)
                raise ConfigError(f"one {self._name} takes {pattern.text}: {one} does, {another} can't be it too")
        self._all.append((_rank(pattern), pattern, handler))
        self._all.sort(key=lambda each: each[0])

    def find(self, channel: str, *, is_filter: bool = False) -> tuple[Handler, Sequence[str]]:
        """What takes it, and the values of its parameters. Raises Refused if nothing does. A filter is taken by a
        pattern whose `*` stands for its `+` and `#`: a parameter is one name, and these are many."""
        for _, pattern, handler in self._all:
            found = pattern.match(channel)
            if found is not None:
                values = list(found.values())
                if not (is_filter and any(sign in value for value in values for sign in WILD)):
                    return handler, values
        shown = channel if len(channel) <= MAX_SHOWN else channel[:MAX_SHOWN] + "..."
        raise Refused(403, f"no {self._name} here takes {shown}")


def _rank(pattern: ChannelPattern) -> list[tuple[int, int]]:
    """What is more specific is less."""
    parts = _PART.split(pattern.text)
    return [(2 if part.endswith("*") else 1 if part.startswith("{") else 0, -len(part)) for part in parts]
