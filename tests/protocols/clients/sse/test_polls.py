"""Polls at a door: one answer, when there is something to say."""

import json

import pytest

from holdfast.protocols.clients.events import Closed, Finished, Opened
from holdfast.protocols.clients.sse import ids
from holdfast.protocols.clients.sse.asking import MAX_POLL_SECONDS
from holdfast.protocols.close import Reason
from holdfast.protocols.positions import Position, Publication
from tests.protocols.clients.sse.asked import Asked, get


def at(**positions):
    return ids.write({channel: Position("epoch", offset) for channel, offset in positions.items()})


def poll(query="channel=a&poll", *headers, **grant):
    asked = Asked(get(f"/events?{query}", *headers))
    while asked.waiting:
        asked.grant(**grant)
    return asked


def answer(asked):
    return json.loads(asked.body)


@pytest.mark.parametrize(
    ("query", "accept"),
    [("channel=a&poll", "*/*"), ("channel=a", "application/json"), ("channel=a&poll=20", "text/event-stream")],
)
def test_it_is_one_by_its_query_or_by_what_it_accepts(query, accept):
    asked = poll(query, f"Accept: {accept}")
    asked.pass_time(60.0)
    assert asked.header("Content-Type") == "application/json"
    assert answer(asked) == {"id": "", "messages": []}


def test_the_first_one_is_answered_at_once_with_where_the_channel_is():
    assert answer(poll(position=5)) == {"id": at(a=5), "messages": []}


def test_the_next_one_waits_until_something_comes():
    asked = poll(f"channel=a&poll&last_event_id={at(a=5)}", position=5, recovered=True)
    assert asked.said == b""
    asked.publish("a", b'{"x":1}', 6)
    assert answer(asked) == {"id": at(a=6), "messages": [{"channel": "a", "data": {"x": 1}, "offset": 6}]}
    assert asked.told == [Opened, Closed]
    before = asked.said
    asked.said += asked.protocol.notification(b"late", True)
    assert asked.said == before


def test_the_connection_goes_on():
    asked = poll(position=1)
    asked.receive(get("/events?channel=a&poll=0"))
    asked.grant(position=2)
    assert answer(asked)["id"] == at(a=2)
    assert asked.told == [Opened, Closed] * 2


def test_what_was_missed_is_answered_at_once():
    missed = [Publication(b"1", True, 6), Publication(b"2", True, 7)]
    asked = poll(f"channel=a&poll&last_event_id={at(a=5)}", position=7, recovered=True, missed=missed)
    assert [each["data"] for each in answer(asked)["messages"]] == [1, 2]
    assert answer(asked)["id"] == at(a=7)


def test_so_is_what_can_t_be_had():
    asked = poll("channel=a&poll&last_event_id=nonsense", position=7, recovered=False, detail="too old")
    assert answer(asked) == {
        "id": at(a=7),
        "messages": [],
        "unrecovered": [{"channel": "a", "message": "too old"}],
    }


def test_and_what_came_while_another_channel_was_waited_for():
    asked = Asked(get(f"/events?channel=a&channel=b&poll&last_event_id={at(a=5, b=1)}"))
    asked.grant(position=5, recovered=True)
    asked.publish("a", b"6", 6)
    asked.grant(position=1, recovered=True)
    assert answer(asked) == {"id": at(a=6, b=1), "messages": [{"channel": "a", "data": 6, "offset": 6}]}


def test_without_history_it_waits_for_what_comes():
    asked = poll("channel=a&poll=5")
    asked.pass_time(4.9)
    assert asked.said == b""
    asked.publish("a", b"hello")
    assert answer(asked) == {"id": "", "messages": [{"channel": "a", "data": "hello"}]}


def test_when_its_time_is_over_it_is_answered_with_nothing():
    asked = poll(f"channel=a&poll=5&last_event_id={at(a=5)}", position=5, recovered=True)
    asked.pass_time(5.0)
    assert answer(asked) == {"id": at(a=5), "messages": []}
    assert asked.told == [Opened, Closed]


def test_nobody_waits_longer_than_may_be():
    asked = poll("channel=a&poll=1e9")
    asked.pass_time(MAX_POLL_SECONDS - 1)
    assert asked.said == b""
    asked.pass_time(1)
    assert asked.status == 200


@pytest.mark.parametrize("reason", [Reason.REFUSED, Reason.NO_NODE, Reason.RATE_LIMITED])
def test_a_refusal_is_a_status_whatever_may_work_in_a_moment(reason):
    asked = Asked(get("/events?channel=a&poll"))
    asked.refuse(reason)
    assert asked.status == reason.http


def test_a_channel_that_is_over_is_an_answer_so_that_it_asks_again():
    asked = poll(f"channel=a&poll&last_event_id={at(a=5)}", position=5, recovered=True)
    asked.drop("b", Reason.KICKED)  # in which a node had it
    assert asked.said == b""
    asked.drop("a", Reason.INTERRUPTED)
    assert answer(asked) == {"id": at(a=5), "messages": []}


@pytest.mark.parametrize(("reason", "status"), [(Reason.DRAINING, 200), (Reason.KICKED, 403), (Reason.EXPIRED, 401)])
def test_when_it_is_closed_it_is_answered_and_the_connection_ends(reason, status):
    asked = poll(f"channel=a&poll&last_event_id={at(a=5)}", position=5, recovered=True)
    asked.close(reason)
    assert asked.status == status
    assert asked.header("Connection") == "close"
    assert asked.told == [Opened, Finished]


def test_whoever_leaves_is_answered_nothing():
    asked = poll()
    asked.receive(b"")
    assert asked.said == b""
    assert asked.told == [Opened, Finished]
