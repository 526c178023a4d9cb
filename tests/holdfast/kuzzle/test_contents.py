"""What there is, by what it is in."""

import pytest

from holdfast.kuzzle.contents import Contents


class Told:
    """A node that tells of changes."""

    def on_state(self, function, *, inline):
        assert inline  # else who has just written something would not find it
        self.tell = function


@pytest.fixture
def node():
    return Told()


def test_names_are_those_of_their_place(node):
    contents = Contents(node)
    keys = [
        "index/a",
        "index/b",
        "collection/a/x",
        "document/a/x/1",
        "document/a/x/1/2",
        "document/ab/x/3",
        "room/a/x/4",
    ]
    for key in keys:
        node.tell(f"kuzzle/{key}", {})
    node.tell("other/index/c", 1)
    assert contents.of("kuzzle/index/") == ["a", "b"]
    assert contents.of("kuzzle/collection/a/") == ["x"]
    assert contents.of("kuzzle/document/a/x/") == ["1", "1/2"]
    assert contents.of("kuzzle/document/ab/x/") == ["3"]
    assert contents.of("kuzzle/document/a/") == []


def test_what_has_gone_is_nowhere(node):
    contents = Contents(node)
    for value in ({}, {}, None, None):  # set twice, and told twice as gone
        node.tell("kuzzle/document/a/x/1", value)
    assert contents.of("kuzzle/document/a/x/") == []
    assert contents._names == {}


def test_names_are_those_of_now_whatever_comes_while_they_are_gone_through(node):
    contents = Contents(node)
    for number in range(5):
        node.tell(f"kuzzle/document/a/x/{number}", {})
    seen = []
    for name in contents.of("kuzzle/document/a/x/"):
        node.tell(f"kuzzle/document/a/x/{name}", None)
        node.tell(f"kuzzle/document/a/x/{name}new", {})
        seen.append(name)
    assert seen == ["0", "1", "2", "3", "4"]
