"""Each test's world ends with it."""

import pytest

from holdfast.node import elsewhere
from tests.sim import stand_ins


@pytest.fixture(autouse=True)
def world_ends():
    yield
    stand_ins.end()


@pytest.fixture(autouse=True)
def nobody_uses_asyncio(monkeypatch):
    """A world has no event loop, and other tests of this process may have nodes of asyncio's."""
    monkeypatch.setattr(elsewhere, "way", None)
