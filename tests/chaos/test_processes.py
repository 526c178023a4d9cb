import json
import os
import signal

import pytest
from websockets.trio.client import connect

from holdfast.chaos.deployment import OWN_ADDRESSES
from holdfast.chaos.lines import Lines
from holdfast.chaos.processes import Processes, wait_file
from holdfast.protocols.errors import HoldfastError


@pytest.fixture
def processes(tmp_path):
    with Processes(tmp_path) as processes:
        yield processes


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def serve(processes, *sets):
    ready = processes.directory / "ready"
    arguments = ["serve", "--ready-file", str(ready)]
    for one in (*OWN_ADDRESSES, *sets):
        arguments += ["--set", one]
    proxy = processes.start("proxy", arguments)
    return proxy, json.loads(await wait_file(ready, proxy, 30))


async def test_started_signalled_ended(processes):
    proxy, bound = await serve(processes)
    assert bound["pid"] == proxy.pid
    assert proxy.is_running
    proxy.signal(signal.SIGSTOP)
    assert await proxy.end(10) == 0  # it drains, though it was stopped
    assert not proxy.is_running
    assert '"stopped"' in proxy.log_tail()
    assert await proxy.wait() == 0  # whoever asks later is told too
    proxy.signal(signal.SIGTERM)  # to nobody


async def test_one_that_does_not_heed_sigterm_is_killed(processes):
    """A proxy that waits for a request, which no node will answer."""
    proxy, bound = await serve(processes, "request.timeout=60", "request.parked_timeout=60", "drain.timeout=60")
    async with connect(f"ws://{bound['client']}/") as client:
        await client.send("hello")
        await (await client.ping()).wait()  # has come back, so the message has come too
        assert await proxy.end(0.5) == -signal.SIGKILL


async def test_it_is_known_who_was_killed_on_purpose(processes):
    proxy, _ = await serve(processes)
    assert not proxy.was_killed
    proxy.signal(signal.SIGKILL)
    assert await proxy.end(10.0) == -signal.SIGKILL
    assert proxy.was_killed


async def test_one_that_does_not_start_shows_its_log(processes, tmp_path):
    proxy = processes.start("proxy", ["serve", "--set", "no.such=key"])
    with pytest.raises(HoldfastError, match=r"(?s)proxy did not start: exit status 2\n.*no\.such"):
        await wait_file(tmp_path / "never", proxy, 30)


async def test_none_is_left(tmp_path):
    with Processes(tmp_path) as processes:
        pids = [processes.start(f"clients-{number}", ["load", "{}"], pipes=True).pid for number in range(2)]
        os.kill(pids[0], signal.SIGSTOP)
    assert not any(map(is_alive, pids))


async def test_lines():
    reader, writer = os.pipe()
    lines = Lines(reader)
    os.write(writer, b"one\ntw")
    assert await lines.next() == b"one"
    os.write(writer, b"o\nthree\nrest")
    os.close(writer)
    assert await lines.next() == b"two"
    assert await lines.next() == b"three"
    assert await lines.next() is None
    os.close(reader)
