"""The room directory in the admin."""

import pytest

from rooms.models import RoomEntry, create_room

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/rooms/roomentry/"


def test_rooms_are_listed_found_and_linked(admin_client):
    entry, other = create_room("Design <review>"), create_room("Other")
    page = admin_client.get(LIST, {"q": "review"}).content.decode()
    assert f'href="/r/{entry.slug}"' in page
    assert "Design &lt;review&gt;" in page
    assert other.slug not in page
    assert admin_client.get(f"{LIST}{entry.pk}/change/").status_code == 200


def test_a_room_is_deleted_also_where_its_contents_cannot_be_reached(admin_client):
    first, second, third = (create_room(title) for title in ("a", "b", "c"))
    assert admin_client.post(f"{LIST}{first.pk}/delete/", {"post": "yes"}).status_code == 302
    chosen = {"action": "delete_selected", "_selected_action": [second.pk], "post": "yes"}
    assert admin_client.post(LIST, chosen).status_code == 302
    assert list(RoomEntry.objects.all()) == [third]


def test_a_title_is_cleaned_as_anywhere_else(admin_client):
    assert admin_client.post(f"{LIST}add/", {"title": " Plans\u202e\x07  of\u2066 us "}).status_code == 302
    entry = RoomEntry.objects.get()
    assert entry.title == "Plans of us"
    page = admin_client.post(f"{LIST}{entry.pk}/change/", {"title": "\u200b"})
    assert "Give the room a title." in page.content.decode()
    entry.refresh_from_db()
    assert entry.title == "Plans of us"
