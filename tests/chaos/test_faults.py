"""What is done in which turn. That it is done, and mended, is in test_trial."""

from collections import Counter

import pytest
import trio

from holdfast.chaos.faults import Faults
from holdfast.chaos.fleet import NodeStatus, Status


class FakeFleet:
    """Three nodes, of which one that is harmed is never replaced."""

    def __init__(self):
        self.status = Status(nodes=tuple(NodeStatus(f"n{pid}", f"n{pid}", "ready", 0, pid, {}) for pid in (11, 12, 13)))
        self.signalled = Counter()

    def ready(self):
        return list(self.status.nodes)

    harmable = ready

    def is_ours(self, pid):
        return True

    def signal(self, pid, number):
        self.signalled[pid] += 1

    async def wait_exit(self, pid):
        await trio.sleep_forever()


class FakeDeployment:
    redis = None
    own = ()


@pytest.mark.parametrize("time", range(10))
async def test_turns_that_are_late_harm_nobody_twice(time, nursery):
    """The machine stood still, and many turns are due at once: the tasks of the first are not running yet."""
    fleet = FakeFleet()
    faults = Faults(FakeDeployment(), fleet, ["kill"], 1, lambda what: None, lambda pid: None)
    nursery.start_soon(faults.run, 1e-9, trio.current_time() + 3600)
    with trio.fail_after(60.0):
        while faults.skipped < 100:
            await trio.lowlevel.checkpoint()
    assert set(fleet.signalled.values()) == {1}
    assert len(fleet.signalled) == 2  # the third is left, for the clients
    nursery.cancel_scope.cancel()
