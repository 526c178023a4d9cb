"""What a node is asked about a client that was closed meanwhile, before the ticker has come round to call it off."""

from contextlib import contextmanager
from math import inf

import pytest

from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import Admitted, encode_admitted
from tests.proxy.still import StillProxy, taken


@contextmanager
def waiting():
    """A proxy that stands still, the node that is asked, and a client that waits."""
    proxy = StillProxy()
    node = proxy.join(takes=["connect"])
    client = proxy.client()
    proxy.turn()
    yield proxy, node, client
    proxy.close()


@pytest.mark.parametrize("is_closed", [True, False])
async def test_a_word_that_comes_too_late_lets_nobody_in(is_closed):
    with waiting() as (proxy, node, client):
        [call] = taken(node, frames.Call)
        if is_closed:
            client.connection.close(Reason.DRAINING)
        node.say(frames.Reply(call.id, 1, encode_admitted(Admitted("ada")), False))
        proxy.hear()
        assert proxy.counters.admissions == ({} if is_closed else {"admitted": 1})
        assert len(proxy.app.clients.all_sessions()) == (not is_closed)
        assert not len(proxy.app.ledger)


async def test_a_question_for_who_is_closed_is_called_off_though_its_peer_has_not_gone_yet():
    with waiting() as (proxy, node, client):
        connection = client.connection
        close = connection.protocol.close

        def waits(*arguments):
            said = close(*arguments)
            connection.protocol.deadline = inf  # for the peer's goodbye
            return said

        connection.protocol.close = waits
        connection.close(Reason.DRAINING)
        assert proxy.app.clients.connections
        assert proxy.app.clients.has_abandoned
        proxy.dispatch.abandon()
        proxy.turn()
        [call] = taken(node, frames.Call)
        assert taken(node, frames.Cancel) == [frames.Cancel(call.id, 1)]
