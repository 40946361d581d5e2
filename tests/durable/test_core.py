"""Decisions without I/O: leases, placement, socket rules."""

import pytest

from durable.core.leases import LeaseWindow
from durable.core.placement import place
from durable.core.sockets import check_close
from durable.errors import (
    DurableError,
    FencedError,
    ObjectError,
    OverloadedError,
    RemoteError,
    SocketError,
    SqlError,
    error_from_wire,
    error_to_wire,
)


def test_O4_the_window_counts_from_when_the_renewal_was_sent() -> None:
    window = LeaseWindow(ttl=10, margin=1)
    assert not window.open_at(0)
    window.renewed(100)
    assert window.open_at(108.9)
    assert not window.open_at(109)


def test_O4_an_answer_that_overtook_a_later_one_does_not_shorten_the_window() -> None:
    window = LeaseWindow(ttl=10, margin=1)
    window.renewed(100)
    window.renewed(97)
    assert window.open_at(108.9)


def test_O4_a_closed_window_stays_closed_until_it_is_renewed() -> None:
    window = LeaseWindow(ttl=10, margin=1)
    window.renewed(100)
    window.close()
    assert not window.open_at(100)


def test_O2_every_process_places_an_object_alike_and_a_change_moves_only_what_it_must() -> None:
    workers = [f"w{n}" for n in range(5)]
    objects = [f"{n:064x}" for n in range(500)]
    before = {name: place(name, workers) for name in objects}
    assert before == {name: place(name, reversed(workers)) for name in objects}
    after = {name: place(name, workers[:-1]) for name in objects}
    assert all(after[name] == before[name] for name in objects if before[name] != "w4")
    assert all(50 < list(before.values()).count(worker) < 150 for worker in workers)
    assert place("x", []) is None


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1013, 3000, 4999])
def test_W6_codes_that_an_application_may_close_with(code: int) -> None:
    check_close(code, "é" * 61)


@pytest.mark.parametrize(
    ("code", "reason"), [(1005, ""), (1006, ""), (999, ""), (5000, ""), (1000, "é" * 62)]
)
def test_W6_codes_and_reasons_that_cannot_be_sent_are_refused(code: int, reason: str) -> None:
    with pytest.raises(SocketError):
        check_close(code, reason)


class NoLuckError(ObjectError):
    """An error of some class."""


@pytest.mark.parametrize(
    ("error", "kind", "delivered"),
    [
        (OverloadedError("full"), OverloadedError, "no"),
        (FencedError("taken"), FencedError, "no"),
        (SqlError("bad", 5), SqlError, "unknown"),
        (NoLuckError("no", a=1), RemoteError, "yes"),
        (ValueError("no"), RemoteError, "yes"),
        (DurableError("odd", delivered="no"), DurableError, "no"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_C4_errors_cross_the_link_as_themselves(error: Exception, kind: type, delivered: str) -> None:
    arrived = error_from_wire(error_to_wire(error))
    assert (type(arrived), arrived.delivered, arrived.message) == (kind, delivered, str(error))
    if isinstance(error, SqlError):
        assert arrived.sqlite_code == 5  # type: ignore[attr-defined]
    if isinstance(error, NoLuckError):
        assert (arrived.error_type, arrived.fields, arrived.declared) == ("NoLuckError", {"a": 1}, True)  # type: ignore[attr-defined]
    again = error_from_wire(error_to_wire(arrived))  # through an object that let it pass
    assert error_to_wire(again) == error_to_wire(arrived)
