"""The hosts and the switch themselves: what is dropped really is, what is delayed takes so long."""

import os
import select
import socket
import subprocess
import sys
import time

import pytest

from tests.net.hosts import ROOT, both_ways
from tests.net.switch import CUT, Rule

PORT = 5000
PATIENCE = 10.0
ROUNDS = 300
SO_RCVBUFFORCE = 33  # beyond net.core.rmem_max; not in Python's socket


@pytest.fixture
def pair(network):
    """Two hosts, and a datagram socket in each."""
    net = network("a", "b")
    sockets = []
    for host in net.hosts.values():
        with host.inside():
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        one.bind((host.ip, PORT))
        one.settimeout(PATIENCE)
        sockets.append(one)
    yield net, *sockets
    for one in sockets:
        one.close()


def send(net, sender, to, numbers):
    for number in numbers:
        sender.sendto(b"%d" % number, (net[to].ip, PORT))


def until(receiver, last):
    """The numbers that come, up to and with this one."""
    numbers = []
    while not numbers or numbers[-1] != last:
        numbers.append(int(receiver.recv(100)))
    return numbers


def test_packets_pass_in_order(pair):
    net, a, b = pair
    send(net, a, "b", range(ROUNDS))
    assert until(b, ROUNDS - 1) == list(range(ROUNDS))
    assert net.ask().dropped == 0


def test_each_is_alone_in_its_namespace(pair):
    net, _, _ = pair
    with net["a"].inside():
        names = {name for _, name in socket.if_nameindex()}
    assert names >= {"lo", "eth0"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.bind(("127.0.0.1", 0))
        with net["a"].inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
            inside.bind(outside.getsockname())  # another loopback


def test_a_cut_drops_one_way_only(pair):
    net, a, b = pair
    net.rule([("a", "b")], CUT)
    send(net, a, "b", range(10))
    send(net, b, "a", range(10))
    assert until(a, 9) == list(range(10))
    assert net.ask().dropped == 10
    net.heal()
    send(net, a, "b", [10])
    assert until(b, 10) == [10]


def test_a_delay_takes_so_long(pair):
    net, a, b = pair
    net.rule([("a", "b")], Rule(delay=0.1))
    began = time.monotonic()
    send(net, a, "b", range(10))
    assert until(b, 9) == list(range(10))
    assert 0.1 <= time.monotonic() - began < 1.0


def handled(net, count):
    """Wait until the switch has passed on or dropped so many."""
    deadline = time.monotonic() + PATIENCE
    while (answer := net.ask()).passed + answer.dropped < count:
        assert time.monotonic() < deadline, answer
    return answer


def test_the_share_that_is_lost(pair):
    net, a, b = pair
    net.rule([("a", "b")], Rule(loss=0.2))
    send(net, a, "b", range(ROUNDS))
    answer = handled(net, ROUNDS)
    assert 0.13 * ROUNDS < answer.dropped < 0.27 * ROUNDS
    came = [int(b.recv(100)) for _ in range(answer.passed)]
    assert came == sorted(set(came))


def test_the_share_that_comes_twice(pair):
    net, a, b = pair
    net.rule([("a", "b")], Rule(duplicate=0.2))
    send(net, a, "b", range(ROUNDS))
    handled(net, ROUNDS)
    net.heal()
    send(net, a, "b", [ROUNDS])
    came = until(b, ROUNDS)[:-1]
    assert sorted(set(came)) == list(range(ROUNDS))
    assert 0.1 * ROUNDS < len(came) - ROUNDS < 0.3 * ROUNDS


def test_what_overtakes_comes_first(pair):
    net, a, b = pair
    net.rule([("a", "b")], Rule(delay=0.1, reorder=0.1))
    send(net, a, "b", range(ROUNDS))
    came = [int(b.recv(100)) for _ in range(ROUNDS)]
    early = next(index for index in range(1, ROUNDS) if came[index] < came[index - 1])
    assert 0.04 * ROUNDS < early < 0.16 * ROUNDS  # the rest had to wait
    assert sorted(came) == list(range(ROUNDS))


def test_jitter_changes_the_order(pair):
    net, a, b = pair
    net.rule([("a", "b")], Rule(jitter=0.05))
    send(net, a, "b", range(ROUNDS))
    came = [int(b.recv(100)) for _ in range(ROUNDS)]
    assert came != sorted(came) == list(range(ROUNDS))


def test_processes_are_on_their_host_and_end_with_the_network(network):
    net = network("a", "b")
    program = "import socket\ns = socket.create_server(('', 5000))\nc, _ = s.accept()\nc.sendall(c.recv(9))\nc.recv(1)"
    process = net.start("b", [sys.executable, "-c", program])
    with net["a"].inside():
        client = socket.socket()
    with client:
        deadline = time.monotonic() + PATIENCE
        while client.connect_ex((net["b"].ip, PORT)):
            assert time.monotonic() < deadline
        client.sendall(b"hello")
        assert client.recv(9) == b"hello"
        net.cut("a", "b")
        client.sendall(b"more")
        net.__exit__(None, None, None)
    assert not process.is_running
    assert not os.path.exists(f"/proc/{process.pid}")


def test_nothing_outlives_a_run_that_is_killed(namespaces, tmp_path):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom tests.net.hosts import Network\n"
        "with Network(['a'], Path(sys.argv[1])) as net:\n"
        "    print(net.start('a', ['sleep', '60']).pid, flush=True)\n    time.sleep(60)"
    )
    run = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, cwd=ROOT)
    with run:
        process = os.pidfd_open(int(run.stdout.readline()))
        assert not select.select([process], [], [], 0)[0]
        run.kill()
    assert select.select([process], [], [], PATIENCE)[0]
    os.close(process)


def test_both_ways():
    assert both_ways("a", "bc") == [("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")]
