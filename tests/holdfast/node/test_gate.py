import pytest
import trio
import trio.testing

from holdfast import HoldfastError
from holdfast.node.gate import Gate


async def test_what_is_held_waits_for_the_end_though_a_proxy_is_linked():
    """And does not look again and again meanwhile."""
    gate = Gate()
    refused = []

    async def wait():
        with pytest.raises(HoldfastError, match="does not run"):
            await gate.wait()
        refused.append(True)

    gate.begin()
    gate.link()
    gate.linked()
    await gate.wait()
    gate.hold()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not refused
        gate.end()
    assert refused
