"""What must not end or hold up a program that runs long: a reader of its log that has gone or does not read, SIGHUP."""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import urllib.request
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio

from holdfast.protocols.nodes import frames
from tests.holdfast.cli.conftest import ROOT, command, environment
from tests.holdfast.node.fake_proxy import client, fake_proxy
from tests.proxy.process.test_stderr import fill, read

PATIENCE = 30.0
EPHEMERAL = [
    item
    for one in (
        *("client.bind=127.0.0.1:0", "node.bind=tcp://127.0.0.1:*"),
        *("admin.bind=127.0.0.1:0", "cluster.pub=tcp://127.0.0.1:*"),
    )
    for item in ("--set", one)
]
WORKERS = pytest.mark.parametrize("workers", [1, 2])
MODULE = """
from holdfast import Node
node = Node("echo")

@node.on_request
async def handle(request):
    if request.payload == b"fail":
        raise RuntimeError("an author's error, with a line in the log")
    return request.payload
"""


class Log:
    """The pipe that a process writes to. is_full: nothing can be written before somebody reads."""

    def __init__(self, *, is_full=False):
        self.reader, self.writer = os.pipe()
        self._filled = fill(self.writer) if is_full else 0

    def read(self):
        """From now on it is read: the next line of it that is of the log."""
        read(self.reader, self._filled)
        self._filled = 0
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([self.reader], [], [], PATIENCE)[0], line
            line += os.read(self.reader, 1)
        return json.loads(line)

    def until(self, event):
        while (line := self.read())["event"] != event:
            pass
        return line

    def lose_reader(self):
        os.close(self.reader)
        self.reader = -1

    def close(self):
        for end in (self.reader, self.writer):
            if end >= 0:
                os.close(end)


@pytest.fixture
def make_log():
    logs = []

    def make(**how):
        logs.append(Log(**how))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


@contextmanager
def serving(tmp_path, log, workers, **variables):
    """The proxy, when it serves, and the address of its admin server."""
    ready = tmp_path / "ready.json"
    arguments = ["serve", "--workers", workers, "--ready-file", ready, *EPHEMERAL]
    process = subprocess.Popen(
        command(arguments), cwd=ROOT, env=environment(variables), stdout=subprocess.PIPE, stderr=log.writer
    )
    try:
        said = b""
        while b"\nadmin " not in said:
            assert select.select([process.stdout], [], [], PATIENCE)[0], "it does not serve"
            said += os.read(process.stdout.fileno(), 1000)
            assert process.poll() is None
        yield process, json.loads(ready.read_text())["admin"]
    finally:
        process.kill()
        process.communicate()


def is_healthy(admin):
    with urllib.request.urlopen(f"http://{admin}/health", timeout=PATIENCE) as response:
        return response.status == 200


def end(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


@WORKERS
def test_serve_with_a_log_that_nobody_reads(tmp_path, make_log, workers):
    log = make_log(is_full=True)
    with serving(tmp_path, log, workers) as (process, admin):
        assert is_healthy(admin)
        assert log.until("serving")
        end(process)


@WORKERS
def test_serve_whose_stdout_nobody_reads(tmp_path, make_log, workers):
    log, printed, ready = make_log(), make_log(is_full=True), tmp_path / "ready.json"
    arguments = ["serve", "--workers", workers, "--ready-file", ready, *EPHEMERAL]
    process = subprocess.Popen(
        command(arguments), cwd=ROOT, env=environment({}), stdout=printed.writer, stderr=log.writer
    )
    try:
        assert log.until("serving")
        while not ready.exists():
            assert process.poll() is None
        assert is_healthy(json.loads(ready.read_text())["admin"])
        end(process)
    finally:
        process.kill()
        process.wait()


def test_serve_ends_while_nobody_reads_its_log(tmp_path, make_log):
    with serving(tmp_path, make_log(is_full=True), 1) as (process, _):
        end(process)


@WORKERS
def test_serve_with_a_log_whose_reader_has_gone(tmp_path, make_log, workers):
    log = make_log()
    log.lose_reader()
    with serving(tmp_path, log, workers) as (process, admin):
        assert is_healthy(admin)
        end(process)


def test_serve_without_a_stderr(tmp_path):
    """It was closed when the process began: `2>&-`."""
    ready = tmp_path / "ready.json"
    quoted = " ".join(f"'{item}'" for item in command(["serve", "--ready-file", ready, *EPHEMERAL]))
    shell = ["sh", "-c", f"exec {quoted} 2>&-"]
    with subprocess.Popen(shell, cwd=ROOT, env=environment({}), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline().startswith("client ")
            end(process)
        finally:
            process.kill()


@WORKERS
def test_sighup_is_a_line_in_the_log_of_serve(tmp_path, make_log, workers):
    log = make_log()
    with serving(tmp_path, log, workers) as (process, admin):
        pids = [process.pid]
        if workers > 1:
            pids += [worker["pid"] for worker in json.loads((tmp_path / "ready.json").read_text())["workers"]]
        for pid in pids:
            os.kill(pid, signal.SIGHUP)
            assert log.until("sighup_not_used")["level"] == "warning"
        assert is_healthy(admin)
        end(process)


def test_no_descriptor_is_left_to_accept_anybody(tmp_path, make_log):
    """A line for each port, in the log's form. Who waits there is let in when there is one again."""
    log = make_log()
    with serving(tmp_path, log, 1) as (process, admin):
        client = json.loads((tmp_path / "ready.json").read_text())["client"]
        assert log.until("serving")
        former = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, former[1]))  # below it poll() of libzmq is refused
        waiting = []
        for address in (admin, client):
            host, _, port = address.rpartition(":")
            waiting.append(socket.create_connection((host, int(port)), PATIENCE))
            line = log.until("accept_failed")
            assert (line["level"], line["address"]) == ("warning", address)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, former)
        for stream in waiting:
            with stream:
                stream.sendall(b"nothing\r\n\r\n")
                assert b" 400 " in stream.recv(1000)
        process.send_signal(signal.SIGTERM)
        while (line := log.read())["event"] != "stopped":
            assert line["event"] != "accept_failed"
        assert process.wait(PATIENCE) == 0


@asynccontextmanager
async def node(tmp_path, proxy, log, *path):
    (tmp_path / "longrunning_app.py").write_text(MODULE)
    arguments = ["node", "longrunning_app:node", "--join", proxy.address]
    variables = {"PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))}
    process = await trio.lowlevel.open_process(
        command(arguments), cwd=tmp_path, env=environment(variables), stderr=log.writer
    )
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
            await process.wait()


@pytest.mark.parametrize("is_lost", [False, True], ids=["full", "lost"])
async def test_node_with_a_log_that_nobody_reads(tmp_path, make_log, is_lost):
    log = make_log(is_full=not is_lost)
    if is_lost:
        log.lose_reader()
    with trio.fail_after(2 * PATIENCE):
        async with fake_proxy() as proxy, node(tmp_path, proxy, log) as process:
            session = await proxy.join(clients=[client()])
            session.request(b"fail")
            assert (await session.take(frames.Failure)).status == 500
            process.send_signal(signal.SIGHUP)
            session.request(b"hello")
            assert (await session.take(frames.Reply)).payload == b"hello"
            process.send_signal(signal.SIGTERM)
            await session.take(frames.Drain)
            await session.take(frames.Bye)
            assert await process.wait() == 0


# In each process of ours: SIGHUP at the first moment that is ours, and while the rest is being imported.
HUNG_UP = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in ("holdfast.cli", "holdfast.proxy.app", "holdfast.node.runner"):
            os.kill(os.getpid(), signal.SIGHUP)

sys.meta_path.insert(0, Finder())
"""


@pytest.fixture
def hung_up(tmp_path):
    """For PYTHONPATH."""
    folder = tmp_path / "hung_up"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HUNG_UP)
    return folder


@WORKERS
def test_sighup_while_serve_is_being_imported(tmp_path, make_log, workers, hung_up):
    log = make_log()
    with serving(tmp_path, log, workers, PYTHONPATH=str(hung_up)) as (process, admin):
        events = []
        while "serving" not in events:
            events.append(log.read()["event"])
        assert events[0] == "sighup_not_used"
        assert not {"worker_failed", "worker_ended"} & set(events)
        assert is_healthy(admin)
        end(process)


async def test_sighup_while_node_is_being_imported(tmp_path, make_log, hung_up):
    log = make_log()
    with trio.fail_after(2 * PATIENCE):
        async with fake_proxy() as proxy, node(tmp_path, proxy, log, hung_up):
            session = await proxy.join(clients=[client()])
            await trio.to_thread.run_sync(log.until, "sighup_not_used")
            session.request(b"hello")
            assert (await session.take(frames.Reply)).payload == b"hello"


def test_sighup_while_what_ends_by_it_is_being_imported(hung_up):
    command_line = command(["config"])
    done = subprocess.run(command_line, cwd=ROOT, env=environment({"PYTHONPATH": str(hung_up)}), capture_output=True)
    assert (done.returncode, done.stdout) == (-signal.SIGHUP, b"")


async def test_sighup_is_a_line_in_the_log_of_node(tmp_path, make_log):
    log = make_log()
    with trio.fail_after(2 * PATIENCE):
        async with fake_proxy() as proxy, node(tmp_path, proxy, log) as process:
            session = await proxy.join(clients=[client()])
            process.send_signal(signal.SIGHUP)
            await trio.to_thread.run_sync(log.until, "sighup_not_used")
            session.request(b"hello")
            assert (await session.take(frames.Reply)).payload == b"hello"


def test_who_is_told_by_nohup_to_ignore_sighup_goes_on_doing_so(tmp_path, make_log):
    log = make_log()
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with serving(tmp_path, log, 1) as (process, _):
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            events = [log.read()["event"]]
            while events[-1] != "stopped":
                events.append(log.read()["event"])
            assert "sighup_not_used" not in events
            assert process.wait(PATIENCE) == 0
    finally:
        signal.signal(signal.SIGHUP, former)


def test_a_program_that_is_run_for_its_outcome_ends_with_it(tmp_path):
    """`holdfast chaos`: its report counts what was done until then."""
    arguments = ["chaos", "--json", "--for", "60s", "--clients", "5", "--nodes", "1", "--fault", "none"]
    with subprocess.Popen(
        command(arguments), cwd=ROOT, env=environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            for line in process.stderr:
                if "clients" in line:
                    break
            process.send_signal(signal.SIGHUP)
            out, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode >= 0, "no signal has ended it"
    assert process.returncode == 130 or json.loads(out)
