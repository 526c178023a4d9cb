"""Whose part of what all hold is how large: who shares, who waits for effects, who holds little. Turn by turn."""

import pytest
from structlog.testing import capture_logs

from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import pack_ids
from holdfast.proxy.clients.budget import INTERVAL, LIMIT
from holdfast.proxy.process.build import is_compiled
from tests.proxy.still import StillProxy, taken, tell

KIB = 1 << 10
BUDGET = 1024 * KIB
ENOUGH = BUDGET - BUDGET // 8
REFUSED = "error overloaded"


@pytest.fixture
async def proxy():
    proxy = StillProxy(client={"max_buffered_bytes": BUDGET})
    yield proxy
    proxy.close()


def end_turn(proxy, seconds=0.0):
    """What the budget does at a turn's end, so much later."""
    proxy.app.reactor.now += seconds
    proxy.app.budget.step(proxy.app.reactor.now)
    proxy.app.clients.flush(proxy.app.reactor.now)


def watched(proxy):
    """Grows with each time that all clients are looked at."""
    looks, by_connection = [], proxy.app.ledger.by_connection

    def look():
        looks.append(proxy.app.budget.held_bytes)
        return by_connection()

    proxy.app.ledger.by_connection = look
    return looks


def notify(node, number, clients, size):
    ids = pack_ids([each.id for each in clients])
    node.say(frames.Effects(number, [frames.Notify(b"x" * size, True, [], ids)]))


def of(event, lines):
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize("members", [2, 12])
async def test_what_several_wait_for_is_freed_and_others_go_on(proxy, members):
    """More than the kernel takes, for groups of clients that do not read: all that is held is shared."""
    honest, node = proxy.client(), proxy.join()
    groups = [[proxy.client() for _ in range(members)] for _ in range(3)]
    honest.ask("mine")
    proxy.turn()
    for number, group in enumerate(groups, 1):
        notify(node, number, group, 400 * KIB)
    proxy.settle()
    assert 1200 * KIB < proxy.app.budget.held_bytes < 1201 * KIB
    for _ in groups:  # where shares are ended one by one, what is left of a group holds more in the next turn
        end_turn(proxy)
    assert proxy.app.budget.held_bytes <= ENOUGH
    ended = proxy.counters.connections_closed[Reason.OVERLOADED]
    assert members <= ended == proxy.counters.limits_hit[LIMIT]
    assert proxy.counters.request_errors[Reason.OVERLOADED] == 0
    [request] = taken(node, frames.Request)
    node.say(frames.Reply(request.id, 1, b"reply", True))
    proxy.settle()
    assert honest.heard == ["reply"]


async def test_who_waits_alone_goes_before_those_who_share(proxy):
    """Many wait for one thing that is there once: to end them all would free little."""
    node, alone = proxy.join(), proxy.client()
    many = [proxy.client() for _ in range(5)]
    proxy.turn()
    notify(node, 1, many, 600 * KIB)
    notify(node, 2, [alone], 500 * KIB)
    proxy.settle()
    end_turn(proxy)
    assert alone.connection.is_closed
    assert not any(each.connection.is_closed for each in many)
    assert proxy.app.budget.held_bytes <= ENOUGH


async def test_where_all_is_shared_with_others_they_are_next(proxy):
    """Some wait for everything, and others each for one of it: when the first are gone, all of it is still there."""
    proxy.app.clients.max_outbox_bytes = 4 * BUDGET
    node, first, others = proxy.join(), [proxy.client() for _ in range(4)], [proxy.client() for _ in range(4)]
    proxy.turn()
    for number, each in enumerate(others, 1):
        notify(node, number, [*first, each], 500 * KIB)
        proxy.settle()  # in one turn they would be joined: a copy for each
    held = proxy.app.budget.held_bytes
    assert 2000 * KIB < held < 2001 * KIB
    end_turn(proxy)
    assert [each.connection.is_closed for each in first + others] == [True] * 4 + [False] * 4
    assert proxy.app.budget.held_bytes == held
    end_turn(proxy)
    assert proxy.app.budget.held_bytes <= ENOUGH
    assert [each.connection.is_closed for each in others].count(True) == 3


async def test_who_holds_little_is_not_given_up_whatever_others_hold(proxy):
    """Three that hold nearly all, and one with a request of 20 bytes."""
    small, node = proxy.client(), proxy.join()
    large = [proxy.client() for _ in range(3)]
    small.ask("s" * 20)
    for each in large:
        each.ask("l" * 400 * KIB)
    end_turn(proxy)
    proxy.app.clients.held.bytes += 2 * BUDGET  # as if nobody held it
    for _ in range(5):
        end_turn(proxy, INTERVAL)
    assert [each.heard for each in large] == [[REFUSED]] * 3
    assert small.heard == []
    proxy.app.clients.held.bytes -= 2 * BUDGET
    proxy.turn()
    proxy.hear()
    request = taken(node, frames.Request)[0]
    node.say(frames.Reply(request.id, 1, b"reply", True))
    proxy.settle()
    assert small.heard == ["reply"]


async def test_many_who_hold_little_are_too_much_together(proxy):
    size = BUDGET // 32
    small = proxy.client()
    many = [proxy.client() for _ in range(2 * BUDGET // size)]
    small.ask("s" * 20)
    for each in many:
        each.ask("m" * size)
    end_turn(proxy)
    assert ENOUGH - size < proxy.app.budget.held_bytes <= ENOUGH
    assert small.heard == []
    assert sum(each.heard == [REFUSED] for each in many) == proxy.counters.request_errors[Reason.OVERLOADED] > 0


async def test_a_reply_that_waits_for_effects_is_its_clients(proxy):
    """All that is held is asked by clients whose replies wait: the largest are given up, and no others."""
    small, node = proxy.client(), proxy.join(capacity=10)
    large = [proxy.client() for _ in range(3)]
    small.ask("s" * 20)
    for number, each in enumerate(large):
        each.ask(str(number) * (400 + number) * KIB)
    proxy.turn()
    proxy.hear()
    proxy.lanes._budget = 0
    node.say(*(frames.Reply(each.id, 1, b"reply", True, False, [tell("done")]) for each in taken(node, frames.Request)))
    proxy.hear()
    assert len(proxy.dispatch.late) == 4
    end_turn(proxy)
    assert proxy.app.budget.held_bytes == 20 + 801 * KIB
    proxy.settle()  # what was given up leaves no trace: neither its effects nor its reply
    assert large[2].heard == [REFUSED] + ["* done"] * 3
    assert [each.heard.count("reply") for each in (small, *large)] == [1, 1, 1, 0]
    assert proxy.dispatch.late == {}
    assert proxy.app.budget.held_bytes == 0


@pytest.mark.skipif(is_compiled(), reason="changes a method")
async def test_what_can_not_be_freed_is_not_looked_for_in_each_turn(proxy):
    looks = watched(proxy)
    small = proxy.client()
    small.ask("s" * 20)
    proxy.app.clients.held.bytes += 2 * BUDGET  # as if nobody held it
    with capture_logs() as lines:
        for _ in range(100):
            end_turn(proxy, INTERVAL / 200)
        assert len(looks) == 1
        proxy.app.clients.held.bytes += BUDGET // 8
        end_turn(proxy)
        end_turn(proxy)
        assert len(looks) == 2  # an eighth more has come
        end_turn(proxy, INTERVAL)
        assert len(looks) == 3
    assert small.heard == []
    assert [(line["ended"], line["answered"]) for line in of("overloaded", lines)] == [(0, 0), (0, 0)]
    proxy.app.clients.held.bytes -= 2 * BUDGET + BUDGET // 8


@pytest.mark.parametrize("left", [0, 3 * BUDGET // 4])
async def test_when_it_was_less_meanwhile_what_is_too_much_is_seen_at_once(proxy, left):
    proxy.app.clients.held.bytes += 2 * BUDGET
    end_turn(proxy)
    proxy.app.clients.held.bytes -= 2 * BUDGET - left
    end_turn(proxy)
    proxy.app.clients.held.bytes -= left
    for _ in range(2):
        client = proxy.client()
        client.ask("x" * (BUDGET + 1))
        end_turn(proxy)
        assert client.heard == [REFUSED]


async def test_a_mass_that_makes_way_is_few_lines(proxy):
    with capture_logs() as lines:
        for number in range(10):
            client = proxy.client()
            client.ask("x" * (BUDGET + number + 1))
            end_turn(proxy, INTERVAL / 100)
        [first] = of("overloaded", lines)
        assert (first["held_bytes"], first["answered"]) == (BUDGET + 1, 1)
        end_turn(proxy, INTERVAL)
        end_turn(proxy, INTERVAL)
    [_, rest] = of("overloaded", lines)
    assert (rest["held_bytes"], rest["ended"], rest["answered"]) == (BUDGET + 10, 0, 9)
