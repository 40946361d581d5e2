"""The suite's own hooks: in CI a skipped browser test is a failure, elsewhere it is a skip."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    shutil.copy(TESTS / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    browser: x\n    cluster: x\n")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.browser\ndef test_browser():\n    pytest.skip('no reason')\n"
        "@pytest.mark.cluster\ndef test_cluster(): pass\n"
        "def test_plain():\n    pytest.skip('allowed')\n"
    )
    return tmp_path


def run(suite: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in {"CI", "DJANGO_SETTINGS_MODULE"}}
    plugins = ["-p", "no:django", "-p", "no:randomly", "-p", "no:playwright", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-v", "-rs", *plugins, "--rootdir", str(suite), str(suite)]
    return subprocess.run(
        command,
        cwd=suite,
        env={**env, "PYTHONPATH": str(TESTS.parent), **environ},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_skipped_browser_test_fails_in_ci_only(suite: Path) -> None:
    assert run(suite).returncode == 0
    result = run(suite, CI="true")
    assert result.returncode == 1
    assert "a browser test must not be skipped in CI" in result.stdout
    assert "1 failed, 1 passed, 1 skipped" in result.stdout


def test_without_a_browser_its_tests_are_skipped_and_fail_in_ci(suite: Path) -> None:
    (suite / "test_it.py").write_text("import pytest\n@pytest.mark.browser\ndef test_browser(): pass\n")
    (suite / "empty").mkdir()
    assert "no Chromium on this machine" in run(suite, PATH=str(suite / "empty")).stdout
    assert run(suite, PATH=str(suite / "empty"), CI="true").returncode == 1


def test_quick_tests_run_before_processes_and_browsers(suite: Path) -> None:
    lines = [line for line in run(suite).stdout.splitlines() if "::test_" in line and "%" in line]
    assert [line.split("::")[1].split()[0] for line in lines] == [
        "test_plain",
        "test_cluster",
        "test_browser",
    ]
