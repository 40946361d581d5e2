"""Objects of a running service, through REST and the command line; names are those that people and attackers choose."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from durable.cluster.processes import ProcessIdentity, send_signal
from tests.inspector.conftest import API, Staff
from tests.running_service import ROOT, RunningService, eventually

pytestmark = pytest.mark.cluster


def increment(staff: httpx.Client, name: str) -> None:
    staff.post(f"/counters/{quote(name, safe='')}/increment", json={}).raise_for_status()


def show(staff: httpx.Client, name: str, class_key: str = "Counter") -> dict[str, Any]:
    answer = staff.get(f"/objects/{class_key}/{quote(name, safe='')}")
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def objects(service: RunningService, *arguments: str) -> tuple[int, str, str]:
    """Run `manage.py objects ...`; exit status, output, errors."""
    done = subprocess.run(
        [sys.executable, "manage.py", "objects", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(service.data_dir), "REDIS_URL": "", "DATABASE_URL": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


@pytest.mark.parametrize("name", ["plain", "a/b", "..", "é😀 ", 'q"<script>', "new\nline", "%2F", "ab" * 32])
def test_I2_any_name_is_shown_called_and_listed(
    service: RunningService, staff: httpx.Client, name: str
) -> None:
    path = f"/objects/Counter/{quote(name, safe='').replace('.', '%2E')}"
    assert staff.get(path).json()["state"] in {"absent", "active"}
    assert staff.post(f"{path}/call/increment", json={"args": [2]}).json() == {"result": 2}
    shown = staff.get(path).json()
    assert (shown["name"], shown["state"]) == (name, "active")
    assert {"worker", "pid", "host"} == set(shown["owner"])
    assert staff.get(f"/objects/Counter/{shown['id']}").json()["name"] == name
    listed = eventually(
        lambda: [
            item
            for item in staff.get("/objects", params={"class": "Counter", "prefix": name}).json()["items"]
            if item["name"] == name
        ]
    )
    assert listed[0]["id"] == shown["id"]


def test_I2_the_command_takes_any_name(service: RunningService, staff: httpx.Client) -> None:
    name = "..//é😀 \n"
    increment(staff, name)
    status, printed, _ = objects(service, "show", "Counter", name, "--json")
    assert status == 0
    assert json.loads(printed) == {
        **show(staff, name),
        "last_active_at": json.loads(printed)["last_active_at"],
    }
    assert objects(service, "call", "Counter", name, "increment", "[3]")[:2] == (0, "4")


def test_N1_a_sleeping_object_is_not_woken(service: RunningService, staff: httpx.Client) -> None:
    increment(staff, "sleeper")
    assert show(staff, "sleeper")["state"] == "active"
    assert objects(service, "evict", "Counter", "sleeper")[:2] == (0, "Evicted.")
    first, second = show(staff, "sleeper"), show(staff, "sleeper")
    assert first["state"] == second["state"] == "asleep"
    assert (first["owner"], first["queue_depth"]) == (None, 0)
    assert first["storage_bytes"] > 0
    assert first["epoch"] >= 1
    assert objects(service, "evict", "Counter", "sleeper")[:2] == (0, "It was not active.")


def test_I6_looking_at_nothing_makes_nothing(service: RunningService, staff: httpx.Client) -> None:
    shown = show(staff, "nothing")
    assert shown["state"] == "absent"
    assert not list((service.data_dir / "objects").rglob(f"{shown['id']}*"))
    assert staff.get("/objects", params={"prefix": "nothing"}).json() == {"items": [], "next": None}


def test_pages_of_objects(staff: httpx.Client) -> None:
    names = [f"paged-{number}" for number in range(5)]
    for name in names:
        increment(staff, name)

    def pages() -> list[str]:
        seen, cursor = [], ""
        while True:
            page = staff.get("/objects", params={"prefix": "paged-", "limit": 2, "cursor": cursor}).json()
            seen += [item["name"] for item in page["items"]]
            if page["next"] is None:
                return seen
            cursor = page["next"]

    eventually(lambda: pages() == names)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/objects/Nope/x", None, 404, "unknown_class"),
        ("GET", "/objects?class=Nope", None, 404, "unknown_class"),
        ("GET", "/objects?cursor=zzz", None, 400, "bad_cursor"),
        ("GET", "/objects?limit=0", None, 400, "bad_query"),
        ("GET", "/objects/Counter/%00", None, 400, "invalid_name"),
        ("GET", "/objects/Counter/" + "x" * 1025, None, 400, "invalid_name"),
        ("POST", "/objects/Counter/x/call/nope", {}, 404, "not_callable"),
        ("POST", "/objects/Counter/x/call/_state", {}, 404, "not_callable"),
        ("POST", "/objects/Counter/x/call/start", {}, 404, "not_callable"),
        ("POST", "/objects/Counter/x/call/increment", {"args": ["one"]}, 422, "bad_argument"),
        ("POST", "/objects/Counter/x/call/increment", {"arg": [1]}, 422, "invalid"),
        ("POST", "/objects/Counter/x/call/add", {"args": [2**63 - 1, 0, 1]}, 409, "remote_error"),
        ("GET", "/objects/Counter/x/call/value", None, 405, "method_not_allowed"),
    ],
)
def test_refusals_are_problems(
    staff: httpx.Client, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = staff.request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in answer.text


def test_C4_what_a_method_raised_comes_back_to_staff(staff: httpx.Client) -> None:
    answer = staff.post(
        "/objects/Counter/bounded/call/add", json={"args": [5], "kwargs": {"maximum": 4}}
    ).json()
    assert (answer["code"], answer["error_type"]) == ("remote_error", "CounterOutOfRange")
    assert answer["detail"]


@pytest.mark.parametrize("path", ["/objects", "/objects/Counter/x", "/workers"])
def test_a_token_is_needed_also_where_the_api_is_open(service: RunningService, path: str) -> None:
    assert httpx.get(service.base_url + API + path).status_code == 401


def test_sessions_are_judged_by_permission(service: RunningService, make_staff: Staff) -> None:
    call = "/api/v1/objects/Counter/by-session/call/increment"
    nobody, viewer, boss = (
        make_staff("nobody"),
        make_staff("viewer", "view_objectrecord"),
        make_staff("boss", "*"),
    )
    assert nobody.get("/api/v1/objects").status_code == 403
    assert viewer.get("/api/v1/objects/Counter/by-session").status_code == 200
    origin = {"Origin": service.base_url}
    assert viewer.post(call, json={}, headers=origin).status_code == 403
    assert boss.post(call, json={}).status_code == 403  # a cookie alone, as another site would send it
    assert boss.post(call, json={}, headers=origin).json() == {"result": 1}


def test_workers_of_the_service(service: RunningService, staff: httpx.Client) -> None:
    found = staff.get("/workers").json()["items"]
    assert {worker["pid"] for worker in found} == set(service.worker_pids())
    assert all(worker["state"] == "serving" for worker in found)
    status, printed, _ = objects(service, "workers", "--json")
    assert status == 0
    assert {worker["worker"] for worker in json.loads(printed)} == {worker["worker"] for worker in found}
    assert set(json.loads(printed)[0]) == {"worker", "pid", "host", "state", "objects", "code"}


def test_the_command_says_what_is_wrong_in_one_line(service: RunningService, tmp_path: Path) -> None:
    code, out, errors = objects(service, "call", "Counter", "x", "add", "[5, 0, 4]")
    assert (code, out) == (1, "")
    assert "CounterOutOfRange" in errors
    assert "\n" not in errors
    code, _, errors = objects(RunningService(tmp_path), "workers")
    assert code == 1
    assert "no service runs on" in errors
    assert "\n" not in errors


def test_rows_without_a_form_in_JSON_are_texts_there(service: RunningService, staff: httpx.Client) -> None:
    increment(staff, "endless")
    code, out, errors = objects(
        service, "sql", "Counter", "endless", "SELECT 9e999 AS far, 1.5 AS near", "--json"
    )
    assert code == 0, errors
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found == {"columns": ["far", "near"], "rows": [["inf", 1.5]], "more": False}


def test_the_list_for_people_keeps_to_one_line_an_object(
    service: RunningService, staff: httpx.Client
) -> None:
    increment(staff, "two\nlines")
    printed = eventually(lambda: objects(service, "list", "Counter", "--prefix", "two")[1])
    assert len(printed.splitlines()) == 1
    assert r"two\nlines" in printed


def test_a_worker_that_does_not_answer_is_said(service: RunningService, staff: httpx.Client) -> None:
    increment(staff, "stopped")
    pid = show(staff, "stopped")["owner"]["pid"]
    owner: ProcessIdentity = next(c.identity for c in service.record().children if c.pid == pid)
    send_signal(owner, signal.SIGSTOP)
    try:
        shown = show(staff, "stopped")
    finally:
        send_signal(owner, signal.SIGCONT)
    assert shown["state"] == "active"
    assert shown["owner"]["pid"] == pid
    assert "does not answer" in shown["problem"]
    assert shown["storage_bytes"] > 0


def test_S12_export_import_and_delete_from_a_shell(
    service: RunningService, staff: httpx.Client, tmp_path: Path
) -> None:
    increment(staff, "whole/1")
    file = tmp_path / "whole.sqlite3"
    status, printed, _ = objects(service, "export", "Counter", "whole/1", str(file))
    assert (status, printed) == (0, f"Exported {file.stat().st_size} bytes to {file}.")
    assert show(staff, "whole/1")["state"] == "active"
    assert objects(service, "import", "Counter", "whole/2", str(file))[0] == 0
    assert staff.get(f"/counters/{quote('whole/2', safe='')}").json()["value"] == 1
    listed = staff.get("/objects", params={"class": "Counter", "prefix": "whole/"}).json()["items"]
    assert "whole/2" in {item["name"] for item in listed}
    status, _, errors = objects(service, "import", "Counter", "whole/2", str(file))
    assert status == 1
    assert "--replace" in errors
    increment(staff, "whole/2")
    assert objects(service, "import", "Counter", "whole/2", str(file), "--replace")[0] == 0
    assert staff.get(f"/counters/{quote('whole/2', safe='')}").json()["value"] == 1
    assert objects(service, "delete", "Counter", "whole/2")[:2] == (0, "Deleted.")
    [kept] = (service.data_dir / "objects").rglob(f"{show(staff, 'whole/2')['id']}*")
    assert ".sqlite3.replaced-" in kept.name  # what the import took the place of
    assert objects(service, "delete", "Counter", "whole/2")[:2] == (0, "It stored nothing.")
    status, _, errors = objects(service, "export", "Counter", "whole/2", str(tmp_path / "none"))
    assert (status, errors) == (1, "CommandError: this object stores nothing")
    assert objects(service, "export", "Counter", "whole/1", str(tmp_path / "no" / "folder"))[0] == 1
    assert not list((service.data_dir / "exports").iterdir())


def test_S12_an_export_by_rest_is_a_plain_file(
    service: RunningService, staff: httpx.Client, tmp_path: Path
) -> None:
    increment(staff, "by rest")
    answer = staff.get("/objects/Counter/by%20rest/export")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vnd.sqlite3")
    file = tmp_path / "x.sqlite3"
    file.write_bytes(answer.content)
    with closing(sqlite3.connect(file)) as plain:
        assert plain.execute("SELECT name FROM _do_meta").fetchall() == [("by rest",)]
    assert staff.get("/objects/Counter/never%20made/export").status_code == 404
    assert httpx.get(f"{service.base_url}{API}/objects/Counter/by%20rest/export").status_code == 401


def test_S12_a_damaged_object_is_restored_from_its_export(
    service: RunningService, staff: httpx.Client, tmp_path: Path
) -> None:
    increment(staff, "damaged")
    file = tmp_path / "x.sqlite3"
    assert objects(service, "export", "Counter", "damaged", str(file))[0] == 0
    assert objects(service, "evict", "Counter", "damaged")[0] == 0
    [stored] = (service.data_dir / "objects").rglob(f"{show(staff, 'damaged')['id']}.sqlite3")
    stored.write_bytes(b"\0" * stored.stat().st_size)
    assert staff.get("/counters/damaged").status_code >= 500
    status, _, errors = objects(service, "import", "Counter", "damaged", str(file))
    assert (status, "--replace" in errors) == (1, True)
    assert objects(service, "import", "Counter", "damaged", str(file), "--replace")[0] == 0
    assert staff.get("/counters/damaged").json()["value"] == 1
    assert len(list(stored.parent.glob(f"{stored.name}.damaged-*"))) == 1
