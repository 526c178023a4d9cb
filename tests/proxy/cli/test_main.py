import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from protocols.errors import HoldfastError
from proxy import cli
from proxy.build import is_compiled
from proxy.cli import COMMANDS, main
from proxy.cli.command import Command


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
    assert f"usage: holdfast {name}" in capsys.readouterr().out


def test_version(holdfast):
    status, out, _ = holdfast("--version")
    assert status == 0
    assert out == f"holdfast {version('holdfast')} ({'compiled' if is_compiled() else 'interpreted'})\n"


@pytest.mark.parametrize("arguments", [[], ["serf"], ["check", "--nope"], ["kick"], ["clients", "--limit", "x"]])
def test_a_bad_usage_is_status_2(arguments, holdfast):
    status, out, err = holdfast(*arguments)
    assert (status, out) == (2, "")
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

    monkeypatch.setattr(cli, "COMMANDS", (Command("fail", "fail", lambda parser: None, fail),))
    assert main(["fail"]) == status
    assert capsys.readouterr().err == err


def test_a_reader_that_leaves_is_no_traceback():
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "proxy", "config", "--json"],
            cwd=os.path.dirname(os.path.dirname(cli.__path__[0])),
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_json_is_json(holdfast):
    assert json.loads(holdfast("check", "--json").out) == {"valid": True, "problems": []}
