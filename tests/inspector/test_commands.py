"""`manage.py objects` refuses what it does not understand, in one clear line and with a status that scripts can tell."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from durable.models import ObjectRecord, moment


@pytest.mark.parametrize(
    ("status", "said", "arguments"),
    [
        (1, "there is no object class 'Nope'; there are ", ("show", "Nope", "x")),
        (1, "there is no object class 'Nope'", ("list", "Nope")),
        (1, "a name has 1 to 1024 bytes", ("evict", "Counter", "")),
        (2, "ARGS must be a JSON list", ("call", "Counter", "x", "add", "5")),
        (2, "--kwargs must be a JSON object", ("call", "Counter", "x", "add", "--kwargs", "[")),
        (2, "ARGS must be a JSON list", ("call", "Counter", "x", "add", "[" * 100_000)),
    ],
)
def test_refusals(status: int, said: str, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=said.replace("(", r"\\(")) as refused:
        call_command("objects", *arguments)
    assert refused.value.returncode == status
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("argument --limit: '0' is not a number from 1 to 1,000,000", ("objects", "list", "--limit", "0")),
        (
            "argument --prefix: 'a\\udcff' has bytes that are no UTF-8",
            ("objects", "list", "--prefix", "a\udcff"),
        ),
        (
            "argument name: '\\udcff' has bytes that are no UTF-8",
            ("api_token", "create", "\udcff", "--scopes", "objects"),
        ),
        ("argument token: '\\udcff' has bytes that are no UTF-8", ("api_token", "revoke", "\udcff")),
    ],
)
def test_a_wrong_value_is_named(said: str, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as refused:
        call_command(*arguments)
    assert str(refused.value) == f"Error: {said}"


@pytest.mark.django_db
def test_a_list_says_when_there_is_more(capsys: pytest.CaptureFixture[str]) -> None:
    at = moment(1_000)
    for number in range(3):
        ObjectRecord.objects.create(
            class_key="Counter",
            object_id=f"{number:064x}",
            name=f"n{number}",
            created_at=at,
            last_active_at=at,
        )
    call_command("objects", "list", "Counter", "--limit", "2")
    printed = capsys.readouterr()
    assert [line.split()[1] for line in printed.out.splitlines()] == ["n0", "n1"]
    assert "more than 2" in printed.err


def test_a_redeploy_without_a_service_is_one_clear_line(settings: Any, tmp_path: Path) -> None:
    settings.DURABLE = {**settings.DURABLE, "data_dir": tmp_path}
    with pytest.raises(CommandError, match=f"no service runs on {tmp_path}") as refused:
        call_command("objects", "redeploy")
    assert refused.value.returncode == 1
