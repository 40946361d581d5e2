"""The tests bite: where the code that keeps a rule is taken out, the tests that carry the rule's number fail."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mutants import MUTANTS, Mutant

pytestmark = [pytest.mark.mutants, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("durable", "project", "rooms", "counters", "limiter", "tests/durable")
FILES = ("pyproject.toml", "tests/conftest.py")
UNUSED = ("cacheprovider", "randomly", "playwright", "hypothesispytest", "anyio")  # plugins that cost time
AT_ONCE = 2
FAILED = 1  # what pytest ends with when tests have failed; anything else means that they did not run


def copy_project(to: Path) -> None:
    """All that the runtime's tests need."""
    for name in NEEDED:
        shutil.copytree(ROOT / name, to / name)
    for name in FILES:
        shutil.copy2(ROOT / name, to / name)


def run_tests(root: Path, files: list[str], which: str) -> tuple[int, str]:
    """How pytest ended there, and what it said."""
    command = [sys.executable, "-m", "pytest", *files, "-k", which]
    # Without the sources in tracebacks: to parse them, CPython 3.11 now and then refuses ("AST constructor recursion depth mismatch").
    command += ["-x", "-q", "--tb=line", "--timeout=30", *(f"-pno:{name}" for name in UNUSED)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        command,
        cwd=root,
        env={**kept, "DATA_DIR": str(root / "var")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout[-3000:] + done.stderr[-3000:]


def run_mutant(mutant: Mutant, root: Path) -> tuple[int, str]:
    """Take the code out in a copy, and run the tests there."""
    copy_project(root)
    file = root / mutant.file
    code = file.read_text()
    assert code.count(mutant.text) == 1, (
        f"{mutant.file} does not have this text once any more, so nothing shows that the tests of {mutant.rule} bite; "
        f"look for what keeps the rule now, and write that into tests/mutants.py:\n{mutant.text}"
    )
    file.write_text(code.replace(mutant.text, mutant.instead))
    try:
        return run_tests(root, [mutant.tests], mutant.which)
    finally:
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def outcome(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Mutant], tuple[int, str]]]:
    """How the tests ended for a mutant. All that were selected run meanwhile, two at once."""
    selected = [
        item.callspec.params["mutant"]
        for item in request.session.items
        if item.path == Path(__file__) and hasattr(item, "callspec")
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs: dict[Mutant, Future[tuple[int, str]]] = {
            mutant: pool.submit(run_mutant, mutant, tmp_path_factory.mktemp("mutant") / "project")
            for mutant in selected
        }
        yield lambda mutant: runs[mutant].result()
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.rule}: {mutant.what}")
def test_the_rules_tests_fail_when_this_is_taken_out(
    mutant: Mutant, outcome: Callable[[Mutant], tuple[int, str]]
) -> None:
    status, said = outcome(mutant)
    assert status == FAILED, (
        f"{mutant.rule} does not hold ({mutant.what}), but its tests pass, or do not run:\n{said}"
    )


def test_the_same_tests_pass_in_an_unchanged_copy(tmp_path: Path) -> None:
    copy_project(tmp_path)
    files = sorted({mutant.tests for mutant in MUTANTS})
    status, said = run_tests(tmp_path, files, " or ".join(sorted({mutant.which for mutant in MUTANTS})))
    assert status == 0, said


def test_each_mutant_is_judged_by_its_own_rules_tests() -> None:
    for mutant in MUTANTS:
        named = {part.split("_")[0] for part in mutant.which.split(" or ")}
        assert named == {mutant.rule}, mutant


def test_the_page_of_rules_has_the_same_table() -> None:
    section = (ROOT / "docs/spec.md").read_text().partition("## How we know that the tests bite")[2]
    rows = re.findall(r"^\| ([A-Z]\d+): (.+) \| `(.+)` \|$", section, re.MULTILINE)
    assert rows == [(mutant.rule, mutant.what, mutant.file) for mutant in MUTANTS]
