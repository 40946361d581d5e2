"""Who may connect as whom, and what is answered before the room sees it."""

import json

import pytest
from django.contrib.auth.models import User
from django.test import Client

from durable.gateway.sockets import SocketRefused
from rooms import consumers
from rooms.consumers import DemoChatConsumer, RoomConsumer
from rooms.directory import Directory
from rooms.models import create_room, new_slug
from rooms.objects import DemoChat, Room
from rooms.people import Person, guest_cookie
from rooms.sessions import Sessions


def scope(query="", cookies=None, **kwargs):
    cookie = "; ".join(f"{name}={value}" for name, value in (cookies or {}).items())
    return {
        "url_route": {"kwargs": kwargs},
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost"), (b"cookie", cookie.encode())],
    }


@pytest.fixture(autouse=True)
def _fresh_directory(monkeypatch):
    monkeypatch.setattr(consumers, "_directory", Directory())
    monkeypatch.setattr(consumers, "_sessions", Sessions())


@pytest.fixture
def entry(transactional_db):
    return create_room("Plans")


@pytest.fixture
def ada(transactional_db):
    """An account's session cookie."""
    client = Client()
    user = User.objects.create_user("ada", first_name="Ada")
    client.force_login(user)
    return user, {"sessionid": client.cookies["sessionid"].value}


async def test_a_guest_is_known_by_their_cookie(entry):
    cookies = {"guest": guest_cookie(Person("g1", "", guest=True)), "guest_name": "Zoe"}
    target = await RoomConsumer().connect(scope("name=Al%C3%AFce%E2%80%AE&since=3", cookies, slug=entry.slug))
    assert target.stub.id == Room.namespace.id_from_name(entry.slug)
    assert target.user == {"id": "g1", "name": "Alïce", "named": True, "guest": True, "title": "Plans"}
    target = await RoomConsumer().connect(scope("", cookies, slug=entry.slug))
    assert target.user["name"] == "Zoe"


@pytest.mark.parametrize("cookies", [{}, {"guest": "g1"}, {"guest": "g1:forged"}, {"sessionid": "nothing"}])
async def test_who_brings_nothing_of_ours_is_somebody_new_each_time(entry, cookies):
    users = [
        (await RoomConsumer().connect(scope("name=Bob", cookies, slug=entry.slug))).user for _ in range(2)
    ]
    assert users[0]["id"] != users[1]["id"]
    assert {user["id"][0] for user in users} == {"a"}
    assert {user["name"] for user in users} == {"Bob"}


@pytest.mark.parametrize("query", ["", "name=", "name=%E2%80%8B", "name=%FF%00", "&".join(["x=1"] * 30)])
async def test_a_guest_always_has_a_name(entry, query):
    user = (await RoomConsumer().connect(scope(query, slug=entry.slug))).user
    assert user["name"].strip()


async def test_an_account_comes_under_its_own_name(entry, ada):
    user, cookies = ada
    target = await RoomConsumer().connect(scope("name=Admin", cookies, slug=entry.slug))
    assert target.user == {
        "id": f"u{user.pk}",
        "name": "Ada",
        "named": False,
        "guest": False,
        "title": "Plans",
    }


@pytest.mark.parametrize("slug", ["", "x", "x" * 65, "%2e%2e", new_slug()])
async def test_an_unknown_room_is_4404(transactional_db, slug):
    with pytest.raises(SocketRefused) as refused:
        await RoomConsumer().connect(scope(slug=slug))
    assert refused.value.code == 4404


async def test_the_directory_remembers_a_room_for_a_moment(entry):
    directory = Directory(seconds=3600)
    assert await directory.title(entry.slug) == "Plans"
    await entry.adelete()
    assert await directory.title(entry.slug) == "Plans"
    assert await Directory().title(entry.slug) is None


@pytest.mark.parametrize("consumer", [RoomConsumer, DemoChatConsumer])
def test_malformed_frames_are_answered_and_the_third_in_a_row_closes(consumer):
    good = '{"type":"sync","user":"A","text":"x"}'
    socket = consumer()
    for frame in ("x", "x", good, "x", "x"):
        answer = socket.screen(frame)
        assert answer is None if frame is good else json.loads(answer)["type"] == "error"
    with pytest.raises(SocketRefused) as refused:
        socket.screen("x")
    assert refused.value.code == 4400


def test_a_refused_frame_does_not_trouble_the_room_nor_end_the_socket():
    socket = RoomConsumer()
    for _ in range(5):
        answer = socket.screen('{"type":"chat","id":"c1","text":""}')
        assert json.loads(answer) == {
            "type": "error", "code": "text_empty", "message": "A message needs some text.", "id": "c1",
        }  # fmt: skip


def test_too_much_presence_is_dropped_without_a_word():
    socket = RoomConsumer()
    answers = [socket.screen('{"type":"presence","cursor":null}') for _ in range(60)]
    assert answers[:20] == [None] * 20
    assert answers.count("") >= 35


def test_too_many_questions_are_refused():
    socket = RoomConsumer()
    answers = [socket.screen('{"type":"sync"}') for _ in range(80)]
    assert answers[:60] == [None] * 60
    assert json.loads(answers[-1])["code"] == "rate_limited"


async def test_any_name_is_a_room_of_the_demonstration():
    target = await DemoChatConsumer().connect(scope(room="a%2Fb%20%F0%9F%98%80"))
    assert target.stub.id == DemoChat.namespace.id_from_name("a/b 😀")


@pytest.mark.parametrize("room", ["%FF", "%00", "x" * 201])
async def test_a_name_that_cannot_be_is_4404(room):
    with pytest.raises(SocketRefused) as refused:
        await DemoChatConsumer().connect(scope(room=room))
    assert refused.value.code == 4404
