import argparse
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import httpx
import pytest
import structlog
import trio
import zmq.auth

from holdfast import ConfigError, HoldfastError, LinkRefused, Node
from holdfast.node import runner
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import encode_batch
from tests.holdfast.node.fake_proxy import client, fake_proxy
from tests.waiting import PATIENCE, until

MODULE = """
import trio
from holdfast import Node

node = Node("from-the-module", capacity=3)
not_a_node = 5

@node.on_request
async def handle(request):
    if request.payload == b"slow":
        await trio.sleep_forever()
    return request.payload
"""

COMMAND = """
import argparse, sys
from holdfast import HoldfastError; from holdfast.node import runner
parser = argparse.ArgumentParser()
runner.add_arguments(parser)
try:
    sys.exit(runner.main(parser.parse_args()))
except HoldfastError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.fixture(autouse=True)
def logging():
    """`main` sets up structlog for the process; here that is pytest's."""
    config = structlog.get_config()
    yield
    structlog.configure(**config)


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "runner_test_app.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "runner_test_app:node"
    sys.modules.pop("runner_test_app", None)


@asynccontextmanager
async def process(*arguments, **environment):
    """A node in a process of its own."""
    running = await trio.lowlevel.open_process(
        [sys.executable, "-c", COMMAND, *arguments],
        env=os.environ | environment,
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


async def errors_of(running):
    text = b""
    async for chunk in running.stderr:
        text += chunk
    return text.decode()


async def test_it_runs_the_node_and_sigterm_drains_it(module):
    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy, process(module, "--join", proxy.address) as running:
            session = await proxy.join(clients=[client()])
            hello = session.hello
            assert (hello.name, hello.capacity, hello.pid) == ("from-the-module", 3, running.pid)
            session.request(b"hello")
            assert (await session.take(frames.Reply)).payload == b"hello"
            running.send_signal(signal.SIGTERM)
            await session.take(frames.Drain)
            await session.take(frames.Bye)
            assert await running.wait() == 0


async def test_a_second_signal_stops_it_at_once(module):
    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy, process(module, "--join", proxy.address) as running:
            session = await proxy.join(clients=[client()])
            session.request(b"slow")
            running.send_signal(signal.SIGTERM)
            await session.take(frames.Drain)
            running.send_signal(signal.SIGTERM)
            assert await running.wait() == runner.STOPPED


async def test_a_process_that_was_stopped_comes_back_with_a_new_session(module):
    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy, process(module, "--join", proxy.address) as running:
            session = await proxy.join(clients=[client()], interval=0.1, timeout=0.4)
            running.send_signal(signal.SIGSTOP)
            session.request(b"hello")
            await trio.sleep(0.5)  # what is tested is that time passes
            session.say(frames.Refused("silent for 0.5 s"))  # a node that stood still gives nobody up: its proxy does
            running.send_signal(signal.SIGCONT)
            again = await proxy.join(clients=[client()])
            assert again.hello.incarnation == session.hello.incarnation
            again.request(b"hello", attempt=2)
            assert (await again.take(frames.Reply)).attempt == 2


async def test_refused_for_good_is_one_clear_line(module):
    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy, process(module, "--join", proxy.address) as running:
            session = await proxy.accept()
            proxy.say_raw(session.identity, encode_batch(0, [frames.Refused("wrong token", fatal=True)]))
            errors = await errors_of(running)
            assert await running.wait() == 1
    assert errors.splitlines()[-1] == f"LinkRefused: the proxy at {proxy.address} refuses this node: wrong token"
    assert "Traceback" not in errors


async def test_options_stand_before_the_environment_and_that_before_the_module(module):
    options = ["--name", "n", "--id", "i", "--capacity", "9", "--weight", "2"]
    environment = {"HOLDFAST_NODE_ID": "other", "HOLDFAST_NODE_TOKEN": "secret"}
    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy:
            environment["HOLDFAST_NODE_JOIN"] = proxy.address
            async with process(module, *options, **environment):
                hello = (await proxy.join()).hello
    assert (hello.name, hello.node, hello.capacity, hello.weight, hello.token) == ("n", "i", 9, 2.0, "secret")


@pytest.mark.parametrize("name", ["capacity", "weight", "drain-timeout"])
def test_a_variable_that_can_not_be_read_is_named(module, monkeypatch, name):
    variable = f"HOLDFAST_NODE_{name.upper().replace('-', '_')}"
    monkeypatch.setenv(variable, "abc")
    with pytest.raises(ConfigError, match=f"^{variable}: expected a .*number.*, got 'abc'$"):
        runner.main(parse(module, "--join", "tcp://127.0.0.1:1"))


def test_load(module):
    node = runner.load(module)
    assert isinstance(node, Node)
    assert node.name == "from-the-module"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("runner_test_app", "expected MODULE:NAME"),
        (":node", "expected MODULE:NAME"),
        *((f"{path}:node", "expected MODULE:NAME, a module") for path in ("../x", ".", "..x", "/x", "x/y")),
        ("runner_test_app:", "expected MODULE:NAME"),
        ("runner_test_nowhere:node", "no module runner_test_nowhere here or among the installed ones$"),
        ("runner_test_app.py:node", "without .py, as runner_test_app:node$"),
        ("runner_test_app:nothing", "has no nothing"),
        ("runner_test_app:not_a_node", "not a holdfast.Node"),
    ],
)
def test_what_can_not_be_loaded(module, spec, message):
    with pytest.raises(ConfigError, match=message):
        runner.load(spec)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import runner_test_nowhere", "line 1: ModuleNotFoundError: No module named 'runner_test_nowhere'"),
        ("import os\nos.nothing", "line 2: AttributeError: module 'os' has no attribute 'nothing'"),
        ("import holdfast\n\nnode = holdfast.Node('x', oder='client')",
         "line 3: TypeError: Node.__init__() got an unexpected keyword argument 'oder'"),
        ("import holdfast\nnode = holdfast.Node('x'", "line 2: SyntaxError: '(' was never closed"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_module_is_one_line_that_is_the_author_s(tmp_path, monkeypatch, text, line):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "runner_test_broken.py").write_text(text)
    with pytest.raises(HoldfastError) as failure:
        runner.load("runner_test_broken:node")
    assert str(failure.value) == f"runner_test_broken.py, {line}"
    assert not hasattr(failure.value, "__notes__")
    assert failure.value.__cause__ is not None


def test_what_is_wrong_further_in_is_told_from_the_author_s_line_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "runner_test_broken.py").write_text("import json\n\nsettings = json.loads('{')")
    with pytest.raises(HoldfastError) as failure:
        runner.load("runner_test_broken:node")
    assert str(failure.value).startswith("runner_test_broken.py, line 3: json.decoder.JSONDecodeError: Expecting")
    [note] = failure.value.__notes__
    assert note.splitlines()[:2] == [
        "Traceback (most recent call last):",
        f'  File "{tmp_path}/runner_test_broken.py", line 3, in <module>',
    ]
    assert "raw_decode" in note
    assert "holdfast/node/runner.py" not in note
    assert "importlib" not in note


def test_an_error_of_the_library_s_stays_what_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "runner_test_broken.py").write_text("import holdfast\nholdfast.Publisher('')")
    with pytest.raises(ConfigError, match=r"^expected HOST:PORT"):
        runner.load("runner_test_broken:node")


def parse(*arguments):
    parser = argparse.ArgumentParser()
    runner.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *((["--join", join], "expected tcp://HOST:PORT") for join in ("nonsense", "127.0.0.1:7510", "tcp://127.0.0.1")),
        (["--join", "tcp://127.0.0.1:1", "--capacity", "0"], "capacity"),
        (["--join", "tcp://127.0.0.1:1", "--weight", "-1"], "weight"),
        (["--join", "tcp://127.0.0.1:1", "--secret-key", "x"], "go together"),
        (["--join", "tcp://127.0.0.1:1", "--secret-key", "x", "--proxy-key", "x"], "can't read a key"),
        (["--join", "tcp://127.0.0.1:1", "--secret-key", "", "--proxy-key", ""], "can't read a key"),
    ],
)
def test_bad_configuration(module, options, message):
    with pytest.raises(ConfigError, match=message):
        runner.main(parse(module, *options))


def test_a_key_that_is_none(module, tmp_path):
    zmq.auth.create_certificates(tmp_path, "node")
    (tmp_path / "bad.key").write_text('curve\n    public-key = "abcde"\n')
    options = ["--join", "tcp://127.0.0.1:1", "--proxy-key", "bad.key", "--secret-key", "node.key_secret"]
    with pytest.raises(ConfigError, match="40 characters of Z85"):
        runner.main(parse(module, *options))


def test_keys_of_keygen(module, tmp_path):
    for name in ("proxy", "node"):
        zmq.auth.create_certificates(tmp_path, name)
    options = ["--join", "nonsense", "--proxy-key", "proxy.key", "--secret-key"]
    with pytest.raises(ConfigError, match="holds no secret key"):
        runner.main(parse(module, *options, "node.key"))
    with pytest.raises(ConfigError, match="can't connect"):
        runner.main(parse(module, *options, "node.key_secret"))
    curve = sys.modules["runner_test_app"].node.curve
    assert curve.server_key == zmq.auth.load_certificate("proxy.key")[0]
    assert (curve.public_key, curve.secret_key) == zmq.auth.load_certificate("node.key_secret")


async def test_a_foreign_error_is_not_hidden():
    class Strange(Exception):
        pass

    class StrangeNode(Node):
        async def run(self, join):
            raise Strange

    with pytest.RaisesGroup(Strange):
        await runner.serve(StrangeNode("test"), ["tcp://127.0.0.1:1"])


async def test_run_tells_one_error_and_no_group():
    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:

            async def refuse():
                session = await proxy.accept()
                proxy.say_raw(session.identity, encode_batch(0, [frames.Refused("no", fatal=True)]))

            nursery.start_soon(refuse)
            with pytest.raises(LinkRefused):
                await runner.serve(Node("test"), [proxy.address])


async def test_sigint_drains_too():
    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            statuses = []

            async def run():
                statuses.append(await runner.serve(Node("test"), [proxy.address]))

            nursery.start_soon(run)
            session = await proxy.join()
            os.kill(os.getpid(), signal.SIGINT)
            await session.take(frames.Drain)
            await session.take(frames.Bye)
            await until(lambda: statuses == [0])


async def test_labels_and_metrics_of_the_command_line(module):
    options = ["--label", "version=2", "--label", "zone=", "--metrics", "127.0.0.1:0", "--log-level", "error"]
    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy:
            arguments = [module, "--join", proxy.address, *options]
            async with process(*arguments, HOLDFAST_NODE_LABEL="other=1") as running:
                session = await proxy.join(clients=[client()])
                assert session.hello.labels == {"version": "2", "zone": ""}
                line = b""
                while not line.endswith(b"\n"):
                    line += await running.stdout.receive_some()
                url = line.decode().removeprefix("metrics ").strip()
                session.request()
                await session.take(frames.Reply)
                async with httpx.AsyncClient() as asking:
                    metrics = (await asking.get(url)).text
                running.send_signal(signal.SIGTERM)
                assert await errors_of(running) == ""
                assert await running.wait() == 0
    assert 'holdfast_node_request_seconds_count{function="handle",outcome="ok",route=""} 1.0' in metrics


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("LABEL", "zone", "NAME=VALUE, several with spaces between"),
        ("LABEL", "=a", "NAME=VALUE, several with spaces between"),
        ("LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("LOG_FORMAT", "xml", "auto, text, json"),
    ],
)
def test_a_variable_that_means_nothing_is_told(module, monkeypatch, name, value, expected):
    monkeypatch.setenv(f"HOLDFAST_NODE_{name}", value)
    with pytest.raises(ConfigError, match=f"^HOLDFAST_NODE_{name}: expected {expected}, got '{value}'$"):
        runner.main(parse(module))


@pytest.mark.parametrize(("option", "value"), [("--label", "zone"), ("--log-level", "loud"), ("--log-format", "xml")])
def test_an_option_that_means_nothing_is_a_bad_usage(option, value, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse("app:node", option, value)
    assert f"argument {option}: invalid" in capsys.readouterr().err


async def test_labels_of_the_environment_join_those_of_the_module(module):
    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy:
            environment = {"HOLDFAST_NODE_LABEL": "a=1 b=2=3", "HOLDFAST_NODE_JOIN": proxy.address}
            async with process(module, **environment):
                assert (await proxy.join()).hello.labels == {"a": "1", "b": "2=3"}


@pytest.mark.parametrize(("options", "join"), [([], runner.LOCAL), (["--join", "tcp://127.0.0.1:1"], None)])
def test_a_proxy_on_this_machine_is_the_default(module, monkeypatch, options, join):
    seen = []
    monkeypatch.setattr(runner, "_run", lambda node, proxies, metrics: seen.append(proxies) or 0)
    assert runner.main(parse(module, *options)) == 0
    assert seen == [[join or options[1]]]


async def test_an_address_for_metrics_that_is_none_is_one_line(module):
    with trio.fail_after(3 * PATIENCE):
        async with process(module, "--metrics", "9100") as running:
            errors = await errors_of(running)
            assert await running.wait() == 1
    assert errors == "ConfigError: --metrics: expected HOST:PORT, as 127.0.0.1:9100, got '9100'\n"
