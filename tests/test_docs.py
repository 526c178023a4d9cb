"""What the pages say of the code is true: tables are compared, examples are run."""

import configparser
import json
import random
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
import trio
import yaml
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect

import holdfast.testing
from holdfast import Node, cli
from holdfast.balancer.routes import Routes
from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.conformance import check
from holdfast.protocols.close import Reason
from holdfast.proxy.admin.exporter import METRICS
from holdfast.proxy.cluster.times import times_of
from holdfast.proxy.config import Config, examine
from holdfast.proxy.config.keys import KEYS
from holdfast.proxy.config.routes import read
from holdfast.proxy.config.sections import ClientSettings
from holdfast.proxy.config.sources import SECTIONS, value_of
from holdfast.proxy.config.unreached import unreached
from holdfast.proxy.config.values import convert, from_text
from holdfast.proxy.nodes.explain import explained, question_of
from holdfast.proxy.views import RouteQuestion
from holdfast.testing import Notify, call, client
from tests.harness import running, websocket
from tests.waiting import PATIENCE, until

DOCS = Path(__file__).parents[1] / "docs"


def python_blocks(page):
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def limits():
    """Rows of the tables on the page of limits: key, default, metric."""
    for line in (DOCS / "topics" / "limits.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            key, default, _, metric = (cell.strip() for cell in line.strip("|").split(" | "))
            yield key.strip("`"), default.strip("`"), metric


ROWS = list(limits())


@pytest.mark.parametrize(("key", "default", "metric"), ROWS, ids=[key for key, *_ in ROWS])
def test_a_limit_is_as_it_is_told(key, default, metric):
    section, _, field = key.partition(".")
    type_ = SECTIONS[section][field]
    assert convert(from_text(default, type_, KEYS[key]), type_, KEYS[key]) == value_of(Config(), key)
    for word in re.findall(r"`(\w+)`", metric):
        assert word in {metric.name for metric in METRICS} | {reason.value for reason in Reason}


def test_every_limit_is_told():
    """What bounds something has max_ in its name, or is a timeout."""
    assert {key for key, *_ in ROWS} == {key for key in KEYS if re.search(r"\.max_|[._]timeout$", key)} - {
        "drain.timeout"
    }


PROMISES = (DOCS / "topics" / "delivery.md").read_text(encoding="utf-8")
TESTS = Path(__file__).parent


def held_by():
    """What a promise says that it is held by: file, and what the name of a test says; or sim, and an invariant."""
    for bracket in re.findall(r"\[(`[^\]]*)\](?!\()", PROMISES):
        for part in " ".join(bracket.split()).split("; "):
            place, names = re.fullmatch(r"`([\w/]+)`: (.+)", part).groups()
            yield from ((place, name) for name in (names.split() if place == "sim" else names.split(", ")))


@pytest.mark.parametrize(("place", "name"), sorted(set(held_by())))
def test_what_holds_a_promise_is_there(place, name):
    if place == "sim":
        files = [TESTS / "sim" / f"{file}.py" for file in ("books", "checks", "faults", "nodes")]
        assert f'"{name}, ' in "".join(file.read_text(encoding="utf-8") for file in files)
    else:
        source = (TESTS / f"{place}.py").read_text(encoding="utf-8")
        assert re.search(rf"^ *(async )?def \w*{name.replace(' ', '_')}|^class {name}\(", source, re.MULTILINE)


def test_every_promise_says_what_holds_it():
    """Each bullet and paragraph of what is guaranteed ends with that. Only these three say what is meant."""
    guaranteed = PROMISES.partition("## What is not promised")[0]
    blocks = [block for block in re.split(r"\n\n|\n(?=- )", guaranteed.strip()) if not block.startswith(("#", "|"))]
    without = [block for block in blocks if not block.rstrip().endswith("]")]
    assert [block[:12] for block in without] == ["One proxy, a", "In brackets,", "One way, wit"]


def test_so_long_the_clients_of_a_lost_proxy_may_be_there():
    [seconds] = re.findall(r"heartbeat_timeout` \((\d+) s\) from its eviction", PROMISES)
    assert times_of(Config()).grace == float(seconds)


def test_the_protocol_that_a_page_writes_conforms():
    adapter, kit = python_blocks("howto/write-a-protocol.md")
    names = {}
    exec(adapter + kit, names)
    for limits in (Limits(), Limits(max_message_bytes=3)):
        names["test_lines_conform"](limits)
    check(names["Lines"], b"one\ntwo\n\nthree\n", random.Random(2))


async def test_who_comes_late_is_told_the_last_word_once():
    """The tutorial's last step, on two nodes, one of which is no master."""
    first, *others, catch_up = python_blocks("tutorial/first-node.md")
    [keep] = [block for block in others if "state.set(request.client.path" in block]
    async with running() as proxy, trio.open_nursery() as nursery:
        for _ in range(2):
            names = {}
            exec(first.replace("    return said\n", f"{keep}    return said\n") + catch_up, names)
            await nursery.start(names["node"].run, [proxy.node])
        with trio.fail_after(PATIENCE):
            for _ in range(10):
                async with websocket(proxy, "/kitchen") as early:
                    await early.send("is anybody here?")
                    while "is anybody" not in (said := await early.recv()):
                        pass
                    async with websocket(proxy, "/kitchen") as late:
                        assert await late.recv() == said
                        await late.send("me")
                        assert (await late.recv()).endswith(": me")
        nursery.cancel_scope.cancel()


async def test_what_a_page_does_beside_requests():
    [example, *_] = python_blocks("howto/background-jobs.md")
    names = {"__name__": "jobs"}
    exec(example, names)
    node, told = names["node"], []
    async with running() as proxy, websocket(proxy) as client, trio.open_nursery() as nursery:
        with trio.fail_after(PATIENCE):
            await nursery.start(node.run, [proxy.node])
            await client.send("hello")
            while len(told) < 4:
                told.append(await client.recv())
            await until(lambda: node.database.execute("SELECT text FROM said").fetchall() == [("hello",)])
            node.drain()
    assert sorted(told) == [
        "1 are here, says the master",
        "a moment ago you said hello",
        f"{node.id} is here",
        "kept",
    ]


def test_the_handler_of_the_page_about_replies():
    [block] = python_blocks("howto/requests-and-replies.md")
    names: dict = {}
    exec(block, names)
    node = names["node"]
    ada = client("/?room=7")
    typing = call(node, "typing", client=ada)
    assert (typing.messages, typing.effects) == ([], [Notify("somebody types", channels=["7"], exclude=[ada])])
    assert call(node, {"lot": "a"}).json() == {"lot": "a", "price": 7.5}
    upload = httpx.Request("POST", "http://a/", data={"name": "x"}, files={"picture": ("p", b"123", "image/png")})
    said = call(node, upload.read(), http="POST /upload", headers={"content-type": upload.headers["content-type"]})
    assert (said.status, said.json()) == (201, {"name": "x", "bytes": 3})
    assert call(node, b"name=x", http="POST /upload").failure.status == 415


def test_the_tests_that_a_page_writes_pass(tmp_path):
    """In a directory of their own, as a user has them."""
    [node, *_] = python_blocks("tutorial/first-node.md")
    tests = python_blocks("howto/test-your-node.md")
    (tmp_path / "chat.py").write_text(node, encoding="utf-8")
    for number, block in enumerate(tests):
        (tmp_path / f"test_chat_{number}.py").write_text(block, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\ntrio_mode = true\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


async def test_the_routes_that_a_page_writes():
    [page] = python_blocks("howto/routes.md")
    scope = {}
    exec(compile(page, "routes.md", "exec"), scope)
    friend = {"x-token": "friend"}
    user = "/users/00000000-0000-0000-0000-000000000005"
    async with holdfast.testing.proxy() as proxy, proxy.node(scope["node"]):
        async with connect(proxy.url + "/rooms/kitchen") as client:
            for message, expected in (
                ('{"type": "move", "x": 1, "y": 2}', '{"room":"kitchen","x":1,"y":2}'),
                ('{"type": "move", "x": 1}', "body: Object missing required field `y`"),
                ('{"type": "jump"}', 'nothing here takes a message with \\"type\\": \\"jump\\"'),
            ):
                await client.send(message)
                assert expected in await client.recv()
        async with httpx.AsyncClient(base_url=proxy.http_url) as client:
            for method, path, headers, status, expected in (
                ("GET", user, friend, 200, '{"user":"00000000-0000-0000-0000-000000000005"}'),
                ("GET", "/users/5", friend, 400, "id: Invalid UUID"),
                ("GET", user, {}, 401, "who are you?"),
                ("DELETE", user, friend, 405, f"{user} takes GET, HEAD, got DELETE"),
                ("GET", "/rooms/kitchen", friend, 404, "nothing here takes /rooms/kitchen"),
                ("POST", "/users", friend, 200, '{"created":1}'),
                ("POST", "/users", friend, 400, "body: Expected `int`, got `str` - at `$[...]`"),
            ):
                body = {"name": "Ada" if status == 400 else 1} if method == "POST" else None
                reply = await client.request(method, path, headers=headers, json=body)
                assert (reply.status_code, expected in reply.text) == (status, True), reply.text
                assert reply.headers.get("allow") == ("GET, HEAD" if status == 405 else None)
                assert reply.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
            assert (await client.head(user, headers=friend)).status_code == 200


async def test_the_order_that_a_page_writes():
    scope = {}
    for block in python_blocks("howto/order-and-idempotency.md"):
        exec(compile(block, "order-and-idempotency.md", "exec"), scope)
    node = scope["node"]
    async with holdfast.testing.proxy(client={"ordered": True}) as proxy, proxy.node(node):
        async with connect(proxy.url) as client:
            for number in range(10):
                await client.send(str(number))
            await client.send('{"type": "pay"}')
            assert [await client.recv() for _ in range(11)] == ['{"ok":true}'] * 10 + ['{"paid":5}']
        assert node.state["bids"] == list(range(10))
        assert list(node.state["payments"].values()) == [5]


def test_the_routes_at_the_proxy_that_a_page_writes():
    """Where each of its examples leads, by the words of `holdfast route`."""
    page = (DOCS / "howto/routes-at-the-proxy.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    found = read(tomllib.loads(block)["route"])
    assert found.problems == []
    assert list(unreached(found.routes, ClientSettings())) == []
    table = Routes(found.routes, [None] * len(found.routes))
    for url, more, steps in (
        ("/health", {}, {"health": 100}),
        ("/old/x", {}, {"route 2": 100}),
        ("/uploads/5", {"method": "POST"}, {"uploads": 100}),
        ("/uploads/5", {}, {"canary": 10, "stable": 100}),
        ("ws://a.org/rooms/5", {"message": '{"type": "move"}'}, {"moves": 100}),
        ("ws://a.org/rooms/5", {"message": '{"type": "say"}'}, {"canary": 10, "stable": 100}),
    ):
        view = explained(table, question_of(RouteQuestion(url, **more), ClientSettings()), None)
        assert {step.route: step.takes for step in view.steps if not step.why} == steps


async def test_who_comes_in_as_a_page_says():
    scope: dict = {}
    exec(python_blocks("howto/admit-clients.md")[0], scope)
    async with holdfast.testing.proxy(client={"ordered": True}) as proxy, proxy.node(scope["node"]):
        with pytest.raises(InvalidStatus, match="401"):
            await connect(proxy.url).__aenter__()
        async with connect(f"{proxy.url}/?token=hush") as eve:
            with pytest.raises(ConnectionClosed) as ended:
                await eve.recv()
            assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (4403, "you may not come in")
        async with connect(f"{proxy.url}/?token=swordfish") as ada:
            async with connect(f"{proxy.url}/?token=sesame") as bob:
                assert json.loads(await ada.recv()) == {"came": "bob"}
                for moves in (1, 2, 3):
                    await bob.send('{"type": "move"}')
                    assert json.loads(await bob.recv()) == {"user": "bob", "moves": moves}
                async with httpx.AsyncClient(base_url=proxy.http_url) as asks:
                    for method, target, status, told in (
                        ("GET", "/online?token=sesame", 200, '{"lobby":2}'),
                        ("GET", "/online", 401, "who are you?"),
                        ("GET", "/online?token=hush", 403, "you may not come in"),
                        ("POST", "/", 401, "who are you?"),
                        ("POST", "/?token=sesame", 404, "nothing here takes /"),
                    ):
                        reply = await asks.request(method, target, json={"type": "move"})
                        assert (reply.status_code, told in reply.text) == (status, True), reply.text
            assert json.loads(await ada.recv()) == {"went": "bob", "why": "client_left"}


async def test_the_questions_that_a_page_asks():
    billing, shop = {}, {}
    for block, scope in zip(python_blocks("howto/ask-other-nodes.md"), (billing, shop), strict=True):
        exec(block, scope)
    async with holdfast.testing.proxy() as proxy, proxy.node(billing["node"]), proxy.node(shop["node"]):
        async with connect(proxy.url) as client:
            for amount, expected in ((5, '{"charged":5}'), (500, "not that much")):
                await client.send(json.dumps({"amount": amount}))
                assert expected in await client.recv()
            await client.send('{"type": "health"}')
            assert json.loads(await client.recv()) == {billing["node"].id: 200}
    assert list(billing["done"].values()) == [5, 0]


def test_a_project_of_ones_own_as_a_page_writes_it(tmp_path):
    text = (DOCS / "howto/run-in-your-own-project.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert " ".join(language for language, _ in blocks) == "toml python toml python ini ini dockerfile yaml"
    names = "pyproject.toml", "lobby.py", "proxy.toml", "test_lobby.py", "holdfast.service", "lobby@.service"
    for name, (_, block) in zip(names, blocks, strict=False):
        (tmp_path / name).write_text(block, encoding="utf-8")

    pytests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(pytests, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout

    lobby = runpy.run_path(str(tmp_path / "lobby.py"))["node"]
    assert call(lobby, b"hello", http="POST /").json() == {"in the lobby": 0}  # of HTTP, and in no channel

    loaded, problems = examine(tmp_path / "proxy.toml", {}, [])
    assert problems == []
    assert loaded.config.client.ordered

    commands = []
    for name in names[-2:]:
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str
        unit.read(tmp_path / name)
        assert float(unit["Service"]["TimeoutStopSec"]) > max(loaded.config.drain.timeout, Node("x").drain_timeout)
        commands.append(unit["Service"]["ExecStart"].rpartition("/bin/")[2])
    services = yaml.safe_load(blocks[-1][1])["services"]
    commands += [service["command"] for service in services.values()]
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "holdfast"
        parsed = cli._parser(arguments).parse_args(arguments)
        if arguments[0] == "serve" and "--set" in arguments:
            loaded, problems = examine(None, {"HOLDFAST__NODE__TOKEN": "a secret that is shared"}, parsed.sets)
            assert problems == []
        elif arguments[0] == "node":
            assert parsed.node == "lobby:node"
