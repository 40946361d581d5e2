"""Which Excalidraw elements are accepted, and what is left of them."""

import contextlib
import json

import pytest
from msgspec import Raw

from rooms.elements import MAX_LINK, clean_link, parse_element
from rooms.protocol import MAX_ELEMENT_BYTES, FrameError

ARROW = {
    "id": "Zq1-aB_9", "type": "arrow", "x": 10.5, "y": -3, "width": 100, "height": 20, "angle": 0,
    "strokeColor": "#1e1e1e", "backgroundColor": "transparent", "fillStyle": "solid", "strokeWidth": 2,
    "strokeStyle": "solid", "roughness": 1, "opacity": 100, "groupIds": ["g1"], "frameId": None, "index": "a1V",
    "roundness": {"type": 2}, "seed": 1836, "version": 120, "versionNonce": 1836476, "isDeleted": False,
    "boundElements": [{"id": "t1", "type": "text"}], "updated": 1732000000000, "link": None, "locked": False,
    "points": [[0, 0], [100, 20.25]], "lastCommittedPoint": None,
    "startBinding": {"elementId": "r1", "focus": 0.1, "gap": 5, "fixedPoint": None},
    "endBinding": None, "startArrowhead": None, "endArrowhead": "arrow", "elbowed": False,
}  # fmt: skip


def element(**fields):
    return {"id": "e1", "type": "rectangle", "version": 1, "versionNonce": 7, **fields}


def accept(value):
    return parse_element(Raw(json.dumps(value).encode()), "frame")


def refusal(value):
    with pytest.raises(FrameError) as caught:
        accept(value)
    assert caught.value.frame_id == "frame"
    return caught.value


def test_a_whole_element_passes_unchanged():
    parsed = accept(ARROW)
    assert json.loads(parsed.json) == ARROW
    assert (parsed.id, parsed.version, parsed.nonce, parsed.deleted) == ("Zq1-aB_9", 120, 1836476, False)


@pytest.mark.parametrize(
    "extra",
    [
        {"type": "rectangle"}, {"type": "diamond"}, {"type": "ellipse"}, {"type": "embeddable"},
        {"type": "frame", "name": None}, {"type": "magicframe", "name": "x"},
        {"type": "text", "text": "hi", "fontFamily": 5, "containerId": None, "lineHeight": 1.25},
        {"type": "freedraw", "points": [[0, 0]], "pressures": [], "simulatePressure": True},
        {"type": "line", "points": [[0, 0], [1, 1]], "polygon": True},
    ],
)  # fmt: skip
def test_every_kind_passes(extra):
    assert json.loads(accept(element(**extra)).json) == element(**extra)


def test_unknown_keys_and_custom_data_are_dropped():
    parsed = accept(element(customData={"a": 1}, onclick="x", __proto__={"a": 1}, x=1))
    assert json.loads(parsed.json) == element(x=1)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "image", "fileId": "f"}, {"type": "iframe"}, {"type": "selection"}, {"type": None}, {"id": ""},
        {"id": "a" * 65}, {"id": "a/b"}, {"id": 5}, {"version": 0}, {"version": -1}, {"version": 1.5},
        {"version": "1"}, {"versionNonce": 2**32}, {"versionNonce": 0.5}, {"x": 1e8}, {"x": "1"}, {"x": None},
        {"strokeColor": "url(javascript:1)"}, {"strokeColor": "<script>"}, {"isDeleted": "no"}, {"link": 5},
        {"groupIds": ["g"] * 101}, {"boundElements": [{"id": "x"}]}, {"roundness": {"type": "x"}},
        {"type": "freedraw"}, {"type": "freedraw", "points": []}, {"type": "line", "points": [[0, 0]]},
        {"type": "arrow"}, {"type": "freedraw", "points": [[1]]}, {"type": "freedraw", "points": [[1, 2, 3]]},
        {"type": "freedraw", "points": [[1, None]]}, {"type": "freedraw", "points": [[1, 1e300]]},
    ],
)  # fmt: skip
def test_what_a_client_could_choke_on_is_refused(change):
    assert refusal(element(**change)).code == "bad_element"


@pytest.mark.parametrize("raw", [b"[]", b"5", b"null", b"{}", b'{"id":"e1","type":"text","version":1}'])
def test_what_is_no_element_is_refused(raw):
    with pytest.raises(FrameError, match="Not an element"):
        parse_element(Raw(raw))


def test_deep_nesting_is_refused_wherever_it_hides():
    deep = (
        b'{"id":"e1","type":"rectangle","version":1,"versionNonce":7,"zzz":'
        + b"[" * 60_000
        + b"]" * 60_000
        + b"}"
    )
    with contextlib.suppress(FrameError):
        assert "zzz" not in parse_element(Raw(deep)).json


def test_an_error_names_the_element():
    assert json.loads(refusal(element(x="far")).render())["element"] == "e1"


def test_size_is_bounded():
    assert accept(element(type="text", text="x" * 100_000))
    assert refusal(element(type="text", text="x" * MAX_ELEMENT_BYTES)).code == "element_too_large"


def test_a_long_freehand_stroke_fits():
    points = [[index * 1.0078125, index * -0.98828125] for index in range(4000)]
    assert accept(element(type="freedraw", points=points, simulatePressure=True))


def test_a_deleted_element_is_stored_as_a_small_tombstone():
    parsed = accept({**ARROW, "isDeleted": True})
    assert json.loads(parsed.json) == {**ARROW, "isDeleted": True}
    assert json.loads(parsed.stored) == {
        "id": ARROW["id"], "type": "arrow", "version": 120, "versionNonce": 1836476, "isDeleted": True,
    }  # fmt: skip


@pytest.mark.parametrize("link", ["https://a.example/x?y#z", "http://a.example", "mailto:a@b.example"])
def test_harmless_links_stay(link):
    assert json.loads(accept(element(link=link)).json)["link"] == link


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,x",
        "vbscript:x", "//evil.example", "/path", "", "file:///etc/passwd", "http:evil", "https://", "http:\\\\evil",
        "https://[::1", "https://a.example/" + "x" * MAX_LINK,
    ],
)  # fmt: skip
def test_other_links_are_emptied(link):
    assert clean_link(link) is None
    assert json.loads(accept(element(link=link)).json)["link"] is None
