"""The pages: the landing page with its form, a room, an invite. What happens in a room goes over its socket."""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.core.signing import BadSignature, TimestampSigner
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from .allowance import may_create
from .models import SLUG_LENGTH, RoomEntry, clean_title, create_room
from .people import GUEST_COOKIE, GUEST_COOKIE_AGE, Person, account, guest_cookie, guest_from, new_guest
from .recent import RecentRooms

_SLUG_AT_END = re.compile(rf"(?:^|/r/)([1-9A-HJ-NP-Za-km-z]{{{SLUG_LENGTH}}})/?(?:[?#].*)?\Z")
_invites = TimestampSigner(salt="rooms.invite")
INVITE_AGE = 30 * 24 * 3600


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def home(request: HttpRequest) -> HttpResponse:
    """The landing page; POST makes a room and leads to it, `?room=` leads to one by its link or code."""
    if request.method == "POST":
        return _create(request)
    wanted = request.GET.get("room", "").strip()
    if not wanted:
        return _home_page(request)
    match = _SLUG_AT_END.search(wanted[:2000])
    if match and RoomEntry.objects.filter(slug=match[1]).exists():
        return redirect("rooms:room", slug=match[1])
    return _home_page(request, address_error="There is no room at that link.", address=wanted, status=404)


def _create(request: HttpRequest) -> HttpResponse:
    title = request.POST.get("title", "")
    person, is_new = _person(request)
    try:
        title = clean_title(title)
    except ValueError as error:
        return _home_page(request, error=str(error), title=title, status=422)
    if not may_create(person, request):
        busy = "You have made many rooms in the last hour. Please come back later."
        response = _home_page(request, error=busy, title=title, status=429)
        response["Retry-After"] = "3600"
        return response
    creator = request.user if isinstance(request.user, AbstractBaseUser) else None
    entry = create_room(title, created_by=creator)
    response = redirect(entry)
    if is_new:
        _remember(response, person)
    return response


def _home_page(
    request: HttpRequest,
    *,
    error: str | None = None,
    title: str = "",
    address_error: str | None = None,
    address: str = "",
    status: int = 200,
) -> HttpResponse:
    """The landing page; an error belongs to the title of a new room, or to the address of one."""
    context = {
        "error": error,
        "title": title,
        "address_error": address_error,
        "address": address,
        "recent": RecentRooms.read(request.COOKIES).listing(),
    }
    return render(request, "rooms/home.html", context, status=status)


@never_cache
@require_safe
def room(request: HttpRequest, slug: str) -> HttpResponse:
    """The page of one room; gives a guest their cookie."""
    entry = get_object_or_404(RoomEntry, slug=slug)
    person, is_new = _person(request)
    config = {
        "slug": entry.slug,
        "title": entry.title,
        "socket": f"/ws/rooms/{entry.slug}/",
        "name": person.name,
        "guest": person.guest,
        "userId": person.id,
        "invite": request.build_absolute_uri(reverse("rooms:invite", args=[invite_token(entry)])),
    }
    context: dict[str, Any] = {"room": {"slug": entry.slug, "title": entry.title}, "config": config}
    response = render(request, "rooms/room.html", context)
    response["X-Robots-Tag"] = "noindex, nofollow"
    response["Referrer-Policy"] = "same-origin"
    if is_new:
        _remember(response, person)
    RecentRooms.read(request.COOKIES).with_visit(entry.slug).write(response)
    return response


@never_cache
@require_safe
def invite(request: HttpRequest, token: str) -> HttpResponse:
    """Lead the bearer of a signed link to its room; an expired or forged one is like a room that does not exist."""
    try:
        signed = urlsafe_base64_decode(token).decode("ascii")
        slug = _invites.unsign(signed, max_age=INVITE_AGE)
    except (ValueError, BadSignature):
        raise Http404 from None
    return redirect(get_object_or_404(RoomEntry, slug=slug))


def invite_token(entry: RoomEntry) -> str:
    """A signed token for an invite link; it works for 30 days."""
    return urlsafe_base64_encode(_invites.sign(entry.slug).encode("ascii"))


def _person(request: HttpRequest) -> tuple[Person, bool]:
    """Who asks, and whether they still need a guest cookie."""
    known = account(request.user) or guest_from(request.COOKIES)
    return (known, False) if known else (new_guest(), True)


def _remember(response: HttpResponse, person: Person) -> None:
    response.set_cookie(
        GUEST_COOKIE,
        guest_cookie(person),
        max_age=GUEST_COOKIE_AGE,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )
