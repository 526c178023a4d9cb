"""Patterns of channels' names, for rules of proxies and functions of nodes: `room:{id}`, `news:*`.

A parameter, `{name}`, takes at least one character, and none that separates parts of a name (`:` and `/`); it stands
between such ones. `*` at the end takes all that follows, nothing too. All else is as it is written. Matching takes
linear time, whatever the name: nowhere is there a choice.
"""

import re

from holdfast.protocols.errors import ConfigError

SEPARATORS = ":/"
ANY = "\0"  # a parameter's value that no pattern of a configuration has written
MAX_PATTERN = 512  # characters

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ChannelPattern:
    """names: of the parameters. is_open: it ends with `*`. Raises ConfigError for what is no pattern."""

    __slots__ = ("_least", "_regex", "is_open", "names", "text")

    def __init__(self, text: str) -> None:
        if not 0 < len(text) <= MAX_PATTERN:
            raise ConfigError(f"expected a pattern of channels with 1 to {MAX_PATTERN} characters, got {len(text)}")
        self.text = text
        self.is_open = text.endswith("*")
        body, star = (text[:-1], "(?s:.*)") if text.endswith("*") else (text, "")
        parts: list[str] = []
        names: list[str] = []
        place = 0
        for found in _PARAMETER.finditer(body):
            begin, end = found.span()
            before, after = body[begin - 1 : begin], body[end : end + 1]
            if (before and before not in SEPARATORS) or (after and after not in SEPARATORS) or (star and not after):
                raise ConfigError(f"{found[0]} stands between : or / in a pattern of channels, as room:{{id}}: {text}")
            if found[1] in names:
                raise ConfigError(f"{found[0]} stands twice in {text}")
            names.append(found[1])
            parts += [_plain(body[place:begin], text), f"([^{SEPARATORS}]+)"]
            place = end
        parts.append(_plain(body[place:], text))
        self.names = tuple(names)
        self._least = _PARAMETER.sub(ANY, body)
        self._regex = re.compile("".join(parts) + star)

    def __repr__(self) -> str:
        return f"<ChannelPattern {self.text}>"

    def match(self, channel: str) -> dict[str, str] | None:
        """The parameters' values. None: it is no such channel."""
        found = self._regex.fullmatch(channel)
        return None if found is None else dict(zip(self.names, found.groups(), strict=True))

    def covers(self, other: "ChannelPattern") -> bool:
        """It matches each channel that the other one does. Both are of what can be printed."""
        if other.is_open and not self.is_open:
            return False
        return self._regex.fullmatch(other._least) is not None


def _plain(part: str, text: str) -> str:
    for character in "*{}":
        if character in part:
            kind = "* stands at the end of a pattern" if character == "*" else "a parameter is {name}, a word in braces"
            raise ConfigError(f"{kind}: {text}")
    return re.escape(part)
