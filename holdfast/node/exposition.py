"""The HTTP endpoint of a node's metrics: `GET /metrics`, for Prometheus.

Owns its connections: few, each for one request that must come soon, so that whoever asks can hold up nothing; who comes
on top takes the place of the one that has said nothing for the longest time. It is
served in the node's own task, so a node whose handlers block does not answer: that is to be seen.
"""

import sys
from collections.abc import Callable
from contextlib import suppress

import h11
import structlog
import trio

from holdfast.node.raised import traceback_of
from holdfast.protocols.errors import ConfigError

log = structlog.get_logger("holdfast.node")

PATH = b"/metrics"
TIMEOUT = 10.0  # for a request, and for who takes the answer; the usual scrape_timeout
MAX_CONNECTIONS = 16  # each for one request; Prometheus has one
MAX_REQUEST_BYTES = 16 << 10


async def serve(
    address: str,
    exposition: Callable[[], tuple[bytes, str]],
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled. Started with where it is bound, as HOST:PORT, which is printed too.

    address: HOST:PORT; port 0: a free one. exposition: the text, and its content type. Raises ConfigError for an
    address that is none, or can't be bound.
    """
    host, port = _parsed(address)
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:  # which includes that a name is not known
        raise ConfigError(f"--metrics {address}: {error.strerror or error}") from error
    silent: dict[trio.CancelScope, None] = {}  # of those who have not asked yet, in the order in which they came
    count = 0
    bound = f"{address.rpartition(':')[0]}:{listeners[0].socket.getsockname()[1]}"

    async def answer(stream: trio.SocketStream) -> None:
        nonlocal count
        async with stream:
            if count >= MAX_CONNECTIONS:
                if not silent:
                    return
                longest = next(iter(silent))
                del silent[longest]
                longest.cancel()
            count += 1
            try:
                with trio.move_on_after(TIMEOUT) as scope, suppress(trio.BrokenResourceError):
                    silent[scope] = None
                    try:
                        request = await _request(stream)
                    finally:
                        silent.pop(scope, None)
                    if request is not None:
                        await stream.send_all(_reply(*request, exposition))
            except Exception as error:  # the guard of a connection: what is wrong with metrics ends no node
                log.error("metrics_failed", exception=traceback_of(error))
            finally:
                count -= 1

    with suppress(OSError, ValueError):  # nobody reads it
        sys.stdout.write(f"metrics http://{bound}{PATH.decode()}\n")
        sys.stdout.flush()
    task_status.started(bound)
    await trio.serve_listeners(answer, listeners)


def _parsed(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"--metrics: expected HOST:PORT, as 127.0.0.1:9100, got {address!r:.80}")
    return host, int(port)


async def _request(stream: trio.SocketStream) -> tuple[h11.Connection, h11.Request | h11.RemoteProtocolError] | None:
    """What is asked, or what is wrong with that. None: it has gone."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(4096))
    except h11.RemoteProtocolError as error:
        return connection, error
    return (connection, event) if isinstance(event, h11.Request) else None


def _reply(
    connection: h11.Connection,
    request: h11.Request | h11.RemoteProtocolError,
    exposition: Callable[[], tuple[bytes, str]],
) -> bytes:
    if isinstance(request, h11.RemoteProtocolError):
        return _said(connection, request.error_status_hint, b"expected a request\n")
    is_head = request.method == b"HEAD"
    if request.method not in (b"GET", b"HEAD"):
        return _said(connection, 405, b"expected GET\n")
    if request.target.partition(b"?")[0] != PATH:
        return _said(connection, 404, b"the metrics are at /metrics\n", is_head=is_head)
    return _said(connection, 200, *exposition(), is_head=is_head)


def _said(
    connection: h11.Connection, status: int, body: bytes, kind: str = "text/plain", is_head: bool = False
) -> bytes:
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", "close")]
    data = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    return data if is_head else data + (connection.send(h11.Data(data=body)) or b"")
