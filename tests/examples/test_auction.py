"""The example of a whole application, function by function: examples/auction. With browsers and kills: e2e."""

import base64
import json
import runpy
import socket
import sys
import time

import pytest
import trio

import holdfast
from examples.auction import app, tokens
from examples.auction.app import node
from holdfast import ConfigError
from holdfast.protocols.nodes import effects
from holdfast.testing import Notify, alone, call, client, close, connect, open
from tests.holdfast.cli.conftest import environment
from tests.proxy.conftest import control, serve
from tests.waiting import PATIENCE

__all__ = ["control", "serve"]

ROOM = "/auctions/7"
KEY = "auction/7"
IDS = [f"bid-id-{number}" for number in range(10)]


def an_auction(*bids, left=1e6, closed=False):
    told = [[number, user, price, IDS[number]] for number, (user, price) in enumerate(bids, 1)]
    return {KEY: {"title": "vase", "ends": time.time() + left, "closed": closed, "count": len(told), "bids": told}}


def bid(price, id=IDS[0]):
    return {"type": "bid", "requestId": id, "price": price}


def who(name, **headers):
    return client(ROOM, user=name, **headers)


def cookie(token):
    return {"Cookie": f"theme=dark; token={token}"}


# --- who somebody is --------------------------------------------------------------------------------------------------


def test_who_logs_in_gets_a_cookie_that_lets_them_in():
    result = call(node, {"name": "ada", "password": "ada"}, http="POST /login")
    assert result.json() == {"user": "ada"}
    kept, *attributes = result.headers.get("set-cookie").split("; ")
    assert {"HttpOnly", "SameSite=Strict"} <= set(attributes)
    session = connect(node, client(ROOM, headers={"Cookie": kept}), state=an_auction()).session
    assert (session.user, session.channels) == ("ada", [ROOM])
    assert 0 < session.expires <= tokens.LIFETIME


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_a_wrong_password_or_name(name):
    assert call(node, {"name": name, "password": "x"}, http="POST /login").failure.status == 401


def forged(how):
    head, claims, seal = tokens.sign("ada").split(".")
    return {
        "other claims": f"{head}.{claims[:-2]}AA.{seal}",
        "part of a seal": f"{head}.{claims}.{seal[:-1]}",
        "of another kind": f"e30.{claims}.{seal}",
        "over": tokens.sign("ada", lifetime=-1),
        "none": "x",
        "empty": "",
        "not ASCII": "ü.ü.ü",
    }[how]


HOW = ["other claims", "part of a seal", "of another kind", "over", "none", "empty", "not ASCII"]


@pytest.mark.parametrize("how", HOW)
def test_who_has_no_good_token_is_refused(how):
    token = forged(how)
    assert connect(node, client(ROOM, headers=cookie(token)), state=an_auction()).failure.status == 401
    opened = call(node, {"title": "vase"}, http="POST /auctions", headers=cookie(token))
    assert (opened.failure.status, opened.state) == (401, {})


def test_who_wants_into_a_room_that_is_not_there_is_refused():
    assert (
        connect(node, client("/auctions/8", headers=cookie(tokens.sign("ada"))), state=an_auction()).failure.status
        == 404
    )


def test_our_tokens_are_those_of_everybody_who_speaks_jwt():
    head, claims, seal = tokens.sign("ada").split(".")
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"] == "ada"
    assert len(base64.urlsafe_b64decode(seal + "==")) == 32


# --- auctions, over HTTP ----------------------------------------------------------------------------------------------


def test_the_page():
    result = call(node, http="GET /")
    assert result.headers.get("content-type") == "text/html; charset=utf-8"
    assert "<title>Auctions</title>" in result.text


def test_who_opens_an_auction_finds_it_in_the_list():
    opened = call(node, {"title": "vase", "seconds": 60}, http="POST /auctions", headers=cookie(tokens.sign("ada")))
    assert opened.status == 201
    [listed] = call(node, http="GET /auctions", state=opened.state).json()
    assert 0 < listed.pop("left") <= 60
    assert listed == {
        **{"id": opened.json()["id"], "title": "vase", "count": 0, "closed": False},
        **{"price": 0, "leader": "", "winner": None},
    }
    one = call(node, http=f"GET /auctions/{listed['id']}", state=opened.state).json()
    assert (one["title"], one["bids"]) == ("vase", [])


@pytest.mark.parametrize("wrong", [{"title": ""}, {"title": "vase", "seconds": 0}, {}])
def test_an_auction_that_is_none(wrong):
    result = call(node, wrong, http="POST /auctions", headers=cookie(tokens.sign("ada")))
    assert result.failure.status == 400


def test_an_auction_that_is_not_there():
    assert call(node, http="GET /auctions/8").failure.status == 404


# --- rooms ------------------------------------------------------------------------------------------------------------


def test_who_comes_has_the_last_bids_and_all_hear_who_is_here():
    ada, bob = who("ada"), who("bob")
    bids, here = open(node, bob, state=an_auction(("ada", 5)), clients=[ada]).effects
    assert bids.clients == (bob.id,)
    told = bids.json()
    assert (told["type"], told["bids"], told["leader"]) == ("bids", [[1, "ada", 5, IDS[1]]], "ada")
    assert here == Notify({"type": "here", "here": ["ada", "bob"]}, channels=[ROOM])


def test_who_goes_is_not_here_any_more():
    ada, bob, elsewhere = who("ada"), who("bob"), client("/auctions/8", user="cyd")
    [here] = close(node, bob, clients=[ada, bob, elsewhere], state=an_auction()).effects
    assert here == Notify({"type": "here", "here": ["ada"]}, channels=[ROOM])


def test_who_has_missed_something_asks_for_it():
    state = an_auction(("ada", 5), ("bob", 6), ("ada", 7))
    told = call(node, {"type": "since", "number": 1}, client=who("cyd"), state=state).json()
    assert [number for number, *_ in told["bids"]] == [2, 3]


# --- bids -------------------------------------------------------------------------------------------------------------


def test_a_bid_is_told_to_the_room_and_stands_in_the_state():
    result = call(node, bid(6), client=who("bob"), state=an_auction(("ada", 5)))
    assert result.json() == {"type": "placed", "requestId": IDS[0], "number": 2}
    assert result.effects == [Notify({"type": "bid", "bid": [2, "bob", 6, IDS[0]]}, channels=[ROOM])]
    assert result.state[KEY]["count"] == 2
    assert result.state[KEY]["bids"] == [[1, "ada", 5, IDS[1]], [2, "bob", 6, IDS[0]]]


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_bid_that_is_there_is_not_placed_again(attempt):
    """Its node was lost before it could answer, or the page with the answer; others have bid since, and it is over."""
    state = an_auction(("ada", 5), ("bob", 6), closed=True)
    result = call(node, bid(5, IDS[1]), client=who("ada"), state=state, attempt=attempt)
    assert result.json()["number"] == 1
    assert result.effects == [Notify({"type": "bid", "bid": [1, "ada", 5, IDS[1]]}, channels=[ROOM])]
    assert result.state == state


def test_another_ones_id_is_another_bid():
    result = call(node, bid(6, IDS[1]), client=who("bob"), state=an_auction(("ada", 5)))
    assert result.json()["number"] == 2


REFUSED = [
    (bid(5), an_auction(("ada", 5)), 409),
    (bid(4), an_auction(("ada", 5)), 409),
    (bid(6), an_auction(("ada", 5), left=-1), 410),
    (bid(6), an_auction(("ada", 5), closed=True), 410),
    (bid(0), an_auction(), 400),
    (bid("6"), an_auction(), 400),
    (bid(6, "short"), an_auction(), 400),
    (bid(6), {}, 404),
]


@pytest.mark.parametrize(("message", "state", "status"), REFUSED, ids=range(len(REFUSED)))
def test_a_bid_that_is_refused_changes_nothing(message, state, status):
    result = call(node, message, client=who("bob"), state=state)
    assert result.failure.status == status
    assert (result.effects, result.state) == ([], state)


def test_so_many_bids_are_kept(monkeypatch):
    monkeypatch.setattr(app, "KEPT", 2)
    state = call(node, bid(7), client=who("bob"), state=an_auction(("ada", 5), ("ada", 6))).state
    assert [number for number, *_ in state[KEY]["bids"]] == [2, 3]
    assert state[KEY]["count"] == 3


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_the_master_closes_what_is_over_and_says_who_has_won(autojump_clock):
    state = an_auction(("ada", 5), ("bob", 6), left=-1)
    async with alone(node, state=state, master=True, clients=[who("ada")]) as steps:
        await trio.sleep(2 * app.TICK)
        assert steps.state[KEY]["closed"]
        told = steps.effects[-1].json()
        assert (told["type"], told["winner"], told["price"], told["here"]) == ("tick", "bob", 6, ["ada"])
        late = who("bob")
        assert (await steps.call(bid(7), client=late)).failure.status == 410


async def test_what_is_long_over_is_forgotten(autojump_clock):
    async with alone(node, state=an_auction(left=-2 * app.FORGOTTEN, closed=True), master=True) as steps:
        await trio.sleep(2 * app.TICK)
        assert steps.state == {}


async def test_nobody_else_does(autojump_clock):
    async with alone(node, state=an_auction(left=-1)) as steps:
        await trio.sleep(2 * app.TICK)
        assert not steps.state[KEY]["closed"]
        assert steps.effects == []


# --- who tells everybody ----------------------------------------------------------------------------------------------


async def test_who_announces_is_told_that_it_is_done_or_why_not(serve, control):
    async def announce(*arguments, **variables):
        line = [sys.executable, "-m", "examples.auction.announce", "lunch", *arguments]
        with trio.fail_after(PATIENCE):
            done = await trio.run_process(line, env=environment(variables), capture_stderr=True, check=False)
        return done.returncode, done.stderr.decode()

    address = await serve(tokens=("publish:p",))
    assert await announce(HOLDFAST_ADMIN=address, HOLDFAST_ADMIN_TOKEN="p") == (0, "")
    assert await announce("--admin", address, "--room", ROOM, HOLDFAST_ADMIN_TOKEN="p") == (0, "")
    said = b'{"type":"announced","text":"lunch"}'
    assert control.published == [[effects.Broadcast(said, True)], [effects.Notify(said, True, [ROOM])]]
    status, told = await announce("--admin", address)
    assert (status, told.startswith("announce: "), told.count("\n")) == (1, True, 1)
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        assert await announce("--admin", url) == (
            1,
            f"announce: no admin server answers at {url}: Connection refused\n",
        )


@pytest.mark.parametrize("variable", [None, "", "http://proxy.example:1"])
def test_an_announcement_goes_to_the_proxy_that_the_environment_says(monkeypatch, variable):
    """A variable that is empty is none, as of docker compose."""
    asked = []

    def publisher(url, token, *, timeout):
        asked.append(url)
        raise ConfigError("nobody is there")

    monkeypatch.setattr(holdfast, "Publisher", publisher)
    monkeypatch.setattr(sys, "argv", ["announce", "dinner"])
    monkeypatch.delenv("HOLDFAST_ADMIN", raising=False)
    if variable is not None:
        monkeypatch.setenv("HOLDFAST_ADMIN", variable)
    with pytest.raises(SystemExit, match=r"^announce: nobody is there$"):
        runpy.run_module("examples.auction.announce", run_name="__main__")
    assert asked == [variable or "http://127.0.0.1:7513"]
