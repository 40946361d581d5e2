"""The way from a fresh clone: what is refused at once and in which words, and what is skipped the second time."""

import ast
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap import checks, node, python, running

ROOT = Path(__file__).resolve().parent.parent


def bootstrap(*arguments: str, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in {"PORT", "HOST", "DATA_DIR"}}
    command = [sys.executable, "-m", "bootstrap", *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**env, **environ}, capture_output=True, text=True, timeout=30
    )


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a command ended."""
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.strip().splitlines()
    return line


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bootstrap working on an empty project."""
    for module, name, value in [
        (running, "ROOT", tmp_path),
        (running, "STATE", tmp_path / ".setup"),
        (python, "ROOT", tmp_path),
        (python, "STATE", tmp_path / ".setup"),
        (python, "VENV", tmp_path / ".venv"),
        (python, "PYTHON", Path(sys.executable)),
        (node, "STATE", tmp_path / ".setup"),
        (node, "FRONTEND", tmp_path / "frontend"),
    ]:
        monkeypatch.setattr(module, name, value)
    (tmp_path / ".setup").mkdir()
    return tmp_path


# --- Refusals -------------------------------------------------------------------------------------


def test_a_busy_port_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(bootstrap("run", PORT=str(port), DATA_DIR=str(tmp_path)))
    assert line.startswith(f"error: port {port} on 127.0.0.1 is in use")
    assert "make run PORT=" in line


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    assert (
        refused(bootstrap("run", PORT=port))
        == f"error: PORT must be a number from 1 to 65535; it is {port!r}"
    )


def test_a_foreign_address_is_refused() -> None:
    assert refused(bootstrap("run", HOST="192.0.2.1")).startswith(
        "error: cannot listen on 192.0.2.1 port 8000: "
    )


def test_a_data_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = refused(bootstrap("setup", DATA_DIR=str(tmp_path / "file" / "data")))
    assert line == f"error: DATA_DIR {tmp_path}/file/data cannot be written: Not a directory"


def test_an_unknown_command_shows_the_known_ones() -> None:
    assert "run|setup|test|lint" in bootstrap("start").stderr


def test_an_old_python_can_parse_it_and_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in (ROOT / "bootstrap").glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 6))
    monkeypatch.setattr(checks.sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(running.SetupError, match=r"Python 3\.11 or newer is needed; .* is 3\.9\.2"):
        checks.python()


def test_a_python_without_ensurepip_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(running.SetupError, match=r"no ensurepip module; install it .* python3-venv"):
        checks.venv_module()


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (
            "WARNING: Retrying: NewConnectionError(...)\nERROR: No matching distribution found for x",
            "check the network",
        ),
        ("npm error code ENOTFOUND\nnpm error network", "check the network"),
        ("  error: command 'gcc' failed: No such file or directory\nERROR: Failed", "install a C compiler"),
        (
            "fine\nERROR: No matching distribution found for nothing==1\n",
            "No matching distribution found for nothing",
        ),
        (
            "\x1b[31merror during build:\x1b[0m\n\nCannot resolve src/room.tsx.\n  at x",
            "Cannot resolve src/room.tsx",
        ),
        (
            "Traceback\n  File\ndjango.db.utils.OperationalError: no such table\n",
            "OperationalError: no such table",
        ),
        ("something else\n", "something else"),
        ("", "no output"),
    ],
)
def test_a_failed_program_is_explained_in_one_line(output: str, cause: str) -> None:
    explained = running.explain(output)
    assert cause in explained
    assert "\n" not in explained


def test_a_failed_step_names_its_log(project: Path) -> None:
    with pytest.raises(
        running.SetupError, match=r"^trial: ValueError: bad \(exit 1; see \.setup/trial\.log\)$"
    ):
        running.command("trial", [sys.executable, "-c", "raise ValueError('bad')"], cwd=project)
    with pytest.raises(running.SetupError, match=r"^trial: cannot run /nowhere: No such file"):
        running.command("trial", ["/nowhere"], cwd=project)


# --- Skipping -------------------------------------------------------------------------------------


def test_a_fingerprint_follows_contents_and_names_but_not_node_modules(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = running.fingerprint(tmp_path, "x")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "big").write_text("")
    assert running.fingerprint(tmp_path, "x") == first
    assert running.fingerprint(tmp_path, "y") != first
    (tmp_path / "a").write_text("2")
    second = running.fingerprint(tmp_path, "x")
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, running.fingerprint(tmp_path, "x")}) == 3


def test_packages_are_installed_once_and_again_after_a_change(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requirements = project / "requirements.txt"
    requirements.write_text("# nothing yet\n")
    python.install("requirements.txt")
    python.install("requirements.txt")
    requirements.write_text("pip\n")
    python.install("requirements.txt")
    times, skipped, again = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]
    assert skipped == "up to date"
    assert times.endswith(" s")
    assert again.endswith(" s")


def test_a_failed_install_is_tried_again(project: Path) -> None:
    (project / "requirements.txt").write_text("-r missing.txt\n")
    for _ in range(2):
        with pytest.raises(running.SetupError, match=r"missing\.txt"):
            python.install("requirements.txt")


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_the_front_end_is_built_once_and_again_after_a_change(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(node, "ROOT", project)
    front = project / "frontend"
    front.mkdir()
    (front / "package.json").write_text(
        '{"name": "x", "version": "1.0.0", "scripts": {"build": "sh build.sh"}}'
    )
    (front / "package-lock.json").write_text(
        '{"name": "x", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "x", "version": "1.0.0"}}}'
    )
    (front / "build.sh").write_text("mkdir -p ../static/dist && echo one > ../static/dist/room.js")
    node.build()
    node.build()
    assert capsys.readouterr().out.splitlines()[-1].endswith("up to date")
    (front / "build.sh").write_text("echo two > ../static/dist/room.js")
    node.build()
    assert (project / "static/dist/room.js").read_text() == "two\n"
    shutil.rmtree(project / "static/dist")
    (front / "build.sh").write_text("exit 3")
    with pytest.raises(running.SetupError, match=r"^frontend: .*exit 3; see \.setup/frontend\.log"):
        node.build()


def test_an_environment_is_made_anew_only_when_it_is_broken_or_was_moved(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(python, "PYTHON", project / ".venv/bin/python")
    python.make_venv()
    assert "environment" in capsys.readouterr().out
    python.make_venv()
    assert capsys.readouterr().out == ""
    for name, value in [("VENV", project / "moved"), ("PYTHON", project / "moved/bin/python")]:
        monkeypatch.setattr(python, name, value)
    (project / ".venv").rename(project / "moved")
    python.make_venv()
    assert "environment" in capsys.readouterr().out
    assert str(project / "moved") in (project / "moved/bin/pip").read_text()


def test_two_setups_take_turns(project: Path) -> None:
    program = "import bootstrap.running as r, pathlib, sys; r.STATE = pathlib.Path(sys.argv[1])\nwith r.alone(): print('in')"
    command = [sys.executable, "-c", program, str(project / ".setup")]
    with running.alone():
        other = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert "for another setup" in other.stdout.readline()
        assert other.poll() is None
    rest, _ = other.communicate(timeout=10)
    assert rest == "in\n"
