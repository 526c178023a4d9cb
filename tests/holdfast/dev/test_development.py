"""`holdfast dev` as its user has it: a process with pipes, files that change, and clients that stay."""

import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import trio
from websockets.trio.client import connect

from holdfast.chaos.processes import children
from tests.waiting import PATIENCE, until

APP = """
from holdfast import Node
import answers
import trio

node = Node("app")

@node.on_open
async def opened(client):
    await node.notify(f"welcome to {client.path}", clients=[client])

@node.on_request
async def handle(request):
    print("handling")
    if request.payload == b"slow":
        await node.notify("begun", clients=[request.client])
        await request.flush()
        await trio.sleep_forever()
    return answers.ANSWER
"""


class Running:
    """out, err: lines so far."""

    def __init__(self, process):
        self.process = process
        self.out, self.err = [], []

    async def read(self, stream, lines):
        rest = b""
        async for data in stream:
            *whole, rest = (rest + data).split(b"\n")
            lines += [line.decode() for line in whole]

    async def says(self, text, times=1):
        """Wait until that many lines of stdout have it."""
        return await self._wait(self.out, text, times)

    async def logs(self, text, times=1):
        return await self._wait(self.err, text, times)

    async def _wait(self, lines, text, times):
        def found():
            if self.process.poll() is not None and sum(text in line for line in lines) < times:
                raise AssertionError(f"ended without {text}: {self.out} {self.err}")
            return [line for line in lines if text in line][times - 1 :]

        return (await until(found, f"{text} in {lines}"))[0]

    async def types(self, *lines):
        for line in lines:
            await self.process.stdin.send_all(line.encode() + b"\n")

    async def url(self):
        return (await self.says("clients  ws://")).split()[1]


@asynccontextmanager
async def dev(folder, *options, node="app:node"):
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("HOLDFAST_")}
    pipe = subprocess.PIPE
    sets = [
        "node.bind=tcp://127.0.0.1:*",
        "admin.bind=127.0.0.1:0",
        f"request.parked_timeout={PATIENCE}",  # a node takes its time to start on a busy machine
        f"request.timeout={2 * PATIENCE}",
    ]
    fixed = [part for one in sets for part in ("--set", one)]
    command = [sys.executable, "-P", "-m", "holdfast", "dev", node, "--port", "0", *fixed, *options]
    process = await trio.lowlevel.open_process(
        command, env=environment, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe
    )
    running = Running(process)
    with trio.fail_after(5 * PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.read, process.stdout, running.out)
            nursery.start_soon(running.read, process.stderr, running.err)
            try:
                yield running
            finally:
                process.kill()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
                    await process.wait()
                nursery.cancel_scope.cancel()
    for stream in (process.stdin, process.stdout, process.stderr):
        await stream.aclose()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "answers.py").write_text("ANSWER = 'one'\n")
    return tmp_path


async def test_a_client_stays_while_the_node_changes(folder):
    async with dev(folder) as running, connect(await running.url() + "/room") as client:
        await running.logs("link_ready")

        async def ask(text):
            await client.send(text)
            while (said := await client.recv()) == "welcome to /room":  # a node that is new tells of who is there
                pass
            return said

        assert await client.recv() == "welcome to /room"
        assert await ask("hello") == "one"
        (folder / "answers.py").write_text("ANSWER = 'two'\n")  # the same size, in the same second
        await running.logs("dev   | answers.py changed: starting the node anew")
        await running.logs("node_left")  # the former one has drained
        assert await ask("hello") == "two"

        (folder / "answers.py").write_text("ANSWER = (\n")
        await running.logs("node  | holdfast: answers.py, line 1: SyntaxError: ")
        await running.logs("dev   | it could not be started: the former node goes on")
        assert await ask("hello") == "two"

        (folder / "answers.py").write_text("ANSWER = 'three'\n")
        await running.logs("node_left", 2)
        assert await ask("hello") == "three"

        pids = await until(lambda: len(found := children(running.process.pid)) == 2 and found)
        running.process.send_signal(signal.SIGINT)
        assert await running.process.wait() == 0
        assert not any(map(is_alive, pids))
    assert any("proxy | " in line and "stopped" in line for line in running.err)
    assert any(line == "node  | handling" for line in running.err)


async def test_the_console(folder):
    async with dev(folder) as running:
        await running.says("< welcome to /")
        await running.types("hello")
        await running.says("< one")
        await running.types('/json {"a":   1}', "//slashed", "/json nonsense", "/nothing", "/help")
        await running.says("< one", 3)
        await running.says("dev: no JSON")
        await running.says("dev: /nothing? What there is: /help")
        await running.says("/quit           end")
        await running.types("/get /x", "/post /x a body", "/get nothing")
        await running.says("< 200 one", 2)
        await running.says("dev: /get? What")
        await running.types("/path /room")
        await running.says("< welcome to /room")
        await running.types("/path /the küche")
        await running.says("< welcome to /the%20k%C3%BCche")
        await running.types("/reload")
        await running.logs("dev   | starting the node anew")
        await running.logs("node_left")
        await running.types("/quit")
        assert await running.process.wait() == 0


async def test_a_second_signal_ends_it_at_once(folder):
    async with dev(folder) as running:
        await running.says("< welcome to /")
        await running.types("slow")
        await running.says("< begun")
        running.process.send_signal(signal.SIGTERM)
        await running.logs("draining")
        pids = children(running.process.pid)
        running.process.send_signal(signal.SIGTERM)
        assert await running.process.wait() == 1
        assert not any(map(is_alive, pids))


async def test_a_node_that_dies_waits_for_a_change_and_a_proxy_ends_all(folder):
    async with dev(folder) as running:
        await running.says("< welcome to /")
        joined = await running.logs("node_joined")
        os.kill(int(joined.partition("pid=")[2].split()[0]), signal.SIGKILL)
        await running.logs("dev   | the node has ended with status -9; a change or /reload starts it anew")
        await running.types("parked", "/reload")
        await running.says("< one")
        serving = await running.logs("serving")
        os.kill(int(serving.partition("pid=")[2].split()[0]), signal.SIGKILL)
        assert await running.process.wait() == 1
    assert "dev   | the proxy has ended with status -9" in running.err


async def test_a_module_that_can_not_be_loaded_yet(folder):
    (folder / "answers.py").write_text("1 / 0\n")
    async with dev(folder) as running:
        await running.logs("node  | ZeroDivisionError")
        await running.logs("dev   | it could not be started: there is no node")
        await running.types("parked")
        (folder / "answers.py").write_text("ANSWER = 'at last'\n")
        await running.says("< at last")
        await running.process.stdin.aclose()
        await running.says("dev: stdin has ended")
        running.process.send_signal(signal.SIGTERM)
        assert await running.process.wait() == 0


@pytest.mark.parametrize(
    ("node", "options", "line"),
    [
        ("nowhere:node", [], "node  | holdfast: there is no module nowhere here or among the installed ones"),
        ("app:node", ["--set", "client.backlog=0"], "holdfast: --set: client.backlog: expected "),
        ("app:node", ["--port", "70000"], "argument --port: expected a port, 0 to 65535, got 70000"),
    ],
)
async def test_what_has_to_be_written_otherwise_is_status_2(folder, node, options, line):
    async with dev(folder, *options, node=node) as running:
        assert await running.process.wait() == 2
        await until(lambda: any(line in one for one in running.err))


async def test_a_port_that_is_taken_is_status_1(folder):
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        async with dev(folder, "--port", str(taken.getsockname()[1])) as running:
            assert await running.process.wait() == 1
            await until(lambda: any("proxy | holdfast: " in line for line in running.err))


async def test_whoever_is_killed_leaves_nobody(folder):
    async with dev(folder) as running:
        await running.logs("link_ready")
        pids = children(running.process.pid)
        assert len(pids) == 2
        running.process.kill()
        await until(lambda: not any(map(is_alive, pids)))


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
