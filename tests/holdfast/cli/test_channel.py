import json
import re

import pytest

from tests.harness import running

RULES = """
[[channel]]
match = "news:sport"
subscribe = "anyone"
[[channel]]
match = "news:*"
history_messages = 100
history_bytes = 65536
history_age = 60
[[channel]]
match = "room:{id}"
subscribe = "node"
publish = "node"
history_messages = 5
presence = true
"""


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    return file


def rows(out):
    return [re.split(r"  +", line) for line in out.splitlines()[1:]]


def test_which_rule_takes_a_channel_and_what_holds(holdfast, file):
    status, out, err = holdfast("channel", "news:sport", "news:x", "room:5", "room:5:6", "--config", file)
    assert (status, err) == (0, "")
    assert rows(out) == [
        ["news:sport", "1: news:sport", "anyone", "never", "none", "no"],
        ["news:x", "2: news:*", "never", "never", "100 messages, 65536 bytes, 60 s", "no"],
        ["room:5", "3: room:{id}", "node", "node", "5 messages, 300 s", "yes"],
        ["room:5:6", "(no rule)", "never", "never", "none", "no"],
    ]


def test_as_json(holdfast, file):
    [room] = json.loads(holdfast("channel", "room:5", "--config", file, "--json").out)["channels"]
    assert (room["number"], room["match"], room["parameters"], room["why"]) == (3, "room:{id}", {"id": "5"}, "")


def test_a_name_that_is_too_long(holdfast):
    out = holdfast("channel", "abc", "--set", "realtime.max_channel_name_bytes=2").out
    line = "nobody can be in abc: its name has 3 bytes, realtime.max_channel_name_bytes is 2"
    assert out.splitlines()[2] == line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([""], "expected names of channels, got an empty one"),
        (["a"] * 1001, "expected at most 1000 names, got 1001"),
        (["a", "--admin", "127.0.0.1:1", "--set", "log.level=info"],
         "--admin asks a proxy that has its own configuration: not with --config and --set"),
    ],
)  # fmt: skip
def test_what_has_to_be_written_otherwise(holdfast, arguments, line):
    status, out, err = holdfast("channel", *arguments)
    assert (status, out) == (2, "")
    assert line in err


async def test_a_running_proxy_goes_by_its_own(holdfast_async):
    async with running(channel=[{"match": "room:{id}", "subscribe": "anyone"}]) as proxy:
        status, out, err = await holdfast_async("channel", "room:5", "news", "--admin", proxy.admin)
        assert (status, err) == (0, "")
        assert rows(out) == [
            ["room:5", "1: room:{id}", "anyone", "never", "none", "no"],
            ["news", "(no rule)", "never", "never", "none", "no"],
        ]
