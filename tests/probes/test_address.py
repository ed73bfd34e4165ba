"""The address policy: what a probe may connect to, in every spelling."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.probes.address import AddressPolicy


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("169.254.169.254", "cloud metadata"),
        ("::ffff:169.254.169.254", "cloud metadata"),
        ("::ffff:a9fe:a9fe", "cloud metadata"),
        ("fd00:ec2::254", "cloud metadata"),
        ("100.100.100.200", "cloud metadata"),
        ("169.254.0.1", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("2130706433", "not an IP address"),
        ("0x7f000001", "not an IP address"),
        ("127.1", "not an IP address"),
        ("shop.test", "not an IP address"),
        ("", "not an IP address"),
    ],
)
def test_denied(address: str, kind: str) -> None:
    """No service lives at these by accident, and what is no address is not connected to either."""
    assert AddressPolicy().denial(address) == kind


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "fd12::1", "2001:db8::1"],
)
def test_private_and_public_hosts_are_what_a_prober_is_for(address: str) -> None:
    """Private networks need no permission."""
    assert AddressPolicy().denial(address) is None


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("127.0.0.1", True),
        ("::ffff:127.0.0.1", True),
        ("127.0.1.1", False),
        ("::1", True),
        ("169.254.169.254", False),
    ],
)
def test_a_network_can_be_allowed(address: str, is_allowed: bool) -> None:  # noqa: FBT001 - a column of the table
    """An exception covers its CIDR, in both spellings of IPv4, and nothing else."""
    policy = AddressPolicy(["127.0.0.0/24", "::1/128"])
    assert (policy.denial(address) is None) is is_allowed


@given(st.ip_addresses(v=4).filter(lambda address: int(address) >= 1 << 16))
def test_an_ipv4_address_is_judged_alike_inside_ipv6(address: IPv4Address) -> None:
    """Mapping an address into IPv6 opens no door."""
    policy = AddressPolicy()
    assert policy.denial(f"::ffff:{address}") == policy.denial(str(address))
    assert policy.denial(f"64:ff9b::{address}") == policy.denial(str(address))


@given(st.sampled_from(["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4"]), st.data())
def test_nothing_in_a_denied_network_slips_through(cidr: str, data: st.DataObject) -> None:
    """Every address of a denied network is denied."""
    address = data.draw(st.ip_addresses(network=ip_network(cidr)))
    assert AddressPolicy().denial(str(address)) is not None


def test_an_impossible_network_is_refused() -> None:
    """A CIDR with host bits or without sense is an error when the policy is built."""
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        AddressPolicy(["10.0.0.1/8"])
