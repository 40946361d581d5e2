"""A room as its sockets see it: welcome, chat, drawing, presence, people, heartbeats, and all of it after sleep and crashes."""

import asyncio
import json

import pytest

from rooms import board, protocol
from rooms.objects import Room


@pytest.fixture
def room(stage):
    return stage(Room, "a-room")


def person(user_id, name, **fields):
    return {"id": user_id, "name": name, "guest": True, "title": "Plans", **fields}


ALICE, BOB, CLEO = person("g1", "Alice"), person("g2", "Bob"), person("u3", "Cleo", guest=False)


def shape(element_id, version=1, nonce=1, **fields):
    return {"id": element_id, "type": "rectangle", "version": version, "versionNonce": nonce, **fields}


def kinds(frames):
    return [frame["type"] for frame in frames]


def assembled(frames):
    """The messages and elements of a welcome and its parts."""
    assert frames[0]["type"] == "welcome"
    assert all(frame["type"] == "part" for frame in frames[1:])
    assert [frame["last"] for frame in frames[1:]] == [False] * (len(frames) - 2) + [True] * (len(frames) > 1)
    assert frames[0]["complete"] == (len(frames) == 1)
    return (
        [message for frame in frames for message in frame["messages"]],
        [element for frame in frames for element in frame["elements"]],
    )


async def everything(client):
    """The frames of a welcome, asking for more until there is no more."""
    frames = client.take()
    while "next" in frames[-1]:
        await client.send({"type": "more", "next": frames[-1]["next"]})
        frames += client.take()
    return frames


async def test_an_empty_room_welcomes_with_a_snapshot(room):
    alice = await room.connect(ALICE)
    (welcome,) = alice.take()
    colour = welcome["you"].pop("color")
    assert colour.startswith("#")
    assert welcome == {
        "type": "welcome",
        "you": {"id": "g1", "name": "Alice", "guest": True},
        "users": [{"id": "g1", "name": "Alice", "color": colour}],
        "title": "Plans",
        "seq": 0,
        "mode": "snapshot",
        "older": False,
        "messages": [],
        "elements": [],
        "complete": True,
        "limits": {
            "text": 4000, "elements": 500, "frame": 262144, "element": 131072, "board_elements": 5000, "history": 50,
        },
    }  # fmt: skip


async def test_a_welcome_says_whether_there_are_older_messages(room):
    alice = await room.connect(ALICE)
    for number in range(100):
        await alice.send({"type": "chat", "id": f"c{number}", "text": "word " * 300})
    whole = (await room.connect(BOB)).take()
    assert len(whole) > 2  # the first frame has but a part of the hundred
    assert whole[0]["older"] is False
    await alice.send({"type": "chat", "id": "c100", "text": "one more"})
    assert (await room.connect(BOB)).take()[0]["older"] is True
    assert (await room.connect(BOB, since=40)).take()[0]["older"] is True
    alice.take()
    await alice.send({"type": "sync", "since": 0})
    assert alice.take()[0]["older"] is True


async def test_a_message_reaches_everybody_else_and_is_acknowledged(room):
    alice, tab, bob = await room.connect(ALICE), await room.connect(ALICE), await room.connect(BOB)
    for client in (alice, tab, bob):
        client.take()
    await alice.send({"type": "chat", "id": "c1", "text": "Hello **all**!"})
    (ack,) = alice.take()
    (heard,) = bob.take()
    assert tab.take() == [heard]
    assert ack == {
        "type": "ack", "id": "c1", "seq": 1, "timestamp": heard["timestamp"], "html": heard["html"],
    }  # fmt: skip
    assert heard.pop("color").startswith("#")
    assert heard == {
        "type": "chat", "seq": 1, "id": "c1", "user": "Alice", "user_id": "g1", "text": "Hello **all**!",
        "html": "<p>Hello <strong>all</strong>!</p>", "timestamp": room.now(),
    }  # fmt: skip


async def test_a_message_sent_again_has_no_second_effect_and_is_acknowledged_again(room):
    alice, bob = await room.connect(ALICE), await room.connect(BOB)
    await alice.send({"type": "chat", "id": "c1", "text": "once"})
    (*_, first), _ = alice.take(), bob.take()
    again = await room.connect(ALICE)
    again.take()
    room.advance(5000)
    await again.send({"type": "chat", "id": "c1", "text": "once"})
    assert again.take() == [first]
    assert bob.take() == []
    await bob.send({"type": "chat", "id": "c1", "text": "mine"})
    assert bob.take()[0]["seq"] == 2


async def test_a_message_sent_again_without_a_cookie_is_known_by_id_name_and_text(room):
    first, other = await room.connect(person("a1", "Zoe")), await room.connect(person("a2", "Yan"))
    await first.send({"type": "chat", "id": "1", "text": "once"})
    again, bob = await room.connect(person("a3", "Zoe")), await room.connect(BOB)
    again.take(), bob.take()
    await again.send({"type": "chat", "id": "1", "text": "once"})
    assert (again.take()[0]["seq"], bob.take()) == (1, [])
    await other.send({"type": "chat", "id": "1", "text": "once"})
    await again.send({"type": "chat", "id": "1", "text": "twice"})
    await bob.send({"type": "chat", "id": "1", "text": "once"})
    assert bob.take()[-1]["seq"] == 4


async def test_who_comes_later_sees_what_was_said_and_drawn(room):
    alice = await room.connect(ALICE)
    await alice.send({"type": "chat", "id": "c1", "text": "hi"})
    await alice.send({"type": "draw", "id": "d1", "elements": [shape("a"), shape("b")]})
    await alice.send({"type": "draw", "id": "d2", "elements": [shape("b", 2, isDeleted=True)]})
    frames = (await room.connect(BOB)).take()
    messages, elements = assembled(frames)
    assert (frames[0]["seq"], frames[0]["mode"]) == (3, "snapshot")
    assert [(message["seq"], message["text"], message["user"]) for message in messages] == [
        (1, "hi", "Alice")
    ]
    assert elements == [shape("a")]


async def test_who_comes_back_gets_what_they_missed(room):
    alice = await room.connect(ALICE)
    for number in range(1, 4):
        await alice.send({"type": "chat", "id": f"c{number}", "text": str(number)})
        await alice.send({"type": "draw", "id": f"d{number}", "elements": [shape(f"e{number}")]})
    await alice.send({"type": "draw", "id": "d4", "elements": [shape("e1", 2, isDeleted=True, x=5)]})
    frames = (await room.connect(BOB, since=3)).take()
    messages, elements = assembled(frames)
    assert (frames[0]["seq"], frames[0]["mode"]) == (7, "delta")
    assert [message["seq"] for message in messages] == [5]
    assert elements == [shape("e2"), shape("e3"), shape("e1", 2, isDeleted=True)]
    frames = (await room.connect(BOB, since=7)).take()
    assert frames[0]["mode"] == "delta"
    assert assembled(frames) == ([], [])


@pytest.mark.parametrize("since", ["8", "0", "-1", "x", "9" * 30, "²"])
async def test_a_since_that_means_nothing_gives_a_snapshot(room, since):
    alice = await room.connect(ALICE)
    await alice.send({"type": "chat", "id": "c1", "text": "hi"})
    frames = (await room.connect(BOB, since=since)).take()
    assert frames[0]["mode"] == "snapshot"
    assert len(frames[0]["messages"]) == 1


async def test_who_was_away_for_too_long_starts_afresh(room, monkeypatch):
    monkeypatch.setattr(protocol, "DELTA_MESSAGES", 3)
    monkeypatch.setattr(board, "MAX_TOMBSTONES", 2)
    monkeypatch.setattr(board, "TOMBSTONES_PRUNED", 2)
    alice = await room.connect(ALICE)
    for number in range(5):
        await alice.send({"type": "chat", "id": f"c{number}", "text": "x"})
    assert (await room.connect(BOB, since=2)).take()[0]["mode"] == "delta"
    assert (await room.connect(BOB, since=1)).take()[0]["mode"] == "snapshot"
    for number in range(3):
        await alice.send(
            {"type": "draw", "id": f"d{number}", "elements": [shape(f"e{number}", isDeleted=True)]}
        )
    assert (await room.connect(BOB, since=7)).take()[0]["mode"] == "delta"
    assert (await room.connect(BOB, since=6)).take()[0]["mode"] == "snapshot"


async def test_sync_is_answered_by_what_is_missing(room):
    alice, bob = await room.connect(ALICE), await room.connect(BOB)
    await alice.send({"type": "chat", "id": "c1", "text": "x"})
    await alice.send({"type": "chat", "id": "c2", "text": "y"})
    bob.take()
    await bob.send({"type": "sync", "since": 1})
    messages, _ = assembled(bob.take())
    assert [message["text"] for message in messages] == ["y"]


async def test_large_boards_come_in_parts(room):
    alice = await room.connect(ALICE)
    drawn = [shape(f"e{number:02}", type="text", text="x" * 20_000) for number in range(40)]
    for start in range(0, 40, 10):
        await alice.send({"type": "draw", "id": f"d{start}", "elements": drawn[start : start + 10]})
    bob = await room.connect(BOB)
    assert max(len(text) for text in bob.texts) < 64 * 1024
    frames = bob.take()
    assert len(frames) > 10
    assert assembled(frames) == ([], drawn)


async def test_very_large_boards_are_fetched_burst_by_burst(room, monkeypatch):
    monkeypatch.setattr(protocol, "BURST_BYTES", 100_000)
    alice = await room.connect(ALICE)
    drawn = [shape(f"e{number:02}", type="text", text="x" * 20_000) for number in range(12)]
    await alice.send({"type": "draw", "id": "d1", "elements": drawn[:6]})
    await alice.send({"type": "draw", "id": "d2", "elements": drawn[6:]})
    for since in (0, 1):
        frames = await everything(bob := await room.connect(BOB, since=since))
        assert sum("next" in frame for frame in frames) == 2 - since
        assert assembled(frames) == ([], drawn[6 * since :])
        await bob.close()


async def test_a_conversation_too_long_for_one_burst_starts_with_its_end(room, monkeypatch):
    monkeypatch.setattr(protocol, "BURST_BYTES", 10_000)
    alice = await room.connect(ALICE)
    for number in range(1, 8):
        await alice.send({"type": "chat", "id": f"c{number}", "text": "x" * 1500})
    for since, mode, seqs in (
        (0, "snapshot", [5, 6, 7]),
        (2, "snapshot", [5, 6, 7]),
        (4, "delta", [5, 6, 7]),
    ):
        frames = (await room.connect(BOB, since=since)).take()
        messages, _ = assembled(frames)
        assert (frames[0]["mode"], [message["seq"] for message in messages]) == (mode, seqs)


async def test_history_pages_backwards(room):
    alice = await room.connect(ALICE)
    for number in range(1, 121):
        await alice.send({"type": "chat", "id": f"c{number}", "text": str(number)})
    bob = await room.connect(BOB)
    messages, _ = assembled(bob.take())
    assert [message["seq"] for message in messages] == list(range(21, 121))
    await bob.send({"type": "history", "before": 61})
    (page,) = bob.take()
    assert (kinds([page]), page["more"]) == (["history"], True)
    assert [message["seq"] for message in page["messages"]] == list(range(11, 61))
    await bob.send({"type": "history", "before": 11})
    (page,) = bob.take()
    assert ([message["seq"] for message in page["messages"]], page["more"]) == (list(range(1, 11)), False)


async def test_only_what_won_is_passed_on(room):
    alice, bob = await room.connect(ALICE), await room.connect(BOB)
    await alice.send({"type": "draw", "id": "d1", "elements": [shape("a", 5, 5), shape("b")]})
    alice.take(), bob.take()
    await bob.send({"type": "draw", "id": "d2", "elements": [shape("a", 5, 6), shape("b", 2), shape("a", 4)]})
    assert bob.take() == [{"type": "ack", "id": "d2", "seq": 2}]
    (seen,) = alice.take()
    assert seen == {"type": "draw", "seq": 2, "user": "Bob", "user_id": "g2", "elements": [shape("b", 2)]}
    await bob.send({"type": "draw", "id": "d3", "elements": [shape("a", 5, 6)]})
    assert bob.take() == [{"type": "ack", "id": "d3", "seq": 2}]
    assert alice.take() == []


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("no json", "bad_json"),
        ({"type": "dance"}, "unknown_type"),
        ({"type": "chat", "id": "c", "text": " "}, "text_empty"),
        ({"type": "draw", "id": "c", "elements": [shape("ok"), shape("bad", type="image")]}, "bad_element"),
        ({"type": "draw", "id": "c", "elements": [shape("ok"), shape("high", 10**9)]}, "version_too_high"),
        ({"type": "draw", "id": "c", "elements": [shape("big", text="x" * 140_000)]}, "element_too_large"),
        ({"type": "draw", "id": "c", "elements": [shape("x")] * 501}, "too_many_elements"),
    ],
)
async def test_a_refused_frame_has_no_effect_at_all(room, frame, code):
    alice, bob = await room.connect(ALICE), await room.connect(BOB)
    alice.take(), bob.take()
    await alice.send(frame)
    (error,) = alice.take()
    assert (error["type"], error["code"]) == ("error", code)
    assert bob.take() == []
    assert (await room.connect(CLEO)).take()[0]["seq"] == 0
    await alice.send({"type": "chat", "id": "c9", "text": "still here"})
    assert alice.take()[-1]["type"] == "ack"


async def test_presence_is_passed_on_and_not_stored(room):
    alice, bob = await room.connect(ALICE), await room.connect(BOB)
    alice.take(), bob.take()
    before = room.commits()
    await alice.send({"type": "presence", "cursor": {"x": 1.5, "y": 2}, "selected": ["e1"], "evil": 1})
    (seen,) = bob.take()
    assert seen.pop("color").startswith("#")
    assert seen == {
        "type": "presence", "id": "g1", "user": "Alice", "cursor": {"x": 1.5, "y": 2}, "selected": ["e1"],
    }  # fmt: skip
    await alice.send({"type": "presence", "cursor": None, "typing": True})
    assert bob.take()[0]["cursor"] is None
    assert alice.take() == []
    assert room.commits() == before
    assert (await room.connect(CLEO)).take()[0]["seq"] == 0


async def test_people_come_and_go_once_however_many_tabs(room):
    bob = await room.connect(BOB)
    alice = await room.connect(ALICE)
    tab = await room.connect(ALICE)
    assert kinds(bob.take()) == ["welcome", "join"]
    assert [user["name"] for user in tab.take()[0]["users"]] == ["Bob", "Alice"]
    await alice.close()
    assert bob.take() == []
    await tab.close()
    (left,) = bob.take()
    assert left["type"] == "leave"
    assert (left["user"]["id"], left["user"]["name"]) == ("g1", "Alice")


async def test_people_wear_different_colours_and_all_tabs_of_one_the_same(room):
    for number in range(12):
        await room.connect(person(f"g{number}", "x"))
    alice = await room.connect({**person("g3", "another name")})
    welcome = alice.take()[0]
    assert len({user["color"] for user in welcome["users"]}) == 12
    assert welcome["you"] == {**welcome["users"][3], "guest": True}


async def test_a_new_tab_under_a_chosen_name_renames_the_person(room):
    alice, bob = await room.connect(ALICE), await room.connect(BOB)
    alice.take(), bob.take()
    tab = await room.connect({**ALICE, "name": "Aliza", "named": True})
    welcome = tab.take()[0]
    assert welcome["you"]["name"] == "Aliza"
    assert [user["name"] for user in welcome["users"]] == ["Aliza", "Bob"]
    (renamed,) = bob.take()
    assert (renamed["type"], renamed["user"]["name"]) == ("rename", "Aliza")
    assert alice.take() == [renamed]
    await room.connect({**ALICE, "name": "Guest 1234", "named": False})
    assert bob.take() == []


async def test_a_guest_changes_their_name_everywhere(room):
    alice, tab, bob = await room.connect(ALICE), await room.connect(ALICE), await room.connect(BOB)
    for client in (alice, tab, bob):
        client.take()
    await alice.send({"type": "rename", "name": " Al\u202eiza "})
    (renamed,) = bob.take()
    assert renamed["type"] == "rename"
    assert (renamed["user"]["id"], renamed["user"]["name"]) == ("g1", "Aliza")
    assert alice.take() == tab.take() == [renamed]
    await tab.send({"type": "chat", "id": "c", "text": "x"})
    assert bob.take()[0]["user"] == "Aliza"
    assert [user["name"] for user in (await room.connect(CLEO)).take()[0]["users"]] == [
        "Aliza",
        "Bob",
        "Cleo",
    ]


async def test_an_account_keeps_its_name(room):
    cleo = await room.connect(CLEO)
    cleo.take()
    await cleo.send({"type": "rename", "name": "Admin"})
    assert cleo.take()[0]["code"] == "not_allowed"


async def test_a_heartbeat_every_30_seconds_while_somebody_is_here(room):
    alice, tab, bob = await room.connect(ALICE), await room.connect(ALICE), await room.connect(BOB)
    await bob.send({"type": "chat", "id": "c", "text": "x"})
    for client in (alice, tab, bob):
        client.take()
    for _ in range(3):
        await room.advance_to_alarm(30_000)
        for client in (alice, tab, bob):
            assert client.take() == [{"type": "heartbeat", "activeUsers": 2, "seq": 1}]
    for client in (alice, tab, bob):
        await client.close()
    assert room.next_alarm() is None


async def test_a_room_that_slept_knows_everything(room):
    alice, bob = await room.connect(ALICE), await room.connect(BOB)
    await alice.send({"type": "chat", "id": "c", "text": "x"})
    await alice.send({"type": "rename", "name": "Aliza"})
    alice.take(), bob.take()
    await room.evict()
    await alice.send({"type": "chat", "id": "d", "text": "y"})
    (heard,) = bob.take()
    assert (heard["seq"], heard["user"]) == (2, "Aliza")
    await room.evict()
    await room.advance_to_alarm(30_000)
    assert bob.take() == [{"type": "heartbeat", "activeUsers": 2, "seq": 2}]


async def test_after_a_takeover_everybody_hears_where_things_stand(room):
    alice, bob = await room.connect(ALICE), await room.connect(BOB)
    await alice.send({"type": "chat", "id": "c", "text": "x"})
    alice.take(), bob.take()
    await room.crash()
    await bob.wait()
    beat = {"type": "heartbeat", "activeUsers": 2, "seq": 1}
    assert (alice.take(), bob.take()) == ([beat], [beat])
    assert room.next_alarm() is not None


async def test_a_summary_for_operators(room):
    alice = await room.connect(ALICE)
    await alice.send({"type": "chat", "id": "c", "text": "x"})
    await alice.send({"type": "draw", "id": "d", "elements": [shape("a")]})
    assert await room.call("summary") == {"seq": 2, "messages": 1, "elements": 1, "people": 1}


async def test_pings_do_not_reach_the_room(room):
    alice = await room.connect(ALICE)
    await room.evict()
    await alice.send("ping")
    assert alice.texts[-1] == "pong"
    assert not room.is_active()


async def test_every_frame_is_one_json_object_with_its_type_first(room):
    alice, bob = await room.connect(ALICE), await room.connect(BOB)
    await alice.send({"type": "chat", "id": "c", "text": "x"})
    await alice.send({"type": "draw", "id": "d", "elements": [shape("a")]})
    await alice.send({"type": "presence", "cursor": {"x": 1, "y": 2}})
    await bob.close()
    for text in [*alice.texts, *bob.texts]:
        assert text.startswith('{"type":')
        assert isinstance(json.loads(text), dict)


async def test_a_deleted_room_is_empty_and_sends_everybody_away(room):
    alice = await room.connect(ALICE)
    await alice.send({"type": "chat", "id": "c", "text": "x"})
    await alice.send({"type": "draw", "id": "d", "elements": [shape("a")]})
    await room.call("close_room")
    assert alice.closed == 4404
    await alice.close()
    assert await room.call("summary") == {"seq": 0, "messages": 0, "elements": 0, "people": 0}


async def test_nobody_can_enter_a_deleted_room_or_post_into_it(room):
    alice = await room.connect(ALICE)
    await alice.send({"type": "chat", "id": "c1", "text": "x"})
    closing = asyncio.create_task(room.call("close_room"))
    await asyncio.sleep(0)  # the call is on its way
    alice.post({"type": "chat", "id": "c2", "text": "still here"})
    await closing
    bob = await room.connect(BOB)
    await room.evict()
    cleo = await room.connect(CLEO)
    assert [bob.closed, cleo.closed] == [4404, 4404]
    assert await room.call("summary") == {"seq": 0, "messages": 0, "elements": 0, "people": 0}


async def test_S4_a_deleted_room_loses_its_file(room):
    alice, bob = await room.connect(ALICE), await room.connect(BOB)
    await alice.send({"type": "chat", "id": "c", "text": "x"})
    await bob.send({"type": "draw", "id": "d", "elements": [shape("a")]})
    await room.call("close_room")
    for gone in (alice, bob):
        await gone.close()
    assert (await room.connect(CLEO)).closed == 4404
    await room.advance_to_alarm(within=60_000)
    await room.evict()
    assert not room.has_file()
    assert room.next_alarm() is None
