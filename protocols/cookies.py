"""What clients say in Cookie headers, as browsers mean it: one reading, for handlers and for who looks for a token."""

from collections.abc import Iterable


def pairs_of(headers: Iterable[str]) -> list[tuple[str, str]]:
    """Names and values of these Cookie headers, in their order (RFC 6265 section 5.4): of several with one name the
    first is the one with the longest path. Values are as they are: nothing is unquoted, since nothing was quoted."""
    pairs = []
    for header in headers:
        for cookie in header.split(";"):
            name, equals, value = cookie.partition("=")
            if not equals:
                name, value = "", name  # a cookie without a name (RFC 6265bis section 5.8.3)
            name, value = name.strip(" \t"), value.strip(" \t")
            if name or value:
                pairs.append((name, value))
    return pairs
