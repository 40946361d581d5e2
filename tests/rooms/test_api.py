"""`POST /api/v1/rooms`: who may, and what comes back."""

import pytest

from durable.models import ApiToken
from rooms.models import RoomEntry
from rooms.routing import http_urlpatterns
from tests.asgi_client import asgi_client

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def http():
    async with asgi_client(http_urlpatterns) as client:
        yield client


@pytest.fixture
def bearer():
    def header(*scopes):
        _, text = ApiToken.issue("test", list(scopes))
        return {"authorization": f"Bearer {text}"}

    return header


@pytest.fixture
def authorized(bearer):
    return bearer("rooms")


@pytest.fixture
def other_token(bearer):
    return bearer("counters")


async def test_a_room_is_made(http, authorized):
    answer = await http.post("/api/v1/rooms", json={"title": " Plans "}, headers=authorized)
    entry = await RoomEntry.objects.aget()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/r/{entry.slug}"
    assert answer.json() == {"slug": entry.slug, "title": "Plans", "url": f"http://localhost/r/{entry.slug}"}


@pytest.mark.parametrize("title", ["", " ", "x" * 201, None, 5])
async def test_a_title_that_will_not_do_is_422(http, authorized, title):
    answer = await http.post("/api/v1/rooms", json={"title": title}, headers=authorized)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"] == "/title"
    assert not await RoomEntry.objects.aexists()


async def test_a_token_with_the_scope_is_needed_even_where_the_api_is_open(http, other_token, settings):
    settings.DURABLE = {**settings.DURABLE, "api_auth": "open"}
    assert (await http.post("/api/v1/rooms", json={"title": "x"})).status_code == 401
    answer = await http.post("/api/v1/rooms", json={"title": "x"}, headers=other_token)
    assert answer.status_code == 403


async def test_other_methods_are_refused(http, authorized):
    answer = await http.get("/api/v1/rooms", headers=authorized)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")
