"""Who may call: bearer tokens through a cache of a second, staff sessions, and what is open to anybody.

A revoked token therefore works for at most a second longer. Look-ups run in a thread, never on the event loop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.db import DatabaseError
from django.http import HttpRequest

from durable.conf import durable_settings
from durable.models import ApiToken

from .http import ANYBODY, Principal, Request
from .lookups import LookupCache
from .problems import Problem

OPEN_SCOPES = frozenset({"counters", "limiter"})
"""What `api_auth = "open"` opens to anybody."""

CHALLENGE = (b"www-authenticate", b'Bearer realm="api"')
_MAX_TOKEN = 200

StaffPermissions = str | Mapping[str, Sequence[str]]
"""What a staff user must be permitted, e.g. "shop.view_order": one permission for all, or by method all that it needs."""


def _find_token(text: str) -> Principal | None:
    token = ApiToken.find(text)
    if token is None:
        return None
    with contextlib.suppress(DatabaseError):  # when it was last used is not worth a refusal
        token.mark_used()
    return Principal(f"token:{token.prefix}", frozenset(token.scopes))


async def _load_token(text: str) -> Principal | None:
    found: Principal | None = await database_sync_to_async(_find_token)(text)
    return found


_tokens: LookupCache[str, Principal | None] = LookupCache(_load_token)


def forget_tokens() -> None:
    """Look every token up anew at its next use."""
    _tokens.clear()


class Requirement:
    """An `Authorizer`: a token with a scope, or the session of a staff user with the permissions in `staff`; see `require`."""

    __slots__ = ("may_be_open", "scope", "staff")

    def __init__(self, scope: str, *, staff: StaffPermissions | None, may_be_open: bool) -> None:
        self.scope = scope
        self.staff = staff
        self.may_be_open = may_be_open

    async def __call__(self, request: Request) -> Principal:
        """The request's principal; raises a 401 Problem for nobody and a 403 Problem for somebody else."""
        header = request.headers.get(b"authorization")
        is_open = self.may_be_open and durable_settings().api_auth == "open"
        if header is None:
            if is_open:
                return ANYBODY
            if self.staff is not None:
                user = await staff_user(request, _permissions(self.staff, request.method))
                if user is not None:
                    return user
            raise _unauthenticated("This needs an API token: Authorization: Bearer <token>.")
        principal = await bearer(header)
        if principal is None:
            raise _unauthenticated("The token is not valid.", b'Bearer realm="api", error="invalid_token"')
        if self.scope not in principal.scopes and not is_open:
            raise Problem(403, "forbidden", f"The token lacks the scope {self.scope!r}.", scope=self.scope)
        return principal


def require(scope: str, *, staff: StaffPermissions | None = None, always: bool = False) -> Requirement:
    """Let in tokens with `scope`.

    Args:
        scope: e.g. "counters".
        staff: a session of a staff user who has these permissions will do as well.
        always: also where the API is open.
    """
    return Requirement(scope, staff=staff, may_be_open=scope in OPEN_SCOPES and not always)


async def bearer(header: bytes) -> Principal | None:
    """The principal of an Authorization header; None unless it carries a live bearer token."""
    kind, _, token = header.partition(b" ")
    token = token.strip()
    if kind.lower() != b"bearer" or not token or len(token) > _MAX_TOKEN or not token.isascii():
        return None
    return await _tokens.get(token.decode("ascii"))


def _permissions(staff: StaffPermissions, method: str) -> Sequence[str]:
    return (staff,) if isinstance(staff, str) else staff["GET" if method == "HEAD" else method]


async def staff_user(request: Request, permissions: Sequence[str]) -> Principal | None:
    """The staff user whose session cookie came along, if any; raises a 403 Problem when they lack one of the permissions.

    A cookie travels with requests the user never meant, so an unsafe method must also carry an Origin; that it is
    this site's own has been checked by the consumer.
    """
    raw = request.headers.get(b"cookie")
    if raw is None:
        return None
    try:
        cookies = SimpleCookie(raw.decode("latin-1"))
    except CookieError:
        return None
    session = cookies.get(settings.SESSION_COOKIE_NAME)
    if session is None:
        return None
    principal: Principal | None = await database_sync_to_async(_find_staff)(session.value, permissions)
    if principal is not None and request.method not in ("GET", "HEAD") and b"origin" not in request.headers:
        raise Problem(403, "origin_required", "A request with a session cookie must carry an Origin header.")
    return principal


def _find_staff(session_key: str, permissions: Sequence[str]) -> Principal | None:
    engine: Any = import_module(settings.SESSION_ENGINE)
    request = HttpRequest()
    request.session = engine.SessionStore(session_key)
    user = get_user(request)
    if not (user.is_authenticated and user.is_active and user.is_staff):
        return None
    for permission in permissions:
        if not user.has_perm(permission):
            raise Problem(403, "forbidden", f"Your account lacks the permission {permission}.")
    return Principal(f"user:{user.get_username()}", frozenset({"staff"}))


def _unauthenticated(detail: str, challenge: bytes = CHALLENGE[1]) -> Problem:
    return Problem(401, "not_authenticated", detail, headers=[(CHALLENGE[0], challenge)])
