from hypothesis import given
from hypothesis import strategies as st

from holdfast.node.paths import Branch

words = st.sampled_from(["a", "b", "%", ""])
patterns = st.lists(words | st.none(), max_size=4).map(tuple)


def fits(pattern, path):
    return len(pattern) == len(path) and all(
        word == segment if word is not None else segment for word, segment in zip(pattern, path, strict=True)
    )


@given(st.sets(patterns, max_size=8), st.lists(words, max_size=4))
def test_all_that_fit_are_found_the_most_specific_first(table, path):
    root = Branch()
    for pattern in table:
        root.grow(pattern).item = pattern
    found = []
    assert root.find(path, found.append) is None  # it makes nothing of any
    expected = sorted(
        (pattern for pattern in table if fits(pattern, path)), key=lambda pattern: [w is None for w in pattern]
    )
    assert found == expected
    for pattern in expected:
        values = [segment for word, segment in zip(pattern, path, strict=True) if word is None]
        assert root.find(path, lambda item, pattern=pattern: item if item == pattern else None) == (pattern, values)
