"""What a node may have waiting in its lane, what is remembered of it when it has gone, and what a turn does of it."""

import pytest
from structlog.testing import capture_logs

from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import FIRST_WINDOW
from holdfast.proxy.realtime import effects, lanes
from holdfast.proxy.realtime.effects import MAX_WINDOW, STREAM_SECONDS, TOLERANCE
from tests.proxy.still import StillProxy, taken, tell


@pytest.fixture
async def proxy():
    proxy = StillProxy(request={"timeout": 5.0}, realtime={"max_unacknowledged_bytes": 2000})
    with capture_logs() as logs:
        yield proxy
    proxy.close()
    assert not [line for line in logs if line["event"] == "effect_crashed"]


def ask(proxy, client, node):
    client.ask("go")
    proxy.turn()
    return taken(node, frames.Request)[-1]


# --- a window, and a turn ---------------------------------------------------------------------------------------------


async def test_lanes_that_are_busy_share_the_window(proxy, monkeypatch):
    monkeypatch.setattr(effects, "TARGET_DELIVERIES", 2000)
    for _ in range(10):
        proxy.client()
    alone = proxy.join("alone")
    alone.say(frames.Effects(1, [tell("x")], "home"))
    proxy.settle()
    assert taken(alone, frames.Ack) == [frames.Ack(1, 200)]
    busy = [proxy.join(id) for id in ("first", "second", "third")]
    last = proxy.join("last")
    proxy.lanes._budget = 0
    for node in busy:
        node.say(*(frames.Effects(number, [tell("x")]) for number in range(1, 100)))
    last.say(frames.Effects(1, [tell("x")], "home"))
    for _ in proxy.until_told(last, frames.Ack):
        pass
    assert proxy.lanes.busy == 3
    assert taken(last, frames.Ack) == [frames.Ack(1, 66)]


async def test_a_window_is_never_smaller_than_the_first_nor_larger_than_the_largest(proxy, monkeypatch):
    node = proxy.join()
    node.say(frames.Effects(1, [], "home"))
    proxy.settle()
    node.say(frames.Effects(2, [tell("nobody")], "home"))
    proxy.settle()
    monkeypatch.setattr(effects, "TARGET_DELIVERIES", 1)
    node.say(frames.Effects(3, [tell("nobody")], "home"))
    proxy.settle()
    assert taken(node, frames.Ack) == [
        frames.Ack(1, MAX_WINDOW),
        frames.Ack(2, MAX_WINDOW),
        frames.Ack(3, FIRST_WINDOW),
    ]


async def test_a_turn_counts_bytes_and_not_only_deliveries(proxy, monkeypatch):
    monkeypatch.setattr(lanes, "SLICE", 12)
    node = proxy.join()
    for _ in range(10):
        proxy.client()
    proxy.lanes._budget = 0
    node.say(frames.Effects(1, [frames.Broadcast(bytes(2 * lanes.BYTES_PER_UNIT), False)], "home"))
    done = [proxy.counters.deliveries for _ in proxy.until_told(node, frames.Ack)]
    assert [*done, proxy.counters.deliveries] == [0, 4, 8, 10]


async def test_a_turn_does_all_of_its_slice(proxy, monkeypatch):
    monkeypatch.setattr(lanes, "SLICE", 4)
    client, node = proxy.client(), proxy.join()
    proxy.lanes._budget = 0
    node.say(frames.Effects(1, [frames.Join(client.id, str(number)) for number in range(10)], "home"))
    done = [len(proxy.app.channels) for _ in proxy.until_told(node, frames.Ack)]
    assert [*done, len(proxy.app.channels)] == [0, 4, 8, 10]


@pytest.mark.parametrize("kind", ["notify", "broadcast"])
async def test_a_turn_counts_those_who_are_left_out(proxy, monkeypatch, kind):
    monkeypatch.setattr(lanes, "SLICE", 4)
    client, node = proxy.client(), proxy.join()
    excluded = frames.pack_ids(range(3 * lanes.EXCLUDED_PER_UNIT))
    effect = frames.Broadcast(b"", True, excluded)
    if kind == "notify":
        effect = frames.Notify(b"", True, [], b"", excluded)
    proxy.lanes._budget = 0
    node.say(frames.Effects(1, [effect, frames.Join(client.id, "x")], "home"))
    proxy.turn()
    assert len(proxy.app.channels) == 0
    proxy.turn()
    assert len(proxy.app.channels) == 1


async def test_works_without_effects_take_their_turns_too(proxy, monkeypatch):
    monkeypatch.setattr(lanes, "SLICE", 4)
    node = proxy.join()
    proxy.lanes._budget = 0
    node.say(*(frames.Effects(number, [], "home") for number in range(1, 101)))
    assert proxy.settle() >= 25
    assert taken(node, frames.Ack)[-1].number == 100


async def test_a_hole_is_acknowledged_soon_and_nobody_waits_for_that(proxy):
    node = proxy.join()
    node.say(frames.Effects(1, [tell("nobody")], "home"))
    proxy.settle()
    client = proxy.client()
    node.say(frames.Hole(2))
    proxy.turn()
    proxy.hear()
    assert client.heard == ["bye"]
    assert taken(node, frames.Ack)[-1].number == 1
    proxy.tick(0.1)
    assert taken(node, frames.Ack)[-1].number == 2


# --- what waits -------------------------------------------------------------------------------------------------------


async def test_a_node_is_not_struck_for_a_reply_that_waits_for_us(proxy):
    client, node = proxy.client(), proxy.join()
    health = proxy.app.directory.nodes["node"].health
    reactor, dispatch = proxy.app.reactor, proxy.dispatch
    request = ask(proxy, client, node)
    proxy.lanes._budget = 0
    node.say(frames.Reply(request.id, 1, b"done", True, False, [tell("late")]))
    proxy.hear()
    reactor.now += 6.0
    dispatch.expire(reactor.now)
    assert health.failures == 0
    proxy.settle()
    assert client.heard == ["error deadline_exceeded"]
    ask(proxy, client, node)
    reactor.now += 6.0
    dispatch.expire(reactor.now)
    assert health.failures == 1


async def test_what_is_late_while_its_node_waits_for_us_is_not_counted_against_it(proxy):
    """Its handlers may wait in a flush for what we have not carried out, or for room behind that."""
    client, node = proxy.client(), proxy.join()
    health = proxy.app.directory.nodes["node"].health
    reactor = proxy.app.reactor
    ask(proxy, client, node)
    proxy.lanes._budget = 0
    node.say(frames.Effects(1, [tell("slow")], "home"))
    proxy.hear()
    reactor.now += 6.0
    proxy.dispatch.expire(reactor.now)
    assert health.failures == 0
    proxy.settle()
    assert client.heard == ["error deadline_exceeded", "* slow"]
    ask(proxy, client, node)
    reactor.now += 6.0
    proxy.dispatch.expire(reactor.now)
    assert health.failures == 1


@pytest.mark.parametrize(
    "rest",
    [
        lambda id: frames.Reply(id, 1, b"", True, True),
        lambda id: frames.Reply(id, 1, bytes(100), True, True),
        lambda id: frames.HttpReply(id, 1, b"", 200, [("a", "b" * 100)], True),
        lambda id: frames.HttpReply(id, 1, b"", 200, [("", "")] * 3, True),
        lambda id: frames.Failure(id, 1, 500, ""),
        lambda id: frames.Failure(id, 1, 500, "x" * 100),
        lambda id: frames.Reply(id, 1, b"", True, True, [frames.Leave(0, "")]),
    ],
    ids=["empty parts", "parts", "headers", "empty headers", "failures", "messages", "effects"],
)
async def test_replies_that_wait_behind_another_are_bounded(proxy, rest):
    client, node = proxy.client(), proxy.join()
    request = ask(proxy, client, node)
    proxy.lanes._budget = 0
    node.say(frames.Reply(request.id, 1, b"part", True, True, [tell("x")]), *[rest(request.id)] * 1000)
    proxy.hear()
    lane = proxy.lane()
    limit = TOLERANCE * proxy.lanes.max_bytes
    each = len(frames.encode_frame(rest(request.id)))
    assert len(lane.queue) * max(each, 64) <= limit + 300
    assert proxy.counters.limits_hit["realtime.max_unacknowledged_bytes"] > 0
    proxy.settle()
    assert "error parking_full" in client.heard
    assert (lane.answer_bytes, proxy.dispatch.late) == (0, {})


async def test_what_has_no_room_is_not_even_weighed(proxy, monkeypatch):
    client, node = proxy.client(), proxy.join()
    request = ask(proxy, client, node)
    proxy.lanes._budget = 0
    big = frames.Broadcast(bytes(9000), False)
    node.say(frames.Effects(1, [big]), frames.Reply(request.id, 1, b"part", True, True, [big]))
    proxy.hear()
    weighed = []
    monkeypatch.setattr(effects, "weigh", lambda effect: weighed.append(effect) or 64)
    node.say(frames.Reply(request.id, 1, b"", True, True, [big]))
    proxy.hear()
    assert node.refused is None
    node.say(frames.Effects(2, [big]))
    proxy.hear()
    assert "without acknowledgement" in node.refused.reason
    assert weighed == []


async def test_effects_and_those_as_master_are_counted_together(proxy, monkeypatch):
    monkeypatch.setattr(effects, "MAX_EFFECTS", 10)
    node = proxy.join()
    leave = frames.Leave(5, "")
    node.say(frames.Effects(1, [frames.AsMaster(1, [leave] * 4), frames.AsMaster(1, [leave] * 4)]))
    proxy.settle()
    assert node.refused is None
    node.say(frames.Effects(2, [frames.AsMaster(1, [leave] * 4), frames.AsMaster(1, [leave] * 4), leave]))
    proxy.settle()
    assert "at most 10 effects" in node.refused.reason


async def test_the_id_of_a_home_has_at_most_64_characters(proxy):
    node = proxy.join()
    node.say(frames.Effects(1, [], "h" * 64, 1, 1))
    proxy.settle()
    assert taken(node, frames.Ack)[-1].number == 1
    node.say(frames.Effects(2, [], "h" * 65, 1, 1))
    proxy.settle()
    assert "at most 64 characters" in node.refused.reason


async def test_a_name_that_is_too_long_for_a_channel_is_not_muted(proxy):
    node = proxy.join()
    node.say(frames.Effects(1, [frames.Notify(b"", True, ["x" * 512, "x" * 513])]))
    proxy.settle()
    assert taken(node, frames.Mute) == [frames.Mute(["x" * 512])]
    assert len(proxy.app.mutes) == 1


async def test_muted_channels_are_bounded_and_those_that_are_told_again_need_no_room(proxy, monkeypatch):
    monkeypatch.setattr("holdfast.proxy.realtime.mutes.MAX_MUTED", 3)
    node = proxy.join()
    for number, channels in enumerate((["a", "b"], ["c", "d"], ["e", "a"]), 1):
        node.say(frames.Effects(number, [frames.Notify(b"", True, channels)]))
        proxy.settle()
    assert taken(node, frames.Mute) == [frames.Mute(["a", "b"]), frames.Mute(["c"]), frames.Mute(["a"])]


# --- nodes that went --------------------------------------------------------------------------------------------------


def leave(proxy, node):
    node.vanish()
    proxy.settle()


async def test_nodes_that_went_are_remembered_up_to_a_number(proxy, monkeypatch):
    monkeypatch.setattr(effects, "MAX_GONE", 3)
    for number in range(5):
        node = proxy.join(f"n{number}")
        node.say(frames.Effects(7, []))
        proxy.settle()
        leave(proxy, node)
    assert proxy.counters.limits_hit["node.gone"] == 2
    assert [proxy.join(f"n{number}").seen for number in range(5)] == [0, 0, 7, 7, 7]


async def test_of_a_run_that_has_done_nothing_there_is_nothing_to_remember(proxy):
    for number in range(3):
        leave(proxy, proxy.join(f"n{number}"))
    assert (proxy.effects._of, proxy.effects._gone) == ({}, {})


async def test_who_comes_back_goes_on_behind_what_it_left_though_that_has_no_number(proxy):
    client, node = proxy.client(), proxy.join()
    request = ask(proxy, client, node)
    proxy.lanes._budget = 0
    node.say(frames.Reply(request.id, 1, b"done", True, False, [tell("before")]))
    node.vanish()
    proxy.hear()
    proxy.lanes._budget = lanes.SLICE
    again = proxy.hub.dial()
    again.say(frames.Hello(frames.VERSION, "node", "n", 1, 10), frames.Effects(1, [tell("after")]))
    proxy.settle()
    assert client.heard == ["* before", "done", "* after"]


async def test_what_comes_again_while_it_waits_is_done_once_and_acknowledged_when_it_is(proxy):
    client, node = proxy.client(), proxy.join()
    frame = frames.Effects(1, [tell("once")])
    proxy.lanes._budget = 0
    node.say(frame)
    node.vanish()
    again = proxy.hub.dial()
    again.say(frames.Hello(frames.VERSION, "node", "n", 1, 10), frame)
    proxy.hear()
    proxy.effects.answer()
    proxy.hear()
    assert taken(again, frames.Ack) == [frames.Ack(0, MAX_WINDOW)]
    proxy.settle()
    assert taken(again, frames.Ack)[-1].number == 1
    assert client.heard == ["* once"]


async def test_a_run_is_remembered_for_ten_minutes(proxy):
    for seconds, seen in ((STREAM_SECONDS, 7), (STREAM_SECONDS + 1, 0)):
        for id in ("a", "b"):
            node = proxy.join(id)
            node.say(frames.Effects(7, []))
            proxy.settle()
            leave(proxy, node)
        proxy.tick(seconds)
        nodes = [proxy.join(id) for id in ("a", "b")]
        assert [node.seen for node in nodes] == [seen, seen]
        for node in nodes:
            node.say(frames.Bye())
