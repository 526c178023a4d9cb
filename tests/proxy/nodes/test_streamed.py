"""Replies in parts: what they count for. What they cost their client is in tests/proxy/clients/test_budget_parts.py."""

import pytest
from structlog.testing import capture_logs

from holdfast.protocols.nodes import frames
from tests.proxy.still import StillProxy, taken


@pytest.fixture
async def proxy():
    proxy = StillProxy(
        balance={"ejection_failures": 3}, request={"timeout": 10.0}, log={"access_log": True, "level": "info"}
    )
    yield proxy
    proxy.close()


@pytest.fixture
def node(proxy):
    node = proxy.join("one")
    proxy.join("two", incarnation=2, capacity=1)  # so that the other one can be ejected
    return node


@pytest.fixture
def known(proxy, node):
    return proxy.app.directory.nodes["one"]


def ask(proxy, node):
    """Returns a request that the node has now, and who asked."""
    had = len(taken(node, frames.Request))
    while len(taken(node, frames.Request)) == had:
        client = proxy.client()
        client.ask("please")
        proxy.turn()
    return taken(node, frames.Request)[-1], client


def part(proxy, node, request, status=200, *, more=True):
    node.say(frames.HttpReply(request.id, request.attempt, b"x", status, [], more))
    proxy.hear()


def fail(proxy, node, request, status=500):
    node.say(frames.Failure(request.id, request.attempt, status, "no"))
    proxy.hear()


@pytest.mark.parametrize("last", [200, 404, 503])
async def test_a_reply_that_begins_as_a_failure_is_one_failure(proxy, node, known, last):
    for failures in (1, 2):
        request, _ = ask(proxy, node)
        part(proxy, node, request, 503)
        assert known.health.failures == failures
        part(proxy, node, request)
        part(proxy, node, request, 503)
        part(proxy, node, request, last, more=False)
        assert known.health.failures == failures
    request, _ = ask(proxy, node)
    part(proxy, node, request, 503)
    assert known.ejected


async def test_so_it_is_if_it_breaks_off(proxy, node, known):
    request, _ = ask(proxy, node)
    part(proxy, node, request, 503)
    fail(proxy, node, request)
    assert known.health.failures == 1
    request, _ = ask(proxy, node)
    part(proxy, node, request, 503)
    proxy.tick(61.0)
    proxy.tick(61.0)
    assert not len(proxy.app.ledger)
    assert known.health.failures == 2


@pytest.mark.parametrize("begins", [True, False])
async def test_a_failure_of_4xx_is_neither_failure_nor_success(proxy, node, known, begins):
    request, _ = ask(proxy, node)
    fail(proxy, node, request)
    request, _ = ask(proxy, node)
    if begins:
        part(proxy, node, request)
    fail(proxy, node, request, 404)
    assert known.health.failures == 1


async def test_one_that_breaks_off_is_a_failure_whatever_was_before(proxy, node, known):
    for _ in range(3):
        assert not known.ejected
        request, _ = ask(proxy, node)
        part(proxy, node, request)
        part(proxy, node, request)
        fail(proxy, node, request)
    assert known.ejected


@pytest.mark.parametrize("last", [200, 503])
async def test_one_that_has_ended_is_a_success_and_its_parts_are_nothing(proxy, node, known, last):
    request, _ = ask(proxy, node)
    fail(proxy, node, request)
    request, _ = ask(proxy, node)
    part(proxy, node, request, 404)
    part(proxy, node, request, 503)
    assert known.health.failures == 1
    part(proxy, node, request, last, more=False)
    assert known.health.failures == 0


@pytest.mark.parametrize("status", [200, 201, 404, 503])
async def test_its_status_in_the_access_log_is_that_of_the_first_part(proxy, node, status):
    request, _ = ask(proxy, node)
    with capture_logs() as lines:
        part(proxy, node, request, status)
        part(proxy, node, request)
        part(proxy, node, request, more=False)
    [line] = [line for line in lines if line["event"] == "request"]
    assert (line["status"], line["reply_bytes"]) == (status, 3)


async def test_it_is_so_if_each_part_waits_for_what_its_node_did_before(proxy, node, known):
    request, client = ask(proxy, node)
    with capture_logs() as lines:
        for status, more in ((503, True), (200, True), (200, False)):
            effects = [frames.Join(client.id, "room")]
            node.say(frames.HttpReply(request.id, request.attempt, b"x", status, [], more, effects))
        proxy.hear()
        proxy.settle()
    [line] = [line for line in lines if line["event"] == "request"]
    assert (line["status"], line["reply_bytes"], known.health.failures) == (503, 3, 1)


async def test_what_breaks_off_is_logged_with_the_error_s(proxy, node):
    request, _ = ask(proxy, node)
    with capture_logs() as lines:
        part(proxy, node, request, 201)
        fail(proxy, node, request)
    [line] = [line for line in lines if line["event"] == "request"]
    assert line["status"] == 500
