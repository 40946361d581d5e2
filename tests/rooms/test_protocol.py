"""The frames of a room: parsing, limits, strikes and the splitting of large answers."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooms import protocol
from rooms.protocol import (
    Chat,
    Draw,
    FrameError,
    History,
    More,
    Presence,
    Rename,
    Strikes,
    Sync,
    parse,
    parts,
    render,
)


def code_of(message):
    with pytest.raises(FrameError) as caught:
        parse(message)
    return caught.value.code


def frame(**fields):
    return json.dumps(fields)


def test_every_kind_of_frame_is_understood():
    assert parse(frame(type="chat", id="a", text="Hello!")) == Chat("a", "Hello!")
    assert parse(frame(type="sync", since=41)) == Sync(41)
    assert parse(frame(type="sync")) == Sync(0)
    assert parse(frame(type="history", before=9)) == History(9)
    assert parse(frame(type="more", next="delta/3/e1")) == More("delta/3/e1")
    assert parse(frame(type="rename", name="Bob")) == Rename("Bob")
    drawn = parse(frame(type="draw", id="d", elements=[{"id": "x"}]))
    assert isinstance(drawn, Draw)
    assert [json.loads(bytes(raw)) for raw in drawn.elements] == [{"id": "x"}]
    here = parse(frame(type="presence", cursor={"x": 1, "y": 2.5}, selected=["e1"], typing=True))
    assert isinstance(here, Presence)
    assert here.cursor == protocol.Cursor(1, 2.5)
    assert parse(frame(type="presence", cursor=None)).cursor is None


def test_unknown_keys_are_ignored():
    assert parse(frame(type="chat", id="a", text="x", author="root", seq=9)) == Chat("a", "x")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", "bad_json"),
        ("{", "bad_json"),
        ("nonsense", "bad_json"),
        ('{"type":"chat","id":"a","text":NaN}', "bad_json"),
        ('{"type":"chat","id":"a","text":"\ud800"}', "bad_json"),
        ('{"type":"chat","id":"a","text":"\\ud800"}', "bad_json"),
        ("[" * 100_000, "bad_frame"),
        ("[]", "bad_frame"),
        ("1", "bad_frame"),
        ("{}", "bad_frame"),
        ('{"type":7}', "bad_frame"),
        (b"{}", "bad_frame"),
        ('{"type":"chat","text":"x"}', "bad_frame"),
        ('{"type":"chat","id":7,"text":"x"}', "bad_frame"),
        ('{"type":"chat","id":"","text":"x"}', "bad_frame"),
        ('{"type":"chat","id":"a b","text":"x"}', "bad_frame"),
        ('{"type":"chat","id":"a\\n","text":"x"}', "bad_frame"),
        ('{"type":"chat","id":"' + "a" * 65 + '","text":"x"}', "bad_frame"),
        ('{"type":"chat","id":"a","text":5}', "bad_frame"),
        ('{"type":"draw","id":"a","elements":{}}', "bad_frame"),
        ('{"type":"sync","since":-1}', "bad_frame"),
        ('{"type":"sync","since":1.5}', "bad_frame"),
        ('{"type":"sync","since":99999999999999999999}', "bad_frame"),
        ('{"type":"more","next":"x"}', "bad_frame"),
        ('{"type":"more","next":"snapshot/-1/a"}', "bad_frame"),
        ('{"type":"presence","cursor":{"x":1e9,"y":0}}', "bad_frame"),
        ('{"type":"presence","cursor":{"x":"1","y":0}}', "bad_frame"),
        ('{"type":"presence","selected":' + json.dumps(["e"] * 51) + "}", "bad_frame"),
        ('{"type":"presence","button":"sideways"}', "bad_frame"),
        ('{"type":"welcome"}', "unknown_type"),
        ('{"type":"__proto__"}', "unknown_type"),
        ('{"type":"chat","id":"a","text":""}', "text_empty"),
        ('{"type":"chat","id":"a","text":" \\n\\t"}', "text_empty"),
        ('{"type":"chat","id":"a","text":"' + "x" * 4001 + '"}', "text_too_long"),
        ('{"type":"draw","id":"a","elements":' + json.dumps([{}] * 501) + "}", "too_many_elements"),
        ('{"type":"chat","id":"a","text":"' + "x" * protocol.MAX_FRAME_BYTES + '"}', "bad_frame"),
    ],
)
def test_bad_frames_are_refused_by_code(message, code):
    assert code_of(message) == code


def test_text_is_counted_in_characters():
    assert parse(frame(type="chat", id="a", text="😀" * 4000))
    assert code_of(frame(type="chat", id="a", text="😀" * 4001)) == "text_too_long"


def test_an_error_names_the_frame_it_answers():
    with pytest.raises(FrameError) as caught:
        parse(frame(type="chat", id="mine", text=""))
    assert json.loads(caught.value.render()) == {
        "type": "error",
        "code": "text_empty",
        "message": "A message needs some text.",
        "id": "mine",
    }


@given(st.text() | st.binary())
def test_anything_is_a_frame_or_refused(message):
    with contextlib.suppress(FrameError):
        parse(message)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(
    st.sampled_from(["chat", "draw", "presence", "sync", "history", "rename", "other"]),
    st.dictionaries(
        st.sampled_from(["id", "text", "elements", "cursor", "selected", "since", "before", "name"]), _json
    ),
)
def test_fields_of_any_shape_are_taken_or_refused(kind, fields):
    with contextlib.suppress(FrameError):
        parse(json.dumps({"type": kind, **fields}))


def test_the_third_malformed_frame_in_a_row_is_one_too_many():
    strikes = Strikes()
    bad, long = FrameError("bad_json", ""), FrameError("text_too_long", "")
    assert [strikes.record(error) for error in (bad, bad, None, bad, bad, long, bad, bad)] == [False] * 8
    assert strikes.record(bad)


def test_type_comes_first():
    assert render("ack", id="a", seq=3) == '{"type":"ack","id":"a","seq":3}'


@given(st.lists(st.integers(0, 40_000)), st.lists(st.integers(0, 40_000)))
def test_parts_hold_everything_once_in_order_and_stay_small(message_sizes, element_sizes):
    messages = [json.dumps("m" * size) for size in message_sizes]
    elements = [json.dumps("e" * size) for size in element_sizes]
    chunks = list(parts(messages, elements))
    assert chunks
    assert [json.dumps(item) for chunk, _ in chunks for item in json.loads(bytes(chunk))] == messages
    assert [json.dumps(item) for _, chunk in chunks for item in json.loads(bytes(chunk))] == elements
    assert all(len(bytes(a)) + len(bytes(b)) <= protocol.PART_BYTES + 5 for a, b in chunks)
