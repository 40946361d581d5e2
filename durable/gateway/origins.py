"""Which hosts and origins a request may name: Django's rules, for consumers that Django's middleware never sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

_LOCAL_HOSTS = [".localhost", "127.0.0.1", "[::1]"]  # what Django allows while DEBUG with no ALLOWED_HOSTS
_MAX_KNOWN = 1024


class HostPolicy:
    """Answers whether a Host header is allowed, and remembers the hosts it allowed.

    Follows `settings.ALLOWED_HOSTS` also when a test overrides it.
    """

    def __init__(self) -> None:
        self._hosts: object = None
        self._known: set[bytes] = set()

    def allows(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the request's host may be served. `headers` has lower-case names."""
        host = requested_host(headers)
        if self._hosts is settings.ALLOWED_HOSTS and host in self._known:
            return True
        return self._check(host)

    def _check(self, host: bytes) -> bool:
        if self._hosts is not settings.ALLOWED_HOSTS or len(self._known) >= _MAX_KNOWN:
            self._hosts = settings.ALLOWED_HOSTS
            self._known.clear()
        allowed = list(settings.ALLOWED_HOSTS)
        if settings.DEBUG and not allowed:
            allowed = _LOCAL_HOSTS
        domain, _port = split_domain_port(host.decode("latin-1"))
        if not domain or not validate_host(domain, allowed):
            return False
        self._known.add(host)
        return True


def requested_host(headers: Mapping[bytes, bytes]) -> bytes:
    """The host and port the client asked for, from a proxy only where USE_X_FORWARDED_HOST says so."""
    if settings.USE_X_FORWARDED_HOST and b"x-forwarded-host" in headers:
        return headers[b"x-forwarded-host"]
    return headers.get(b"host", b"")


def is_secure(scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> bool:
    """Whether the client speaks https (or wss), as SECURE_PROXY_SSL_HEADER or else the connection says."""
    if settings.SECURE_PROXY_SSL_HEADER:
        name, secure_value = settings.SECURE_PROXY_SSL_HEADER
        value = headers.get(name.removeprefix("HTTP_").replace("_", "-").lower().encode("latin-1"))
        if value is not None:
            return value.decode("latin-1").split(",", 1)[0].strip() == secure_value
    return scope.get("scheme") in ("https", "wss")


def origin_allowed(scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> bool:
    """Whether the Origin header, if there is one, is this site's own or one of CSRF_TRUSTED_ORIGINS."""
    raw = headers.get(b"origin")
    if raw is None:
        return True
    origin = raw.decode("latin-1").lower()
    own = "https" if is_secure(scope, headers) else "http"
    if origin == f"{own}://{requested_host(headers).decode('latin-1').lower()}":
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    for trusted in settings.CSRF_TRUSTED_ORIGINS:
        if "*" not in trusted:
            if origin == trusted.lower():
                return True
            continue
        scheme, _, pattern = trusted.lower().partition("://")
        # "https://*.example.com" covers every subdomain, as in Django's CSRF check.
        if parts.scheme == scheme and parts.netloc.endswith(pattern.lstrip("*")):
            return True
    return False
