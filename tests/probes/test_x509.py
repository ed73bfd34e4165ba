"""Reading certificates: the same answers as a full library, and no bytes that break it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Any

import pytest
import trustme
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from monitor.probes.x509 import Certificate, parse_certificate

AUTHORITY = trustme.CA(organization_name="Ünïcode & Söhne", organization_unit_name="Unit 7")


def issue(*names: str, **options: Any) -> bytes:
    leaf = AUTHORITY.issue_cert(*names, **options)
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


DER = issue("shop.test", "*.eu.shop.test", "10.0.0.1", "2001:db8::1")


@pytest.mark.parametrize("year", [2031, 2049, 2050, 2099])
def test_the_same_as_a_full_library(year: int) -> None:
    """End, issuer and names; from 2050 on certificates write the year with four digits."""
    not_after = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    der = issue("shop.test", "*.EU.shop.test", "10.0.0.1", "2001:db8::1", not_after=not_after)
    full = x509.load_der_x509_certificate(der)
    names = full.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = parse_certificate(der)
    assert found.not_after == full.not_valid_after_utc.timestamp() == not_after.timestamp()
    assert [*found.dns_names] == [it.lower() for it in names.get_values_for_type(x509.DNSName)]
    assert [*found.addresses] == names.get_values_for_type(x509.IPAddress)
    assert found.issuer == "OU=Unit 7, O=Ünïcode & Söhne"


def test_a_root_has_no_names() -> None:
    """A certificate without an alternative name is for nobody."""
    root = parse_certificate(ssl.PEM_cert_to_DER_cert(AUTHORITY.cert_pem.bytes().decode()))
    assert (root.dns_names, root.addresses) == ((), ())
    assert not root.covers("shop.test")


@pytest.mark.parametrize(
    ("name", "is_covered"),
    [
        ("shop.test", True),
        ("www.shop.test", False),
        ("a.eu.shop.test", True),
        ("b.a.eu.shop.test", False),
        ("eu.shop.test", False),
        ("*.eu.shop.test", True),
        ("*.shop.test", False),
        ("10.0.0.1", True),
        ("10.0.0.2", False),
        ("2001:db8:0::1", True),
        ("test", False),
        ("", False),
    ],
)
def test_coverage(name: str, is_covered: bool) -> None:  # noqa: FBT001 - a column of the table
    """A wildcard stands for exactly one label; addresses are compared as addresses."""
    assert parse_certificate(DER).covers(name) is is_covered


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\x30",
        b"\x30\x00",
        b"\x30\x02\x30\x00",
        b"\x30\x80\x00\x00",
        b"\x30\x85\x00\x00\x00\x00\x00",
        b"\x30\x84\xff\xff\xff\xff\x00",
        b"\x3f\x81\x01\x00",
        DER[:-1],
        DER[1:],
        b"\x31" + DER[1:],
    ],
)
def test_what_is_no_certificate(der: bytes) -> None:
    """Each is refused, whatever its lengths promise."""
    with pytest.raises(ValueError, match=r"DER|certificate"):
        parse_certificate(der)


def test_a_hostile_certificate_costs_little() -> None:
    """As many parts as fit into a handshake are not all walked through."""
    parts = b"\x02\x00" * 50_000
    inner = b"\x30\x84" + len(parts).to_bytes(4, "big") + parts
    with pytest.raises(ValueError, match="more than 5000 parts"):
        parse_certificate(b"\x30\x84" + len(inner).to_bytes(4, "big") + inner)


def parse_or_refuse(der: bytes) -> Certificate | None:
    try:
        return parse_certificate(der)
    except ValueError:
        return None


@given(st.binary(max_size=300))
def test_no_bytes_break_it(der: bytes) -> None:
    """Arbitrary bytes are refused with a ValueError, and only with that."""
    assert parse_or_refuse(der) is None


@given(
    at=st.integers(0, len(DER) - 1),
    replacement=st.binary(min_size=1, max_size=4),
    dropped=st.integers(0, 3),
)
def test_no_damage_breaks_it(at: int, replacement: bytes, dropped: int) -> None:
    """A damaged certificate is read or refused; what is read can be judged and shown."""
    found = parse_or_refuse(DER[:at] + replacement + DER[at + dropped :])
    if found is not None:
        assert isinstance(found.covers("shop.test"), bool)
        assert found.issuer.encode()
