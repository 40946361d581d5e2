"""Names and ids."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable import DurableObject
from durable.errors import InvalidNameError
from durable.identity import id_from_name, id_from_string, new_unique_id
from durable.testing import LocalObjects
from tests.durable.lab import HOOKS, Lab, RelaxedLab, do, lab


def test_I1_a_name_gives_the_same_id_in_every_process() -> None:
    here = str(id_from_name("Room", "Grüße 🦉"))
    code = 'from durable.identity import id_from_name; print(id_from_name("Room", "Grüße 🦉"))'
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert here == there
    assert len(here) == 64
    assert set(here) <= set("0123456789abcdef")


def test_I1_ids_of_old_stay_the_same() -> None:
    pinned = "03f4dd5dd8396c8c39540f89e2fcd63f0e14c8879a9a15de8ca8e21aa79720c7"
    assert str(id_from_name("Room", "design-review")) == pinned


def test_I1_another_class_gives_another_id() -> None:
    assert str(id_from_name("Room", "x")) != str(id_from_name("Counter", "x"))


@pytest.mark.parametrize(("one", "other"), [("a", "A"), ("a", "a "), ("é", "e\u0301"), ("a", "a/")])
def test_I2_names_that_look_alike_are_different_objects(one: str, other: str) -> None:
    assert id_from_name("Room", one) != id_from_name("Room", other)


@pytest.mark.parametrize("name", ["🦉", "a/b", "..", "line\nbreak", "x" * 1024, "é" * 512])
def test_I2_any_text_is_a_name(name: str) -> None:
    assert id_from_name("Room", name).name == name


@pytest.mark.parametrize("name", ["", "x" * 1025, "é" * 513, "a\0b", "\ud800"])
def test_I2_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidNameError):
        id_from_name("Room", name)


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_I2_two_names_never_share_an_id(one: str, other: str) -> None:
    try:
        ids = {id_from_name("Room", one), id_from_name("Room", other)}
    except InvalidNameError:
        return
    assert len(ids) == (1 if one == other else 2)


LOOKALIKES = st.text("aA é\u0301e/.\n\0\U0001f989", min_size=0, max_size=8)
LONG = st.builds(lambda text, times: text * times, LOOKALIKES, st.sampled_from((1, 128, 129, 256, 257, 512)))


@given(st.lists(LOOKALIKES | LONG, min_size=2, max_size=6, unique=True))
def test_I2_each_name_is_kept_whole_or_refused(names: list[str]) -> None:
    ids = set()
    for name in names:
        if "\0" in name or not 1 <= len(name.encode()) <= 1024:
            with pytest.raises(InvalidNameError):
                id_from_name("Room", name)
            names = [other for other in names if other != name]
        else:
            ids.add(id_from_name("Room", name))
    assert sorted(str(one.name) for one in ids) == sorted(names)
    assert len({str(one) for one in ids}) == len(names)


def test_I3_an_id_comes_back_from_its_text() -> None:
    made = id_from_name("Room", "x")
    assert id_from_string("Room", str(made)) == made


@pytest.mark.parametrize(
    "change", [str.upper, lambda text: text[:-1], lambda text: text + "0", lambda text: f" {text[1:]}"]
)
def test_I3_only_64_lower_case_hex_digits_are_an_id(change: Callable[[str], str]) -> None:
    text = "a" + str(id_from_name("Room", "x"))[1:]
    with pytest.raises(InvalidNameError):
        id_from_string("Room", change(text))


@pytest.mark.parametrize("value", [5, None, b"a" * 64])
def test_I3_what_is_no_text_is_no_id_and_no_key(value: Any) -> None:
    with pytest.raises(InvalidNameError, match="64 lower-case hex digits"):
        id_from_string("Room", value)
    with pytest.raises(InvalidNameError, match="cannot be a class key"):
        type("Odd", (DurableObject,), {"key": value})


def test_I3_an_id_of_another_class_or_a_forged_one_is_refused() -> None:
    made = str(id_from_name("Room", "x"))
    forged = ("0" if made[0] != "0" else "1") + made[1:]
    for key, text in (("Counter", made), ("Room", forged)):
        with pytest.raises(InvalidNameError):
            id_from_string(key, text)


async def test_I3_a_stub_of_another_class_is_refused() -> None:
    with pytest.raises(TypeError):
        Lab.namespace.get(RelaxedLab.namespace.id_from_name("x"))


def test_I4_unique_ids_have_no_name_and_do_not_repeat() -> None:
    ids = {Lab.namespace.new_unique_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {made.name for made in ids} == {None}


def test_I4_a_unique_id_is_no_names_id() -> None:
    drawn = new_unique_id("Room", lambda n: bytes(n))
    named = id_from_name("Room", "x")
    assert int(str(drawn)[0], 16) >= 8 > int(str(named)[0], 16)


async def test_I5_the_name_is_known_in_start_calls_alarms_and_after_a_crash(local: LocalObjects) -> None:
    seen = []
    HOOKS["start"] = lambda obj: seen.append(("start", obj.ctx.id.name))
    HOOKS["alarm"] = lambda obj, _: seen.append(("alarm", obj.ctx.id.name))
    stub = lab("who")
    await do(stub, lambda obj: obj.ctx.storage.set_alarm(obj.ctx.now() + 1000))
    await local.evict(stub)
    await local.crash()
    await local.advance(2)  # woken by the index, which knows the id only
    assert seen == [("start", "who"), ("start", "who"), ("alarm", "who")]


async def test_I5_the_name_is_known_to_sockets_hooks(local: LocalObjects) -> None:
    seen = []
    HOOKS["message"] = lambda obj, ws, message: seen.append(obj.ctx.id.name)
    stub = lab("who")
    ws = await local.connect(stub)
    await local.evict(stub)
    await ws.send("x")
    assert seen == ["who"]


async def test_I5_an_object_asked_by_id_knows_the_name_in_its_file(local: LocalObjects) -> None:
    await lab("who").increment()
    await local.evict(lab("who"))
    by_id = Lab.namespace.get(Lab.namespace.id_from_string(str(Lab.namespace.id_from_name("who"))))
    assert await do(by_id, lambda obj: obj.ctx.id.name) == "who"


async def test_I5_a_name_that_becomes_known_is_kept(local: LocalObjects) -> None:
    seen = []
    HOOKS["alarm"] = lambda obj, _: seen.append(obj.ctx.id.name)
    by_id = Lab.namespace.get(Lab.namespace.id_from_string(str(Lab.namespace.id_from_name("who"))))
    await by_id.increment()
    assert await do(by_id, lambda obj: obj.ctx.id.name) is None
    assert await do(lab("who"), lambda obj: obj.ctx.id.name) == "who"
    await do(by_id, lambda obj: obj.ctx.storage.set_alarm(obj.ctx.now() + 60_000))
    await local.evict(by_id)
    await local.crash()
    await local.run_alarm(by_id)
    assert seen == ["who"]
    assert [entry.name for entry in local.catalog.entries.values()] == ["who"]


async def test_I5_the_name_is_kept_though_the_file_was_begun_without_it(local: LocalObjects) -> None:
    by_id = Lab.namespace.get(Lab.namespace.id_from_string(str(Lab.namespace.id_from_name("who"))))
    await by_id.increment()
    await local.evict(by_id)
    await lab("who").increment()
    await local.evict(by_id)
    assert await do(by_id, lambda obj: obj.ctx.id.name) == "who"


async def test_I6_a_stub_contacts_nothing() -> None:
    assert lab("nobody serves").id.name == "nobody serves"


async def test_I6_an_object_that_never_wrote_has_no_file_and_no_catalog_row(local: LocalObjects) -> None:
    stub = lab("reader")
    assert await stub.value() == 0
    await local.evict(stub)
    assert not local.has_file(stub)
    assert local.catalog.entries == {}
    assert list((local.conf.data_dir).rglob("*.sqlite3")) == []


async def test_I6_the_first_write_makes_file_and_catalog_row(local: LocalObjects) -> None:
    stub = lab("writer")
    await stub.increment()
    assert local.has_file(stub)
    assert [entry.name for entry in local.catalog.entries.values()] == ["writer"]
