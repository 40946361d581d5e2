"""Environment variables, the generated secret and the generated administrator."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from project import environment as env

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("raw", "value"), [("1", True), ("Yes", True), (" on ", True), ("0", False), ("", False)]
)
def test_a_flag_is_read_in_any_spelling(raw: str, value: bool) -> None:
    assert env.flag({"X": raw}, "X", default=not value) is value


def test_an_unset_variable_has_its_default() -> None:
    assert env.flag({}, "X", default=True)
    assert env.integer({"X": " "}, "X", default=7) == 7
    assert env.words({}, "X", default=["a"]) == ["a"]
    assert env.choice({}, "X", default="a", among=("a", "b")) == "a"


def test_a_choice_may_be_written_in_any_case() -> None:
    assert env.choice({"X": "debug"}, "X", default="INFO", among=("DEBUG", "INFO")) == "DEBUG"


@pytest.mark.parametrize("address", ["garbage", "foo://user:secret@host/x", "postgres://u:secret@host:abc/x"])
def test_a_database_that_cannot_be_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="^X must be an address such as") as refused:
        env.database({"X": address}, "X", default="sqlite://:memory:")
    assert "secret" not in str(refused.value)


def test_a_blank_address_of_a_database_is_the_default() -> None:
    assert env.database({"X": " "}, "X", default="sqlite:////tmp/x")["NAME"] == "/tmp/x"


@pytest.mark.parametrize(
    "variable",
    [
        "PORT=70000",
        "LOG_LEVEL=chatty",
        "DATABASE_URL=garbage",
        "DATA_DIR=~nosuchuser/x",
        "REDIS_URL=redis://127.0.0.1:abc",
        "REDIS_URL=redis://127.0.0.1/0?bogus=1",
    ],
)
def test_the_service_names_the_variable_that_is_wrong(variable: str, tmp_path: Path) -> None:
    name, _, value = variable.partition("=")
    told = subprocess.run(
        [sys.executable, "manage.py", "serve", "--help"],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(tmp_path), name: value},
        capture_output=True,
        text=True,
    )
    assert told.returncode != 0
    (line,) = told.stderr.splitlines()
    assert line.startswith("django.core.exceptions.ImproperlyConfigured: ")
    assert name in line


def test_a_list_may_be_empty_on_purpose() -> None:
    assert env.words({"X": " a, b ,,"}, "X", default=[]) == ["a", "b"]
    assert env.words({"X": ""}, "X", default=["a"]) == []


def test_errors_name_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="^X must be one of 1, 0, true"):
        env.flag({"X": "maybe"}, "X", default=False)
    with pytest.raises(ImproperlyConfigured, match="^X must be a whole number; it is '1.5'"):
        env.integer({"X": "1.5"}, "X", default=0)
    with pytest.raises(ImproperlyConfigured, match="^X must be at least 1; it is 0"):
        env.integer({"X": "0"}, "X", default=1, minimum=1)
    with pytest.raises(ImproperlyConfigured, match="^X must be one of open, token; it is 'none'"):
        env.choice({"X": "none"}, "X", default="token", among=("open", "token"))
    with pytest.raises(ImproperlyConfigured, match="^X must be at most 65535; it is 70000"):
        env.integer({"X": "70000"}, "X", default=1, maximum=65535)
    with pytest.raises(ImproperlyConfigured, match="^X: there is no home directory as in '~nosuchuser/x'"):
        env.directory({"X": "~nosuchuser/x"}, "X", default=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ImproperlyConfigured, match="^X: cannot create .*/file/data: Not a directory"):
        env.directory({"X": str(tmp_path / "file" / "data")}, "X", default=tmp_path)
    with pytest.raises(ImproperlyConfigured, match=f"^cannot read X from {tmp_path}: Is a directory"):
        env.secret({}, "X", stored_in=tmp_path)


def test_a_new_data_directory_is_private(tmp_path: Path) -> None:
    made = env.directory({"X": str(tmp_path / "a" / "b")}, "X", default=tmp_path)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    file = tmp_path / "secret_key"
    first = env.secret({}, "X", stored_in=file)
    assert len(first) >= 50
    assert env.secret({}, "X", stored_in=file) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert env.secret({"X": "given"}, "X", stored_in=file) == "given"


def test_processes_that_start_together_agree_on_the_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: env.secret({}, "X", stored_in=tmp_path / "secret_key"), range(64)))
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def ensure_admin() -> str:
    out = StringIO()
    call_command("ensure_admin", stdout=out, stderr=StringIO())
    return out.getvalue()


@pytest.mark.django_db
def test_the_first_administrator_gets_a_password_that_is_printed_once() -> None:
    name, _, password = ensure_admin().strip().rpartition(": ")[2].partition(" / ")
    user = authenticate(username=name, password=password)
    assert user is not None
    assert user.is_superuser
    assert ensure_admin() == ""


@pytest.mark.django_db
def test_an_account_of_that_name_is_not_taken_over() -> None:
    user = User.objects.create_user("admin", password="its own")
    assert ensure_admin() == ""
    user.refresh_from_db()
    assert not user.is_superuser
    assert user.check_password("its own")
