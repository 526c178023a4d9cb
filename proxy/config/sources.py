"""Where values come from: default < file < environment < --set; and which of these each value is from.

Every key of every section can be given in the TOML file, as HOLDFAST__SECTION__KEY in the environment (in any case),
and as `--set section.key=value`. Tokens have a second variable, by which nodes and the command line know them. Routes
are a list with an order, and can be given in the file only. Nothing unknown is passed over: a misspelt key would
otherwise be a limit not set.
"""

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from holdfast.protocols.errors import ConfigError
from holdfast.proxy.config import channels, routes, rules
from holdfast.proxy.config.keys import KEYS, MASK, is_secret
from holdfast.proxy.config.sections import Config
from holdfast.proxy.config.values import convert, from_text, to_toml

PREFIX = "HOLDFAST__"
# What nodes and the command line call them: whoever sets one for all that he runs means all of it. Weaker than our own.
ALIASES = {"HOLDFAST_NODE_TOKEN": ("node", "token"), "HOLDFAST_ADMIN_TOKEN": ("admin", "token")}
FORMER = {"request.pause_timeout": "request.stream_timeout"}  # keys that have another name now
SHOWN = 60  # characters of a refused value in a message


class Origin(NamedTuple):
    """Where a value is from. name: of the file or the variable."""

    source: Literal["default", "file", "env", "set"]
    name: str = ""

    def __str__(self) -> str:
        return {"default": "default", "set": "--set"}.get(self.source, self.name)


DEFAULT = Origin("default")


class Loaded(Struct, frozen=True):
    """A valid configuration, and the origin of each `section.key`."""

    config: Config
    origins: dict[str, Origin]


class _Given(NamedTuple):
    """A value as it came. is_text: it is text whatever the key's type."""

    section: str
    key: str
    value: object
    origin: Origin
    is_text: bool


def load(file: Path | None, environ: Mapping[str, str], sets: Sequence[str] = ()) -> Loaded:
    """The configuration. Raises ConfigError with one line if there is anything wrong with it."""
    loaded, problems = examine(file, environ, sets)
    if loaded is None:
        more = f" (and {len(problems) - 1} more: see `holdfast check`)" if len(problems) > 1 else ""
        raise ConfigError(problems[0] + more)
    return loaded


def examine(file: Path | None, environ: Mapping[str, str], sets: Sequence[str] = ()) -> tuple[Loaded | None, list[str]]:
    """The configuration, or everything that is wrong with it, a line each."""
    problems: list[str] = []
    values: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    origins = dict.fromkeys(KEYS, DEFAULT)
    found = routes.Read()
    of_channels = channels.Read()
    for given in _given(file, environ, sets, problems):
        if given.section == ROUTE:
            if given.origin.source == "file":
                found = routes.read(given.value)
                problems += (f"{given.origin}: [[route]]: {problem}" for problem in found.problems)
            else:
                problems.append(f"{given.origin}: routes are given in the file only, as [[route]]")
            continue
        if given.section == CHANNEL:
            if given.origin.source == "file":
                of_channels = channels.read(given.value)
                problems += (f"{given.origin}: [[channel]]: {problem}" for problem in of_channels.problems)
            else:
                problems.append(f"{given.origin}: rules of channels are given in the file only, as [[channel]]")
            continue
        name = f"{given.section}.{given.key}"
        if name not in KEYS:
            problems.append(f"{given.origin}: no such key {name}{_did_you_mean(given.section, given.key)}")
            continue
        type_ = SECTIONS[given.section][given.key]
        value = (
            from_text(given.value, type_, KEYS[name]) if isinstance(given.value, str) and given.is_text else given.value
        )
        if value == MASK and is_secret(name):
            problems.append(f"{given.origin}: {name}: expected the secret itself, got the mask of `holdfast config`")
        try:
            values[given.section][given.key] = convert(value, type_, KEYS[name])
        except ValueError as error:
            problems.append(f"{given.origin}: {name}: expected {error}{_got(name, value)}")
        origins[name] = given.origin
    if problems:
        return None, problems
    config = msgspec.structs.replace(
        DEFAULTS,
        **{section: msgspec.structs.replace(getattr(DEFAULTS, section), **given) for section, given in values.items()},
        route=found.routes,
        channel=of_channels.rules,
    )
    for name, expected in rules.broken(config):
        problems.append(f"{origins[name]}: {name}: expected {expected}{_got(name, value_of(config, name))}")
    return (None, problems) if problems else (Loaded(config, origins), [])


DEFAULTS = Config()
ROUTE = "route"
CHANNEL = "channel"
# section -> key -> type
SECTIONS: dict[str, dict[str, Any]] = {
    section: {field.name: field.type for field in msgspec.structs.fields(getattr(DEFAULTS, section))}
    for section in Config.__struct_fields__
    if section not in (ROUTE, CHANNEL)
}


def value_of(config: Config, name: str) -> object:
    """The value of `section.key`."""
    section, _, key = name.partition(".")
    return getattr(getattr(config, section), key)


def _given(file: Path | None, environ: Mapping[str, str], sets: Sequence[str], problems: list[str]) -> Iterator[_Given]:
    """Every value that is given, weakest source first."""
    if file is not None:
        yield from _from_file(file, problems)
    for variable, (section, key) in ALIASES.items():
        if variable in environ:
            yield _Given(section, key, environ[variable], Origin("env", variable), is_text=True)
    for variable in sorted(environ):
        if not variable.upper().startswith(PREFIX):
            if _lacks_an_underscore(variable):
                problems.append(f"{variable}: expected {PREFIX}SECTION__KEY")
            continue
        section, separator, key = variable[len(PREFIX) :].lower().partition("__")
        if separator and key:
            yield _Given(section, key, environ[variable], Origin("env", variable), is_text=True)
        else:
            problems.append(f"{variable}: expected {PREFIX}SECTION__KEY")
    for assignment in sets:
        name, equals, text = assignment.partition("=")
        section, dot, key = name.strip().partition(".")
        if equals and dot and key:
            yield _Given(section, key, text, Origin("set"), is_text=True)
        else:
            problems.append(f"--set: expected SECTION.KEY=VALUE, got {_unassigned(assignment)}")


def _unassigned(text: str) -> str:
    """What --set can't read, as it was given; but `token=hush` is most likely meant for a secret."""
    name, equals, value = text.partition("=")
    if any(key.rpartition(".")[2] in name.lower() for key in KEYS if is_secret(key)):
        value = "..."
    return repr(_clipped(f"{name}{equals}{value}" if equals else name))


def _lacks_an_underscore(variable: str) -> bool:
    """Whether it is like HOLDFAST_CLIENT__BIND or HOLDFAST_CLIENT_BIND, which nobody else reads either."""
    lone, _, name = variable.lower().partition("_")
    if lone != "holdfast" or variable.upper() in ALIASES:
        return False
    section, separator, _ = name.partition("__")
    return bool(separator and section in SECTIONS) or name in {key.replace(".", "_") for key in KEYS}


def _from_file(file: Path, problems: list[str]) -> Iterator[_Given]:
    origin = Origin("file", str(file))
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        problems.append(f"{file}: cannot be read: {error.strerror}")
        return
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{file}: not valid TOML: {error}")
        return
    for section, table in tables.items():
        if section in (ROUTE, CHANNEL):
            yield _Given(section, "", table, origin, is_text=False)
        elif section not in SECTIONS:
            problems.append(f"{file}: no such section [{section}]{_suggest(section, [*SECTIONS, ROUTE, CHANNEL])}")
        elif not isinstance(table, dict):
            problems.append(f"{file}: expected a section [{section}], got {_shown(table)}")
        else:
            for key, value in table.items():
                yield _Given(section, key, value, origin, is_text=False)


def _did_you_mean(section: str, key: str) -> str:
    """What was likely meant: the same key of another section, a similar one of this section, or of any."""
    name = f"{section}.{key}"
    if name in FORMER:
        return f"; it is {FORMER[name]} now"
    elsewhere = [other for other in KEYS if other.endswith(f".{key}")]
    near = [f"{section}.{other}" for other in SECTIONS.get(section, ())]
    return _suggest(name, elsewhere, cutoff=0) or _suggest(name, near) or _suggest(name, KEYS)


def _suggest(word: str, words: Iterable[str], cutoff: float = 0.75) -> str:
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]}?" if close else ""


def _got(name: str, value: object) -> str:
    """The end of a message: what came in place of what was expected. Nothing of a secret."""
    if not is_secret(name):
        return f", got {_shown(value)}"
    if value in ("", [], ()):
        return ", got nothing"
    return "" if isinstance(value, str | list | tuple) else ", got what is no text"


def _shown(value: object) -> str:
    """Not much of it."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, str | int | float | tuple):
        return _clipped(to_toml(value))
    return _clipped(repr(value))


def _clipped(text: str) -> str:
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
