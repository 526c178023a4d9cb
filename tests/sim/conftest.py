"""Each test's world ends with it."""

import pytest

from tests.sim import stand_ins


@pytest.fixture(autouse=True)
def world_ends():
    yield
    stand_ins.end()
