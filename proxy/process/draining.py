"""How the proxy leaves: requests finish, then clients are told to come back elsewhere.

Clients are closed with 1012 spread over time, because all at once they would storm whoever takes them.
"""

from collections.abc import Sequence, Sized

import structlog
import trio

from holdfast.balancer.directory import Directory
from holdfast.balancer.ledger import Ledger
from holdfast.protocols.close import Reason
from holdfast.proxy.clients.clients import Clients
from holdfast.proxy.clients.connection import Connection
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.config import DrainSettings
from holdfast.proxy.nodes.dispatch import Dispatch
from holdfast.proxy.nodes.once import Once

log = structlog.get_logger("holdfast.drain")

WHY = "the proxy restarts; connect again"
STEP = 0.05  # clients are closed in groups this far apart
LAST_CALLS = 5.0  # seconds in which nodes are told of clients that have gone so; of the 10 that most supervisors give


async def drain(
    settings: DrainSettings,
    clients: Clients,
    ledger: Ledger,
    directory: Directory,
    dispatch: Dispatch,
    once: Once,
    reactor: Reactor,
) -> None:
    """Returns when no client is left, or after the time limit: then some may be, who have been told at least. And when
    one node has been told of each that has gone, or after LAST_CALLS.

    Listeners are closed already.
    """
    log.info("draining", connections=len(clients.connections), requests=len(ledger))
    with trio.move_on_after(settings.timeout) as limit:
        await _finish_requests(ledger, dispatch.unsaid, deadline=trio.current_time() + settings.timeout / 2)
        await close_clients(settings.spread, clients, reactor, Reason.DRAINING, WHY, is_patient=True)
        while clients.connections:  # noqa: ASYNC110 - the hot path sets no events
            await trio.sleep(STEP)
    if limit.cancelled_caught:
        log.warning("drain_timeout", connections=len(clients.connections), requests=len(ledger))
        here = list(clients.connections.values())
        for connection in here:
            if connection.session is not None:
                connection.hush()
            else:  # as HTTP, where the answer says that it is the last
                connection.close(Reason.DRAINING, WHY)
        dispatch.leave(WHY)
        for connection in here:  # said again, it is meant for what still arrives, too
            connection.close(Reason.DRAINING, WHY)
        directory.reopen()
        reactor.settle()
    else:
        log.info("drained")
    with trio.move_on_after(LAST_CALLS):
        while once.is_heard:  # noqa: ASYNC110 - as above
            await trio.sleep(STEP)
    if len(once):
        log.warning("once_untold", count=len(once))


async def _finish_requests(ledger: Ledger, unsaid: Sequence[Sized], deadline: float) -> None:
    # Clients go on asking until they are closed, so "no request at all" may never come: wait for those of now.
    last = ledger.last_id
    while trio.current_time() < deadline and (any(map(len, unsaid)) or ledger.has_before(last)):  # noqa: ASYNC110 - as above
        await trio.sleep(STEP)


async def close_clients(
    spread: float, clients: Clients, reactor: Reactor, reason: Reason, why: str, *, is_patient: bool = False
) -> None:
    """All that are here now, in groups, over `spread` seconds. is_patient: whoever has requests open, when these are
    answered; from its turn on nothing more is taken of it."""
    everybody = list(clients.connections.values())
    steps = max(1, round(spread / STEP))
    share = max(1, -(-len(everybody) // steps))
    busy: list[Connection] = []
    start = 0
    while busy or start < len(everybody):
        due, busy = [*busy, *everybody[start : start + share]], []
        start += share
        for connection in due:
            if is_patient and connection.session is not None and connection.has_asked:
                connection.hush()
                busy.append(connection)
            else:
                connection.close(reason, why)
        reactor.settle()
        await trio.sleep(STEP)
