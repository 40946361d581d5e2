"""Who is asking: an account by its session, or a guest by a signed cookie that holds nothing but a random id.

A person is one opaque string: `u<pk>` for an account, `g<random>` for a guest, `a<random>` for a socket that brought neither. The id
may be shown to others, since only we can sign it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from urllib.parse import unquote

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.signing import BadSignature, Signer
from django.http import HttpRequest

from .logic import STRAY, clean_name
from .models import new_slug

GUEST_COOKIE = "guest"
NAME_COOKIE = "guest_name"
GUEST_COOKIE_AGE = 365 * 24 * 3600
_SALT = "rooms.guest"


@dataclass(frozen=True)
class Person:
    """One person. `name` is empty for a guest who has not chosen one."""

    id: str
    name: str
    guest: bool


def new_guest() -> Person:
    """A guest who was never here before."""
    return Person("g" + new_slug(), "", guest=True)


def new_stray() -> Person:
    """Somebody without a cookie, who will be somebody else at their next socket."""
    return Person(STRAY + new_slug(), "", guest=True)


def guest_from(cookies: Mapping[str, str]) -> Person | None:
    """The guest whose cookie this is, or None when it is missing or not ours."""
    try:
        guest_id = Signer(salt=_SALT).unsign(cookies[GUEST_COOKIE])
    except (KeyError, BadSignature):
        return None
    name = unquote(cookies.get(NAME_COOKIE, "")).strip()
    return Person(guest_id, clean_name(name, guest_id) if name else "", guest=True)


def guest_cookie(person: Person) -> str:
    """The value of the guest cookie for this person."""
    return Signer(salt=_SALT).sign(person.id)


def account(user: AbstractBaseUser | AnonymousUser) -> Person | None:
    """The person behind a signed-in user, or None for an anonymous one."""
    if not isinstance(user, AbstractBaseUser) or not user.is_active:
        return None
    person_id = f"u{user.pk}"
    full_name = getattr(user, "get_full_name", str)().strip()
    return Person(person_id, clean_name(full_name or user.get_username(), person_id), guest=False)


def account_from_session(session_key: str) -> Person | None:
    """The person behind a session cookie; reads the database."""
    engine = import_module(settings.SESSION_ENGINE)
    request = HttpRequest()
    request.session = engine.SessionStore(session_key)
    return account(get_user(request))
