import errno
import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

import pytest

from holdfast import cli
from holdfast.cli import COMMANDS, main
from holdfast.cli.command import Command, Listed
from holdfast.console.output import failure_of_writing, say_table
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.process.build import is_compiled
from tests.waiting import PATIENCE


def test_help_lists_every_command(holdfast):
    status, out, err = holdfast("--help")
    assert (status, err) == (0, "")
    for command in COMMANDS:
        assert f"    {command.name} " in out
        assert command.help in out


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as exit:
        main([name, "--help"])
    assert exit.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: holdfast {name}" in out
    for module in re.findall(r"`([a-z_.]+):[a-z_]+`", " ".join(out.split())):
        assert module == "app" or find_spec(module) is not None, "an author's app.py, or one that is there"


def test_version(holdfast):
    status, out, _ = holdfast("--version")
    assert status == 0
    assert out == f"holdfast {version('holdfast-proxy')} ({'compiled' if is_compiled() else 'interpreted'})\n"


# What each would be slower to start by, and has no use for.
ALWAYS = {"redis", "jwt", "cryptography", "rich.console", "hypothesis", "pytest"}
UNUSED = {
    "--version": ALWAYS | {"trio", "structlog", "msgspec", "zmq", "ssl", "asyncio", "holdfast.proxy.config"},
    "node nowhere:node --join tcp://127.0.0.1:1": ALWAYS - {"rich.console"}  # structlog has it, for the author's logs
    | {"holdfast.proxy.config", "holdfast.balancer", "websockets", "prometheus_client", "sqlite3", "email", "http"},
    "serve --set client.bind=256.0.0.1:0": ALWAYS | {"holdfast.node", "holdfast.chaos", "trio_websocket", "wsproto"},
    "status --admin 127.0.0.1:1": ALWAYS | {"trio", "structlog", "zmq", "holdfast.proxy.config"},
}
IMPORTED = """
import atexit, sys
atexit.register(lambda: print(*sys.modules))
from holdfast.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("arguments", UNUSED)
def test_a_command_imports_only_what_it_needs(arguments):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments.split()], capture_output=True, text=True, timeout=PATIENCE
    )
    imported = set(done.stdout.split())
    assert "holdfast.cli" in imported, done.stderr
    assert not UNUSED[arguments] & imported


@pytest.mark.parametrize(
    "arguments", [[], ["serf"], ["check", "--nope"], ["kick"], ["clients", "--limit", "x"], ["clients", "--limit", "0"]]
)
def test_a_bad_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    out, err = capsys.readouterr()
    assert (exit.value.code, out) == (2, "")
    assert err.startswith("usage: holdfast")


def test_a_bad_configuration_is_one_line_and_status_2(holdfast):
    for name in ("serve", "config"):
        status, out, err = holdfast(name, "--set", "client.backlog=0")
        assert (status, out) == (2, "")
        assert err == "holdfast: --set: client.backlog: expected a whole number above 0 up to 65535, got 0\n"


@pytest.mark.parametrize(
    ("error", "status", "err"),
    [(HoldfastError("a failure"), 1, "holdfast: a failure\n"), (KeyboardInterrupt(), 130, "")],
)
def test_what_a_command_raises(error, status, err, monkeypatch, capsys):
    def fail(arguments):
        raise error

    monkeypatch.setattr(cli, "COMMANDS", [Listed("fail", "fail", lambda: Command(lambda parser: None, fail))])
    assert main(["fail"]) == status
    assert capsys.readouterr().err == err


@pytest.mark.parametrize(
    "arguments",
    [
        ("node", "../x:node", "--join", "tcp://127.0.0.1:1"),
        ("node", "x:node"),
        ("status", "--admin", "ftp://x"),
        ("status", "--token", "\u00e9"),
        ("check", "--config", "/none"),
        ("config", "--set", "node.token=********"),
        ("serve", "--workers", "2", "--set", "cluster.heartbeat=5"),
    ],
    ids=" ".join,
)
def test_what_has_to_be_written_otherwise_is_one_line_and_status_2(arguments, holdfast):
    status, out, err = holdfast(*arguments)
    assert (status, (out + err).count("\n")) == (2, 1)


@pytest.mark.parametrize(
    "mistake",
    [
        "@node.on_request\ndef other(request): ...",
        "@node.on_open\ndef opened(): ...",
        "node.on_state(3)",
        "from holdfast.kuzzle import Api\nApi(node)",
    ],
    ids=["twice", "no argument", "no function", "twice by an API"],
)
def test_so_is_what_a_node_s_author_registers(mistake, holdfast, tmp_path):
    text = f"from holdfast import Node\nnode = Node('n')\n@node.on_request\ndef handle(request): ...\n{mistake}\n"
    (tmp_path / "registered.py").write_text(text)
    status, out, err = holdfast("node", "registered:node", "--join", "tcp://127.0.0.1:1", PYTHONPATH=str(tmp_path))
    assert (status, out, err.count("\n")) == (2, "", 1), err


def test_a_reader_that_leaves_is_no_traceback():
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", "config", "--json"],
            cwd=os.path.dirname(os.path.dirname(cli.__path__[0])),
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("command", ["config", "--help", "--version", "chaos --help"])
def test_a_full_disk_is_one_line(command):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", *command.split()], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (1, "holdfast: can't write: No space left on device\n")


@pytest.mark.parametrize(
    ("to", "complaint"), [("| true", ""), (">/dev/full", "holdfast: can't write: No space left on device\n")]
)
def test_what_shows_how_it_goes_ends_when_nobody_can_see_it(to, complaint):
    """Not with a traceback, and not after the whole run."""
    line = (
        f"{sys.executable} -m holdfast chaos --clients 1 --nodes 1 --for 1h --fault none {to}; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", line], stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (1, complaint)


def test_rows_in_a_pipe_end_where_their_text_does(capsys):
    say_table(("ID", "NAME"), [("a", "long name"), ("b", "c")])
    assert capsys.readouterr().out == "ID  NAME\na   long name\nb   c\n"


@pytest.mark.parametrize(
    ("errors", "found"),
    [
        ([BrokenPipeError(errno.EPIPE, "")], True),
        ([OSError(errno.ENOSPC, ""), BrokenPipeError(errno.EPIPE, "")], True),
        ([OSError(errno.ENOSPC, ""), ValueError()], False),
        ([ConnectionRefusedError(errno.ECONNREFUSED, "")], False),
    ],
)
def test_only_failures_of_writing_are_taken_for_such(errors, found):
    group = BaseExceptionGroup("outer", [BaseExceptionGroup("inner", errors)])
    assert (failure_of_writing(group) is not None) == found


def test_output_that_is_closed_harms_nothing():
    done = subprocess.run(["sh", "-c", f"{sys.executable} -m holdfast config >&-"], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored by who runs tests
class Import:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Import())
from holdfast.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["holdfast.cli", "holdfast.cli.settings"])
def test_ctrl_c_while_it_is_imported_is_no_traceback(module):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, "config", module], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def test_ctrl_c_while_options_are_read_is_no_traceback(monkeypatch, capsys):
    def interrupt(parser):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "COMMANDS", [Listed("fail", "fail", lambda: Command(interrupt, lambda arguments: 0))])
    assert main(["fail"]) == 130
    assert capsys.readouterr().err == ""


def test_json_is_json(holdfast):
    assert json.loads(holdfast("check", "--json").out) == {"valid": True, "problems": [], "warnings": []}
