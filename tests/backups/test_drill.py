"""The restore drill, on a whole running service whose processes are killed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable.identity import ObjectId, id_from_name
from durable.storage.store import object_path
from tests.running_service import ROOT, RunningService, eventually, running_service

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]  # commands by the dozen

SETTINGS = "tests.backups.settings"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service that copies what has changed half a second ago."""
    with running_service(
        tmp_path_factory.mktemp("service"), gateways=1, workers=2, DJANGO_SETTINGS_MODULE=SETTINGS
    ) as running:
        yield running


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{service.base_url}/api/v1", timeout=30) as client:
        yield client


def increment(client: httpx.Client, name: str) -> int:
    answer = client.post(f"/counters/{name}/increment")
    answer.raise_for_status()
    return int(answer.json()["value"])


def value(client: httpx.Client, name: str) -> int:
    answer = client.get(f"/counters/{name}")
    answer.raise_for_status()
    return int(answer.json()["value"])


def objects(service: RunningService, *arguments: str) -> tuple[int, str, str]:
    """Run `manage.py objects ...`; exit status, output, errors."""
    done = subprocess.run(
        [sys.executable, "manage.py", "objects", *arguments],
        cwd=ROOT,
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def copies(service: RunningService, target: ObjectId) -> list[Path]:
    """The files of an object's copies."""
    return sorted((service.data_dir / "backups" / "Counter" / str(target)[:2] / str(target)).glob("*"))


def show(service: RunningService, name: str) -> Any:
    return json.loads(service.manage("objects", "show", "Counter", name, "--json"))


def test_S9_a_damaged_object_is_restored_from_its_last_copy_and_others_go_on(
    service: RunningService, client: httpx.Client
) -> None:
    name = "drill"
    target = id_from_name("Counter", name)
    for _ in range(5):
        increment(client, name)
        increment(client, "bystander")
    eventually(lambda: copies(service, target))  # made by the schedule
    assert objects(service, "backup", "Counter", name)[0] == 0  # whatever the schedule has not come to yet
    service.kill(show(service, name)["owner"]["pid"])
    path = object_path(service.data_dir / "objects", target)
    path.write_bytes(b"\x5a" * path.stat().st_size)

    refused = client.get(f"/counters/{name}")
    assert (refused.status_code, refused.json()["code"]) == (500, "damaged_file")
    assert "damaged" in show(service, name)["problem"]
    assert increment(client, "bystander") == 6

    status, printed, errors = objects(service, "restore", "Counter", name)
    assert (status, errors) == (0, ""), errors
    assert "Restored" in printed
    assert value(client, name) == 5
    assert increment(client, name) == 6
    assert increment(client, "bystander") == 7
    assert list(path.parent.glob("*.damaged-*"))


def test_a_busy_object_is_restored_to_a_chosen_copy(service: RunningService, client: httpx.Client) -> None:
    name = "busy"
    assert increment(client, name) == 1
    assert objects(service, "backup", "Counter", name)[0] == 0
    (chosen, *_) = json.loads(objects(service, "restore", "Counter", name, "--list", "--json")[1])
    assert {"copy", "seq", "bytes"} == set(chosen)
    for _ in range(20):
        increment(client, name)
    epoch = show(service, name)["epoch"]
    status, printed, errors = objects(service, "restore", "Counter", name, "--copy", chosen["copy"], "--json")
    assert (status, errors) == (0, ""), errors
    assert json.loads(printed) == chosen
    assert value(client, name) == 1
    assert show(service, name)["epoch"] > epoch


def test_kills_leave_sound_copies_of_everything(service: RunningService, client: httpx.Client) -> None:
    names = [f"kill-{number}" for number in range(6)]
    values = dict.fromkeys(names, 0)
    for turn in range(60):
        for name in names:
            values[name] = increment(client, name)
        if turn in (20, 40):
            service.kill(show(service, names[0])["owner"]["pid"])
    status, _, errors = objects(service, "backup", "--json")
    assert status == 0, errors
    checked = json.loads(objects(service, "verify", "Counter", "--json")[1])
    assert checked["sound"] >= len(names)
    ids = {str(id_from_name("Counter", name)) for name in names}
    problems = {one["problem"] for one in checked["problems"] if one["id"] in ids}
    assert [problem for problem in problems if "not written to the end" not in problem] == []
    for name in names[:2]:
        assert objects(service, "restore", "Counter", name)[0] == 0
        assert value(client, name) == values[name]


def test_verify_names_what_is_not_sound(service: RunningService, client: httpx.Client) -> None:
    name = "flipped"
    target = id_from_name("Counter", name)
    increment(client, name)
    assert objects(service, "backup", "Counter", name)[0] == 0
    status, printed, _ = objects(service, "verify", "Counter", name)
    assert (status, printed) == (0, "1 objects, 1 sound.")
    (copy,) = copies(service, target)
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(bytes(content))
    status, printed, errors = objects(service, "verify", "Counter", name)
    assert (status, printed) == (1, "1 objects, 0 sound.")
    assert f"Counter {name} copy " in errors
    assert "damaged" in errors
    copy.unlink()
    status, _, errors = objects(service, "verify", "Counter", name)
    assert status == 1
    assert "it has no copy" in errors


def test_wrong_usage_is_told(service: RunningService) -> None:
    assert "no object class 'Nothing'" in objects(service, "backup", "Nothing")[2]
    status, _, errors = objects(service, "restore", "Counter", "never made")
    assert (status, errors) == (1, "CommandError: this object has no copy")
    assert json.loads(objects(service, "restore", "Counter", "never made", "--list", "--json")[1]) == []
    status, printed, _ = objects(service, "backup", "Counter", "never made", "--json")
    assert (status, json.loads(printed)["absent"]) == (0, 1)


def test_an_object_that_somebody_else_copies_is_not_told_to_be_copied(
    service: RunningService, client: httpx.Client
) -> None:
    increment(client, "shared")
    target = id_from_name("Counter", "shared")
    program = (
        "from django.utils import timezone\n"
        "from durable.models import BackupState\n"
        f"BackupState.objects.of('Counter', '{target}').claim(timezone.now(), timezone.timedelta(minutes=15))"
    )
    eventually(lambda: objects(service, "backup", "Counter", "shared")[0] == 0)
    service.manage("shell", "-v", "0", "-c", program)
    status, printed, errors = objects(service, "backup", "Counter", "shared")
    assert (status, printed) == (1, "0 copied, 0 unchanged, 0 absent, 1 busy.")
    assert "somebody else has begun to copy this object" in errors


def test_N3_what_is_done_with_copies_is_recorded(service: RunningService, client: httpx.Client) -> None:
    increment(client, "recorded")
    for action in ("backup", "verify", "restore"):
        assert objects(service, action, "Counter", "recorded")[0] == 0
    for copy in copies(service, id_from_name("Counter", "recorded")):
        copy.unlink()
    assert objects(service, "verify", "Counter", "recorded")[0] == 1
    program = (
        "from durable.models import AuditEntry\n"
        "print(*AuditEntry.objects.filter(name='recorded').order_by('id').values_list('what', 'result'))"
    )
    printed = service.manage("shell", "-v", "0", "-c", program)
    assert printed.strip().splitlines()[-1] == (
        "('object.backup', 'ok') ('object.verify', 'ok') ('object.restore', 'ok') ('object.verify', 'failed')"
    )
