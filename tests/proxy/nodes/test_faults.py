"""What comes of a node's fault, beside the answer that its client gets."""

from contextlib import contextmanager

import pytest

from holdfast.protocols.nodes import frames
from holdfast.proxy.nodes import expired
from tests.proxy.still import StillProxy, taken


@contextmanager
def still(**sections):
    proxy = StillProxy(**sections)
    yield proxy
    proxy.close()


def fail(proxy, node, status):
    [request] = taken(node, frames.Request)[-1:]
    node.say(frames.Failure(request.id, request.attempt, status, "no"))
    proxy.hear()


@pytest.mark.parametrize(("status", "is_ejected"), [(500, True), (503, True), (404, False), (499, False)])
async def test_failures_of_its_own_eject_a_node(status, is_ejected):
    with still(balance={"ejection_failures": 3}) as proxy:
        node, _ = proxy.join("one"), proxy.join("two", incarnation=2)
        client = proxy.client()
        failed = 0
        while failed < 3:
            client.ask("please")
            proxy.turn()
            if len(taken(node, frames.Request)) > failed:
                assert not proxy.app.directory.nodes["one"].ejected
                fail(proxy, node, status)
                failed += 1
        assert proxy.app.directory.nodes["one"].ejected == is_ejected


async def test_a_reply_that_can_not_be_said_is_one():
    with still(balance={"ejection_failures": 1}) as proxy:
        node, _ = proxy.join("one"), proxy.join("two", incarnation=2)
        client = proxy.client()
        while not taken(node, frames.Request):
            client.ask("please")
            proxy.turn()
        fail(proxy, node, 200)
        assert proxy.app.directory.nodes["one"].ejected


async def test_a_failure_makes_room_for_what_is_parked():
    """In that moment, and not at the next tick."""
    with still() as proxy:
        node = proxy.join(capacity=1)
        client = proxy.client()
        client.ask("first")
        client.ask("second")
        proxy.turn()
        assert len(taken(node, frames.Request)) == 1
        assert proxy.app.ledger.parked_count == 1
        fail(proxy, node, 500)
        proxy.hear()
        assert [request.payload for request in taken(node, frames.Request)] == [b"first", b"second"]


@pytest.mark.parametrize("says_goodbye", [False, True])
async def test_who_says_goodbye_is_no_lost_node(says_goodbye):
    with still() as proxy:
        node = proxy.join()
        if says_goodbye:
            node.say(frames.Bye())
            proxy.hear()
        node.vanish()
        proxy.turn()
        assert not proxy.app.directory.nodes.get("node")
        assert proxy.counters.nodes_lost == (not says_goodbye)


async def test_whoever_drains_waits_for_errors_that_are_still_to_be_said(monkeypatch):
    monkeypatch.setattr(expired, "ANSWERED_PER_TURN", 2)
    with still(request={"parked_timeout": 1.0}) as proxy:
        client = proxy.client()
        for number in range(5):
            client.ask(f"{number}")
        proxy.tick(1.1)
        assert len(proxy.app.ledger) == 0
        waits = 0
        while any(map(len, proxy.dispatch.unsaid)):
            waits += 1
            proxy.app.reactor._bell.on_ready(0, 0.0)
        proxy.turn()
        assert waits
        assert len([line for line in client.heard if line.startswith("error ")]) == 5


@contextmanager
def asked(count=1, **sections):
    """A node that was asked so often, another one that takes nothing, and a client."""
    with still(balance={"ejection_failures": 3}, request={"timeout": 10.0}, **sections) as proxy:
        node, _ = proxy.join("one"), proxy.join("two", incarnation=2, capacity=1)
        client = proxy.client()
        ask(proxy, client, node, count)
        yield proxy, client, node, proxy.app.directory.nodes["one"]


def ask(proxy, client, node, count=1):
    """Returns the requests that this node has now."""
    wanted = len(taken(node, frames.Request)) + count
    while len(taken(node, frames.Request)) < wanted:
        client.ask("please")
        proxy.turn()
    return taken(node, frames.Request)[-count:]


def answer(proxy, node, request, *, more=False):
    node.say(frames.Reply(request.id, request.attempt, b"done", True, more))
    proxy.hear()


async def test_late_requests_eject_a_node_that_answers_nothing():
    with asked(3) as (proxy, client, _, known):
        proxy.tick(10.1)
        assert "error deadline_exceeded" in client.heard
        assert known.ejected


async def test_late_requests_do_not_count_against_a_node_that_answers_others():
    """It has a queue of its own: what comes behind may be late, as it would be at any other node."""
    with asked(40) as (proxy, client, node, known):
        for request in taken(node, frames.Request)[:20]:
            proxy.tick(0.4)
            answer(proxy, node, request)
        proxy.tick(2.5)
        assert client.heard.count("error deadline_exceeded") >= 20
        assert not known.health.failures
        assert not known.ejected


async def test_what_was_sent_since_the_last_answer_counts():
    with asked(4) as (proxy, _, node, known):
        first, *_ = taken(node, frames.Request)
        proxy.tick(1.0)
        answer(proxy, node, first)
        ask(proxy, proxy.client(), node, 2)
        proxy.tick(9.5)
        assert known.health.failures == 0, "it has answered since"
        proxy.tick(1.0)
        assert known.health.failures == 2


async def test_a_part_of_a_reply_is_an_answer_to_whoever_waits_for_another():
    with asked(2) as (proxy, _, node, known):
        first, _ = taken(node, frames.Request)
        proxy.tick(1.0)
        answer(proxy, node, first, more=True)
        proxy.tick(9.1)
        assert known.health.failures == 0
        proxy.tick(60.0)
        assert known.health.failures == 1, "of the reply that does not go on nothing has come since"


async def test_what_it_was_only_offered_does_not_count_against_it():
    with asked(1) as (proxy, _, node, _):
        other = proxy.join("three", incarnation=3, takes_offers=True)
        two = proxy.app.directory.nodes["two"]
        two.in_flight = two.capacity  # else it is as good
        proxy.app.directory.refresh(two)
        node.vanish()
        proxy.turn()
        assert taken(other, frames.Offer)
        proxy.tick(10.1)
        assert proxy.app.directory.nodes["three"].health.failures == 0


async def test_an_answer_that_comes_too_late_is_none():
    """Nobody has it: its node only keeps others from better ones."""
    with asked(1) as (proxy, _, node, known):
        [first] = taken(node, frames.Request)
        proxy.tick(5.0)
        ask(proxy, proxy.client(), node, 2)
        proxy.tick(5.1)
        answer(proxy, node, first)
        proxy.tick(5.0)
        assert known.ejected


@pytest.mark.parametrize(("spent", "counts"), [(6.0, False), (4.0, True)])
async def test_what_had_most_of_its_time_behind_it_does_not_count_against_who_gets_it_then(spent, counts):
    """A node that comes so late may be as fast as others."""
    with still(request={"timeout": 10.0, "parked_timeout": 60.0}) as proxy:
        proxy.client().ask("please")
        proxy.turn()
        proxy.tick(spent)
        node = proxy.join()
        proxy.dispatch.unpark()
        proxy.hear()
        assert taken(node, frames.Request)
        proxy.tick(10.1 - spent)
        proxy.hear()
        assert taken(node, frames.Cancel)
        assert proxy.app.directory.nodes["node"].health.failures == counts
