import ipaddress
import socket
import subprocess
import sys

import pytest

from holdfast.protocols.errors import ConfigError
from holdfast.proxy.cluster.bindings import addresses, advertised, resolve

HAS_IPV6 = any(address.ip.is_loopback for address in addresses("ipv6"))
SITE = next((str(address.ip) for address in addresses("ipv4") if address.is_site), None)


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://127.0.0.1:7510", "tcp://*:7510", "tcp://0.0.0.0:*", "tcp://[::1]:7510", "tcp://proxy:7510", "ipc:///run/x"],
)
def test_an_endpoint_without_a_name_stays_as_it_is(endpoint):
    assert resolve(endpoint) == endpoint


@pytest.mark.parametrize(
    ("endpoint", "resolved"),
    [
        ("tcp://[lo:ipv4]:7510", "tcp://127.0.0.1:7510"),
        ("tcp://[lo]:*", "tcp://127.0.0.1:*"),
        ("tcp://[lo:IPV4]:0", "tcp://127.0.0.1:0"),
        ("tcp://[192.0.2.7:ipv4]:1", "tcp://192.0.2.7:1"),
        ("tcp://[192.0.2.7]:1", "tcp://192.0.2.7:1"),
        ("tcp://[2001:db8::7:ipv6]:1", "tcp://[2001:db8::7]:1"),
    ],
)
def test_a_name_becomes_an_address(endpoint, resolved):
    assert resolve(endpoint) == resolved


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
def test_an_interface_of_ipv6():
    assert resolve("tcp://[lo:ipv6]:7510") == "tcp://[::1]:7510"


@pytest.mark.skipif(SITE is None, reason="this machine has no address but loopback")
def test_site_is_an_address_by_which_others_reach_us():
    resolved = resolve("tcp://[_site_:ipv4]:7511")
    assert resolved == f"tcp://{SITE}:7511" == advertised("tcp://0.0.0.0:7511")
    assert not ipaddress.ip_address(SITE).is_loopback
    with socket.socket() as listening:
        listening.bind((SITE, 0))  # it is ours


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("tcp://[nosuch0:ipv4]:1", "nosuch0 has no ipv4 address; addresses of this machine: .*lo 127.0.0.1"),
        ("tcp://[nosuch0:ipv6]:1", "nosuch0 has no ipv6 address; addresses of this machine: "),
        ("tcp://[10.0.0.1:ipv6]:1", "10.0.0.1 is no ipv6 address"),
        ("tcp://[::1:ipv4]:1", "::1 is no ipv4 address"),
        ("tcp://[lo:ipv5]:1", "ipv4 or ipv6 as FAMILY"),
    ],
)
def test_what_is_not_there_is_refused(endpoint, message):
    with pytest.raises(ConfigError, match=message):
        resolve(endpoint)


@pytest.mark.parametrize("bound", ["tcp://127.0.0.1:7510", "tcp://[::1]:7510", "ipc:///run/x"])
def test_what_is_no_wildcard_is_told_as_it_is_bound(bound):
    assert advertised(bound) == bound


def test_a_machine_without_any_address_but_loopback(tmp_path):
    """In a network namespace of its own, where it may be made: loopback is down there, and there is nothing else."""
    code = "from proxy.cluster.bindings import *; print(advertised('tcp://0.0.0.0:1'), advertised('tcp://[::]:1'))"
    command = ["unshare", "--net", "--map-root-user", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        assert "unshare" in done.stderr
        pytest.skip(done.stderr.strip())
    assert done.stdout == "tcp://127.0.0.1:1 tcp://[::1]:1\n"
