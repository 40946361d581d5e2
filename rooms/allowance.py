"""How many rooms one guest, and one address, may make in an hour; counted in Django's cache."""

from __future__ import annotations

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest

from durable.conf import durable_settings
from durable.gateway.addresses import client_address, limit_key

from .people import Person

HOUR = 3600
PER_GUEST = 30
PER_ADDRESS = 300
"""An address may be a whole school behind one router, so it gets more than a guest; a guest cookie alone is free to throw away."""


def may_create(person: Person, request: HttpRequest) -> bool:
    """Count one room for this person and address, and say whether it is still within bounds. Accounts are not bounded."""
    if not person.guest:
        return True
    per_guest = getattr(settings, "ROOMS_PER_GUEST_AND_HOUR", PER_GUEST)
    per_address = getattr(settings, "ROOMS_PER_ADDRESS_AND_HOUR", PER_ADDRESS)
    address = limit_key(_address(request))
    return (
        _count(f"rooms.created.{person.id}") <= per_guest
        and _count(f"rooms.created.{address}") <= per_address
    )


def _count(key: str) -> int:
    cache.add(key, 0, HOUR)
    try:
        return cache.incr(key)
    except ValueError:  # it expired in between
        return 1


def _address(request: HttpRequest) -> str:
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").encode()
    scope = {"client": (request.META.get("REMOTE_ADDR"), 0), "headers": [(b"x-forwarded-for", forwarded)]}
    return client_address(scope, durable_settings().trusted_proxy_count)
