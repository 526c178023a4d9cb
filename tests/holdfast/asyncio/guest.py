"""Tests written in Trio, as all others are, that run within asyncio, as asyncio's nodes do."""

from functools import partial, wraps

from holdfast.asyncio import hosts


def within_asyncio(test):
    @wraps(test)
    def run(**fixtures):
        hosts.run(partial(test, **fixtures))

    return run
