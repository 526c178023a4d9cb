import contextlib
import io
import json
import sys

import pytest
import structlog

from holdfast.proxy.config import LogSettings
from holdfast.proxy.process.logs import configure


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _undo():
    config = structlog.get_config()
    yield
    structlog.configure(**config)


class Pipe:
    """What came out of stderr, which is no terminal under pytest."""

    def __init__(self, capsys):
        self._capsys = capsys
        self._text = ""

    def getvalue(self):
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def stderr(capsys):
    return Pipe(capsys)


@pytest.fixture
def terminal(monkeypatch):
    """Stderr is a terminal within `with terminal() as written`."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    return lambda: contextlib.redirect_stderr(Terminal())


def test_json_lines_when_stderr_is_no_terminal(stderr):
    configure(LogSettings())
    structlog.get_logger("holdfast.test").info("node_ready", node="n1", capacity=5)
    line = json.loads(stderr.getvalue())
    assert list(line) == ["timestamp", "level", "event", "logger", "node", "capacity"]
    assert line["timestamp"].endswith("Z")
    del line["timestamp"]
    assert line == {"level": "info", "event": "node_ready", "logger": "holdfast.test", "node": "n1", "capacity": 5}


def test_coloured_text_on_a_terminal(terminal):
    with terminal() as written:
        configure(LogSettings())
        structlog.get_logger("holdfast.test").info("node_ready", node="n1")
    assert "\x1b[" in written.getvalue()
    assert "node_ready" in written.getvalue()


def test_no_colour_where_it_is_not_wanted(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    with terminal() as written:
        configure(LogSettings())
        structlog.get_logger("holdfast.test").info("node_ready", node="n1")
    assert "\x1b" not in written.getvalue()
    assert "node=n1" in written.getvalue()


def test_the_format_can_be_forced(stderr, terminal):
    configure(LogSettings(format="text"))
    structlog.get_logger("holdfast.test").info("node_ready", node="n1")
    assert "node=n1" in stderr.getvalue()
    with terminal() as written:
        configure(LogSettings(format="json"))
        structlog.get_logger("holdfast.test").info("node_ready", node="n1")
    assert json.loads(written.getvalue())["node"] == "n1"


def test_the_level(stderr):
    configure(LogSettings(level="warning"))
    log = structlog.get_logger("holdfast.test")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [json.loads(line)["event"] for line in stderr.getvalue().splitlines()] == ["c", "d"]


@pytest.mark.parametrize("format", ["json", "text"])
def test_a_traceback_shows_no_local_variables(format, stderr):
    configure(LogSettings(format=format))
    payload = "payload of a client"
    try:
        raise RuntimeError(f"{len(payload)} bytes")
    except RuntimeError:
        structlog.get_logger("holdfast.test").exception("failed")
    assert "RuntimeError: 19 bytes" in stderr.getvalue()
    assert "test_logs.py" in stderr.getvalue()
    assert "payload of" not in stderr.getvalue()


@pytest.mark.parametrize("format", ["json", "text"])
def test_a_field_breaks_no_line_and_steers_no_terminal(format, stderr):
    configure(LogSettings(format=format))
    structlog.get_logger("holdfast.test").info("opened", path="/a\n\x1b[2Jb\x9b\ud800")
    assert stderr.getvalue().count("\n") == 1
    assert stderr.getvalue().rstrip("\n").isprintable()


def test_a_log_that_cannot_be_written_is_lost(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    configure(LogSettings())
    log = structlog.get_logger("holdfast.test")
    monkeypatch.setattr(sys, "stderr", Full())
    log.warning("lost")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    log.warning("lost_too")
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log.warning("written")
    assert json.loads(stream.getvalue())["event"] == "written"
