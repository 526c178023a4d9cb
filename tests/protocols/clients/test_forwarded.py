"""Whose X-Forwarded-For is believed, and what it then says."""

import pytest

from holdfast.protocols.clients.forwarded import client_address, is_trusted_peer, networks
from holdfast.protocols.errors import ConfigError

TRUSTED = ("10.0.0.0/8", "192.0.2.7", "fd00::/8")


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [
        ("10.1.2.3:5000", True),
        ("11.1.2.3:5000", False),
        ("192.0.2.7:80", True),
        ("192.0.2.8:80", False),
        ("[fd00::1]:5000", True),
        ("fd00::1:5000", True),
        ("[fe80::1%eth0]:5000", False),
        ("[::ffff:10.1.2.3]:5000", True),
        ("unix", False),
        ("", False),
    ],
)
def test_trusted_peers(address, is_trusted):
    assert is_trusted_peer(address, TRUSTED) == is_trusted
    assert not is_trusted_peer(address, ())


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ([], None),
        ([""], None),
        (["203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6,203.0.113.9 ,\t10.0.0.2"], "203.0.113.9"),
        (["203.0.113.9", "10.0.0.2", "192.0.2.7"], "203.0.113.9"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (["203.0.113.9:1234"], "203.0.113.9"),
        (["[2001:DB8::9]:1234"], "2001:db8::9"),
        (["2001:db8::9"], "2001:db8::9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9,"], "203.0.113.9"),
        ([", 203.0.113.9 , ,10.0.0.2,\t"], "203.0.113.9"),
        ([" , "], None),
        (["203.0.113.9, unknown"], None),
        (["203.0.113.9, <script>, 10.0.0.2"], "10.0.0.2"),
        (["203.0.113.9, 010.0.0.2"], None),
    ],
)
def test_the_right_most_address_that_is_not_trusted(values, address):
    assert client_address(", ".join(values), TRUSTED) == address


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("10.0.0.1/8", "10.1.2.3:5"),
        ("fd00::1/8", "[fd12::1]:5"),
        ("::ffff:10.0.0.0/104", "10.1.2.3:5"),
        ("::ffff:10.0.0.0/104", "[::ffff:10.1.2.3]:5"),
        ("::ffff:10.1.2.3", "10.1.2.3:5"),
        ("::/0", "[2001:db8::1]:5"),
    ],
)
def test_each_form_of_a_network_is_the_network_that_is_meant(entry, address):
    assert is_trusted_peer(address, (entry,))
    assert not is_trusted_peer("192.0.2.1:5", (entry,))


def test_networks_are_parsed_once():
    assert networks(("10.0.0.0/8",)) is networks(("10.0.0.0/8",))


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "localhost", ""])
def test_what_is_no_network_is_an_error_of_the_configuration(entry):
    with pytest.raises(ConfigError, match="trusted_peers"):
        networks(("10.0.0.0/8", entry))
