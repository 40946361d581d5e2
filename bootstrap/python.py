"""The Python side: the virtual environment, packages, static files, the database and its first administrator."""

import os
import shutil
import sys
from pathlib import Path

from . import checks
from .running import (
    ROOT,
    STATE,
    SetupError,
    Step,
    command,
    fingerprint,
    say,
    stamped,
    tree,
    works,
    write_stamp,
)

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
APPS = ("durable", "rooms", "counters", "limiter")


def make_venv() -> None:
    """`.venv` exists, its Python runs, and it was made for this folder: its programs hold absolute paths."""
    if works(PYTHON, "-c", "import sys, pip; sys.exit(sys.version_info < (3, 11))") and not _moved():
        return
    checks.venv_module()
    with Step("environment"):
        shutil.rmtree(str(VENV), ignore_errors=True)
        command("environment", [sys.executable, "-m", "venv", VENV])


def _moved() -> bool:
    try:
        return str(VENV).encode() not in (VENV / "bin" / "pip").read_bytes()[:1000]
    except OSError:
        return False


def pip_install(name: str, *what: str) -> None:
    """Install from whatever index pip is configured for on this machine."""
    command(
        name, [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", *what]
    )


def install(*files: str) -> None:
    """The packages of these requirements files."""
    wanted = fingerprint(*[(ROOT / name).read_text() for name in files])
    stamp = VENV / f".installed-{files[-1]}"
    if stamped(stamp, wanted):
        say("packages", "up to date")
        return
    with Step("packages"):
        pip_install("packages", *[word for name in files for word in ("-r", name)])
        write_stamp(stamp, wanted)


def collect_static() -> None:
    """`staticfiles/` holds what the gateways serve, compressed."""
    folders = [ROOT / "static", *[ROOT / app / "static" for app in APPS]]
    files = sorted(path for folder in folders for path in tree(folder))
    listing = "\n".join(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)
    wanted = fingerprint(listing, ROOT / "requirements.txt")
    stamp = STATE / "static"
    if stamped(stamp, wanted) and (ROOT / "staticfiles").is_dir():
        say("static files", "up to date")
        return
    with Step("static files"):
        command(
            "static", [PYTHON, "manage.py", "collectstatic", "--noinput"], env=dict(os.environ, DEBUG="0")
        )
        write_stamp(stamp, wanted)


def migrate(data: Path) -> None:
    """The database is as the migrations say and has an administrator; prints the login when it makes one."""
    url = os.environ.get("DATABASE_URL", "").strip()
    wanted = fingerprint(*sorted(ROOT.glob("*/migrations/*.py")), ROOT / "requirements.txt")
    stamp = data / ".migrated"
    if not url and stamped(stamp, wanted) and (data / "site.sqlite3").exists():
        say("database", "up to date")
        return
    with Step("database"):
        command("database", [PYTHON, "manage.py", "migrate", "--noinput"])
        told = command("admin", [PYTHON, "manage.py", "ensure_admin"])
        (STATE / "admin.log").unlink()  # it holds the password
        write_stamp(stamp, wanted)
    for line in told.splitlines():
        if line.startswith("Admin login"):
            print(f"\n  {line}\n", flush=True)


def install_chromium() -> None:
    """A Chromium for the browser tests, where apt-get can bring one; without it they are skipped."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    if any(shutil.which(name) for name in names):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        say("chromium", "missing, and only root can install it: browser tests will be skipped")
        return
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    try:
        with Step("chromium"):
            command("chromium", ["apt-get", "update", "-q"], env=env)
            command(
                "chromium", ["apt-get", "install", "-q", "-y", "--no-install-recommends", "chromium"], env=env
            )
    except SetupError as error:
        say("", f"{error}; browser tests will be skipped")
