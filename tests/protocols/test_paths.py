import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.errors import ConfigError
from holdfast.protocols.paths import Branch, Pattern

words = st.sampled_from(["a", "b", "%", ""])
patterns = st.tuples(st.lists(words | st.none(), max_size=4).map(tuple), st.booleans())
written = st.builds(
    lambda segments, end: "/" + "/".join([s.replace("{}", f"{{p{n}}}") for n, s in enumerate(segments)] + [end]),
    st.lists(st.sampled_from(["a", "b", "{}", ""]), max_size=3),
    st.sampled_from(["*", "a", "", "{end}"]),
)


def fits(pattern, path):
    pattern, is_open = pattern
    return (len(pattern) < len(path) if is_open else len(pattern) == len(path)) and all(
        word == segment if word is not None else segment for word, segment in zip(pattern, path, strict=False)
    )


@given(st.sets(patterns, max_size=8), st.lists(words, max_size=4))
def test_all_that_fit_are_found_the_most_specific_first(table, path):
    root = Branch()
    for pattern in table:
        root.grow(pattern[0], is_open=pattern[1]).item = pattern
    found = []
    assert root.find(path, found.append) is None  # it makes nothing of any
    expected = sorted(
        (pattern for pattern in table if fits(pattern, path)),
        key=lambda pattern: [1 if word is None else 0 for word in pattern[0]] + [2] * pattern[1],
    )
    assert found == expected
    assert set(root.all(path)) == set(expected)
    for item in expected:
        values = [segment for word, segment in zip(item[0], path, strict=False) if word is None]
        assert root.find(path, lambda each, item=item: each if each == item else None) == (item, values)


@given(written, st.lists(words, max_size=5))
def test_a_pattern_takes_what_its_place_in_the_tree_takes(text, path):
    pattern, root = Pattern(text), Branch()
    root.grow(pattern.words, is_open=pattern.is_open).item = text
    assert pattern.takes(path) == (root.find(path, lambda item: item) is not None)


@given(written, written, st.lists(words, max_size=5))
def test_what_covers_another_takes_all_that_it_takes(one, other, path):
    one, other = Pattern(one), Pattern(other)
    if one.covers(other) and other.takes(path):
        assert one.takes(path)


@pytest.mark.parametrize(
    ("one", "other", "covers"),
    [
        ("/*", "/a/{b}", True),
        ("/a/*", "/a", False),
        ("/a/*", "/a/", True),
        ("/a/*", "/a/*", True),
        ("/a/*", "/a/b/*", True),
        ("/a/b/*", "/a/*", False),
        ("/{a}", "/b", True),
        ("/b", "/{a}", False),
        ("/{a}", "/", False),
        ("/{a}/*", "/{b}/c/*", True),
    ],
)
def test_which_covers_which(one, other, covers):
    assert Pattern(one).covers(Pattern(other)) is covers


@pytest.mark.parametrize("path", ["", "rooms", "/a*", "/*/a", "/{a", "/a{b}", "/{a}/{a}", "/{1}", "/a?b", "/a#"])
def test_no_pattern(path):
    with pytest.raises(ConfigError):
        Pattern(path)
