"""Who is calling: the client's address behind a known number of proxies, and the key it is limited by."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

UNKNOWN = "unknown"
"""The address of a peer that has none (a Unix socket without a proxy header)."""


def client_address(scope: Mapping[str, Any], trusted_proxies: int) -> str:
    """The client's IP address as text.

    With `trusted_proxies` = n the n-th entry of X-Forwarded-For from the right is believed: each proxy appended the
    address it was called from. Entries further left are the client's own claims. With 0 the header is ignored.
    """
    peer = scope.get("client")
    address = str(peer[0]) if peer and peer[0] else UNKNOWN
    if trusted_proxies <= 0:
        return address
    forwarded = _forwarded_for(scope["headers"])
    if not forwarded:
        return address
    entry = forwarded[-trusted_proxies] if len(forwarded) >= trusted_proxies else forwarded[0]
    return _plain_address(entry) or address


def _forwarded_for(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    return [
        part.strip()
        for name, value in headers
        if name == b"x-forwarded-for"
        for part in value.decode("latin-1").split(",")
        if part.strip()
    ]


def _plain_address(entry: str) -> str | None:
    """The address in "1.2.3.4", "1.2.3.4:80", "::1" or "[::1]:80"; None if it is none."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        return str(ipaddress.ip_address(entry))
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def limit_key(address: str) -> str:
    """What an address is limited by: IPv4 as it is, IPv6 by its /64, since one host has the whole of it."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
