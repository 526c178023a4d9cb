"""Clients that subscribe and publish by themselves, at a proxy whose turns end when the test says so."""

import time
from contextlib import contextmanager

import pytest

from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import Granted, encode_granted
from tests.proxy.realtime.speaking import Speaker
from tests.proxy.signing import SECRET, sign
from tests.proxy.still import StillProxy, taken

RULES = [
    {"match": "secret:*"},
    {"match": "open:*", "subscribe": "anyone"},
    {"match": "log:*", "subscribe": "anyone", "history_messages": 3},
    {"match": "signed:*", "subscribe": "token"},
    {"match": "asked:*", "subscribe": "node", "publish": "node"},
]
TAKES = ["subscribe", "publication"]


@contextmanager
def still(count=1, **sections):
    """A proxy, and so many clients."""
    proxy = StillProxy(channel=RULES, **sections)
    clients = [Speaker(proxy.app) for _ in range(count)]
    for client in clients:
        client.connection.receive(b"\n", proxy.app.reactor.now)
    proxy.clients += clients
    yield proxy, *clients
    proxy.close()


def subscribe(client, channel="open:1", **more):
    client.say_now({"subscribe": channel, **more})
    return client.look()


def notify(text, *channels, **more):
    return frames.Notify(text.encode(), True, list(channels), **more)


class Doing:
    """A node that does things to clients."""

    def __init__(self, proxy, **hello):
        self.proxy, self.peer, self.number = proxy, proxy.join(**hello), 0

    def __call__(self, *effects):
        self.number += 1
        self.peer.say(frames.Effects(self.number, list(effects)))
        self.proxy.settle()

    def calls(self):
        self.proxy.turn()
        return taken(self.peer, frames.Call)


# --- by the rule ------------------------------------------------------------------------------------------------------


async def test_who_may_subscribe_gets_what_is_published_from_then_on_with_its_channel():
    with still(2) as (proxy, client, other):
        do = Doing(proxy)
        do(notify("before", "open:1"))
        assert subscribe(client) == [{"id": 1, "subscribed": "open:1"}]
        do(notify("1", "open:1", "open:2"), frames.Notify(b"own", True, [], frames.pack_ids([client.id])))
        do(notify("2", "open:1", sender=b'{"user":"ada"}'))
        assert client.look() == [
            {"channel": "open:1", "text": "1"},
            {"message": "own"},
            {"channel": "open:1", "text": "2", "sender": '{"user":"ada"}'},
        ]
        assert other.look() == []
        client.say_now({"unsubscribe": "open:1"})
        do(notify("3", "open:1"))
        assert client.look() == [{"id": 2, "unsubscribed": "open:1"}]
        assert (len(proxy.app.subscriptions), len(proxy.app.channels)) == (0, 0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"subscribe": "other"}, "refused"),
        ({"subscribe": "secret:1"}, "refused"),
        ({"subscribe": ""}, "bad_request"),
        ({"subscribe": "\ud83d"}, "bad_request"),
        ({"subscribe": "open:" + "x" * 512}, "bad_request"),
        ({"publish": "open:1", "text": "x"}, "refused"),
        ({"publish": "other", "text": "x"}, "refused"),
    ],
)
async def test_what_no_rule_allows_is_refused(line, reason):
    with still() as (proxy, client):
        client.say_now(line)
        [answer] = client.look()
        assert (answer["id"], answer["error"]) == (1, reason)
        assert (len(proxy.app.channels), client.connection.in_flight) == (0, 0)


async def test_it_counts_for_the_limit_of_channels():
    with still(client={"max_channels": 1}) as (proxy, client):
        assert subscribe(client) == [{"id": 1, "subscribed": "open:1"}]
        assert subscribe(client) == [{"id": 2, "subscribed": "open:1"}], "twice is once"
        [answer] = subscribe(client, "open:2")
        assert (answer["error"], "client.max_channels" in answer["why"]) == ("overloaded", True)
        assert proxy.counters.limits_hit["client.max_channels"] == 1


async def test_it_is_told_of_channels_in_which_a_node_has_it():
    with still() as (proxy, client):
        do = Doing(proxy)
        do(frames.Join(client.id, "secret:1"), notify("x", "secret:1"), frames.Join(client.id, "secret:1", 5))
        do(frames.Leave(client.id, "secret:1"), notify("y", "secret:1"))
        assert client.look() == [
            {"joined": "secret:1"},
            {"channel": "secret:1", "text": "x"},
            {"left": "secret:1"},
        ]


# --- beside nodes -----------------------------------------------------------------------------------------------------


async def test_a_leave_by_a_node_ends_it_and_the_client_is_told():
    with still() as (proxy, client):
        do = Doing(proxy)
        subscribe(client)
        do(frames.Leave(client.id, "open:1"), notify("x", "open:1"))
        [dropped] = client.look()
        assert (dropped["dropped"], dropped["reason"]) == ("open:1", "kicked")
        assert len(proxy.app.subscriptions) == 0


async def test_what_a_client_has_left_by_itself_is_not_told_as_dropped():
    with still() as (proxy, client):
        do = Doing(proxy)
        subscribe(client)
        client.say_now({"unsubscribe": "open:1"})
        do(frames.Leave(client.id, "open:1"))
        assert client.look() == [{"id": 2, "unsubscribed": "open:1"}]


async def test_it_leaves_what_a_node_has_joined_it_to():
    with still() as (proxy, client):
        do = Doing(proxy)
        do(frames.Join(client.id, "secret:1"))
        client.say_now({"unsubscribe": "secret:1"})
        do(notify("x", "secret:1"))
        assert client.look() == [{"joined": "secret:1"}, {"id": 1, "unsubscribed": "secret:1"}]


# --- a token ----------------------------------------------------------------------------------------------------------

KEYS = {"jwt_keys": SECRET, "jwt_required": False, "jwt_leeway": 0.0}


@contextmanager
def known(user):
    """A proxy with keys, and a client of this user, if there is one."""
    proxy = StillProxy(channel=RULES, client=dict(KEYS))
    headers = [("authorization", f"Bearer {sign({'sub': user})}")] if user else []
    client = Speaker(proxy.app, headers)
    client.connection.receive(b"\n", proxy.app.reactor.now)
    proxy.clients.append(client)
    yield proxy, client
    proxy.close()


@pytest.mark.parametrize("claims", [{"channel": "signed:1"}, {"channels": ["a", "signed:1"], "sub": "ada"}])
@pytest.mark.parametrize("user", ["", "ada"])
async def test_a_token_says_that_it_may(claims, user):
    with known(user) as (_, client):
        token = sign({**claims, "info": {"colour": "ü"}, "exp": time.time() + 100})
        [answer] = subscribe(client, "signed:1", token=token)
        assert (answer["subscribed"], answer["info"], 90 < answer["expires"] <= 100) == (
            "signed:1",
            '{"colour":"ü"}',
            True,
        )


@pytest.mark.parametrize(
    ("claims", "reason", "why"),
    [
        (None, "unauthorized", "a token for the channel is wanted, and none was given"),
        ({}, "refused", "the token is not for this channel"),
        ({"channel": "signed:2"}, "refused", "the token is not for this channel"),
        ({"channels": "signed:1"}, "refused", "the token is not for this channel"),
        ({"channel": "signed:1", "sub": "eve"}, "refused", "the token is another user's"),
        ({"channel": "signed:1", "exp": 1}, "expired", "the token has expired"),
    ],
)
async def test_a_token_does_not_say_so(claims, reason, why):
    with known("ada") as (proxy, client):
        token = "" if claims is None else sign(claims)
        [answer] = subscribe(client, "signed:1", token=token)
        assert (answer["error"], answer["why"]) == (reason, why)
        assert len(proxy.app.channels) == 0
        [answer] = subscribe(client, "signed:1", token=sign({"channel": "signed:1"}, SECRET[::-1]))
        assert answer["error"] == "unauthorized"


async def test_a_new_token_puts_off_the_end_and_without_one_it_comes():
    with known("ada") as (proxy, client):
        subscriptions, reactor = proxy.app.subscriptions, proxy.app.reactor
        for seconds in (10, 100):
            subscribe(client, "signed:1", token=sign({"channel": "signed:1", "exp": time.time() + seconds}))
        subscribe(client, "signed:1", token=sign({"channel": "signed:2"}))
        for later, dropped in ((50, []), (40, []), (11, ["expired"]), (100, [])):
            proxy.tick(later)
            subscriptions.tick(reactor.now)
            assert [said["reason"] for said in client.look()] == dropped


# --- a node is asked --------------------------------------------------------------------------------------------------


async def test_a_node_says_whether_it_may():
    with still() as (proxy, client):
        do = Doing(proxy, takes=TAKES)
        assert subscribe(client, "asked:1", data={"a": 1}, token="e30.e30.") == []
        [call] = do.calls()
        assert (call.kind, call.channel, call.payload, call.token) == ("subscribe", "asked:1", b'{"a": 1}', "e30.e30.")
        assert (call.client, frames.decode_client(call.info).id) == (client.id, client.id)
        info = encode_granted(Granted(b'{"b":2}', True, 60.0))
        do.peer.say(frames.Reply(call.id, 1, info, False, False, [notify("welcome", "asked:1")]))
        do(notify("x", "asked:1"))
        assert client.look() == [
            {"id": 1, "subscribed": "asked:1", "info": '{"b":2}', "expires": 60.0},
            {"channel": "asked:1", "text": "x"},
        ]


@pytest.mark.parametrize(
    ("failure", "reason", "status"),
    [((403, "not in this team"), "refused", 403), ((500, "oops"), "node_error", 500)],
)
async def test_a_node_refuses(failure, reason, status):
    with still() as (proxy, client):
        do = Doing(proxy, takes=TAKES)
        subscribe(client, "asked:1")
        [call] = do.calls()
        do.peer.say(frames.Failure(call.id, 1, *failure))
        proxy.settle()
        [answer] = client.look()
        assert (answer["error"], answer["status"], answer["why"]) == (reason, status, failure[1])
        assert len(proxy.app.channels) == 0


@pytest.mark.parametrize("payload", [b"\xc1", b"\x91\x01", encode_granted(Granted(b"{"))])
async def test_a_word_that_is_none_lets_nobody_in(payload):
    with still() as (proxy, client):
        do = Doing(proxy, takes=TAKES)
        subscribe(client, "asked:1")
        [call] = do.calls()
        do.peer.say(frames.Reply(call.id, 1, payload, False))
        proxy.settle()
        assert [answer["error"] for answer in client.look()] == ["bad_reply"]
        assert (len(proxy.app.channels), client.connection.in_flight) == (0, 0)


async def test_where_nodes_are_and_none_takes_it_it_is_refused_and_where_none_is_it_waits():
    with still() as (proxy, client):
        assert subscribe(client, "asked:1") == []
        assert len(proxy.app.ledger) == 1
        do = Doing(proxy, takes=TAKES)
        [call] = do.calls()
        do.peer.say(frames.Reply(call.id, 1, b"", False))
        proxy.settle()
        assert client.look() == [{"id": 1, "subscribed": "asked:1"}]
    with still() as (proxy, client):
        Doing(proxy)
        [answer] = subscribe(client, "asked:1")
        assert (answer["error"], answer["why"]) == ("refused", "no node with on_subscribe is there")
        client.say_now({"publish": "asked:1", "text": "x"})
        assert [answer["why"] for answer in client.look()] == ["no node with on_publish is there"]


async def test_another_node_is_asked_when_one_is_lost():
    with still() as (proxy, client):
        first = Doing(proxy, takes=TAKES)
        subscribe(client, "asked:1")
        [call] = first.calls()
        second = Doing(proxy, id="second", takes=TAKES)
        first.peer.say(frames.Bye("over"))
        proxy.settle()
        [again] = second.calls()
        assert (again.id, again.attempt, again.channel) == (call.id, 2, "asked:1")
        second.peer.say(frames.Reply(again.id, 2, b"", False))
        proxy.settle()
        assert client.look() == [{"id": 1, "subscribed": "asked:1"}]


async def test_without_an_answer_it_is_refused_by_its_deadline():
    with still(request={"timeout": 5.0}) as (proxy, client):
        do = Doing(proxy, takes=TAKES)
        subscribe(client, "asked:1")
        do.calls()
        proxy.tick(6.0)
        assert [answer["error"] for answer in client.look()] == ["deadline_exceeded"]


async def test_who_unsubscribes_while_a_node_is_asked_is_no_member():
    with still() as (proxy, client):
        do = Doing(proxy, takes=TAKES)
        subscribe(client, "asked:1")
        [call] = do.calls()
        client.say_now({"unsubscribe": "asked:1"})
        assert [(said.get("error"), said.get("unsubscribed")) for said in client.look()] == [
            ("client_left", None),
            (None, "asked:1"),
        ]
        do.peer.say(frames.Reply(call.id, 1, b"", False))
        proxy.settle()
        assert (client.look(), len(proxy.app.channels), client.connection.in_flight) == ([], 0, 0)
        assert proxy.app.clients.has_abandoned


async def test_who_has_gone_meanwhile_is_no_member():
    with still() as (proxy, client):
        do = Doing(proxy, takes=TAKES)
        subscribe(client, "asked:1")
        [call] = do.calls()
        client.connection.close(Reason.KICKED)
        do.peer.say(frames.Reply(call.id, 1, b"", False))
        proxy.settle()
        assert (len(proxy.app.channels), len(proxy.app.subscriptions)) == (0, 0)


async def test_what_is_beyond_what_may_be_in_flight_waits_and_keeps_its_order():
    with still(client={"max_in_flight": 1}) as (proxy, client):
        do = Doing(proxy, takes=TAKES)
        client.say_now({"subscribe": "asked:1"}, {"subscribe": "open:1"}, {"unsubscribe": "open:1"}, {"ask": 1})
        assert client.look() == []
        [call] = do.calls()
        do.peer.say(frames.Reply(call.id, 1, b"", False))
        proxy.settle()
        assert client.look() == [
            {"id": 1, "subscribed": "asked:1"},
            {"id": 2, "subscribed": "open:1"},
            {"id": 3, "unsubscribed": "open:1"},
        ]
        assert len(taken(do.peer, frames.Request)) == 1


async def test_more_than_its_rate_is_refused():
    with still(client={"max_message_rate": 1.0}) as (_, client):
        client.say_now(*[{"subscribe": f"open:{number}"} for number in range(9)])
        answers = client.look()
        assert len(answers) == 9
        assert answers[-1]["error"] == "rate_limited"


# --- its end ----------------------------------------------------------------------------------------------------------


async def test_its_time_is_over():
    with still() as (proxy, client):
        do = Doing(proxy, takes=TAKES)
        for expires in (100.0, 300.0, 200.0):  # asked again: what was said last counts
            subscribe(client, "asked:1")
            call = do.calls()[-1]
            do.peer.say(frames.Reply(call.id, 1, encode_granted(Granted(b"", True, expires)), False))
            proxy.settle()
            client.look()
        assert [said["expires"] for said in client.heard] == [100.0, 300.0, 200.0]
        for _ in range(199):
            proxy.tick(1.0)
            proxy.app.subscriptions.tick(proxy.app.reactor.now)
        assert client.look() == []
        proxy.tick(1.0)
        proxy.app.subscriptions.tick(proxy.app.reactor.now)
        do(notify("x", "asked:1"))
        [dropped] = client.look()
        assert (dropped["dropped"], dropped["reason"]) == ("asked:1", "expired")
        assert not proxy.app.subscriptions._due


async def test_who_is_there_by_a_node_s_wish_too_stays_when_its_own_is_over():
    with still() as (proxy, client):
        do = Doing(proxy, takes=TAKES)
        subscribe(client, "asked:1")
        [call] = do.calls()
        do.peer.say(frames.Reply(call.id, 1, encode_granted(Granted(b"", True, 10.0)), False))
        do(frames.Join(client.id, "asked:1"))
        client.look()
        proxy.tick(11.0)
        proxy.app.subscriptions.tick(proxy.app.reactor.now)
        do(notify("x", "asked:1"))
        assert [said.get("dropped", said.get("text")) for said in client.look()] == ["asked:1", "x"]


# --- publishing -------------------------------------------------------------------------------------------------------


async def test_what_a_client_publishes_is_done_before_it_is_told_so():
    with still() as (proxy, client):
        do = Doing(proxy, takes=TAKES)
        do(frames.Join(client.id, "asked:1"))
        client.look()
        client.say_now({"publish": "asked:1", "text": "hello"})
        [call] = do.calls()
        assert (call.kind, call.channel, call.payload, call.is_text) == ("publication", "asked:1", b"hello", True)
        effect = notify("hello", "asked:1", sender=b"{}")
        do.peer.say(frames.Reply(call.id, 1, b"", False, False, [effect]))
        proxy.settle()
        assert client.look() == [
            {"channel": "asked:1", "text": "hello", "sender": "{}"},
            {"id": 1, "published": "asked:1"},
        ]


async def test_what_a_node_does_not_take_is_not_published():
    with still() as (proxy, client):
        do = Doing(proxy, takes=TAKES)
        client.say_now({"publish": "asked:1", "text": "hello"})
        [call] = do.calls()
        do.peer.say(frames.Failure(call.id, 1, 422, "too loud"))
        proxy.settle()
        assert [(said["error"], said["status"]) for said in client.look()] == [("refused", 422)]


# --- filters ----------------------------------------------------------------------------------------------------------

LEVELS = [
    {"match": "news/secret/*"},
    {"match": "news/*", "subscribe": "anyone"},
    {"match": "team/*", "subscribe": "node"},
    {"match": "other/*", "subscribe": "node"},
    {"match": "log/*", "subscribe": "anyone", "history_messages": 10},
    {"match": "#", "subscribe": "node"},
]


@contextmanager
def with_levels(**sections):
    proxy = StillProxy(channel=LEVELS, **sections)
    client = Speaker(proxy.app)
    client.connection.receive(b"\n", proxy.app.reactor.now)
    proxy.clients.append(client)
    yield proxy, client
    proxy.close()


async def test_a_filter_gives_what_matches_and_each_once_and_nothing_that_a_rule_keeps_back():
    with with_levels() as (proxy, client):
        do = Doing(proxy)
        assert subscribe(client, "news/#", filter=True) == [{"id": 1, "subscribed": "news/#"}]
        subscribe(client, "news/+", filter=True)
        subscribe(client, "news/a")
        do(notify("1", "news/a", "news/secret/b", "news/c/d", "team/a", "elsewhere"))
        assert [said["channel"] for said in client.look()] == ["news/a", "news/c/d"]
        client.say_now({"unsubscribe": "news/#", "filter": True}, {"unsubscribe": "news/a"})
        do(notify("2", "news/a", "news/c/d"))
        assert [said.get("channel", said.get("unsubscribed")) for said in client.look()] == [
            "news/#",
            "news/a",
            "news/a",
        ]
        client.say_now({"unsubscribe": "news/+", "filter": True})
        do(notify("3", "news/a"))
        assert (len(client.look()), proxy.app.channels.has_filters, len(proxy.app.subscriptions)) == (1, False, 0)


async def test_a_node_s_word_for_a_filter_holds_for_channels_of_the_rule_by_which_it_was_asked():
    with with_levels() as (proxy, client):
        do = Doing(proxy, takes=TAKES)
        for channel in ("team/#", "#"):
            subscribe(client, channel, filter=True)
            call = do.calls()[-1]
            assert (call.channel, call.is_filter) == (channel, True)
            do.peer.say(frames.Reply(call.id, 1, b"", False))
            proxy.settle()
        client.look()
        do(notify("1", "team/a", "other/a", "news/a", "news/secret/a"))
        assert [said["channel"] for said in client.look()] == ["team/a", "news/a"]


@pytest.mark.parametrize("text", ["a+/b", "#/a", "+/+/+/+", "/".join("a" * 17), ""])
async def test_what_is_no_filter_is_refused(text):
    with with_levels() as (_, client):
        assert [said["error"] for said in subscribe(client, text, filter=True)] == ["bad_request"]


async def test_filters_count_for_the_limit_of_channels_and_go_with_their_client():
    with with_levels(client={"max_channels": 2}) as (proxy, client):
        subscribe(client, "news/#", filter=True)
        subscribe(client, "news/a")
        answers = subscribe(client, "news/b") + subscribe(client, "news/+", filter=True)
        assert [answer["error"] for answer in answers] == ["overloaded", "overloaded"]
        client.connection.close(Reason.KICKED)
        assert (len(proxy.app.channels.filtered), proxy.app.channels.has_filters) == (0, False)
        assert not proxy.app.channels.filtered.counts


async def test_what_nodes_hold_back_they_send_again_when_there_is_a_filter():
    with with_levels() as (proxy, client):
        do = Doing(proxy)
        do(notify("1", "news/a"))
        proxy.tick(0.1)
        assert [frame.channels for frame in taken(do.peer, frames.Mute)] == [["news/a"]]
        subscribe(client, "news/#", filter=True)
        proxy.turn()
        assert [frame.channels for frame in taken(do.peer, frames.Unmute)] == [["news/a"]]
        do(notify("2", "news/secret/a"))
        proxy.tick(0.1)
        assert len(taken(do.peer, frames.Mute)) == 1


async def test_channels_with_history_are_given_by_a_filter_too_in_their_order():
    with with_levels() as (proxy, client):
        do = Doing(proxy)
        histories = proxy.app.history.histories
        do(notify("0", "log/a"))
        assert subscribe(client, "log/+", filter=True, since=["e", 1]) == [
            {"id": 1, "subscribed": "log/+", "why": "a filter has no position"}
        ]
        do(notify("1", "log/a"), notify("2", "log/a", "log/b"))
        assert [(said["channel"], said["offset"]) for said in client.look()] == [
            ("log/a", 2),
            ("log/a", 3),
            ("log/b", 1),
        ]
        client.say_now({"unsubscribe": "log/+", "filter": True})
        assert len(histories) == 2
        histories.tick(proxy.app.reactor.now)
        assert len(histories) == 0


# --- history ----------------------------------------------------------------------------------------------------------


async def test_it_is_told_where_it_is_and_gets_what_it_has_missed():
    with still(2) as (proxy, client, other):
        do = Doing(proxy)
        [first] = subscribe(client, "log:1")
        epoch, offset = first["position"]
        assert (epoch != "", offset, first.get("recovered")) == (True, 0, None)
        do(notify("1", "log:1"), notify("2", "log:1"))
        assert [(said["text"], said["offset"], said["epoch"]) for said in client.look()] == [
            ("1", 1, epoch),
            ("2", 2, epoch),
        ]
        client.say_now({"unsubscribe": "log:1"})
        do(notify("3", "log:1", sender=b'{"user":"ada"}'), notify("4", "log:1"))
        client.look()
        subscribe(client, "log:1", since=[epoch, 2])
        proxy.settle()
        [again] = client.look()
        assert (again["recovered"], again["missed"], again["position"]) == (True, [[3, "3"], [4, "4"]], [epoch, 4])
        subscribe(other, "log:1", since=[epoch, 0])
        proxy.settle()
        [lost] = other.look()
        assert (lost.get("recovered"), lost["why"]) == (None, "the log does not go back so far")
        do(notify("5", "log:1"))
        assert [it["text"] for it in client.look() + other.look()] == ["5", "5"]


async def test_in_a_channel_without_history_nothing_can_be_recovered():
    with still() as (_, client):
        assert subscribe(client, since=["e", 3]) == [
            {"id": 1, "subscribed": "open:1", "why": "the channel has no history"}
        ]


async def test_who_goes_while_it_catches_up_is_no_member_and_its_channel_is_not_followed():
    with still() as (proxy, client):
        do = Doing(proxy)
        do(notify("1", "log:1"))
        subscribe(client, "log:1", since=["e", 0])
        client.connection.close(Reason.KICKED)
        proxy.settle()
        assert (len(proxy.app.channels), len(proxy.app.history.histories)) == (0, 0)


async def test_who_knows_a_position_is_told_when_it_is_over():
    with still(2) as (proxy, client, other):
        do = Doing(proxy)
        subscribe(client, "log:1")
        do(frames.Join(other.id, "log:1"))
        assert other.look() == [{"joined": "log:1"}]
        proxy.app.history.histories._on_interrupted("log:1", "a reason")
        [dropped] = client.look()
        assert (dropped["dropped"], dropped["reason"], dropped["why"]) == ("log:1", "interrupted", "a reason")
        do(notify("1", "log:1"))
        assert (client.look(), len(other.look())) == ([], 1)
