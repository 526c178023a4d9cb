"""Where a Redis is, as the URLs of the configuration say it. Refuses what would be guessed at.

    redis://[USER@]HOST[:PORT][/DATABASE]                                one server
    redis+sentinel://[USER@]HOST[:PORT],HOST[:PORT]/SERVICE[/DATABASE]   the master that the Sentinels name
    several of the first form, each a node                               a Redis Cluster, which has database 0 only

With `rediss` in place of `redis` over TLS, and then with options as redis-py's URLs have them: ?ssl_ca_certs=FILE,
&ssl_certfile=FILE, &ssl_keyfile=FILE, &ssl_cert_reqs=none|required, &ssl_check_hostname=true|false.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

SCHEME = re.compile(r"(redis|rediss)(\+sentinel)?")
REDIS_PORT, SENTINEL_PORT = 6379, 26379
TLS_OPTIONS: dict[str, dict[str, str | bool] | None] = {  # their values, where not any text is one
    "ssl_ca_certs": None,
    "ssl_certfile": None,
    "ssl_keyfile": None,
    "ssl_cert_reqs": {"none": "none", "required": "required"},
    "ssl_check_hostname": {"true": True, "false": False},
}


class Arrangement(Enum):
    SINGLE = "Redis"
    SENTINEL = "Redis by Sentinel"
    CLUSTER = "Redis Cluster"


@dataclass(frozen=True, slots=True)
class Servers:
    """nodes: host and port of each; the Sentinels', where there are such. tls: redis-py's options; None: no TLS."""

    arrangement: Arrangement
    nodes: tuple[tuple[str, int], ...]
    service: str = ""
    database: int = 0
    username: str = ""
    tls: dict[str, str | bool] | None = field(default=None)

    def __str__(self) -> str:
        nodes = ", ".join(f"{host}:{port}" for host, port in self.nodes)
        return f"{self.arrangement.value} {nodes}" + (f" ({self.service})" if self.service else "")


def parse_urls(urls: Sequence[str]) -> Servers:
    """What the URLs mean. Raises ValueError, which says what was expected and shows nothing of a password."""
    if not urls:
        raise ValueError("at least one URL")
    first, *others = map(_parse, urls)
    if not others:
        return first
    for other in (first, *others):
        if other.arrangement is not Arrangement.SINGLE:
            raise ValueError("one URL that lists all Sentinels")
        if other.database:
            raise ValueError("database 0, because several URLs are nodes of a Redis Cluster, which has no other")
        if (other.username, other.tls) != (first.username, first.tls):
            raise ValueError("the same user and TLS options for all nodes of a Redis Cluster")
    return replace(
        first, arrangement=Arrangement.CLUSTER, nodes=tuple(node for url in (first, *others) for node in url.nodes)
    )


def _parse(url: str) -> Servers:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("HOST:PORT or [IPV6]:PORT") from None
    scheme = SCHEME.fullmatch(parts.scheme)
    if scheme is None or not url.startswith(f"{parts.scheme}://") or parts.fragment:
        raise ValueError("redis://HOST:PORT/DATABASE or redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DATABASE")
    user, _, hosts = parts.netloc.rpartition("@")
    if ":" in user:
        raise ValueError("no password in a URL: store.password has it")
    path = parts.path.removeprefix("/")
    if scheme[2]:
        arrangement, port = Arrangement.SENTINEL, SENTINEL_PORT
        service, _, database = path.partition("/")
        if not service:
            raise ValueError("the master's name, as in redis+sentinel://HOST:PORT/SERVICE")
    else:
        arrangement, port = Arrangement.SINGLE, REDIS_PORT
        service, database = "", path
        if "," in hosts:
            raise ValueError("one URL for each node of a Redis Cluster")
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError("a number as database")
    return Servers(
        arrangement,
        tuple(_address(text, port) for text in hosts.split(",")),
        unquote(service),
        int(database or 0),
        unquote(user),
        _tls(parts, is_tls=scheme[1] == "rediss"),
    )


def _address(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0:
        raise ValueError("HOST:PORT or [IPV6]:PORT")
    return host, port or default_port


def _tls(parts: SplitResult, *, is_tls: bool) -> dict[str, str | bool] | None:
    if parts.query and not is_tls:
        raise ValueError("no options but TLS's, with rediss://")
    options: dict[str, str | bool] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in TLS_OPTIONS:
            raise ValueError("no options but " + ", ".join(TLS_OPTIONS))
        choices = TLS_OPTIONS[name]
        if choices is not None and value not in choices:
            raise ValueError(f"{name} to be one of " + ", ".join(choices))
        options[name] = value if choices is None else choices[value]
    return options if is_tls else None
