"""Why a client was closed can be read in the log, and a mass of them is few lines."""

import pytest
import trio
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed

from holdfast import Node, Refused
from holdfast.balancer.directory import NodeState
from holdfast.masses import INTERVAL, MOST
from holdfast.protocols.close import Reason
from holdfast.proxy.clients.closings import Closings
from tests.harness import ScriptedNode, running, websocket
from tests.proxy.clients.test_connection import Rig


def of(event, lines):
    return [line for line in lines if line["event"] == event]


def test_many_at_once_are_some_lines_and_a_count():
    closings = Closings()
    with capture_logs() as lines:
        for number in range(MOST + 5):
            closings.say(number, "1.2.3.4:5", Reason.SLOW_CONSUMER, "too much waits", 0, 1.0)
        closings.say(99, "1.2.3.4:5", Reason.KICKED, "", 4001, 1.0)
        closings.tick(1.0 + INTERVAL / 2)
        assert not of("clients_closed", lines)
        closings.tick(1.0 + INTERVAL)
        closings.say(0xAB, "1.2.3.4:5", Reason.KICKED, "", 4001, 1.0 + INTERVAL)
    told = of("client_closed", lines)
    assert len(told) == MOST + 1
    assert told[0]["detail"] == "too much waits"
    assert told[-1] == {
        "event": "client_closed", "log_level": "info", "client": "00000000000000ab", "address": "1.2.3.4:5",
        "reason": "kicked", "detail": "", "code": 4001,
    }  # fmt: skip
    [count] = of("clients_closed", lines)
    assert (count["count"], count["reasons"]) == (6, {"slow_consumer": 5, "kicked": 1})


async def test_who_leaves_by_itself_and_who_is_one_of_all_is_no_line():
    rig = Rig()
    with capture_logs() as lines:
        for reason in (Reason.CLIENT_LEFT, Reason.DRAINING, Reason.FENCED):
            connection, theirs = rig.connect()
            with theirs:
                connection.abort(reason)
    assert lines == []


async def test_what_a_node_does_to_a_client_is_a_line():
    async with running() as proxy:
        with capture_logs() as lines, ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy) as client:
                await proxy.until(lambda: len(proxy.app.registry), "it to be known")
                [id] = proxy.app.clients.connections
                proxy.app.lanes.kick(id, "be gone", 4401)
                proxy.app.reactor.settle()
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
                assert closed.value.rcvd.code == 4401
    [line] = of("client_closed", lines)
    assert (line["client"], line["reason"], line["detail"], line["code"]) == (f"{id:016x}", "kicked", "be gone", 4401)
    assert line["address"].startswith("127.0.0.1:")


async def test_what_an_operator_does_to_a_client_is_a_line_that_says_so():
    async with running() as proxy:
        with capture_logs() as lines:
            async with websocket(proxy):
                await proxy.until(lambda: len(proxy.app.registry), "it to be known")
                [id] = proxy.app.clients.connections
                assert await proxy.app.control.kick(id, "spam")
    [line] = of("client_kicked", lines)
    assert (line["client"], line["reason"]) == (f"{id:016x}", "spam")
    assert len(of("client_closed", lines)) == 1


async def test_what_a_client_does_wrong_is_a_line():
    async with running(client={"max_message_bytes": 1000}) as proxy:
        with capture_logs() as lines:
            async with websocket(proxy) as client:
                await client.send("x" * 2000)
                with pytest.raises(ConnectionClosed):
                    await client.recv()
            await proxy.until(lambda: of("client_closed", lines), "the line")
    [line] = of("client_closed", lines)
    assert line["reason"] == "message_too_large"
    assert "1000" in line["detail"]


async def test_who_may_not_come_in_is_a_line_with_the_code_that_it_got():
    node = Node("doorkeeper")

    @node.on_connect
    async def admit(client):
        raise Refused(401, "log in first", close_code=4401)

    async with running() as proxy, trio.open_nursery() as nursery:
        await nursery.start(node.run, [proxy.node])
        await proxy.until(lambda: any(known.state is NodeState.READY for known in proxy.app.directory), "the node")
        with capture_logs() as lines:
            async with websocket(proxy) as client:
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
            assert closed.value.rcvd.code == 4401
            await proxy.until(lambda: of("client_closed", lines), "the line")
        [line] = of("client_closed", lines)
        assert (line["detail"], line["code"]) == ("log in first", 4401)
        nursery.cancel_scope.cancel()
