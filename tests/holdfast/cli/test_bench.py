"""`holdfast bench` as a user runs it, on a proxy with an echo node."""

import json
import signal
import socket
import subprocess
from contextlib import asynccontextmanager

import pytest
import trio

from holdfast import Node
from holdfast.cli import main
from tests.harness import running
from tests.holdfast.cli.conftest import ROOT, command, environment

REFUSED = [
    (["http://127.0.0.1/"], "expected ws://HOST:PORT/PATH"),
    (["ws://127.0.0.1:port/"], "expected ws://HOST:PORT/PATH"),
    (["wss://127.0.0.1/"], "without TLS"),
    (["ws://me:secret@127.0.0.1/"], "without TLS or passwords"),
    (["ws://127.0.0.1/", "--connections", "0"], "expected a whole number above 0, got 0"),
    (["ws://127.0.0.1/", "--connections", "1000000000"], "--connections: the limit of open files"),
    (["ws://127.0.0.1/", "--in-flight", "some"], "expected a whole number above 0, got some"),
    (["ws://127.0.0.1/", "--size", "47"], "expected bytes, 48 (a message numbers itself)"),
    (["ws://127.0.0.1/", "--size", "big"], "expected bytes"),
    (["ws://127.0.0.1/", "--for", "ever"], "expected a time"),
]


@pytest.mark.parametrize(("arguments", "told"), REFUSED)
def test_refused(arguments, told, capsys):
    try:
        status = main(["bench", *arguments])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert told in capsys.readouterr().err


@asynccontextmanager
async def node_that(handle):
    node = Node("for the test")
    node.on_request(handle)
    async with running() as proxy, trio.open_nursery() as nursery:
        await nursery.start(node.run, [proxy.node])
        yield proxy
        nursery.cancel_scope.cancel()


def echo(request):
    return request.payload


async def test_figures_for_people(holdfast_async):
    async with node_that(echo) as proxy:
        result = await holdfast_async("bench", f"ws://{proxy.client}/a/path?and=more", "--for", "1200ms")
        assert result.status == 0, result
    names = [line[:14].strip() for line in result.out.splitlines()]
    assert names == ["connections", "round trips", "latency", "wrong", "errors", "unanswered", "dropped", "CPU"]
    assert "connections   100, on each 1 x 160 bytes in flight\n" in result.out
    assert "p99.9" in result.out
    assert "round trips/s" in result.err  # after a second


async def test_figures_for_programs(holdfast_async):
    options = ["--connections", "7", "--in-flight", "3", "--size", "1KiB", "--for", "200ms", "--json"]
    paths = set()

    def note(request):
        paths.add(request.client.path)
        return request.payload

    async with node_that(note) as proxy:
        result = await holdfast_async("bench", f"ws://{proxy.client}/a/path", *options)
        served = proxy.counters.replies
    report = json.loads(result.out)
    assert (result.status, report["ok"], report["connections"]) == (0, True, 7)
    assert report["round_trips"] == served > 0
    assert paths == {"/a/path"}


async def test_wrong_replies_are_status_1(holdfast_async):
    async with node_that(lambda request: request.payload.upper()) as proxy:
        result = await holdfast_async("bench", f"ws://{proxy.client}/", "--for", "100ms")
    assert result.status == 1
    assert "round trips   0 " in result.out
    assert "wrong         0" not in result.out


async def test_nobody_there_is_status_1(holdfast_async):
    result = await holdfast_async("bench", "ws://127.0.0.1:1/")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("holdfast: 127.0.0.1:1: ")
    assert result.err.count("\n") == 1


@asynccontextmanager
async def started(*arguments):
    """The command with pipes, and that it ends."""
    process = await trio.lowlevel.open_process(
        command(arguments), cwd=ROOT, env=environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 10):
            await process.wait()
        await process.stdout.aclose()
        await process.stderr.aclose()


async def test_ctrl_c_gives_the_result_so_far():
    async with node_that(echo) as proxy, started("bench", f"ws://{proxy.client}/", "--for", "1h", "--json") as process:
        progress = b""
        while b"\n" not in progress:
            progress += await process.stderr.receive_some()
        process.send_signal(signal.SIGINT)
        out = b"".join([data async for data in process.stdout])
        assert await process.wait() == 0
    assert json.loads(out)["ok"]


async def test_ctrl_c_before_it_has_begun():
    with socket.create_server(("127.0.0.1", 0)) as silent, trio.fail_after(60):
        silent.settimeout(60)
        port = silent.getsockname()[1]
        async with started("bench", f"ws://127.0.0.1:{port}/", "--connections", "1") as process:
            connected, _ = await trio.to_thread.run_sync(silent.accept)
            process.send_signal(signal.SIGINT)
            out = b"".join([data async for data in process.stdout])
            assert (await process.wait(), out) == (130, b"")
            connected.close()
