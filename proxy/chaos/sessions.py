"""Who was connected to which proxy, from when to when; and which connections ended though their proxy lived.

Pure. A client of a proxy that was killed has lost its connection with good reason, and goes to another one; each other
end of a connection breaks the promise. Times are seconds of one clock, as in proxy.chaos.failover.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from proxy.chaos.failover import Fault, Percentiles

NOTICE = 1.0  # a proxy that drops a client tells nodes at once; the client, on a busy machine, may notice so late


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
    death of a proxy until its client was served by another.
    """

    moved: int = 0
    dropped: dict[str, int] = {}
    away: Percentiles = field(default_factory=Percentiles)


class Sessions:
    """all: in the order in which they began."""

    def __init__(self) -> None:
        self.all: list[Session] = []
        self._last: dict[int, Session] = {}  # of each client

    def began(self, client: int, proxy: int, at: float) -> Session:
        self._last[client] = session = Session(client, proxy, at)
        self.all.append(session)
        return session

    def withdraw(self, session: Session) -> None:
        """The connection was refused: there was none."""
        self.all = [one for one in self.all if one is not session]

    def joined(self, client: int, id: int, at: float) -> None:
        session = self._last[client]
        session.id, session.joined = id, at

    def ended(self, client: int, why: str, at: float) -> None:
        session = self._last[client]
        session.ended, session.why = at, why


def died_at(session: Session, faults: Iterable[Fault]) -> float | None:
    """When the proxy of a connection was killed, if that ended it. A connection begun after that is to another run."""
    if session.ended is None:
        return None
    deaths = (fault.at for fault in faults if fault.proxy == session.proxy)
    return next((at for at in deaths if session.began < at <= session.ended), None)


def moves(sessions: Iterable[Session], faults: Sequence[Fault]) -> Moves:
    """faults: all that happened, in order."""
    dropped: Counter[str] = Counter()
    lost_at: dict[int, float] = {}  # by client, until it is served again
    away: list[float] = []
    moved = 0
    for session in sessions:
        if session.joined is not None and session.client in lost_at:
            away.append(session.joined - lost_at.pop(session.client))
        if session.ended is None:
            continue
        death = died_at(session, faults)
        if death is None:
            dropped[session.why] += 1
        else:
            moved += 1
            lost_at.setdefault(session.client, death)
    return Moves(moved, dict(dropped), Percentiles.of(away))


def ends(sessions: Iterable[Session], faults: Sequence[Fault]) -> dict[int, float | None]:
    """When the connection of each client's id ended, at the earliest; None: it did not."""
    ends: dict[int, float | None] = {}
    for session in sessions:
        if session.joined is not None:
            death = died_at(session, faults)
            dropped = None if session.ended is None else session.ended - NOTICE
            ends[session.id] = dropped if death is None else death
    return ends
