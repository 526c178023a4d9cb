import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest

from tests.waiting import PATIENCE

EPHEMERAL = [
    item
    for assignment in ("client.bind=127.0.0.1:0,[::1]:0", "node.bind=tcp://127.0.0.1:*", "admin.bind=127.0.0.1:0")
    for item in ("--set", assignment)
]


@contextmanager
def serving(start, *arguments):
    """`holdfast serve` on free ports, after its last line about where; and that it ends, whatever happens."""
    process = start("serve", *EPHEMERAL, *arguments)
    try:
        lines = []
        while not lines or not lines[-1].startswith("admin "):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            lines.append(line.rstrip("\n"))
        yield process, lines
    finally:
        process.kill()
        process.communicate()


def test_serve_says_where_and_ends_on_a_signal(start, tmp_path):
    file = tmp_path / "ready.json"
    file.write_text("of an earlier run")
    with serving(start, "--ready-file", file) as (process, lines):
        kinds = [line.split(" ")[0] for line in lines]
        addresses = [line.split(" ")[1] for line in lines]
        assert kinds == ["client", "client", "node", "admin"]
        assert addresses[0].startswith("ws://127.0.0.1:")
        assert addresses[1].startswith("ws://[::1]:")
        assert addresses[2].startswith("tcp://127.0.0.1:")
        assert addresses[3].startswith("http://127.0.0.1:")
        assert json.loads(file.read_text()) == {
            "client": addresses[0].removeprefix("ws://"),
            "node": addresses[2],
            "admin": addresses[3].removeprefix("http://"),
            "pid": process.pid,
        }
        assert [path.name for path in tmp_path.iterdir()] == ["ready.json"]
        with urllib.request.urlopen(f"{addresses[3]}/health", timeout=10) as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert "serving" in events
    assert events[-1] == "stopped"


@pytest.mark.parametrize("stdout", ["of nobody", "read-only"])
def test_serve_goes_on_when_nobody_can_hear_where(stdout):
    reading, writing = os.pipe()
    if stdout == "of nobody":
        os.close(reading)
        out = writing
    else:
        os.close(writing)
        out = reading
    command = [sys.executable, "-m", "holdfast", "serve", *EPHEMERAL]
    with subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True) as process:
        os.close(out)
        lines = []
        try:
            for line in process.stderr:
                lines.append(line)
                if json.loads(line)["event"] == "serving":
                    break
            process.send_signal(signal.SIGTERM)
            lines += process.stderr
            assert process.wait(PATIENCE) == 0, lines
        finally:
            process.kill()
    assert json.loads(lines[-1])["event"] == "stopped"


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_ports_of_further_protocols_are_told_by_their_name(start, tmp_path, workers):
    file = tmp_path / "ready.json"
    sets = ("--set", "client.protocols=http://127.0.0.1:0", "--set", "cluster.pub=tcp://127.0.0.1:*")
    with serving(start, "--ready-file", file, *sets, *workers) as (process, lines):
        named = [line for line in lines if line.startswith("client http://127.0.0.1:")]
        assert len(named) == 1
        ready = json.loads(file.read_text())
        assert [f"client {each}" for each in ready["protocols"]] == named
        assert all(worker["protocols"] == ready["protocols"] for worker in ready.get("workers", ()))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_the_log_is_configured(start):
    with serving(start, "--set", "log.level=error") as (process, _):
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("key", ["client.bind=127.0.0.1:{}", "node.bind=tcp://127.0.0.1:{}", "admin.bind=127.0.0.1:{}"])
def test_an_address_in_use_is_one_line_and_status_1(key, holdfast):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = holdfast("serve", *EPHEMERAL, "--set", "log.level=error", "--set", key.format(port))
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("holdfast: can't bind ")
    assert f"127.0.0.1:{port}" in result.err
    assert "Address already in use" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("command", ["serve", "chaos"])
def test_more_workers_than_a_machine_bears_are_refused(holdfast, command):
    result = holdfast(command, "--workers", "65")
    assert (result.status, result.out) == (2, "")
    assert result.err.endswith("argument --workers: expected at most 64, got 65\n")


def test_a_ready_file_that_cannot_be_written(holdfast, tmp_path):
    file = tmp_path / "none" / "ready.json"
    result = holdfast("serve", *EPHEMERAL, "--set", "log.level=error", "--ready-file", file)
    assert (result.status, result.err) == (1, f"holdfast: --ready-file {file}: No such file or directory\n")


def test_a_ready_file_of_an_earlier_run_is_withdrawn_first(holdfast, tmp_path):
    file = tmp_path / "ready.json"
    file.write_text("of an earlier run")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert holdfast("serve", *EPHEMERAL, "--set", f"admin.bind=127.0.0.1:{port}", "--ready-file", file).status == 1
    assert not file.exists()
