"""The pages: making a room, opening it, coming back to it."""

import json
import re

import pytest
from django.contrib.auth.models import User
from django.core import signing
from django.core.cache import cache
from django.test import Client

from rooms import allowance
from rooms.models import RoomEntry, clean_title, create_room, new_slug
from rooms.people import account_from_session, guest_from
from rooms.recent import RecentRooms

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty_cache():
    cache.clear()
    yield
    cache.clear()


def config_of(response):
    found = re.search(
        r'<script id="room-config" type="application/json">(.*?)</script>', response.content.decode()
    )
    assert found
    return json.loads(found[1])


def test_a_title_and_the_button_lead_to_a_new_room(client):
    assert b"Create room" in client.get("/").content
    response = client.post("/", {"title": "  Design\n review "})
    entry = RoomEntry.objects.get()
    assert (response.status_code, response["Location"]) == (302, f"/r/{entry.slug}")
    assert entry.title == "Design review"
    assert entry.created_by is None
    page = client.get(response["Location"])
    assert page.status_code == 200
    assert b"Design review" in page.content


@pytest.mark.parametrize("title", ["", "   ", "\u200b\x00", "x" * 201])
def test_a_title_that_will_not_do_is_said_so(client, title):
    response = client.post("/", {"title": title})
    assert response.status_code == 422
    assert response.context["error"]
    assert not RoomEntry.objects.exists()


def test_a_form_from_elsewhere_is_refused(client):
    client.handler.enforce_csrf_checks = True
    assert client.post("/", {"title": "x"}).status_code == 403


def test_an_account_is_remembered_as_the_maker(client):
    user = User.objects.create_user("ada")
    client.force_login(user)
    client.post("/", {"title": "x"})
    assert RoomEntry.objects.get().created_by == user


def test_the_page_configures_the_client(client):
    entry = create_room("Plans </script><script>alert(1)</script>")
    client.cookies["guest_name"] = "Z%C3%B6e%E2%80%AE"
    config = config_of(client.get(f"/r/{entry.slug}"))
    guest = guest_from({"guest": client.cookies["guest"].value})
    assert config["slug"] == entry.slug
    assert config["title"] == entry.title
    assert config["socket"] == f"/ws/rooms/{entry.slug}/"
    assert config["userId"] == guest.id
    assert config_of(client.get(f"/r/{entry.slug}"))["name"] == "Zöe"


def test_a_guest_gets_a_signed_cookie_once(client):
    entry = create_room("x")
    cookie = client.get(f"/r/{entry.slug}").cookies["guest"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert "guest" not in client.get(f"/r/{entry.slug}").cookies
    forged = cookie.value.replace(cookie.value[1:5], "AAAA", 1)
    assert guest_from({"guest": forged}) is None
    client.cookies["guest"] = forged
    assert client.get(f"/r/{entry.slug}").cookies["guest"].value != forged


def test_an_account_needs_no_guest_cookie(client):
    user = User.objects.create_user("ada", first_name="Ada", last_name="Lovelace")
    client.force_login(user)
    entry = create_room("x")
    response = client.get(f"/r/{entry.slug}")
    assert "guest" not in response.cookies
    config = config_of(response)
    assert (config["userId"], config["name"], config["guest"]) == (f"u{user.pk}", "Ada Lovelace", False)
    person = account_from_session(client.cookies["sessionid"].value)
    assert (person.id, person.name, person.guest) == (f"u{user.pk}", "Ada Lovelace", False)
    user.is_active = False
    user.save()
    assert account_from_session(client.cookies["sessionid"].value) is None
    assert account_from_session("no-such-session") is None


def test_a_room_page_keeps_to_itself(client):
    response = client.get(f"/r/{create_room('x').slug}")
    assert response["Referrer-Policy"] == "same-origin"
    assert "noindex" in response["X-Robots-Tag"]
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize(
    "path", ["/r/nothing", "/r/" + "1" * 22, "/i/nothing", "/i/" + "x" * 300, "/r/..", "/r/%00"]
)
def test_what_is_not_there_is_404(client, path):
    assert client.get(path).status_code == 404


def test_recent_rooms_are_listed_newest_first(client):
    rooms = [create_room(f"room {number}") for number in range(12)]
    for entry in rooms:
        client.get(f"/r/{entry.slug}")
    client.get(f"/r/{rooms[5].slug}")
    rooms[11].delete()
    titles = [item["title"] for item in client.get("/").context["recent"]]
    assert titles == [
        "room 5",
        "room 10",
        "room 9",
        "room 8",
        "room 7",
        "room 6",
        "room 4",
        "room 3",
        "room 2",
    ]


@pytest.mark.parametrize(
    "value", ["", "x", "[]", signing.dumps("odd", salt="rooms.recent"), signing.dumps([[1]])]
)
def test_a_strange_recent_cookie_is_empty(value):
    assert RecentRooms.read({"recent_rooms": value}).visits == ()


def test_a_link_or_slug_opens_a_room(client):
    entry = create_room("x")
    for wanted in (entry.slug, f"http://testserver/r/{entry.slug}", f" /r/{entry.slug}?x=1#y "):
        assert client.get("/", {"room": wanted})["Location"] == f"/r/{entry.slug}"
    for wanted in ("https://evil.example/", new_slug(), "//evil.example/r/"):
        response = client.get("/", {"room": wanted})
        assert response.status_code == 404
        assert response.context["address_error"]


def test_an_invite_leads_to_its_room(client):
    entry = create_room("x")
    url = config_of(client.get(f"/r/{entry.slug}"))["invite"]
    assert re.search(r"/i/[A-Za-z0-9_-]{1,128}$", url)
    assert client.get(url)["Location"] == f"/r/{entry.slug}"
    assert client.get(url[:-2] + "zz").status_code == 404
    entry.delete()
    assert client.get(url).status_code == 404


def test_a_guest_may_make_so_many_rooms_an_hour(client, monkeypatch):
    monkeypatch.setattr(allowance, "PER_GUEST", 2)
    monkeypatch.setattr(allowance, "PER_ADDRESS", 3)
    assert [client.post("/", {"title": "x"}).status_code for _ in range(3)] == [302, 302, 429]
    for expected in (302, 429):  # another guest at the same address
        client.cookies.clear()
        assert client.post("/", {"title": "x"}).status_code == expected
    assert RoomEntry.objects.count() == 3


def test_slugs_cannot_be_guessed_or_confused():
    slugs = {new_slug() for _ in range(1000)}
    assert len(slugs) == 1000
    assert all(re.fullmatch(r"[1-9A-HJ-NP-Za-km-z]{22}", slug) for slug in slugs)


def test_titles_are_one_clean_line():
    assert clean_title(" a\u202eb \n c ") == "ab c"
    assert clean_title("x" * 200) == "x" * 200


def test_a_form_without_its_token_gets_our_page() -> None:
    answer = Client(enforce_csrf_checks=True).post("/", {"title": "x"})
    assert answer.status_code == 403
    assert "load the page again" in answer.content.decode()


def test_an_address_that_leads_nowhere_is_said_beside_its_own_field(client):
    response = client.get("/", {"room": "non<sense"})
    page = response.content.decode()
    title, address = (re.search(rf'<input id="{name}"[^>]*>', page)[0] for name in ("title", "address"))
    assert response.status_code == 404
    assert "aria-invalid" not in title
    assert 'aria-invalid="true" aria-describedby="address-error"' in address
    assert 'value="non&lt;sense"' in address
    assert re.search(r'<p class="field-error" id="address-error" role="alert">[^<]+</p>', page)
    assert "title-error" not in page
