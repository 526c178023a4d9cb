"""Who was connected to which proxy, from when to when; and which connections ended though their proxy lived.

Pure. A client of a proxy that was killed, stopped or frozen has lost its connection with good reason, and goes to
another one; each other end of a connection breaks the promise. Times are seconds of one clock, as in
chaos.failover.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from holdfast.chaos.due import ON_THE_WAY
from holdfast.chaos.failover import DEATHS, Fault, Percentiles

# Seconds since a freeze began in which it may keep things from a proxy, since nodes answer without one that they can't
# reach: it lasts for 3 s, and a link comes back 2.5 s and some tenths later.
UNREACHED = 6.0
TOLD = "close code 1012"  # that it has missed something, among others
# Seconds for which a proxy waits for a node that others have lost: two of the limit on silence, and how long it takes
# until it is told of that.
OWED = 6.0
KILLS = frozenset({"kill-proxy", "kill-together", "restart-kill"})  # of proxies, which do nothing more from then on
NOTICE = 1.0  # a proxy that drops a client tells nodes at once; the client, on a busy machine, may notice so late


class Session(Struct):
    """A connection of `client` to the proxy of that number. began: before it was asked for. id: the proxies' id of the
    client, known since it joined its channel at `joined`. ended, why: unless it lasted until the end of the run.
    lag: so much earlier it may have ended, because the clients' process had not looked for that long.
    """

    client: int
    proxy: int
    began: float
    id: int = 0
    joined: float | None = None
    ended: float | None = None
    why: str = ""
    lag: float = 0.0


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

    def ended(self, client: int, why: str, at: float, lag: float = 0.0) -> None:
        session = self._last[client]
        session.ended, session.why, session.lag = at, why, lag

    def proxy_of(self, client: int, at: float) -> int:
        """The number of the proxy that it was connected to at that time; -1: to none."""
        for session in reversed(self.all):
            if session.client == client and session.began <= at and (session.ended is None or at <= session.ended):
                return session.proxy
        return -1


def lost_at(session: Session, faults: Iterable[Fault]) -> float | None:
    """When that began which was done to the proxy of a connection, if that explains its end.

    A proxy that is killed takes all with it, and a connection begun after that is to another run. What lasts for a
    while explains ends within that time, also of connections begun in it.
    """
    faults = list(faults)
    return next((fault.at for fault in faults if _explains(fault, session, faults)), None)


def _explains(fault: Fault, session: Session, faults: Sequence[Fault]) -> bool:
    """Whether it is why a connection ended. faults: all of them.

    A proxy that was frozen while a node died waits for that one before it closes who has missed what it had.
    """
    if session.ended is None or session.proxy not in fault.proxies or session.ended < fault.at:
        return False
    if not fault.until:
        return session.began < max(fault.at, fault.struck)
    until = fault.until
    if fault.kind == "freeze-proxy" and session.why == TOLD:
        until = max([until, *_owed_until(fault, faults)])
    return session.began < until and session.ended <= until + NOTICE + session.lag


def _brought_at(freeze: Fault) -> float:
    """When all that it kept from a proxy has come, unless a node died that had it."""
    return max(freeze.until, freeze.at + UNREACHED)


def _owed_until(freeze: Fault, faults: Sequence[Fault]) -> list[float]:
    """For each death of a node that may have had things for a proxy then: until when clients of that may not know."""
    deaths = [fault.at for fault in faults if fault.kind in DEATHS and freeze.at <= fault.at <= _brought_at(freeze)]
    return [max(freeze.until, death) + OWED for death in deaths]


def passed_by(session: Session, faults: Sequence[Fault]) -> tuple[float, float] | None:
    """From when until when what was answered may have been kept from a connection that ended, by a freeze of its proxy
    or of a node, or because the proxy was dead and the client had not noticed. None: all had come to its proxy.
    """
    if session.ended is None:
        return None
    since = ended = session.ended - session.lag
    since = min([since, *(fault.at for fault in faults if fault.kind in KILLS and _explains(fault, session, faults))])
    freezes = [fault for fault in faults if fault.kind == "freeze-node" or _is_freeze_of(session.proxy, fault)]
    for freeze in sorted(freezes, key=lambda freeze: freeze.at, reverse=True):
        kept_until = max([_brought_at(freeze), *_owed_until(freeze, faults)])
        if freeze.at <= session.ended and (since <= kept_until or _explains(freeze, session, faults)):
            since = min(since, freeze.at)
    return None if since == ended else (since - ON_THE_WAY, session.ended)


def _is_freeze_of(proxy: int, fault: Fault) -> bool:
    return fault.kind == "freeze-proxy" and proxy in fault.proxies


def moves(sessions: Iterable[Session], faults: Sequence[Fault]) -> Moves:
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
        if lost_at(session, faults) is None:
            dropped[session.why] += 1
        else:
            moved += 1
            lost.setdefault(session.client, session.ended)
    return Moves(moved, dict(dropped), Percentiles.of(away))


def ends(sessions: Iterable[Session], faults: Sequence[Fault]) -> dict[int, float | None]:
    """When the connection of each client's id ended, at the earliest; None: it did not."""
    ends: dict[int, float | None] = {}
    for session in sessions:
        if session.joined is not None:
            lost = lost_at(session, faults)
            dropped = None if session.ended is None else session.ended - NOTICE - session.lag
            ends[session.id] = dropped if lost is None else lost
    return ends
