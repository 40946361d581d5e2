"""A socket opened by a session ends with it, whether its client speaks or not."""

import asyncio

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

from durable.gateway.sockets import SocketRefused
from rooms.sessions import Sessions, SessionWatch

SOON = 0.02


@pytest.fixture
def ada(transactional_db):
    client = Client()
    user = User.objects.create_user("ada")
    client.force_login(user)
    return user, client.cookies["sessionid"].value


@pytest.fixture
def wire():
    return asyncio.Queue()


def watch(wire, session_key, person_id):
    watching = SessionWatch(wire.get, Sessions(seconds=SOON))
    watching.watch(session_key, person_id)
    return watching


async def sign_out(user):
    await Session.objects.all().adelete()


async def block(user):
    user.is_active = False
    await user.asave()


async def change_password(user):
    user.set_password("another one")
    await user.asave()


@pytest.mark.parametrize("end", [sign_out, block, change_password])
async def test_a_silent_socket_ends_with_its_session(ada, wire, end):
    user, session_key = ada
    receive = watch(wire, session_key, f"u{user.pk}")
    waiting = asyncio.create_task(receive())
    await end(user)
    with pytest.raises(SocketRefused) as refused:
        await asyncio.wait_for(waiting, 5)
    assert refused.value.code == 4401


async def test_a_busy_socket_ends_with_its_session(ada, wire):
    user, session_key = ada
    receive = watch(wire, session_key, f"u{user.pk}")
    await sign_out(user)
    with pytest.raises(SocketRefused):
        async with asyncio.timeout(5):
            while True:
                wire.put_nowait({"type": "websocket.receive"})
                await receive()


async def test_a_session_of_somebody_else_is_none(ada, wire):
    receive = watch(wire, ada[1], "u0")
    with pytest.raises(SocketRefused):
        await asyncio.wait_for(receive(), 5)


async def test_messages_come_through_once_and_in_order_while_the_session_lasts(ada, wire):
    user, session_key = ada
    receive = watch(wire, session_key, f"u{user.pk}")
    first = asyncio.create_task(receive())
    done, _ = await asyncio.wait({first}, timeout=5 * SOON)  # long enough for several look-ups
    assert not done
    for number in range(5):
        wire.put_nowait({"number": number})
    assert [
        (await message)["number"] for message in (first, receive(), receive(), receive(), receive())
    ] == list(range(5))


async def test_a_guest_is_not_watched(wire):
    receive = SessionWatch(wire.get, Sessions(seconds=SOON))
    wire.put_nowait({"number": 1})
    assert await receive() == {"number": 1}


async def test_a_cancelled_watch_leaves_nothing_behind(ada, wire):
    user, session_key = ada
    waiting = asyncio.create_task(watch(wire, session_key, f"u{user.pk}")())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
