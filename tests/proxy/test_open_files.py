import errno
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from holdfast.balancer.links.door import MAX_STRANGERS
from holdfast.proxy import open_files
from holdfast.proxy.admin.server import MAX_CONNECTIONS
from holdfast.proxy.open_files import RESERVED, Shares, Shortage, share_out, shares_of
from tests.harness import configure, running
from tests.proxy.cluster.proxies import QUICK

DEFAULT = Shares(20_000, 1000, MAX_STRANGERS, MAX_CONNECTIONS)
SCRIPT = """
from pathlib import Path
from holdfast.proxy.open_files import raise_limit

def table_size():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "FDSize" in line)

before = table_size()
opened = set(Path("/proc/self/fd").iterdir())
files = raise_limit(2 * before)
print(before, table_size(), files, set(Path("/proc/self/fd").iterdir()) == opened)
"""


def taken(shares, *, is_alone):
    """All that can be open at once. A stranger is held twice; in a cluster there are tunnels, and a second port where
    all peers stay strangers, and two ways of ours to each of them."""
    once = shares.clients + shares.callers + shares.nodes + 2 * shares.strangers
    return once if is_alone else once + shares.nodes + 2 * shares.strangers + 2 * shares.strangers


def test_the_table_of_descriptors_is_as_large_at_once_as_it_may_become():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    before, after, files, leaves_none_open = done.stdout.split()
    assert int(files) == 2 * int(before)
    assert int(after) >= int(files)
    assert leaves_none_open == "True"


async def test_a_shortage_is_a_line_a_minute(mock_clock):
    shortage = Shortage()
    with capture_logs() as lines:
        for _ in range(1300):
            assert shortage.is_met(OSError(errno.EMFILE, "too many"), "here")
            mock_clock.jump(0.1)
        assert not shortage.is_met(OSError(errno.ECONNABORTED, "gone"), "here")
    assert [line["event"] for line in lines] == ["accept_failed"] * 3


class TestShares:
    @given(
        st.integers(40, 100_000),
        st.builds(Shares, st.integers(1, 50_000), st.integers(1, 3000), st.just(MAX_STRANGERS), st.just(64)),
        st.booleans(),
    )
    @example(1024 - RESERVED - 20, DEFAULT, True)
    @example(1024 - RESERVED - 20, DEFAULT, False)
    def test_all_of_them_together_are_no_more_than_there_are(self, files, wanted, is_alone):
        shares = share_out(files, wanted, is_alone=is_alone)
        assert taken(shares, is_alone=is_alone) <= files
        assert all(1 <= share <= most for share, most in zip(shares, wanted, strict=True))
        assert (shares == wanted) == (taken(wanted, is_alone=is_alone) <= files)
        if shares.clients < wanted.clients:
            assert shares.clients >= files // 3

    @pytest.mark.parametrize("is_alone", [True, False])
    def test_clients_are_fewer_first(self, is_alone):
        files = 10_000
        shares = share_out(files, DEFAULT, is_alone=is_alone)
        assert shares[1:] == DEFAULT[1:]
        assert taken(shares, is_alone=is_alone) == files

    def test_few_nodes_are_not_fewer_for_strangers(self):
        shares = share_out(880, DEFAULT._replace(nodes=32), is_alone=True)
        assert shares.nodes == 32
        assert shares.strangers > 100


@pytest.mark.parametrize(
    ("files", "client", "node", "level"),
    [
        (10**6, {}, {}, None),
        (4096, {}, {}, "info"),
        (4096, {"max_connections": 30_000}, {}, "warning"),
        (4096, {"max_connections": 50}, {}, None),
        (1024, {}, {}, "info"),
        (1024, {"max_connections": 50}, {"max_nodes": 900}, "warning"),
        (1024, {"max_connections": 50}, {"max_nodes": 9}, None),
    ],
)
def test_only_who_has_asked_for_more_than_fits_is_warned(files, client, node, level, monkeypatch):
    monkeypatch.setattr(open_files, "raise_limit", lambda wanted: min(wanted, files))
    config = configure(client=client, node=node)
    with capture_logs() as lines:
        shares = shares_of(config, MAX_STRANGERS, MAX_CONNECTIONS, is_alone=True)
    assert taken(shares, is_alone=True) <= files - RESERVED
    assert [line["log_level"] for line in lines] == [level] * (level is not None)


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_each_part_of_the_proxy_keeps_to_its_share(store, monkeypatch, tmp_path):
    monkeypatch.setattr(open_files, "raise_limit", lambda wanted: min(wanted, 1024))
    sections = {}
    if store == "sqlite":
        sections = {"store": {"kind": store, "path": str(tmp_path / "store")}, "cluster": dict(QUICK)}
    async with running(**sections) as proxy:
        app = proxy.app
        ports = [app.hub.callers.door]
        if app.runner is not None:
            ports.append(app.runner._port.door)
        assert all(port._limit == app.guard.max_strangers < MAX_STRANGERS for port in ports)
        shares = Shares(app.clients.max_connections, app.gateway.max_nodes, app.guard.max_strangers, MAX_CONNECTIONS)
        assert 900 - RESERVED < taken(shares, is_alone=store == "memory") < 1024 - RESERVED
