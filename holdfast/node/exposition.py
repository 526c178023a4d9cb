"""The HTTP endpoint of a node's metrics: `GET /metrics`, for Prometheus.

Owns its connections: few, each for one request that must come soon; of too many the one goes that is there for the
longest time. So whoever asks can hold up nothing, and who asks nothing keeps out nobody. It is
served in the node's own task, so a node whose handlers block does not answer: that is to be seen.
"""

import sys
from collections.abc import Callable
from contextlib import suppress

import h11
import structlog
import trio

from holdfast.node.errors import traceback_of
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
    lives: dict[trio.CancelScope, None] = {}  # of the connections, the oldest first
    bound = f"{address.rpartition(':')[0]}:{listeners[0].socket.getsockname()[1]}"

    async def answer(stream: trio.SocketStream) -> None:
        if len(lives) >= MAX_CONNECTIONS:
            oldest = next(iter(lives))
            del lives[oldest]
            oldest.cancel(reason="too many connections")
        async with stream:
            with trio.move_on_after(TIMEOUT) as life:
                lives[life] = None
                try:
                    await _answer(stream, exposition)
                except trio.BrokenResourceError:
                    pass  # it has gone
                except Exception as error:  # the guard of a connection: what is wrong with metrics ends no node
                    log.error("metrics_failed", exception=traceback_of(error))
                finally:
                    lives.pop(life, None)

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


async def _answer(stream: trio.SocketStream, exposition: Callable[[], tuple[bytes, str]]) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(4096))
    except h11.RemoteProtocolError as error:
        await _send(stream, connection, error.error_status_hint, b"expected a request\n")
        return
    if not isinstance(event, h11.Request):  # it has gone
        return
    if event.method not in (b"GET", b"HEAD"):
        await _send(stream, connection, 405, b"expected GET\n")
    elif event.target.partition(b"?")[0] != PATH:
        is_head = event.method == b"HEAD"
        await _send(stream, connection, 404, b"the metrics are at /metrics\n", is_head=is_head)
    else:
        await _send(stream, connection, 200, *exposition(), is_head=event.method == b"HEAD")


async def _send(
    stream: trio.SocketStream,
    connection: h11.Connection,
    status: int,
    body: bytes,
    kind: str = "text/plain",
    is_head: bool = False,
) -> None:
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", "close")]
    data = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    if not is_head:
        data += connection.send(h11.Data(data=body)) or b""
    await stream.send_all(data)
