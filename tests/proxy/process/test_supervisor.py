"""`holdfast serve --workers N`, as processes; what is looked at is what an operator sees."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.cli import main

ROOT = Path(__file__).parents[3]
PATIENCE = 30.0
EPHEMERAL = [
    "client.bind=127.0.0.1:0",
    "node.bind=tcp://127.0.0.1:*",
    "cluster.pub=tcp://127.0.0.1:*",
    "admin.bind=127.0.0.1:0",
]


def until(condition, what):
    """What is awaited happens in other processes, so there is no event to wait for."""
    end = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(0.01)
    return result


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Serving:
    """The supervisor and what it has announced."""

    def __init__(self, process, ready):
        self.process = process
        self.ready = json.loads(ready.read_text())
        self.pids = [worker["pid"] for worker in self.ready["workers"]]
        self.admins = [worker["admin"] for worker in self.ready["workers"]]

    def get(self, worker, path):
        """None while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://{self.admins[worker]}{path}", timeout=PATIENCE) as answer:
                return json.load(answer)
        except OSError:
            return None

    def status(self, worker):
        return self.get(worker, "/api/status")

    def lives(self, worker):
        """Of all workers that this one knows, by number: restarts and last exit."""
        cluster = self.get(worker, "/_plugin/cluster/status")
        return {} if cluster is None else {p["worker"]: (p["restarts"], p["last_exit"]) for p in cluster["proxies"]}

    def connect(self):
        host, port = self.ready["client"].split(":")
        return socket.create_connection((host, int(port)), timeout=PATIENCE)


@contextmanager
def starting(tmp_path, *sets, workers=3):
    """The supervisor as a process; that it and all that it started have ended, is seen to in any case."""
    arguments = [item for one in (*EPHEMERAL, *sets) for item in ("--set", one)]
    ready = tmp_path / "ready"
    log = tmp_path / "log"
    command = [sys.executable, "-m", "holdfast", "serve", "--workers", str(workers), "--ready-file", str(ready)]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environ = {**os.environ, "TMPDIR": str(temporary)}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, *arguments], cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        yield process, ready, log
    finally:
        process.kill()
        process.communicate()


@contextmanager
def serving(tmp_path, *sets, workers=3):
    with starting(tmp_path, *sets, workers=workers) as (process, ready, log):
        until(lambda: ready.exists() or process.poll() is not None, "the workers")
        assert process.poll() is None, log.read_text()
        yield Serving(process, ready)


def events(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_workers_share_the_port(tmp_path):
    with serving(tmp_path) as proxy:
        assert proxy.ready["pid"] == proxy.process.pid
        assert len(set(proxy.pids)) == len(set(proxy.admins)) == 3
        assert {worker["client"] for worker in proxy.ready["workers"]} == {proxy.ready["client"]}
        connections = [proxy.connect() for _ in range(60)]

        def spread():
            found = [proxy.status(worker)["connections"] for worker in range(3)]
            return found if sum(found) == 60 else None

        assert all(until(spread, "all connections to be taken"))
        for connection in connections:
            connection.close()
        proxy.process.send_signal(signal.SIGTERM)
        out, _ = proxy.process.communicate(timeout=PATIENCE)
        assert proxy.process.returncode == 0
    kinds = Counter(line.split()[0] for line in out.splitlines())
    assert kinds == {"client": 1, "node": 3, "admin": 3}
    assert not any(map(is_alive, proxy.pids))
    assert list((tmp_path / "tmp").iterdir()) == []  # their store has gone with them


def test_the_dead_is_restarted_where_it_was(tmp_path):
    with serving(tmp_path) as proxy:
        os.kill(proxy.pids[1], signal.SIGKILL)

        def back():
            status = proxy.status(1)  # at the same address
            return status if status is not None and status["pid"] != proxy.pids[1] else None

        status = until(back, "the worker to be back")
        assert proxy.lives(1)[1] == (1, -9)
        assert [proxy.status(worker)["pid"] for worker in (0, 2)] == [proxy.pids[0], proxy.pids[2]]
        os.kill(status["pid"], signal.SIGTERM)  # also one that was told to leave
        again = until(lambda: (now := proxy.status(1)) and now["pid"] != status["pid"] and now, "it to be back again")
        proxy.process.send_signal(signal.SIGINT)
        assert proxy.process.wait(PATIENCE) == 0
        assert not is_alive(again["pid"])
    lines = events(tmp_path / "log")
    ended = [(line["worker"], line["status"]) for line in lines if line["event"] == "worker_ended"]
    assert ended == [(1, -9), (1, 0)]
    started = [line["restarts"] for line in lines if line["event"] == "worker_started" and line["worker"] == 1]
    assert started == [0, 1, 2]


def test_all_of_them_show_how_one_ended(tmp_path):
    with serving(tmp_path) as proxy:

        def all_show(lives):
            return [proxy.lives(worker) for worker in range(3)] == [lives] * 3

        until(lambda: all_show({0: (0, 0), 1: (0, 0), 2: (0, 0)}), "all to show all")
        os.kill(proxy.pids[1], signal.SIGKILL)
        until(lambda: all_show({0: (0, 0), 1: (1, -9), 2: (0, 0)}), "all to show the worker's new life")


def test_they_die_with_the_supervisor(tmp_path):
    with serving(tmp_path) as proxy:
        os.kill(proxy.pids[2], signal.SIGSTOP)
        proxy.process.kill()
        until(lambda: not any(map(is_alive, proxy.pids)), "the kernel to end them")


def test_the_others_take_who_would_wait_for_one_that_is_stopped(tmp_path):
    """The kernel goes on giving it clients, as it does to one that leaves, dies, or has not begun yet."""
    with serving(tmp_path) as proxy:
        os.kill(proxy.pids[1], signal.SIGSTOP)
        for _ in range(40):
            with proxy.connect() as client:
                client.sendall(b"GET /_plugin/cluster/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 ")


def test_all_of_them_that_leave_refuse_newcomers(tmp_path):
    with serving(tmp_path, "drain.timeout=20", "drain.spread=10") as proxy, proxy.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        proxy.process.send_signal(signal.SIGTERM)

        def refused():
            try:
                proxy.connect().close()
            except ConnectionRefusedError:
                return True

        until(refused, "the port to be closed")
        assert proxy.process.poll() is None  # it waits for the answer to the one that asked


def test_a_second_signal_ends_them_at_once(tmp_path):
    """Also one that is stopped and can't obey, and one that has a client to see off."""
    with serving(tmp_path, "drain.spread=60", "drain.timeout=60") as proxy:
        connections = [proxy.connect() for _ in range(30)]
        until(lambda: all(proxy.status(worker)["connections"] for worker in range(3)), "connections to be taken")
        os.kill(proxy.pids[0], signal.SIGSTOP)
        proxy.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in {line["event"] for line in events(tmp_path / "log")}, "them to drain")
        assert proxy.process.poll() is None
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(PATIENCE) == 0
        assert not any(map(is_alive, proxy.pids))
        for connection in connections:
            connection.close()


def test_a_failure_of_one_at_the_start_is_that_of_all(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with starting(tmp_path, f"admin.bind=127.0.0.1:{port}") as (process, ready, log):
            process.communicate(timeout=PATIENCE)
            assert process.returncode == 1
            assert not ready.exists()
            text = log.read_text()
            assert f"can't bind 127.0.0.1:{port}" in text
            pids = [
                int(line.rpartition('"pid": ')[2].split(",")[0]) for line in text.splitlines() if "_started" in line
            ]
            assert len(pids) == 3
            assert not any(map(is_alive, pids))


def test_a_client_port_that_is_taken_is_found_before_anything_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with starting(tmp_path, f"client.bind=127.0.0.1:{port}", "log.level=error") as (process, _, log):
            process.communicate(timeout=PATIENCE)
            assert process.returncode == 1
            assert log.read_text() == f"holdfast: can't bind 127.0.0.1:{port}: Address already in use\n"


def test_a_bad_configuration_starts_nothing(tmp_path):
    with starting(tmp_path, "cluster.heartbeat=5") as (process, _, log):
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 2
        assert "cluster.heartbeat_timeout: expected more than twice" in log.read_text()
        assert "worker_started" not in log.read_text()


def test_no_folder_for_temporary_files_is_one_line(tmp_path):
    script = "import sys, tempfile\ntempfile._candidate_tempdir_list = lambda: ['/proc/none']\n"
    script += "from holdfast.cli import main\nsys.exit(main(['serve', '--workers', '2']))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "workers need a folder for temporary files, see TMPDIR" in done.stderr


def test_a_folder_that_was_tidied_away_is_made_again(tmp_path):
    """By who removes old files below /tmp: whoever dies then is back, and nobody is fenced for it."""
    with serving(tmp_path) as proxy:
        [folder] = (tmp_path / "tmp").iterdir()
        shutil.rmtree(folder)
        os.kill(proxy.pids[1], signal.SIGKILL)

        def all_members():
            status = proxy.status(1)
            if status is None or status["pid"] == proxy.pids[1]:
                return False
            members = status["cluster"]["members"]
            return len(members) == 3 and all(one["alive"] and not one["fenced"] for one in members)

        until(all_members, "all of them to be members")
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(PATIENCE) == 0
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5"])
def test_a_number_of_workers(text, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["serve", f"--workers={text}"])
    assert exit.value.code == 2
    assert "expected a whole number above 0" in capsys.readouterr().err
