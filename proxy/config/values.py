"""A value as it came, from TOML or as text, becomes a value of its key's type. Refuses what is not one.

A refusal is a ValueError whose text says what was expected; who calls adds the key, the source and what came.
"""

import ipaddress
import json
import os
import re
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from holdfast.protocols.clients.forwarded import network
from holdfast.proxy.config.keys import JWT_ALGORITHMS, LARGEST, MASK, SCOPES, Key, Kind

MAX_TEXT = 4096  # characters: of a path; nothing that is meant is longer

DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)?")
SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}
SIZE = re.compile(r"([0-9]+)\s*(b|kb|mb|gb|kib|mib|gib)?", re.IGNORECASE)
BYTES = {None: 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
COMMA = re.compile(",")
NEXT_URL = re.compile(r",(?=\s*[a-z][a-z+]*://)")  # a URL may have commas of its own, between Sentinels
HOST = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*", re.ASCII)  # no other label can be looked up
BINDING = re.compile(r"tcp://\[([^\[\]]+)\]:([0-9]+|\*)")
BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def from_text(text: str, type_: Any, key: Key) -> object:  # noqa: ANN401 - a type, or Literal, or tuple[str, ...]
    """Text of the environment or of --set as TOML would have given it. What can't be read so stays text."""
    if type_ is bool:
        return BOOLEANS.get(text.lower(), text)
    if (type_ is int or type_ is float) and key.kind not in (Kind.BYTES, Kind.SECONDS):
        try:
            return type_(text)
        except ValueError:
            return text
    return text


def convert(value: object, type_: Any, key: Key) -> object:  # noqa: ANN401 - as above
    """The value in its key's type. Raises ValueError, which says what was expected."""
    if type_ is bool:
        if isinstance(value, bool):
            return value
        raise ValueError("true or false")
    if type_ is int or type_ is float:
        return _number(value, type_, key)
    if get_origin(type_) is Literal:
        choices = get_args(type_)
        if value in choices:
            return value
        raise ValueError("one of " + ", ".join(choices))
    if type_ is str:
        if not isinstance(value, str):
            raise ValueError("text")
        if value or key.kind is Kind.ADDRESS:
            _check_text(value, key.kind)
        return value
    return _texts(value, key)


def _number(value: object, type_: type[int] | type[float], key: Key) -> int | float:
    number: object = value
    if isinstance(value, str) and key.kind is Kind.BYTES:
        number = parse_size(value)
    elif isinstance(value, str) and key.kind is Kind.SECONDS:
        number = parse_duration(value)
    good = isinstance(number, int | float) if type_ is float else isinstance(number, int)
    if not good or isinstance(number, bool):
        raise ValueError(_expected_number(key, type_))
    assert isinstance(number, int | float)
    is_in_range = number > 0 and key.at_least <= number <= key.at_most
    if not (is_in_range or (number == 0 and key.zero)):  # not-a-number is in no range
        raise ValueError(_expected_number(key, type_))
    return type_(number)


def _expected_number(key: Key, type_: type) -> str:
    above = f"from {key.at_least:.15g}" if key.at_least else "above 0"
    if key.kind is Kind.BYTES:
        most = f" up to {key.at_most:.15g}," if key.at_most < LARGEST else ""
        return f'a size {above}{most} such as 65536, "64KiB" or "1MB"'
    if key.kind is Kind.SECONDS:
        least = "0 or more" if key.zero else "above 0"
        most = f" up to {key.at_most:.15g}" if key.at_most < LARGEST else ""
        return f'seconds, {least}{most}, such as 0.5, "500ms", "10s" or "2m"'
    what = "a whole number" if type_ is int else "a number"
    least = "from 0" if key.zero else above
    return f"{what} {least}" + (f" up to {key.at_most:.15g}" if key.at_most < LARGEST else "")


def parse_duration(text: str) -> float | None:
    """Seconds of "500ms", "10s", "2m", "1h" or "0.5"; None if it is not a duration."""
    match = DURATION.fullmatch(text.strip())
    if match is None:
        return None
    return float(match[1]) * SECONDS[match[2]]


def parse_size(text: str) -> int | None:
    """Bytes of "64KiB", "1MB" or "65536"; None if it is not a size."""
    match = SIZE.fullmatch(text.strip())
    # 18 digits are more than LARGEST; int() of thousands of them takes time
    if match is None or len(match[1]) > 18:
        return None
    return int(match[1]) * BYTES[match[2] and match[2].lower()]


def to_toml(value: object) -> str:
    """A value of the configuration as TOML writes it."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )  # the only character where JSON text is not TOML text


def _texts(value: object, key: Key) -> tuple[str, ...]:
    """A list of texts; one text stands for a list, with commas between the items."""
    if isinstance(value, str) and value.lstrip().startswith(('["', "['")):  # as the file has it
        raise ValueError("text with commas between the items, and no brackets")
    if isinstance(value, str):
        separator = NEXT_URL if key.kind is Kind.URL else COMMA
        value = [item.strip() for item in separator.split(value)] if value else []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("text or a list of texts")
    if not value and key.kind in (Kind.ADDRESS, Kind.ENDPOINT, Kind.ORIGIN, Kind.SOURCE):
        raise ValueError(f"at least one {key.kind.value}")
    for item in value:
        _check_text(item, key.kind)
    return tuple(value)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT" or "[IPV6]:PORT". Raises ValueError, which says what was expected."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    # an unbracketed IPv6 address would lose its last group to the port
    if not (colon and host and port.isascii() and port.isdigit() and int(port[:6]) < 65536) or (
        not bracketed and not HOST.fullmatch(host)
    ):
        raise ValueError("HOST:PORT or [IPV6]:PORT")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host. A name other than localhost may be anything, so it is not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def split_binding(endpoint: str) -> tuple[str, str, str] | None:
    """Name, family and port of "tcp://[NAME:FAMILY]:PORT", FAMILY being ipv4 if it is left out.

    None: the endpoint has no such part; brackets around an IPv6 address are not one. Raises ValueError if the family
    is no family.
    """
    match = BINDING.fullmatch(endpoint)
    if match is None or is_ipv6(match[1]):
        return None
    name, _, family = match[1].rpartition(":")
    if not name:
        return match[1], "ipv4", match[2]
    if family.lower() not in ("ipv4", "ipv6"):
        raise ValueError("tcp://[NAME:FAMILY]:PORT with ipv4 or ipv6 as FAMILY")
    return name, family.lower(), match[2]


def is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def is_local_endpoint(endpoint: str) -> bool:
    """Whether only this machine reaches a ZeroMQ endpoint. What an interface's name stands for is not looked up."""
    if endpoint.startswith("ipc://"):
        return True
    binding = split_binding(endpoint)
    return is_loopback(endpoint.removeprefix("tcp://").rpartition(":")[0] if binding is None else binding[0])


def _check_address(text: str) -> bool:
    split_address(text)
    return True


def _check_protocol(text: str) -> bool:
    name, scheme_end, address = text.partition("://")
    split_address(address)
    return bool(name and scheme_end)


def _check_door(text: str) -> bool:
    name, _, path = text.partition(":")
    whole = re.sub(r"/\{[A-Za-z_][A-Za-z0-9_]*\}$", "/x", path)
    return bool(name) and re.fullmatch(r"/[!-~]*", whole) is not None and not set(whole) & set("?#{}")


def _check_endpoint(text: str) -> bool:
    if not all("!" <= character <= "~" for character in text):  # as others can dial it
        return False
    if text.startswith("ipc://"):
        return len(text) > len("ipc://")
    if not text.startswith("tcp://"):
        return False
    host, _, port = text.removeprefix("tcp://").rpartition(":")
    try:
        split_address(f"{'0.0.0.0' if host == '*' else host}:{'0' if port == '*' else port}")
        split_binding(text)
    except ValueError:
        return False
    return True


def _check_network(text: str) -> bool:
    try:
        network(text)
    except ValueError:
        return False
    return True


def _check_origin(text: str) -> bool:
    return text in ("*", "null") or re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", text) is not None


def _check_token(text: str) -> bool:
    return re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", text) is not None


def _check_source(text: str) -> bool:
    kind, _, name = text.partition(":")
    return text == "header" or (kind in ("cookie", "query") and _check_token(name))


def _check_scoped(text: str) -> bool:
    scope, _, secret = text.partition(":")
    return scope in SCOPES and secret != MASK and re.fullmatch(r"[!-+\--~]+", secret) is not None


def _check_file(text: str) -> bool:
    return os.path.isfile(text) and os.access(text, os.R_OK)


def _check_folder(text: str) -> bool:
    return os.path.isdir(text) and os.access(text, os.R_OK | os.X_OK)


_CHECKS: dict[Kind, tuple[Callable[[str], bool], str]] = {
    Kind.ADDRESS: (_check_address, "HOST:PORT or [IPV6]:PORT"),
    Kind.PROTOCOL: (_check_protocol, "NAME://HOST:PORT, NAME of a registered client protocol"),
    Kind.DOOR: (_check_door, "NAME:/PATH or NAME:/PATH/{part}, NAME of a registered protocol of doors, no ? and #"),
    Kind.ENDPOINT: (_check_endpoint, "tcp://HOST:PORT, tcp://HOST:*, tcp://[NAME:FAMILY]:PORT or ipc://PATH"),
    Kind.NETWORK: (_check_network, "an address or a network such as 10.0.0.0/8"),
    Kind.ORIGIN: (_check_origin, '"*", "null" or SCHEME://HOST[:PORT], without a path'),
    Kind.TOKEN: (_check_token, "a word as headers have it, without spaces and commas"),
    Kind.ALGORITHM: (JWT_ALGORITHMS.__contains__, " or ".join(JWT_ALGORITHMS)),
    Kind.SOURCE: (_check_source, '"header", "cookie:NAME" or "query:NAME"'),
    Kind.SCOPED: (
        _check_scoped,
        f"SCOPE:SECRET, SCOPE one of {', '.join(SCOPES)}, SECRET printable ASCII without spaces and commas",
    ),
    Kind.FILE: (_check_file, "a file that can be read"),
    Kind.FOLDER: (_check_folder, "a folder that can be read"),
}


def _check_text(text: str, kind: Kind) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):  # how Python shows bytes of the environment
        raise ValueError("text in UTF-8")
    if len(text) > MAX_TEXT or any(character < " " or character == "\x7f" for character in text):
        raise ValueError(f"up to {MAX_TEXT} characters, without control characters")
    check, expected = _CHECKS.get(kind, (None, ""))
    if check is not None and not check(text):
        raise ValueError(expected)
