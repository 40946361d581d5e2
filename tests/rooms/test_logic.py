"""The decisions of a room: merging, names, colours, people."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooms.elements import ParsedElement
from rooms.logic import (
    MAX_BOARD_BYTES,
    MAX_NAME,
    MAX_VERSION_STEP,
    PALETTE,
    Pace,
    StoredElement,
    Totals,
    beats,
    clean_name,
    colour_of,
    distinct_people,
    fallback_name,
    merge,
)
from rooms.protocol import MAX_LIVE_ELEMENTS, FrameError


def drawn(element_id="e", version=1, nonce=5, deleted=False, stored="{}"):
    return ParsedElement(element_id, version, nonce, deleted, "{}", stored)


def known(version=1, nonce=5, deleted=False, size=2):
    return StoredElement(version, nonce, deleted, size)


def test_the_higher_version_wins_then_the_lower_nonce():
    assert beats(2, 9, 1, 1)
    assert not beats(1, 1, 2, 9)
    assert beats(1, 4, 1, 5)
    assert not beats(1, 5, 1, 5)


edits = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.integers(0, 3), st.booleans()), min_size=1
)


@given(edits, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(edits, shuffler: random.Random):
    def play(sequence):
        stored, totals = {}, Totals()
        for element_id, version, nonce, deleted in sequence:
            # One version and nonce is one content, as Excalidraw's random nonces make sure.
            deleted = deleted and nonce == 0
            outcome = merge([drawn(element_id, version, nonce, nonce == 0)], stored, totals, "f")
            totals = outcome.totals
            for winner in outcome.winners:
                stored[winner.id] = known(winner.version, winner.nonce, winner.deleted)
        return stored, totals

    shuffled = list(edits)
    shuffler.shuffle(shuffled)
    assert play(edits) == play(shuffled)
    stored, totals = play(edits)
    assert totals.live == sum(not element.deleted for element in stored.values())
    assert totals.tombstones == sum(element.deleted for element in stored.values())
    assert totals.size == 2 * len(stored)


def test_of_one_element_twice_in_a_frame_the_better_one_counts():
    outcome = merge([drawn(version=3), drawn(version=4), drawn(version=2)], {}, Totals(), "f")
    assert [winner.version for winner in outcome.winners] == [4]
    assert outcome.totals == Totals(live=1, size=2)


def test_nobody_can_jump_to_a_version_that_nobody_can_exceed():
    assert merge([drawn(version=MAX_VERSION_STEP)], {}, Totals(), "f").winners
    with pytest.raises(FrameError) as caught:
        merge([drawn(version=MAX_VERSION_STEP + 1)], {}, Totals(), "f")
    assert (caught.value.code, caught.value.element_id) == ("version_too_high", "e")
    assert merge(
        [drawn(version=2 * MAX_VERSION_STEP)], {"e": known(MAX_VERSION_STEP)}, Totals(1, 0, 2), "f"
    ).winners
    with pytest.raises(FrameError):
        merge([drawn(version=10**30)], {"e": known(MAX_VERSION_STEP)}, Totals(1, 0, 2), "f")


def test_a_full_board_takes_changes_and_deletions_but_nothing_new():
    full = Totals(MAX_LIVE_ELEMENTS, 0, 10)
    with pytest.raises(FrameError, match="at most 5000") as caught:
        merge([drawn("new")], {}, full, "f")
    assert caught.value.code == "board_full"
    assert merge([drawn("e", 2)], {"e": known()}, full, "f").winners
    assert merge([drawn("e", 2, deleted=True)], {"e": known()}, full, "f").totals == Totals(4999, 1, 10)
    assert merge([drawn("e", 2, deleted=True), drawn("new")], {"e": known()}, full, "f").winners


def test_the_size_of_a_board_is_bounded():
    with pytest.raises(FrameError) as caught:
        merge([drawn(stored="x" * 100)], {}, Totals(1, 0, MAX_BOARD_BYTES - 50), "f")
    assert caught.value.code == "board_full"


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("Alice", "Alice"), ("  Al \t\n ice ", "Al ice"), ("Ａｌｉｃｅ", "Alice"), ("A\u202elice", "Alice"),
        ("A\u200bl\u2060i\ufeffce", "Alice"), ("A\x00\x1b[31m", "A[31m"), ("x" * 100, "x" * 32), ("é", "é"),
        ("e\u0301", "é"), ("e\u200d\u0301", "é"), ("😀", "😀"), ("李雷", "李雷"), ("\ud800Bob", "Bob"),
    ],
)  # fmt: skip
def test_names_are_cleaned(name, clean):
    assert clean_name(name, "g1") == clean


@pytest.mark.parametrize("name", ["", "   ", "\u200b\u202e", "\u3164", "\u2800", "\u0301", "\x00"])
def test_a_name_of_nothing_becomes_a_numbered_guest(name):
    assert clean_name(name, "g1") == fallback_name("g1")
    assert fallback_name("g1").startswith("Guest ")
    assert len(fallback_name("g1")) == len("Guest 1234")


@given(st.text(max_size=200))
def test_a_clean_name_is_short_visible_and_stays_as_it_is(name):
    clean = clean_name(name, "g1")
    assert 0 < len(clean) <= MAX_NAME
    assert all(unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for char in clean)
    assert clean_name(clean, "g1") == clean


def test_colours_belong_to_people():
    assert colour_of("g1") == colour_of("g1")
    assert {colour_of(f"g{number}") for number in range(500)} == set(PALETTE)
    assert colour_of("g1", PALETTE) == colour_of("g1")
    free = PALETTE[3]
    assert colour_of("g1", [colour for colour in PALETTE if colour != free]) == free


def test_several_tabs_are_one_person():
    alice = {"user_id": "g1", "name": "Alice", "color": "#fff", "guest": True}
    bob = {"user_id": "u2", "name": "Bob", "color": "#000", "guest": False}
    assert distinct_people([alice, bob, alice, None, "odd"]) == [
        {"id": "g1", "name": "Alice", "color": "#fff"},
        {"id": "u2", "name": "Bob", "color": "#000"},
    ]


def test_a_pace_allows_a_burst_and_then_so_many_a_second():
    pace = Pace(burst=3, per_second=2)
    assert [pace.allows(10.0) for _ in range(4)] == [True, True, True, False]
    assert [pace.allows(10.5) for _ in range(2)] == [True, False]
    assert [pace.allows(100.0) for _ in range(4)] == [True, True, True, False]
