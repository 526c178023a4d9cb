"""Which request a line of the log is of: asked when it is made, and said by each logger that the library sets up."""

import json
import logging
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import trio

import holdfast
from holdfast import Node, log_context
from holdfast.node import logs
from holdfast.protocols.nodes import frames
from tests.holdfast.node.fake_proxy import client, fake_proxy, linked
from tests.waiting import PATIENCE, until

SCRIPT = """
import logging, sys
import structlog, trio
import holdfast

node = holdfast.Node("script", id="script-1")
own, standard = structlog.get_logger(), logging.getLogger("an.old.library")

@node.on_request
async def handle(request):
    own.info("handled", client="mine")
    standard.info("old %s", "style", extra={"more": 5})
    await trio.to_thread.run_sync(standard.warning, "of a thread")
    try:
        1 / 0
    except ZeroDivisionError:
        standard.exception("broken")
    standard.debug("not shown")
    return "done"

EARLIER
if __name__ == "__main__":
    holdfast.run(node)
    print("it has returned")
"""


@asynccontextmanager
async def script(tmp_path, *arguments, earlier="", **environment):
    (tmp_path / "app.py").write_text(SCRIPT.replace("EARLIER", earlier))
    running = await trio.lowlevel.open_process(
        [sys.executable, *arguments],
        env=os.environ | environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
            await running.wait()
            await running.stdout.aclose()
            await running.stderr.aclose()


async def all_of(stream):
    text = b""
    async for chunk in stream:
        text += chunk
    return text.decode()


async def test_it_says_what_a_line_is_of():
    node, told = Node("test"), {}

    async def task():
        told["task"] = log_context()

    @node.on_request
    async def handle(request):
        told["handler"] = log_context()
        told["thread"] = await trio.to_thread.run_sync(log_context)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        node.start_soon(task)

    async def child():
        told["child"] = log_context()

    @node.on_master
    async def lead():
        told["master"] = log_context()

    @node.on_open
    def opened(client):
        told["callback"] = log_context()

    async with linked(node, clients=[client(7)]) as session:
        session.elect(5)
        number = session.request(client=7, attempt=2)
        await until(lambda: len(told) == 6)
    of_request = {"request": number, "client": "0000000000000007", "attempt": 2}
    assert told == {
        "handler": of_request,
        "thread": of_request,
        "child": of_request,
        "task": {},
        "master": {"epoch": 5},
        "callback": {},
    }
    assert log_context() == {}


async def test_a_plain_handler_and_an_http_request_have_it_too():
    node, told = Node("test"), []

    @node.on_request
    def handle(request):
        told.append((request.id, log_context()))

    async with linked(node) as session:
        session.http(client=9)
        await session.take(frames.HttpReply)
    [(number, context)] = told
    assert context == {"request": number, "client": "0000000000000009", "attempt": 1}


@pytest.mark.parametrize("way", ["run", "command"])
async def test_each_line_says_it_of_each_logger(tmp_path, way):
    arguments = ["app.py"] if way == "run" else ["-m", "holdfast", "node", "app:node"]
    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy:
            async with script(tmp_path, *arguments, HOLDFAST_NODE_JOIN=proxy.address) as running:
                session = await proxy.join(clients=[client()])
                number = session.request()
                assert (await session.take(frames.Reply)).payload == b"done"
                running.send_signal(signal.SIGTERM)
                await session.take(frames.Drain)
                await session.take(frames.Bye)
                errors, out = await all_of(running.stderr), await all_of(running.stdout)
                assert await running.wait() == 0
    lines = {line["event"]: line for line in map(json.loads, errors.splitlines())}
    context = {"node": "script-1", "request": number, "client": "0000000000000007", "attempt": 1}
    assert lines["handled"].items() >= (context | {"client": "mine", "level": "info"}).items()
    assert lines["old style"].items() >= (context | {"logger": "an.old.library", "level": "info", "more": 5}).items()
    assert lines["of a thread"].items() >= (context | {"level": "warning"}).items()
    assert "ZeroDivisionError" in lines["broken"]["exception"]
    assert "not shown" not in lines
    assert "request" not in lines["link_ready"]
    assert list(lines["old style"])[:3] == ["timestamp", "level", "event"]
    assert out == ("it has returned\n" if way == "run" else "")


@pytest.mark.parametrize("way", ["run", "command"])
async def test_who_has_set_up_logging_keeps_that(tmp_path, way):
    arguments = ["app.py"] if way == "run" else ["-m", "holdfast", "node", "app:node"]
    earlier = (
        "logging.basicConfig(format='MINE %(message)s', level='INFO')\n"
        "structlog.configure(processors=[structlog.processors.KeyValueRenderer()],"
        " logger_factory=structlog.PrintLoggerFactory(sys.stderr))"
    )
    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy:
            async with script(tmp_path, *arguments, earlier=earlier, HOLDFAST_NODE_JOIN=proxy.address) as running:
                session = await proxy.join(clients=[client()])
                session.request()
                await session.take(frames.Reply)
                running.send_signal(signal.SIGTERM)
                lines = (await all_of(running.stderr)).splitlines()
    assert "MINE old style" in lines
    assert "client='mine' event='handled'" in lines


@pytest.mark.parametrize(
    ("earlier", "environment", "status", "line"),
    [
        ("node.capacity = 0", {}, 2, "holdfast: the capacity of a node is 1 to 1000000, got 0"),
        ("", {"HOLDFAST_NODE_WEIGHT": "x"}, 2, "holdfast: HOLDFAST_NODE_WEIGHT: expected a number, got 'x'"),
        ("", {"HOLDFAST_NODE_JOIN": "x"}, 2, "expected tcp://HOST:PORT"),
        (
            "@node.lifespan\nasync def database():\n    raise OSError('no database')\n    yield",
            {},
            1,
            "holdfast: lifespan database failed: OSError: no database",
        ),
    ],
)
@pytest.mark.parametrize("way", ["run", "command"])
async def test_what_ends_it_is_one_line_and_a_status(tmp_path, way, earlier, environment, status, line):
    arguments = ["app.py"] if way == "run" else ["-m", "holdfast", "node", "app:node", "--join", "tcp://127.0.0.1:1"]
    if way == "command" and "HOLDFAST_NODE_JOIN" in environment:
        arguments = arguments[:-2]
    with trio.fail_after(3 * PATIENCE):
        async with script(tmp_path, *arguments, earlier=earlier, **environment) as running:
            errors = await all_of(running.stderr)
            assert await running.wait() == status
    assert line in errors.splitlines()[-1]
    assert "Traceback" not in errors.splitlines()[-1]
    if "lifespan" in line:
        [told] = [json.loads(line) for line in errors.splitlines()[:-1]]
        assert told["event"] == "lifespan_failed"
        assert "holdfast" not in told["exception"]  # the author's frames alone
        assert "raise OSError('no database')" in told["exception"]
    else:
        assert len(errors.splitlines()) == 1


async def test_a_second_signal_stops_a_script_at_once(tmp_path):
    earlier = "@node.lifespan\nasync def slow():\n    yield\n    await trio.sleep_forever()"
    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy:
            async with script(tmp_path, "app.py", earlier=earlier, HOLDFAST_NODE_JOIN=proxy.address) as running:
                session = await proxy.join()
                running.send_signal(signal.SIGINT)
                await session.take(frames.Drain)
                await session.take(frames.Bye)
                running.send_signal(signal.SIGINT)
                assert await running.wait() == 1


def test_a_level_that_is_none():
    with pytest.raises(ValueError, match="expected a log level of debug, info, warning, error, got 'loud'"):
        holdfast.run(Node("test"), log_level="loud")


def test_the_root_logger_is_left_alone_if_it_has_a_handler():
    root, handler = logging.getLogger(), logging.NullHandler()
    former, level = root.handlers[:], root.level
    root.handlers[:] = [handler]
    try:
        logs.take_standard_logging("debug")
        assert root.handlers == [handler]
        assert root.level == level
    finally:
        root.handlers[:] = former


def test_own_fields_stand_before_ours():
    assert logs._with_context(None, "info", {"event": "x", "client": "mine"})["client"] == "mine"
