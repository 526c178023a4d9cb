"""One session with one proxy: hello, welcome, snapshots, ready, requests, the end.

Owns the order of these, heartbeats, and the table that says who is told of which frame. Refuses frames out of turn.
What is over stays over: a new session begins from nothing (docs/topics/architecture.md, Sessions of nodes).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf, nextafter
from typing import Any, Protocol

import trio
from msgspec import Struct

from holdfast.node.asking import Asking
from holdfast.node.batches import Batches
from holdfast.node.callbacks import Callbacks
from holdfast.node.clients import Clients
from holdfast.node.dispatch import Dispatch
from holdfast.node.effects import room_in
from holdfast.node.exchange import Exchange
from holdfast.node.mastership import Mastership
from holdfast.node.network import Network
from holdfast.node.questions import Questions
from holdfast.node.replica import Replica
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import CALLBACKS_TIMEOUT, VERSION, FromProxy
from holdfast.protocols.nodes.lateness import Excuse, tolerated

WELCOME_TIMEOUT = 5.0
MIN_INTERVAL = 0.001  # whatever a proxy says
BEAT_BYTES, OWED_BYTES = 64, 72  # of a heartbeat; of each proxy in it


class Phase(Enum):
    CONNECTING = "connecting"  # hello is said
    SYNCING = "syncing"  # welcome: snapshots come in
    READY = "ready"  # requests come in
    DRAINING = "draining"  # those that are here are finished
    OVER = "over"


_MOVES = {
    Phase.CONNECTING: {Phase.SYNCING, Phase.OVER},
    Phase.SYNCING: {Phase.READY, Phase.DRAINING, Phase.OVER},
    Phase.READY: {Phase.DRAINING, Phase.OVER},
    Phase.DRAINING: {Phase.OVER},
    Phase.OVER: set(),
}


class Links(Network, Protocol):
    """Whom a session tells how it stands: holdfast.node.links. is_draining: no requests are wanted any more.
    is_drained: by our word none is to come any more."""

    @property
    def is_draining(self) -> bool: ...

    @property
    def is_drained(self) -> bool: ...

    def drained(self, proxy: str) -> None:
        """This proxy gives us no more requests."""
        ...

    def expect(self, proxy: str, number: int) -> None:
        """One is to stand: of the proxy's sessions the one with this number, 0 if it does not say. Raises FrameError if
        a later one stood before."""
        ...

    def welcomed(self, session: "Session", seen: int) -> None:
        """It stands. seen: number of the last of our effects that the proxy has."""
        ...

    def introduced(self, session: "Session", peers: frames.Peers) -> None:
        """Proxies, as its proxy tells them."""
        ...

    def ready(self, session: "Session") -> None: ...

    def lost(self, session: "Session", *, for_good: bool) -> None:
        """One that was welcomed is over. for_good: the proxy has said goodbye."""
        ...


@dataclass(slots=True)
class Parts:
    """The parts of a node that its sessions speak to."""

    hello: Callable[[], frames.Hello]
    callbacks: Callbacks
    clients: Clients
    dispatch: Dispatch
    mastership: Mastership
    replica: Replica
    links: Links
    questions: Questions
    asking: Asking


class Session:
    """Owner of a pump, from `run` to its end.

    address: where we connect to. proxy: the id of who answers there, once it has. now: time of the present turn.
    via: the proxy to which that one passes everything, if it does. peers: the proxies that it lists.
    exchanges: requests that came with it and are being handled, by id.
    """

    def __init__(self, parts: Parts, pump: Batches, address: str, via: str = "") -> None:
        self.links = parts.links
        self.address = address
        self.via = via
        self.peers = frames.Peers([])
        self.proxy = ""
        self.phase = Phase.CONNECTING
        self.exchanges: dict[int, Exchange] = {}
        self.over = trio.Event()
        self.successor: Session | None = None  # with the same proxy at another address, if it took this one's place
        self.refused_for_good = ""  # why, if so
        self.now = 0.0
        self.send = pump.send
        self.wait_room = pump.wait_room
        self.wake_handlers = parts.dispatch.workers.wake
        self._parts = parts
        self._pump = pump
        self._has_clients = self._is_leaving = self._proxy_has_left = False  # has_clients: or wants none
        self._seen = 0.0  # when something last came
        self.max_batch_bytes = self.max_unacknowledged_bytes = self.reply_window = 0  # until the welcome says
        self.stream_timeout = 0.0
        self.takes: Sequence[str] = ()
        self._patience, self._heartbeat_interval = WELCOME_TIMEOUT, 0.0
        self._excuse = Excuse()  # of turns that are so late that this process stood still
        self._still, self._awoke = 0.0, -inf  # it stood still for long enough to be given up: how long, until when
        self._next_heartbeat = self._ready_at = inf
        self._beaten = self._answered = -inf
        self._news = trio.lowlevel.ParkingLot()  # a heartbeat was answered, or it is over
        self._soon = 0.5  # between heartbeats whose answers are needed, as the last Mute says
        self._table: dict[type[Struct], Callable[[Session, Any], None]] = {
            frames.Welcome: Session._welcome,
            frames.Refused: Session._refused,
            frames.Bye: Session._bye,
        }

    @property
    def is_open(self) -> bool:
        """Whether it has a welcome and is not over."""
        return bool(self.proxy) and not self._pump.ended

    @property
    def reason(self) -> str:
        """Why it is over."""
        return self._pump.ended

    async def run(self) -> None:
        hello = self._parts.hello()
        self._has_clients = not hello.wants_clients
        self.send(hello)
        self._seen = trio.current_time()
        try:
            await self._pump.run(self)
        finally:
            self._end()

    def drain(self) -> float:
        """Say that no requests should come. None will when the stamp that is returned is answered: what comes before
        that was sent before the proxy knew."""
        was_ready = self.phase is Phase.READY
        if was_ready or self.phase is Phase.SYNCING:
            self._move(Phase.DRAINING)
            self.send(frames.Drain())
        return self.beat() if was_ready else -inf

    async def wait_answered(self, stamp: float) -> None:
        """Wait until the heartbeat with this stamp is answered, so that the proxy has all that was sent before it; or
        the session is over."""
        while self._answered < stamp and self.phase is not Phase.OVER:
            await self._news.park()

    def leave(self) -> None:
        """End it well: say Bye when all else has been sent."""
        if self._is_leaving:
            return
        self._is_leaving = True
        if self.is_open:
            self.send(frames.Bye())
            self._pump.finish()
        else:
            self.end("leaving")

    def end(self, reason: str) -> None:
        self._pump.end(reason)

    def expired(self, exchange: Exchange) -> None:
        """Nobody waits for its reply any more."""
        self._parts.dispatch.expired(exchange)

    # --- owner of the pump ------------------------------------------------------------------------------------------

    @property
    def next_tick(self) -> float:
        return min(self._seen + self._patience, self._next_heartbeat, self._ready_at)

    def tick(self, now: float) -> None:
        still = now - self.now
        self.now = now
        if self._excuse.is_late(still - self._heartbeat_interval):
            # What came meanwhile is not read yet, and nothing has asked for more: of a silence it counts as one
            # heartbeat that did not come. A proxy that has given us up has said so.
            self._seen = min(now, self._seen + still - self._heartbeat_interval)
            if still >= self._patience:
                self._still, self._awoke = still, now
        if now >= self._seen + self._patience and not self._excuse.is_given:
            self.end(f"nothing came for {now - self._seen:.1f} s")
            return
        if now >= self._next_heartbeat:
            self.beat()
        if now >= self._ready_at:
            self._say_ready()

    def receive(self, batch: list[FromProxy], now: float) -> None:
        self._seen = now
        table = self._table
        for frame in batch:
            handle = table.get(type(frame))
            if handle is None:
                raise FrameError(f"{type(frame).__name__} came while {self.phase.value}")
            handle(self, frame)

    # --- frames -----------------------------------------------------------------------------------------------------

    def _welcome(self, frame: frames.Welcome) -> None:
        if frame.version != VERSION:
            raise FrameError(f"the proxy speaks version {frame.version} of the node protocol, this node {VERSION}")
        if self.via not in ("", frame.proxy):
            raise FrameError(f"expected the proxy {self.via}, got {frame.proxy}")
        self.links.expect(frame.proxy, frame.session)
        self.proxy = frame.proxy
        self.max_batch_bytes = frame.max_batch_bytes
        self._pump.max_batch_bytes = min(self._pump.max_batch_bytes, room_in(frame.max_batch_bytes))
        self.max_unacknowledged_bytes = frame.max_unacknowledged_bytes
        self.reply_window = frame.reply_window
        self.stream_timeout = frame.stream_timeout
        self.takes = frame.takes
        self._heartbeat_interval = frame.heartbeat_interval
        self._patience = frame.heartbeat_timeout
        self._excuse = Excuse(tolerated(frame.heartbeat_interval, frame.heartbeat_timeout))
        self._next_heartbeat = self.now
        self._move(Phase.SYNCING)
        del self._table[frames.Welcome]
        self._table |= {
            frames.Heartbeat: Session._heartbeat,
            frames.Peers: Session._peers,
            frames.Clients: Session._clients,
            frames.Changes: Session._changes,
            frames.Ack: Session._ack,
            frames.Mute: Session._mute,
            frames.Unmute: Session._unmute,
            frames.Counted: self._parts.questions.answered,
            frames.History: self._parts.questions.answered,
            frames.Answered: self._parts.asking.answered,
            frames.State: self._parts.replica.page,
            frames.Entry: self._parts.replica.entry,
            frames.ProposalRefused: self._parts.replica.refused,
            frames.WantOrphans: self._parts.clients.heir.wanted,
            frames.WantState: self._parts.replica.want_state,
            frames.Master: Session._master,
            frames.Offer: Session._offer,
            frames.Cancel: self._parts.dispatch.cancel,
            frames.Taken: self._parts.dispatch.taken,
        }
        self.links.welcomed(self, frame.seen)  # and is told what others were told of its clients, before we forget that
        self._parts.clients.welcome(self.proxy, frame.clients_sequence, frame.prefix)
        self.links.introduced(self, frames.Peers(frame.peers, frame.ballot))
        self._parts.replica.kept_by(self, frame.keeper, 0)
        if self.links.is_drained:
            self.beat()  # before Ready: the hello may have been said before it was so
        if self.links.is_draining:
            self.drain()
        self.check_synced()  # no page comes to a node that wants no clients, from a proxy that keeps no state

    def _refused(self, frame: frames.Refused) -> None:
        if not frame.fatal and self.now - self._awoke < WELCOME_TIMEOUT:
            self.end(f"this process stood still for {self._still:.1f} s: stopped, or a handler that does not await")
        self.end(f"refused: {frame.reason}")
        if frame.fatal:
            self.refused_for_good = frame.reason

    def _bye(self, frame: frames.Bye) -> None:
        self._proxy_has_left = True
        self.end(f"the proxy has left: {frame.reason}")

    def _peers(self, frame: frames.Peers) -> None:
        self.links.introduced(self, frame)

    def _ack(self, frame: frames.Ack) -> None:
        if stream := self.links.streams.of(self):
            stream.has(frame.number, frame.window)

    def _mute(self, frame: frames.Mute) -> None:
        self._soon = max(frame.interval, MIN_INTERVAL)
        if stream := self.links.streams.of(self):
            stream.mute(frame.channels)

    def _unmute(self, frame: frames.Unmute) -> None:
        if stream := self.links.streams.of(self):
            stream.unmute(frame.channels)

    def _heartbeat(self, frame: frames.Heartbeat) -> None:
        self._answered = max(self._answered, frame.stamp)
        self._news.unpark_all()
        if stream := self.links.streams.of(self):
            stream.answered(frame.stamp)
        self._parts.mastership.renew(self.proxy, frame)
        if frame.is_drained:
            self.links.drained(self.proxy)

    def _offer(self, frame: frames.Offer) -> None:
        self.send(frame)  # we live: that is all it asks

    def _master(self, frame: frames.Master) -> None:
        self._parts.mastership.announced(frame)
        self._parts.replica.kept_by(self, frame.keeper, frame.epoch)
        if self._parts.mastership.is_elected:
            self.beat()  # the answer brings the lease

    def _clients(self, frame: frames.Clients) -> None:
        self._parts.clients.page(self.proxy, frame)
        self._has_clients |= frame.last
        self.check_synced()

    def _changes(self, frame: frames.Changes) -> None:
        self._parts.clients.changes(self.proxy, frame)

    # ----------------------------------------------------------------------------------------------------------------

    def check_synced(self) -> None:
        """Something has come that it waited for."""
        if (
            self._has_clients
            and self.phase is Phase.SYNCING
            and self._ready_at == inf
            and self._parts.replica.is_synced
        ):
            self._ready_at = self.now + CALLBACKS_TIMEOUT
            self._parts.callbacks.after(self._say_ready)

    def _say_ready(self) -> None:
        self._ready_at = inf
        if self.phase is Phase.SYNCING:
            self._move(Phase.READY)
            self._table |= {
                frames.Request: self._parts.dispatch.message,
                frames.HttpRequest: self._parts.dispatch.http,
                frames.Call: self._parts.dispatch.call,
            }
            self.send(frames.Ready())
            self.links.ready(self)

    def beat(self) -> float:
        """Send a heartbeat; it tells what state we have, whom we owe, which epoch we have seen, at whichever proxy, and
        whether we are drained. Returns its stamp, which no other one has."""
        now = max(trio.current_time(), nextafter(self._beaten, inf))
        epoch, index = self._parts.replica.view.position
        load, seen = self._parts.dispatch.load, self._parts.mastership.epoch
        streams, is_drained = self.links.streams, self.links.is_drained
        pending = streams.pending(owes := streams.owes(self.proxy))
        beat = frames.Heartbeat(now, load, seen, 0.0, 0, 1, epoch, index, owes, is_drained, pending)
        self.send(beat, BEAT_BYTES + OWED_BYTES * (len(owes) + sum(len(each.requests) for each in pending)))
        if stream := streams.of(self):
            stream.asked(now)
        self._beaten = now
        self._next_heartbeat = now + self._heartbeat_interval
        return now

    def beat_soon(self) -> None:
        """Something depends on what the proxy answers to a heartbeat that is sent from now on."""
        due = self._beaten + self._soon
        if trio.current_time() >= due:
            self.beat()
        elif due < self._next_heartbeat:
            self._next_heartbeat = due
            self._pump.wake()

    def _move(self, phase: Phase) -> None:
        if phase not in _MOVES[self.phase]:
            raise RuntimeError(f"a session can't go from {self.phase.value} to {phase.value}")
        self.phase = phase

    def _end(self) -> None:
        self._move(Phase.OVER)
        if self.proxy:
            self._parts.dispatch.lost(self, self.reason)
            self.links.lost(self, for_good=self._proxy_has_left)
            self._parts.replica.lost(self)
            self._parts.questions.lost(self)
            self._parts.asking.lost(self)
        self._news.unpark_all()
        self.over.set()
