"""The client's address behind proxies, and what it is limited by."""

from typing import Any

import pytest

from durable.gateway.addresses import client_address, limit_key


def scope(*forwarded: str, peer: str | None = "10.0.0.1") -> dict[str, Any]:
    return {
        "client": (peer, 1234) if peer else None,
        "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded],
    }


@pytest.mark.parametrize(
    ("headers", "proxies", "address"),
    [
        (["6.6.6.6"], 0, "10.0.0.1"),
        ([], 1, "10.0.0.1"),
        (["6.6.6.6, 1.2.3.4"], 1, "1.2.3.4"),
        (["6.6.6.6", "1.2.3.4"], 1, "1.2.3.4"),
        (["6.6.6.6, 1.2.3.4, 10.0.0.2"], 2, "1.2.3.4"),
        (["1.2.3.4"], 2, "1.2.3.4"),
        (["1.2.3.4:5678"], 1, "1.2.3.4"),
        (["[2001:db8::1]:5678"], 1, "2001:db8::1"),
        (["nonsense"], 1, "10.0.0.1"),
        ([" , ,"], 1, "10.0.0.1"),
    ],
)
def test_only_entries_of_trusted_proxies_count(headers: list[str], proxies: int, address: str) -> None:
    assert client_address(scope(*headers), proxies) == address


def test_a_peer_without_an_address_is_unknown() -> None:
    assert client_address(scope(peer=None), 0) == "unknown"


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_ipv6_is_limited_by_its_network(address: str, key: str) -> None:
    assert limit_key(address) == key
