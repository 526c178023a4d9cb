"""Who waits for its admission: where there is no node, where one is lost, and when it goes or is closed meanwhile."""

from contextlib import asynccontextmanager

import pytest
import trio
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed, InvalidStatus

from holdfast.balancer.directory import Pool
from holdfast.balancer.ledger import Entry
from holdfast.balancer.policies import LeastInFlight
from holdfast.balancer.settings import RequestSettings
from holdfast.protocols.clients.events import Opened
from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import Admitted
from holdfast.proxy.clients.admission import Admission
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.clients.session import NOBODY, Identity
from holdfast.proxy.metrics import Counters
from tests.harness import ScriptedNode, client_ids, running, websocket
from tests.proxy.clients.test_connection import LineProtocol
from tests.proxy.clients.test_registered import register
from tests.proxy.nodes.knocking import ADA, Peer, admit, asked_for, is_forgotten, knocking, refuse, text


async def status_of(proxy) -> int:
    with pytest.raises(InvalidStatus) as refused:
        async with websocket(proxy):
            pass
    return refused.value.response.status_code


# --- where there is no node ---------------------------------------------------------------------------------------


async def test_who_comes_while_no_node_is_there_waits_if_there_was_one():
    async with running() as proxy:
        with asked_for(proxy) as node:
            await node.join()
        await proxy.until(lambda: not proxy.app.directory.nodes)
        async with knocking(proxy) as peer:
            await proxy.until(lambda: proxy.app.ledger.parked_count == 1)
            with asked_for(proxy) as node:
                await node.join()
                await admit(node)
                await peer.until(b" 101 ")


async def test_nobody_is_let_in_while_only_nodes_of_another_application_are_there():
    """Those who ask are gone, others are ready: that is no reason to let everybody in."""
    async with running() as proxy:
        with ScriptedNode(proxy.node, "billing") as other:
            await other.join()
            with asked_for(proxy) as doorman:
                await doorman.join()
            await proxy.until(lambda: len(proxy.app.directory.nodes) == 1)
            async with knocking(proxy) as peer:
                await proxy.until(lambda: proxy.app.ledger.parked_count == 1)
                with ScriptedNode(proxy.node, "another") as another:  # not the application that asked
                    await another.join()
                    with asked_for(proxy) as doorman:
                        await doorman.join()
                        await admit(doorman)
                        await peer.until(b" 101 ")


async def test_an_application_that_comes_back_without_lets_everybody_in():
    async with running() as proxy:
        with asked_for(proxy, "chat") as node:
            await node.join()
        await proxy.until(lambda: not proxy.app.directory.nodes)
        with ScriptedNode(proxy.node, "chat") as node:
            await node.join()
            async with knocking(proxy) as peer:
                await peer.until(b" 101 ")


async def test_who_waits_for_it_then_is_let_in_too():
    """At once, with what it has said meanwhile, though others were ready before. Nothing is left of its question."""
    async with running(request={"parked_timeout": 60.0, "timeout": 60.0}) as proxy:
        with ScriptedNode(proxy.node, "billing") as other:
            await other.join()
            with asked_for(proxy, "chat") as node:
                await node.join()
            await proxy.until(lambda: len(proxy.app.directory.nodes) == 1)
            async with knocking(proxy, text(b"hello")) as peer:
                await proxy.until(lambda: proxy.app.ledger.parked_count == 1)
                with ScriptedNode(proxy.node, "chat") as node:
                    await node.join()
                    await peer.until(b" 101 ")
                    await proxy.until(lambda: len(proxy.app.ledger) == 1)  # its message
                    assert proxy.app.ledger.parked_count == 0


class Opening:
    """A connection that waits."""

    def __init__(self, id):
        self.id, self.is_opening, self.identities = id, True, []

    def admitted(self, identity):
        self.is_opening = False
        self.identities.append(identity)


class Room:
    """Admission that so many wait for. turns: what is to be called in the next ones."""

    def __init__(self, count, identity=NOBODY):
        self._pool = Pool.of("connect", lambda node: True, LeastInFlight().select, RequestSettings(), "nobody")
        self.is_wanted(True)
        self.reactor, parked = Reactor(), []
        ask = lambda waiting, call, pool: parked.append(Entry(1, waiting, call, pool, None, 0.0))  # noqa: E731
        self.it = Admission("auto", self._pool, ask, {self._pool: parked}, self.reactor, Counters())
        self.openings = [Opening(number) for number in range(count)]
        for opening in self.openings:
            self.it.ask(opening, Opened("w", "/", []), identity)

    def is_wanted(self, value):
        self._pool.names = {"chat": None} if value else {}

    @property
    def let_in(self):
        return sum(not opening.is_opening for opening in self.openings)

    def turn(self):
        calls = list(self.reactor._bell.calls)
        self.reactor._bell.calls.clear()
        for call in calls:
            call()
        return len(calls)


async def test_who_is_let_in_is_who_its_token_says():
    ada = Identity("ada", claims=b"{}", expires=5.0)
    room = Room(3, ada)
    assert not room.it.tick()
    assert room.openings[0].is_opening
    room.openings[1].is_opening = False  # has gone
    room.is_wanted(False)
    with capture_logs() as logs:
        assert room.it.tick()
    assert [(line["event"], line["clients"]) for line in logs] == [("clients_let_in", 2)]
    assert [opening.identities for opening in room.openings] == [[ada], [], [ada]]


async def test_many_are_let_in_by_and_by(monkeypatch):
    """Each turn has some time for it; and none is let in any more when somebody asks again."""
    monkeypatch.setattr("holdfast.proxy.clients.admission.LET_IN_TIME", 0.0)
    room = Room(5)
    room.is_wanted(False)
    assert room.it.tick()
    assert room.let_in == 1
    assert not room.it.tick(), "nobody since, and nobody begins again"
    assert room.turn() == 1
    assert (room.let_in, room.it.tick()) == (2, True)
    room.is_wanted(True)
    with capture_logs() as logs:
        assert room.turn() == 1
    assert [line["clients"] for line in logs] == [2], "and no more than are in"
    assert (room.let_in, room.turn()) == (2, 0)
    room.is_wanted(False)
    assert room.it.tick()
    assert room.let_in == 3


async def test_who_is_asked_for_at_a_node_that_drains_waits_for_its_word():
    async with running() as proxy:
        with asked_for(proxy, "chat") as node:
            await node.join()
            async with knocking(proxy) as peer:
                call = await node.take(frames.Call)
                node.say(frames.Drain())
                with ScriptedNode(proxy.node, "chat") as heir:
                    await heir.join()
                    proxy.app.ticker.tick(trio.current_time())
                    node.say(frames.Failure(call.id, call.attempt, 403, "not you"))
                    assert (await peer.to_the_end()).startswith(b"HTTP/1.1 403 ")


async def test_required_holds_clients_before_the_first_node_and_then_refuses_them():
    async with running(client={"admission": "required"}, request={"parked_timeout": 0.4}) as proxy:
        async with knocking(proxy) as peer:
            await proxy.until(lambda: proxy.app.ledger.parked_count == 1)
            assert client_ids(proxy) == []
            said = await peer.to_the_end()
            assert said.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in said.lower()
        await proxy.until(lambda: is_forgotten(proxy))
        with ScriptedNode(proxy.node) as node:  # one that does not take it changes nothing
            await node.join()
            assert await status_of(proxy) == 503
        assert proxy.counters.admissions == {"failed": 2}


async def test_a_lost_node_s_question_goes_to_another_one_and_is_answered_once():
    async with running() as proxy:
        with asked_for(proxy) as one:
            await one.join()
            async with knocking(proxy) as peer:
                first = await one.take(frames.Call)
                with asked_for(proxy) as other:
                    await other.join()
                    one.close()
                    second = await admit(other, ADA)
                    assert (second.id, second.attempt) == (first.id, 2)
                    assert second.info == first.info
                    await peer.until(b" 101 ")
                    assert proxy.counters.admissions == {"admitted": 1}


async def test_two_nodes_that_are_lost_with_it_are_enough():
    async with running() as proxy:
        async with knocking_at_two(proxy) as (peer, one, other):
            await one.take(frames.Call)
            one.close()
            await other.take(frames.Call)
            other.close()
            assert (await peer.to_the_end()).startswith(b"HTTP/1.1 502 ")


@asynccontextmanager
async def knocking_at_two(proxy):
    with asked_for(proxy) as one:
        await one.join()
        async with knocking(proxy) as peer:
            await proxy.until(lambda: len(proxy.app.ledger) == 1)
            with asked_for(proxy) as other:
                await other.join()
                yield peer, one, other


# --- who goes, and how many --------------------------------------------------------------------------------------


@pytest.mark.parametrize("waits", ["at a node", "parked"])
async def test_a_client_that_goes_while_it_waits_leaves_nothing(waits):
    async with running(client={"admission": "required"}) as proxy:
        with asked_for(proxy) as node:
            if waits == "at a node":
                await node.join()
            async with knocking(proxy, text(bytes(1000))) as peer:
                await proxy.until(lambda: len(proxy.app.ledger) == 1)
                assert proxy.app.clients.held.bytes > 1000  # what waits counts as all that is held
                await peer.stream.aclose()
                await proxy.until(lambda: is_forgotten(proxy))
            if waits == "at a node":
                call = await node.take(frames.Call)
                assert await node.take(frames.Cancel) == frames.Cancel(call.id, 1)
                await admit(node, ADA, call)
                await proxy.until(lambda: proxy.counters.stale_replies == 1)
            else:
                await node.join()
                node.say(frames.Heartbeat(1.0))
                await node.take(frames.Heartbeat)
                assert not any(isinstance(frame, frames.Call) for frame in node.frames)
        assert not proxy.app.channels.count("lobby")
        assert not proxy.counters.admissions


async def test_many_at_once_are_bounded_by_what_may_be_in_flight():
    async with running(request={"max_in_flight": 5}) as proxy:
        with asked_for(proxy, capacity=2) as node:
            await node.join()
            statuses = []

            async def come():
                async with knocking(proxy) as peer:
                    await peer.until(b"\r\n\r\n")
                    statuses.append(int(peer.came[9:12]))
                    await over.wait()

            over = trio.Event()
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(come)
                await proxy.until(lambda: statuses == [503] * 3)
                assert proxy.counters.limits_hit["request.max_in_flight"] == 3
                for _ in range(5):
                    await admit(node)
                await proxy.until(lambda: len(statuses) == 8)
                over.set()
            assert statuses == [503] * 3 + [101] * 5
            assert proxy.counters.admissions == {"failed": 3, "admitted": 5}


async def test_who_waits_makes_way_as_all_others_when_clients_hold_too_much():
    async with running(client={"admission": "required", "max_buffered_bytes": 64 << 10}) as proxy:
        async with trio.open_nursery() as nursery:
            said = []

            async def come():
                async with knocking(proxy, text(bytes(30_000))) as peer:
                    said.append(await peer.to_the_end())

            for _ in range(4):
                nursery.start_soon(come)
            await proxy.until(lambda: said)
            assert said[0].startswith(b"HTTP/1.1 503 ")
            assert proxy.app.clients.held.bytes <= 64 << 10
            nursery.cancel_scope.cancel()


# --- the end of a session ----------------------------------------------------------------------------------------


async def test_a_session_ends_when_its_time_is_over():
    async with running() as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(admit, node, Admitted("ada", expires=0.2))
                async with websocket(proxy) as client:
                    with pytest.raises(ConnectionClosed) as closed:
                        await client.recv()
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3000, "the time of the session is over")
            assert (await node.take(frames.Changes)).changes[0].client.user == "ada"
            assert (await node.take(frames.Changes)).changes[0].reason == "expired"
            assert proxy.counters.connections_closed[Reason.EXPIRED] == 1


async def test_a_session_that_ends_far_off_is_looked_at_again_and_again():
    async with running() as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with knocking(proxy) as peer:
                await admit(node, Admitted("ada", expires=3600.0))
                await peer.until(b" 101 ")
                (session,) = proxy.app.clients.all_sessions()
                connection = session.connection
                now = proxy.app.reactor.now
                assert now + 3500.0 < session.expires <= now + 3600.0
                assert connection.timer <= now + 61.0
                connection.on_timer(now + 61.0)
                assert proxy.app.clients.all_sessions() == [session]
                assert connection.timer <= now + 61.0 + 61.0
                connection.on_timer(session.expires)
                assert proxy.app.clients.all_sessions() == []


@pytest.mark.parametrize("seconds", [5.0, 7.0], ids=["not over yet", "over meanwhile"])
async def test_a_session_ends_in_time_though_the_proxy_stood_still_shortly_before(seconds):
    """Who was away judges nobody for a while, and what is looked at again then forgot that the session ends."""
    async with running(client={"ping_interval": 0.0}) as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with knocking(proxy) as peer:
                await admit(node, Admitted("ada", expires=6.0))
                await peer.until(b" 101 ")
                clients = proxy.app.clients
                (session,) = clients.all_sessions()
                now = proxy.app.reactor.now = session.expires - 6.0 + seconds
                clients.judges_at = now + 5.0
                session.connection.on_timer(now)
                assert len(clients.all_sessions()) == (seconds < 6.0)
                assert session.connection.timer <= max(session.expires, now + 5.0) + 1.0
                assert seconds > 6.0 or session.connection.timer <= session.expires + 1.0


# --- when the proxy closes them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [Reason.DRAINING, Reason.FENCED, Reason.OVERLOADED, Reason.KICKED])
async def test_who_waits_is_closed_as_any_other(reason):
    """By a drain, a fence. It was not, since it had no session: it was let in after that."""
    async with running() as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with knocking(proxy) as peer:
                call = await node.take(frames.Call)
                (connection,) = proxy.app.clients.connections.values()
                connection.close(reason, "not now")
                proxy.app.reactor.settle()
                said = await peer.to_the_end()
                assert int(said[9:12]) == reason.http
                assert (b"retry-after: 1" in said.lower()) == reason.retryable
                assert await node.take(frames.Cancel) == frames.Cancel(call.id, 1)
                await admit(node, ADA, call)
                await proxy.until(lambda: proxy.counters.stale_replies == 1)
            await proxy.until(lambda: is_forgotten(proxy))


# --- other protocols ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def line(proxy, data):
    port = proxy.app.listening[-1].rpartition(":")[2]
    async with await trio.open_tcp_stream("127.0.0.1", int(port)) as stream:
        await stream.send_all(data)
        yield Peer(stream)


@pytest.fixture
def lines(monkeypatch):
    register(monkeypatch, "line", LineProtocol)
    return {"protocols": ("line://127.0.0.1:0",)}


async def test_a_protocol_of_another_s_waits_as_well(lines):
    async with running(client=lines) as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with line(proxy, b"one\nping\ntwo\n") as peer:
                call = await node.take(frames.Call)
                assert frames.decode_client(call.info).protocol == "line"
                await peer.stream.send_eof()  # it has said all, and waits
                await admit(node, ADA, call)
                assert (await node.reply()).payload == b"one"
                assert (await node.reply()).payload == b"two"
                (opened,) = (await node.take(frames.Changes)).changes
                assert opened.client.user == "ada"


async def test_a_protocol_without_a_word_for_it_answers_what_was_asked_and_closes(lines):
    async with running(client=lines) as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with line(proxy, b"one\nping\ntwo\n") as peer:
                await refuse(node, 401, "who are you?")
                assert await peer.to_the_end() == b"error refused\npong\nerror refused\nbye\n"
            await proxy.until(lambda: is_forgotten(proxy))
            assert not any(isinstance(frame, frames.Request | frames.Changes) for frame in node.frames)


async def test_a_fault_of_an_adapter_s_refusal_ends_only_its_connection(lines):
    async with running(client=lines) as proxy:
        with asked_for(proxy) as node:
            await node.join()
            with capture_logs() as logs:
                async with line(proxy, b"crash close\n") as peer:
                    await refuse(node, 401, "x")
                    with pytest.raises(trio.BrokenResourceError):
                        await peer.to_the_end()
                await proxy.until(lambda: is_forgotten(proxy))
            assert [each["event"] for each in logs if each["log_level"] == "error"] == ["adapter_crashed"]
            async with knocking(proxy) as peer:
                await admit(node)
                await peer.until(b" 101 ")


async def test_an_end_of_file_that_came_before_the_answer_is_taken_after_it(lines):
    """As TLS tells it, with the last data: the socket says nothing more then."""
    async with running(client=lines) as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with line(proxy, b"one\n") as peer:
                call = await node.take(frames.Call)
                (connection,) = proxy.app.clients.connections.values()
                connection.receive_end(proxy.app.reactor.now)
                await admit(node, ADA, call)
                assert (await node.take(frames.Request)).payload == b"one"
                assert await peer.to_the_end() == b""


async def test_one_of_another_protocol_that_is_closed_while_it_waits_wants_no_answer(lines):
    async with running(client=lines, request={"timeout": 600.0}) as proxy:
        with asked_for(proxy) as node:
            await node.join()
            async with line(proxy, b"one\n") as peer:
                call = await node.take(frames.Call)
                (connection,) = proxy.app.clients.connections.values()
                connection.close(Reason.DRAINING, "not now")
                proxy.app.reactor.settle()
                assert await node.take(frames.Cancel) == frames.Cancel(call.id, 1)
                assert await peer.to_the_end() == b"error draining\nbye\n"
            await proxy.until(lambda: is_forgotten(proxy))
