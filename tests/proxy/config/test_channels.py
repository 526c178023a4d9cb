import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.balancer.channel_rules import ChannelRule
from holdfast.protocols.channel_names import ChannelPattern
from holdfast.proxy.config import channels
from holdfast.proxy.config.channels import as_toml, read
from holdfast.proxy.config.unreached import rules_unreached


def test_rules_are_in_the_order_of_the_file():
    found = read(
        [{"match": "news:*", "history_messages": 10, "history_age": 60}, {"match": "room:{id}", "subscribe": "node"}]
    )
    assert found.problems == []
    assert found.rules == (
        ChannelRule("news:*", history_messages=10, history_age=60.0),
        ChannelRule("room:{id}", subscribe="node"),
    )
    assert [list(as_toml(rule)) for rule in found.rules] == [
        ['match = "news:*"', "history_messages = 10", "history_age = 60.0"],
        ['match = "room:{id}"', 'subscribe = "node"'],
    ]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({}, 'match: expected a pattern, as "news:*" (channel 1)'),
        ({"match": 5}, 'match: expected a pattern, as "news:*", got 5 (channel 1)'),
        ({"match": "a*b"}, 'match: * stands at the end of a pattern: a*b (channel 1, "a*b")'),
        ({"match": "a", "subscripe": "node"}, 'no such key subscripe; did you mean subscribe? (channel 1, "a")'),
        (
            {"match": "a", "subscribe": "all"},
            'subscribe: expected one of never, anyone, token, node, got "all" (channel 1, "a")',
        ),
        ({"match": "a", "publish": True}, 'publish: expected one of never, node, got true (channel 1, "a")'),
        ({"match": "a", "history_messages": -1}, "history_messages: expected a whole number from 0 to 1000000, got -1"),
        ({"match": "a", "history_messages": 1.5}, "history_messages: expected a whole number"),
        ({"match": "a", "history_bytes": True}, "history_bytes: expected a whole number"),
        ({"match": "a", "history_age": 0}, "history_age: expected seconds, from 1 to 2592000, got 0"),
        ({"match": "a", "history_age": float("nan")}, "history_age: expected seconds"),
        ({"match": "a", "presence": "yes"}, 'presence: expected true or false, got "yes"'),
        ({"match": "a", "presence": {}}, "presence: expected true or false, got a table"),
    ],
)
def test_what_can_not_be_is_a_line(table, told):
    [problem] = read([table]).problems
    assert problem.startswith(told)


def test_so_many(monkeypatch):
    monkeypatch.setattr(channels, "MAX_RULES", 1)
    assert read([{"match": "a"}] * 2).problems == ["expected at most 1 rules, got 2"]
    assert read({"match": "a"}).problems == ["expected rules of channels as [[channel]], with two brackets"]


@pytest.mark.parametrize(
    ("first", "second", "is_covered"),
    [
        ("*", "a", True),
        ("*", "a:*", True),
        ("a:*", "a:{id}", True),
        ("a:*", "a:{id}:*", True),
        ("a:{id}", "a:5", True),
        ("a:{id}", "a:{name}", True),
        ("{a}:*", "a:*", True),
        ("a", "a", True),
        ("a", "*", False),
        ("a:{id}", "a:*", False),
        ("a:{x}:{y}", "a:*", False),
        ("a:5", "a:{id}", False),
        ("a:*", "a*", False),
        ("a:{id}/b", "a:{id}", False),
        ("a:{id}", "a:1:2", False),
    ],
)
def test_a_rule_that_is_never_reached_is_a_warning(first, second, is_covered):
    line = f"channel 3, {second}, is never reached: channel 2, {first}, takes all that it would"
    rules = [ChannelRule("other"), ChannelRule(first), ChannelRule(second)]
    assert list(rules_unreached(rules)) == ([line] if is_covered else [])


WORDS = st.lists(st.sampled_from(["a", "b", ":", "/", "{}"]), min_size=1, max_size=4)


@given(WORDS, st.booleans(), WORDS, st.booleans(), st.lists(st.sampled_from("ab:/x"), max_size=6).map("".join))
def test_what_one_pattern_covers_it_takes(one, is_open, other, other_is_open, name):
    first, second = (_pattern(words, end) for words, end in ((one, is_open), (other, other_is_open)))
    if first is not None and second is not None and first.covers(second) and second.match(name) is not None:
        assert first.match(name) is not None


def _pattern(words, is_open):
    named = [f"{{p{place}}}" if word == "{}" else word for place, word in enumerate(words)]
    problems = read([{"match": "".join(named) + "*" * is_open}]).problems
    return None if problems else ChannelPattern("".join(named) + "*" * is_open)
