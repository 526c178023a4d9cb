"""Which replies over HTTP have no body, whatever a node says: both sides of the proxy must know it."""

BODILESS = frozenset({204, 205, 304})  # statuses (RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5)


def is_bodiless(method: str, status: int) -> bool:
    """method: of the request. status: of its reply."""
    return status in BODILESS or method == "HEAD"
