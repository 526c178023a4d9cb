"""What `check` takes, `serve` bears: odd values for each key, and a proxy's whole life with one of them.

`outcome` gives a value to a proxy as the file would, within the test's process: it starts, a node joins, a request
and a message of clients go there and back, and SIGTERM ends it.
"""

import json
import os
import signal
import typing
from pathlib import Path

import structlog
import trio
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.trio.client import connect

import holdfast
from holdfast.cli.serve import leaves
from holdfast.cli.settings import refused_later
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.app import App
from holdfast.proxy.config import Config, examine
from holdfast.proxy.config.keys import KEYS, Kind
from holdfast.proxy.config.sources import SECTIONS
from holdfast.proxy.process.bound import Bound
from tests.proxy.cluster.proxies import QUICK

PATIENCE = 20.0  # for a life that takes a tenth of a second
INTEGERS = (-(2**63), -1, 0, 1, 2, 7, 64, 1024, 2**16, 2**24, 2**28, 2**31 - 1, 2**31, 10**15, 10**15 + 1, 2**63 - 1)
FLOATS = (5e-324, 1e-9, 0.001, 0.5, float("nan"), float("inf"), float("-inf"), -0.0)
TEXTS = ("", " ", "\n", "\x00", "a\r\nb: c", "ü", "\U0001f600", "x" * 2**20, "a,b", "%s{}", "-1", "true", "../..", "/")
ADDRESSES = (
    "127.0.0.1:0", "[::1]:0", "localhost:0", "0.0.0.0:0", "[::]:0", "127.0.0.1:65535", "127.0.0.1:65536", "::1:0",
    "[127.0.0.1]:0", "[::ffff:127.0.0.1]:0", "[fe80::1%lo]:0", "256.1.1.1:0", "1:0", "no-such-host.invalid:0",
    "-:0", ".:0", "a..b:0", "x" * 70 + ":0", "127.0.0.1:٣", "192.0.2.1:0", "[2001:db8::1]:0", ":0", "127.0.0.1",
)  # fmt: skip
ENDPOINTS = (
    "tcp://127.0.0.1:*", "tcp://[::1]:*", "tcp://localhost:*", "tcp://*:*", "tcp://0.0.0.0:*", "tcp://lo:*",
    "tcp://[lo:ipv4]:*", "tcp://[lo:ipv6]:*", "tcp://[localhost:ipv6]:*", "tcp://[lo:ipv5]:*", "tcp://127.0.0.1:0",
    "tcp://127.0.0.1:65535", "tcp://127.0.0.1:65536", "tcp://no-such-host.invalid:*", "tcp://256.1.1.1:*", "tcp://:*",
    "tcp://_site_:*", "tcp://nolo:*", "tcp://[::ffff:127.0.0.1]:*", "tcp://192.0.2.1:*", "udp://127.0.0.1:0",
    "inproc://a", "ipc://", "ipc://@holdfast-odd", "ipc:///nowhere/at/all", "ipc:///" + "x" * 200, "ipc://\n",
    "ipc://" + "x" * 50 + "\x00",
)  # fmt: skip
OF_KIND: dict[Kind, tuple] = {
    Kind.ADDRESS: ADDRESSES,
    Kind.ENDPOINT: ENDPOINTS,
    Kind.PROTOCOL: (*(f"websocket://{a}" for a in ADDRESSES), "no-such://127.0.0.1:0", "http://127.0.0.1:0", "://a:0"),
    Kind.NETWORK: (
        "10.0.0.1", "10.0.0.1/8", "::1", "::ffff:127.0.0.0/104", "0.0.0.0/0", "::/0", "10.0.0.0/33", "10/8",
        "fe80::1%lo",
    ),
    Kind.SECRET: ("a secret of more than 32 bytes, ü", "/" * 40, "~" * 40, "a/" * 40),
    Kind.ALGORITHM: ("HS256", "RS256", "none", "HS512", "hs256"),
    Kind.SOURCE: (
        "header", "header:a", "cookie:a", "cookie:", "cookie:a b", "query:a", "query:.*", "query:(",
        "query:" + "a" * 999,
    ),
    Kind.SCOPED: ("read:a", "*:b", "publish::", "operate:", "root:a", "read:a b", "read:ü", "read:********", ":"),
    Kind.ORIGIN: ("*", "null", "https://a", "https://a/b", "https://", "https://" + "a" * 2**20, "http://a:b"),
    Kind.URL: (
        "redis://127.0.0.1:1/0", "redis://127.0.0.1:1/-1", "redis://127.0.0.1:1/99999999999999999999", "redis://",
        "redis://127.0.0.1:99999", "http://a", "redis+sentinel://127.0.0.1:1/a/0", "redis+sentinel://127.0.0.1:1",
        "rediss://127.0.0.1:1", "unix:///nowhere", "redis://[::1]:1", "redis://[::1", "redis://u:p@127.0.0.1:1/0?a=b",
    ),
}  # fmt: skip


def odd_values(name: str, folder: Path) -> list[object]:
    """By the key's type and kind. folder: for files, empty."""
    section, _, key = name.partition(".")
    type_, kind = SECTIONS[section][key], KEYS[name].kind
    if type_ is int:
        return [*INTEGERS, 1.5, "1", True]
    if type_ is float:
        return [*FLOATS, *INTEGERS, "1e999"]
    if type_ is bool:
        return [True, False, 0, "", "yes"]
    if typing.get_origin(type_) is typing.Literal:
        return [*typing.get_args(type_), "", "x", 1]
    texts: list[object] = [*TEXTS, *OF_KIND.get(kind, ()), 1]
    if kind in (Kind.FILE, Kind.FOLDER) or name in ("store.path", "client.jwt_keys"):
        texts += _files(folder)
    if type_ is str:
        return texts
    items = [[item] for item in texts if isinstance(item, str)]
    return [*items, [], [1], ["a", "a"], [""], *([*item, *item] for item in items[:3] + items[-3:]), 1, "", "a,b"]


def _files(folder: Path) -> list[str]:
    (folder / "empty").touch()
    (folder / "bytes").write_bytes(bytes(range(256)) * 64)
    for secret in ("zzz", "~" * 40, "#" * 40):
        key = f'curve\n    public-key = "{secret}"\n    secret-key = "{secret}"\n'
        (folder / secret[:2]).write_text(key)
    (folder / "ü\n").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return [
        str(folder),
        *(str(folder / file) for file in ("empty", "bytes", "ü\n", "missing", "missing/missing", "zz", "~~", "##")),
    ]


BASE = {
    "client.bind": ["127.0.0.1:0"],
    "node.bind": ["tcp://127.0.0.1:*"],
    "admin.bind": "127.0.0.1:0",
    "admin.token": "t",
    "cluster.pub": "tcp://127.0.0.1:*",
    "cluster.retry_join": 1,
    "state.recover_timeout": 0,
    "drain.spread": 0,
}


def examined(name: str, value: object, folder: Path) -> tuple[Config | None, list[str]]:
    """As `holdfast check` of a file with this value, and with what lets many proxies run beside each other."""
    values: dict[str, object] = dict(BASE)
    if name.startswith(("store.", "cluster.")):
        values |= {"store.kind": "sqlite", "store.path": str(folder / "store.sqlite")}
        values |= {f"cluster.{key}": quick for key, quick in QUICK.items()}
    if name in ("store.name", "store.urls", "store.password", "store.sentinel_password"):
        values |= {"store.kind": "redis", "store.urls": ["redis://127.0.0.1:1/0"], "store.timeout": 0.2}
    if name.startswith("client.jwt_"):  # who asks then has none
        values |= {"client.jwt_required": False, "client.jwt_keys": "0123456789abcdef0123456789abcdef"}
        if name == "client.jwt_required":
            del values["client.jwt_keys"]
    values[name] = value
    file = folder / "holdfast.toml"
    file.write_text("".join(f"{key} = {_toml(one)}\n" for key, one in values.items()), encoding="utf-8")
    loaded, problems = examine(file, {})
    if loaded is not None:
        problems += refused_later(loaded.config)
    return (None if problems or loaded is None else loaded.config), problems


def _toml(value: object) -> str:
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value).replace("\\ud83d\\ude00", "\U0001f600").replace("\x7f", "\\u007f")


class Unborne(AssertionError):
    """The proxy did not bear the value."""


async def outcome(config: Config) -> str:
    """A proxy's whole life: "served", or the line with which `serve` ends where it can't. Raises Unborne."""
    with structlog.testing.capture_logs() as logs:
        try:
            with trio.fail_after(PATIENCE):
                told = await _life(config)
        except trio.TooSlowError as error:
            raise Unborne("it hangs") from error
    crashes = [line for line in logs if "crashed" in line["event"] or "exc_info" in line or "exception" in line]
    if crashes:
        raise Unborne(f"{crashes[0]}")
    return told


async def _life(config: Config) -> str:
    served = ""
    try:
        app = App(config)
        if app.runner is not None:
            app.runner._is_store_ours = True  # it need not wait for others, which takes most of a heartbeat_timeout
        async with trio.open_nursery() as nursery:
            bound: list[Bound] = []
            serving = trio.Event()

            def ready(where: Bound) -> None:
                bound.append(where)
                serving.set()

            async def run() -> None:
                await app.run(ready)
                nursery.cancel_scope.cancel()

            nursery.start_soon(run)
            await serving.wait()
            served = "served"
            await _use(nursery, config, bound[0])
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.sleep_forever()
    except* (OSError, HoldfastError) as errors:
        found = list(leaves(errors))
        if served or len(found) != 1:
            raise
        served = str(found[0])
    if "\n" in served:
        raise Unborne(f"more than a line: {served}")
    return served


async def _use(nursery: trio.Nursery, config: Config, bound: Bound) -> None:
    node = holdfast.Node("echo", token=config.node.token)

    @node.on_request
    async def echo(request: holdfast.Request) -> bytes:
        return b"!"

    if config.client.admission == "required":

        @node.on_connect
        async def admit(client: holdfast.Client) -> None:
            """Everybody."""

    nursery.start_soon(node.run, [bound.node[0]])
    port = int(bound.client[0].rpartition(":")[2])
    host = bound.client[0].rpartition(":")[0].strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    stream = await trio.open_tcp_stream(host, port)
    async with stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b"".join([part async for part in stream])
    if not answer.startswith(b"HTTP/1.1 "):
        raise Unborne(f"HTTP was answered {answer[:50]!r}")
    where = f"[{host}]" if ":" in host else host
    try:
        async with connect(
            f"ws://{where}:{port}/", compression=None, ping_interval=None, origin=_origin(config)
        ) as client:
            await client.send("?")
            await client.recv()
    except ConnectionClosed as closed:
        if closed.rcvd is None:
            raise Unborne("the WebSocket ended without a close frame") from closed
        raise Unborne(f"the WebSocket was closed: {closed.rcvd}") from closed
    except InvalidHandshake as error:
        raise Unborne(f"no WebSocket: {error!r}") from error


def _origin(config: Config) -> str | None:
    return next((origin for origin in config.client.origins if origin != "*"), None)
