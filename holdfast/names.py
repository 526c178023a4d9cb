"""Looking up the names of proxies, for whoever dials them: nodes, and other proxies. See protocols.endpoints."""

import socket
from functools import partial

import structlog
import trio

from holdfast.complaints import Complaints
from holdfast.protocols.endpoints import endpoints_of, name_in

log = structlog.get_logger("holdfast.names")


async def look_up(endpoint: str, limiter: trio.CapacityLimiter, complaints: Complaints) -> list[str]:
    """The endpoints that it stands for at present; none if that can't be had. In a thread, of the limiter's.

    complaints: of this dialling, which goes on until it succeeds.
    Cancelled, it returns at once, and the thread has its place in the limiter until the name server has answered.
    """
    name = name_in(endpoint)
    if name is None:
        return [endpoint]
    ask = partial(socket.getaddrinfo, *name, type=socket.SOCK_STREAM)
    try:
        return endpoints_of(await trio.to_thread.run_sync(ask, limiter=limiter, abandon_on_cancel=True))
    except (OSError, UnicodeError) as error:
        if complaints.is_due(f"{endpoint}: {error}", trio.current_time()):
            log.info("name_not_found", address=endpoint, error=str(error))
        return []
