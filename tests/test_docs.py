"""What the pages say of the code is true: tables are compared, examples are run."""

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.clients.base import Limits
from protocols.clients.conformance import check
from protocols.close import Reason
from proxy.config import Config
from proxy.config.keys import KEYS
from proxy.config.sources import SECTIONS, value_of
from proxy.config.values import convert, from_text
from proxy.metrics import METRICS

DOCS = Path(__file__).parents[1] / "docs"


def python_blocks(page):
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def limits():
    """Rows of the tables on the page of limits: key, default, metric."""
    for line in (DOCS / "topics" / "limits.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            key, default, _, metric = (cell.strip() for cell in line.strip("|").split(" | "))
            yield key.strip("`"), default.strip("`"), metric


ROWS = list(limits())


@pytest.mark.parametrize(("key", "default", "metric"), ROWS, ids=[key for key, *_ in ROWS])
def test_a_limit_is_as_it_is_told(key, default, metric):
    section, _, field = key.partition(".")
    type_ = SECTIONS[section][field]
    assert convert(from_text(default, type_, KEYS[key]), type_, KEYS[key]) == value_of(Config(), key)
    for word in re.findall(r"`(\w+)`", metric):
        assert word in {metric.name for metric in METRICS} | {reason.value for reason in Reason}


def test_every_limit_is_told():
    """What bounds something has max_ in its name, or is a timeout."""
    assert {key for key, *_ in ROWS} == {key for key in KEYS if re.search(r"\.max_|[._]timeout$", key)} - {
        "drain.timeout"
    }


def test_the_protocol_that_a_page_writes_conforms():
    adapter, kit = python_blocks("howto/write-a-protocol.md")
    names = {}
    exec(adapter + kit, names)
    for limits in (Limits(), Limits(max_message_bytes=3)):
        names["test_lines_conform"](limits)
    check(names["Lines"], b"one\ntwo\n\nthree\n", random.Random(2))


def test_the_tests_that_a_page_writes_pass(tmp_path):
    """In a directory of their own, as a user has them."""
    [node, *_] = python_blocks("tutorial/first-node.md")
    [tests] = python_blocks("howto/test-your-node.md")
    (tmp_path / "chat.py").write_text(node, encoding="utf-8")
    (tmp_path / "test_chat.py").write_text(tests, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\ntrio_mode = true\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
