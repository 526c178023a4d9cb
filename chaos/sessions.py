"""Who was connected to which proxy, from when to when; and which connections ended though their proxy lived.

Pure. A client of a proxy that was killed, stopped or frozen has lost its connection with good reason, and goes to
another one; each other end of a connection breaks the promise. Times are seconds of one clock, as in
chaos.failover.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from holdfast.chaos.failover import Fault, Percentiles

NOTICE = 1.0  # a proxy that drops a client tells nodes at once; the client, on a busy machine, may notice so late

# Where functions take it, `lag` is how late, at most, the clients' process did what it had to: so much later again it
# may have noticed.


class Session(Struct):
    """A connection of `client` to the proxy of that number. began: before it was asked for. id: the proxies' id of the
    client, known since it joined its channel at `joined`. ended, why: unless it lasted until the end of the run.
    """

    client: int
    proxy: int
    began: float
    id: int = 0
    joined: float | None = None
    ended: float | None = None
    why: str = ""


class Moves(Struct):
    """moved: connections that were lost with their proxy. dropped: others, by what the client was told. away: from the
    end of a connection that its proxy's loss excuses until its client was served again.
    """

    moved: int = 0
    dropped: dict[str, int] = {}
    away: Percentiles = field(default_factory=Percentiles)


class Sessions:
    """all: that were there; those of each client in the order in which they began."""

    def __init__(self) -> None:
        self.all: list[Session] = []
        self._last: dict[int, Session] = {}  # of each client

    def began(self, client: int, proxy: int, at: float) -> Session:
        """A client asks for a connection, which may be refused."""
        self._last[client] = session = Session(client, proxy, at)
        return session

    def is_there(self, session: Session) -> None:
        """It was not refused."""
        self.all.append(session)

    def id_of(self, client: int) -> int:
        """By which nodes know it now; 0: it has not joined its channel yet."""
        return self._last[client].id

    def joined(self, client: int, id: int, at: float) -> None:
        session = self._last[client]
        session.id, session.joined = id, at

    def ended(self, client: int, why: str, at: float) -> None:
        session = self._last[client]
        session.ended, session.why = at, why


def lost_at(session: Session, faults: Iterable[Fault], lag: float = 0.0) -> float | None:
    """When that began which was done to the proxy of a connection, if that explains its end.

    A proxy that is killed takes all with it, and a connection begun after that is to another run. What lasts for a
    while explains ends within that time, also of connections begun in it.
    """
    if session.ended is None:
        return None
    for fault in faults:
        if session.proxy not in fault.proxies or session.ended < fault.at:
            continue
        if fault.until:
            is_explained = session.began < fault.until and session.ended <= fault.until + NOTICE + lag
        else:
            is_explained = session.began < fault.at
        if is_explained:
            return fault.at
    return None


def moves(sessions: Iterable[Session], faults: Sequence[Fault], lag: float = 0.0) -> Moves:
    """faults: all that happened, in order."""
    dropped: Counter[str] = Counter()
    lost: dict[int, float] = {}  # when, by client, until it is served again
    away: list[float] = []
    moved = 0
    for session in sessions:
        if session.joined is not None and session.client in lost:
            away.append(session.joined - lost.pop(session.client))
        if session.ended is None:
            continue
        if lost_at(session, faults, lag) is None:
            dropped[session.why] += 1
        else:
            moved += 1
            lost.setdefault(session.client, session.ended)
    return Moves(moved, dict(dropped), Percentiles.of(away))


def ends(sessions: Iterable[Session], faults: Sequence[Fault], lag: float = 0.0) -> dict[int, float | None]:
    """When the connection of each client's id ended, at the earliest; None: it did not."""
    ends: dict[int, float | None] = {}
    for session in sessions:
        if session.joined is not None:
            lost = lost_at(session, faults, lag)
            dropped = None if session.ended is None else session.ended - NOTICE - lag
            ends[session.id] = dropped if lost is None else lost
    return ends
