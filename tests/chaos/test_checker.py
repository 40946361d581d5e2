"""The checker is checked: a clean history passes, and each kind of broken promise, planted, is found and named."""

import pytest

from chaos.checker import Finding, check
from chaos.history import Record
from tests.chaos.histories import (
    ROOM,
    add,
    admitted,
    clock_moved,
    counter,
    draw,
    failed_add,
    frames,
    held,
    put,
    read,
    room,
    rung,
    say,
    unknown_add,
    wake,
)


def kinds(*records: Record) -> list[str]:
    """The kinds of what is found."""
    return [finding.kind for finding in check(records)]


# --- Counters


def test_a_clean_counter_passes() -> None:
    history = [add(1, 1, 5, 5), read(2, 1, 5), add(2, 2, 6), failed_add(3), put(4, 3, 70), read(5, 3, 70)]
    assert kinds(*history, counter(3, 70)) == []


def test_overlapping_changes_may_have_any_order() -> None:
    assert kinds(add(1, 2, 2, until=5), add(2, 1, 1, until=4), read(1.5, 0, 0), counter(2, 2)) == []


@pytest.mark.parametrize("stored", [1, 2])
def test_a_change_without_an_answer_may_have_happened_or_not(stored: int) -> None:
    assert kinds(add(1, 1, 1), unknown_add(2), counter(stored, stored)) == []


def test_a_lost_write_is_found() -> None:
    found = check([add(1, 1, 1), add(2, 2, 2), counter(1, 1)])
    assert {one.kind for one in found} == {"lost"}
    assert sum(one.count for one in found if "acknowledged" in one.detail) == 1


def test_a_lost_amount_is_found_though_the_versions_are_right() -> None:
    assert kinds(add(1, 1, 5, 5), add(2, 2, 8, 3), counter(2, 7)) == ["lost"]


def test_a_write_that_another_has_overwritten_is_found() -> None:
    """Two owners that both began at version 0: both told their clients that they made version 1."""
    assert "lost" in kinds(add(1, 1, 1), add(1.1, 1, 1, client="b"), counter(2, 2))


def test_a_doubled_write_is_found() -> None:
    (found,) = check([add(1, 1, 1), add(2, 3, 3), counter(3, 3)])
    assert found.kind == "doubled"
    assert "version 2 between 1.000 and 2.500" in found.detail


def test_a_refused_write_that_happened_is_found() -> None:
    assert kinds(add(1, 1, 1), failed_add(2), counter(2, 2)) == ["doubled"]


def test_an_amount_that_counted_twice_is_found() -> None:
    assert "doubled" in kinds(add(1, 1, 1), add(2, 2, 3), counter(2, 3))


def test_a_stale_read_is_found() -> None:
    assert kinds(add(1, 1, 1), add(2, 2, 2), read(3, 1, 1), counter(2, 2)) == ["stale"]


def test_a_read_that_began_before_the_acknowledgement_is_not_stale() -> None:
    assert kinds(add(1, 1, 1, until=3), read(2, 0, 0), counter(1, 1)) == []


def test_one_version_with_two_values_is_found() -> None:
    assert kinds(add(1, 1, 1), read(2, 1, 7), counter(1, 1)) == ["stale"]


def test_a_change_that_is_older_than_one_acknowledged_before_it_is_found() -> None:
    assert kinds(add(1, 2, 2), add(2, 1, 1), counter(2, 2)) == ["reordered"]


def test_a_set_that_is_answered_with_another_value_is_found() -> None:
    assert kinds(put(1, 1, 5, answered=6), counter(1, 6)) == ["stale"]


# --- Rooms


def test_a_clean_room_passes() -> None:
    history = [say(1, 1, 1), say(2, 2, 3), say(1, 1, 2, client="b"), draw(3, 1), draw(4, 2)]
    final = room((1, "a1"), (2, "b1"), (3, "a2"), elements=(("e", 2, 5),))
    assert kinds(*history, *frames(1, 2, 3), final, held("a1", "b1", "a2")) == []


def test_a_lost_message_is_found() -> None:
    assert kinds(say(1, 1, 1), say(2, 2, 2), room((1, "a1"))) == ["lost"]


def test_a_doubled_message_is_found() -> None:
    assert kinds(say(1, 1, 1), room((1, "a1"), (2, "a1"))) == ["doubled", "reordered"]


def test_two_messages_with_one_number_are_found() -> None:
    assert kinds(say(1, 1, 1), say(2, 2, 1, client="b"), room((1, "a1"), (1, "b2"))) == ["doubled"]


def test_a_message_that_was_refused_or_never_sent_is_found() -> None:
    assert kinds(say(1, 1, outcome="fail"), room((1, "a1"), (2, "c7"))) == ["invented", "invented"]


def test_messages_of_one_sender_in_another_order_are_found() -> None:
    assert kinds(say(1, 1, 2), say(2, 2, 1), room((1, "a2"), (2, "a1"))) == ["reordered"]


def test_messages_sent_again_in_order_keep_it() -> None:
    again = [say(1, 1, 2, sent=(1, 9)), say(2, 2, 1, sent=(2, 9.1))]
    assert kinds(*again, room((1, "a2"), (2, "a1"))) == ["reordered"]


def test_a_message_that_was_sent_again_later_may_come_later() -> None:
    again = [say(1, 1, 2, sent=(1, 9)), say(2, 2, 1, sent=(2,))]
    assert kinds(*again, room((1, "a2"), (2, "a1"))) == []


def test_a_message_acknowledged_under_another_number_is_found() -> None:
    assert kinds(say(1, 1, 2), room((1, "a1"))) == ["reordered"]


def test_a_frame_that_came_twice_is_found() -> None:
    found = check([*frames(1, 2, 2), room()])
    assert [(one.kind, one.object) for one in found] == [("doubled", ROOM)]


def test_a_reordered_frame_is_found() -> None:
    assert kinds(*frames(1, 3, 2), room()) == ["reordered"]


def test_a_frame_that_a_welcome_has_told_already_is_found() -> None:
    assert kinds(*frames(5, kind="welcome"), *frames(4), room()) == ["reordered"]


def test_numbers_may_begin_anew_on_another_connection() -> None:
    assert kinds(*frames(1, 2), *frames(1, 2, connection=2), room()) == []


def test_a_message_that_a_client_was_never_told_is_found() -> None:
    final = room((1, "a1"), (2, "a2"))
    assert kinds(say(1, 1, 1), say(2, 2, 2), final, held("a1")) == ["missed"]
    assert kinds(say(1, 1, 1), say(2, 2, 2), final, held("a2", floor=1)) == []


def test_a_lost_drawing_is_found() -> None:
    assert kinds(draw(1, 1), draw(2, 2), room(elements=(("e", 1, 5),))) == ["lost"]


def test_the_lower_nonce_wins() -> None:
    both = [draw(1, 1, nonce=9), draw(2, 1, nonce=3)]
    assert kinds(*both, room(elements=(("e", 1, 3),))) == []
    assert kinds(*both, room(elements=(("e", 1, 9),))) == ["lost"]


def test_a_drawing_that_nobody_made_is_found() -> None:
    assert kinds(draw(1, 1), draw(2, 2, outcome="fail"), room(elements=(("e", 2, 5),))) == ["invented"]


# --- Limiters


def test_a_limit_that_is_kept_passes() -> None:
    assert kinds(*admitted(0, 0.5, 1.02, 1.52)) == []


def test_one_too_many_within_a_window_is_found() -> None:
    found = check(admitted(0, 0.5, 0.9))
    assert [(one.kind, one.count) for one in found] == [("over limit", 1)]


def test_an_answer_after_the_window_proves_nothing() -> None:
    assert kinds(*admitted(0, 0.5, 0.9, took=0.2)) == []


def test_a_window_in_which_the_clock_was_moved_is_left_out() -> None:
    assert kinds(*admitted(0, 0.5, 0.9), clock_moved(0.6, 0.7)) == []


# --- Alarms


def test_alarms_that_rang_pass() -> None:
    assert kinds(wake("x"), wake("y", "unknown"), rung(x=(10, 12))) == []


def test_an_alarm_that_never_rang_is_found() -> None:
    assert kinds(wake("x"), rung(waiting={"x": 10})) == ["lost"]
    assert kinds(wake("x"), rung()) == ["lost"]


def test_an_alarm_that_is_not_due_yet_is_not_lost() -> None:
    assert kinds(wake("x"), rung(now=5, waiting={"x": 10})) == []


def test_an_early_alarm_is_found() -> None:
    assert kinds(wake("x"), rung(x=(10, 9))) == ["early"]


def test_findings_come_in_order_of_time_and_name_their_object() -> None:
    found = check([add(1, 1, 1), add(50, 2, 2), counter(1, 1), say(2, 1, 1), room()])
    assert [one.at for one in found] == sorted(one.at for one in found)
    assert {one.object for one in found} == {"counter", ROOM}
    assert all(isinstance(one, Finding) and one.detail for one in found)
