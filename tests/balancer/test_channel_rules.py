import time

import pytest

from holdfast.balancer import channel_rules
from holdfast.balancer.channel_rules import ChannelRule, ChannelRules
from holdfast.protocols.channel_names import ChannelPattern
from holdfast.protocols.errors import ConfigError


@pytest.mark.parametrize(
    ("pattern", "channel", "values"),
    [
        ("news", "news", {}),
        ("news", "news:a", None),
        ("news:*", "news:", {}),
        ("news:*", "news:a:b\n/c", {}),
        ("news:*", "news", None),
        ("*", "", {}),
        ("*", "anything", {}),
        ("room:{id}", "room:7", {"id": "7"}),
        ("room:{id}", "room:", None),
        ("room:{id}", "room:7:8", None),
        ("room:{id}", "room:7/8", None),
        ("{a}/{b}:x", "1/2:x", {"a": "1", "b": "2"}),
        ("room:{id}:*", "room:7:", {"id": "7"}),
        ("a.c", "abc", None),
        ("a(b)+", "a(b)+", {}),
    ],
)
def test_which_channels_a_pattern_is_for(pattern, channel, values):
    assert ChannelPattern(pattern).match(channel) == values


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("", "with 1 to 512 characters, got 0"),
        ("x" * 513, "got 513"),
        ("a*b", "at the end"),
        ("a**", "at the end"),
        ("room{id}", "between : or /"),
        ("{id}room", "between : or /"),
        ("{a}{b}", "between : or /"),
        ("{a}*", "between : or /"),
        ("room:{id}:{id}", "twice"),
        ("room:{}", "a word in braces"),
        ("room:{1}", "a word in braces"),
        ("room:}", "a word in braces"),
    ],
)
def test_what_is_no_pattern(pattern, told):
    with pytest.raises(ConfigError, match=told):
        ChannelPattern(pattern)


def test_the_first_rule_that_matches_counts():
    rules = ChannelRules([ChannelRule("news:sport", subscribe="node"), ChannelRule("news:*", history_messages=10)])
    assert [rules.of(channel).match for channel in ("news:sport", "news:a", "news:sport")] == [
        "news:sport",
        "news:*",
        "news:sport",
    ]
    assert rules.of("chat") is None
    assert (rules.has_history, rules.has_presence) == (True, False)


def test_of_so_many_names_the_rule_is_known(monkeypatch):
    monkeypatch.setattr(channel_rules, "MAX_KNOWN", 2)
    rules = ChannelRules([ChannelRule("a*")])
    assert [rules.of(channel) is not None for channel in ("a1", "b", "a2", "b", "a1")] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_of_names_of_so_many_characters_the_rule_is_known(monkeypatch):
    monkeypatch.setattr(channel_rules, "MAX_KNOWN_CHARACTERS", 100)
    rules = ChannelRules([ChannelRule("a*")])
    names = ["a" * 40, "a" * 50, "a" * 20, "b" * 81, "a" * 101, "a" * 20]
    known = []
    for name in names:
        assert (rules.of(name) is not None) is name.startswith("a")
        known.append([len(each) for each in rules._known])
    assert known == [[40], [40, 50], [20], [81], [81], [20]]


def test_which_rule_it_is_and_with_what():
    rules = ChannelRules([ChannelRule("news"), ChannelRule("room:{id}/{part}", presence=True)])
    assert rules.matched("room:7/b") == (2, rules.rules[1][1], {"id": "7", "part": "b"})
    assert rules.matched("room:7") is None


def test_a_name_costs_what_it_is_long():
    pattern = ChannelPattern(":".join(f"{{p{number}}}" for number in range(60)) + ":*")
    name = "a" * 1_000_000
    begin = time.process_time()
    assert pattern.match(name) is None
    assert time.process_time() - begin < 1.0
