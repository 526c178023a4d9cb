"""The rules of channels in the configuration: `[[channel]]` in the file becomes ChannelRule. Refuses what can't be.

A refusal is a line: which rule, which key, what was expected and what came.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from holdfast.balancer.channel_rules import ChannelRule
from holdfast.protocols.channel_names import ChannelPattern
from holdfast.protocols.errors import ConfigError
from holdfast.proxy.config.values import to_toml

MAX_RULES = 1000
MAX_MESSAGES = 1_000_000
MAX_BYTES = 1 << 30
MAX_AGE = 30 * 86_400.0
SUBSCRIBE = ("never", "anyone", "token", "node")
PUBLISH = ("never", "node")
NOTHING = ChannelRule("")

KEYS: dict[str, tuple[str, str]] = {
    "match": (
        "pattern",
        "Of the channel's name: `news:*`, with all that follows; `room:{id}`, a parameter between `:` and `/`.",
    ),
    "subscribe": (
        "`never`, `anyone`, `token`, `node`",
        "Which clients may subscribe by themselves: none (default); all; who shows a token for it (`client.jwt_keys`); "
        "of whom a node says so (`on_subscribe`). Nodes let clients join whatever this says.",
    ),
    "publish": ("`never`, `node`", "Whether clients may publish by themselves: if a node takes it (`on_publish`)."),
    "history_messages": ("", "The newest publications that are kept for who comes back. 0, the default: no history."),
    "history_bytes": ("bytes", "Of their payloads. 0, the default: no limit by that; `history.max_bytes` is one."),
    "history_age": ("seconds", "None is kept for longer. Default: 300."),
    "presence": ("", "Whether it can be asked who is there. Default: false."),
}


class Read(Struct):
    """What the tables of a file are. problems: lines; if there are any, the rules are not all."""

    rules: tuple[ChannelRule, ...] = ()
    problems: list[str] = []


def read(tables: object) -> Read:
    """The value of `channel` in a file."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        return Read(problems=["expected rules of channels as [[channel]], with two brackets"])
    if len(tables) > MAX_RULES:
        return Read(problems=[f"expected at most {MAX_RULES} rules, got {len(tables)}"])
    rules: list[ChannelRule] = []
    problems: list[str] = []
    for number, table in enumerate(tables, start=1):
        values: dict[str, Any] = {}
        found = list(_convert(table, values))
        if "match" not in table:
            found.append('match: expected a pattern, as "news:*"')
        shown = table.get("match")
        which = f"channel {number}, {to_toml(shown):.60}" if isinstance(shown, str) and shown else f"channel {number}"
        problems += [f"{problem} ({which})" for problem in found]
        if not found:
            rules.append(ChannelRule(**values))
    return Read(tuple(rules), problems)


def _convert(table: Mapping[str, object], values: dict[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            yield f"no such key {key:.60}{f'; did you mean {close[0]}?' if close else ''}"
            continue
        try:
            values[key] = _CONVERT[key](value)
        except ValueError as error:
            yield f"{key}: expected {error}, got {_shown(value)}"
        except ConfigError as error:
            yield f"{key}: {error}"


def _match(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError('a pattern, as "news:*"')
    return ChannelPattern(value).text


def _choice(*choices: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in choices or not isinstance(value, str):
            raise ValueError(f"one of {', '.join(choices)}")
        return value

    return check


def _count(most: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if type(value) is not int or not 0 <= value <= most:
            raise ValueError(f"a whole number from 0 to {most}")
        return value

    return check


def _age(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= MAX_AGE:
        raise ValueError(f"seconds, from 1 to {MAX_AGE:.0f}")
    return float(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


_CONVERT: dict[str, Callable[[object], Any]] = {
    "match": _match,
    "subscribe": _choice(*SUBSCRIBE),
    "publish": _choice(*PUBLISH),
    "history_messages": _count(MAX_MESSAGES),
    "history_bytes": _count(MAX_BYTES),
    "history_age": _age,
    "presence": _flag,
}


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    text = to_toml(value) if isinstance(value, str | int | float) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def as_toml(rule: ChannelRule) -> Iterator[str]:
    """Its keys as a file has them, a line each: its pattern, and those that are not as by default."""
    for key in ChannelRule.__struct_fields__:
        value = getattr(rule, key)
        if value != getattr(NOTHING, key):
            yield f"{key} = {to_toml(value)}"
