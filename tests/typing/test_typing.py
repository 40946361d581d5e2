"""What a type checker says about users' code: the public API is typed, and the types are part of it."""

import os
import re
from collections import defaultdict
from pathlib import Path

import pytest

import durable

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REPORTED = re.compile(r"^.*?:(\d+): error: (.*)$")
EXPECTED = re.compile(r"# E: (.+)$")

Errors = dict[int, list[str]]


@pytest.fixture(scope="session")
def reported() -> dict[str, Errors]:
    """What mypy reports on each file: texts by line."""
    api = pytest.importorskip("mypy.api")
    found: dict[str, Errors] = {}
    before = Path.cwd()
    os.chdir(ROOT)  # where it finds the package
    try:
        for name in ("good.py", "bad.py"):
            cache = str(ROOT / ".mypy_cache" / "typing")
            options = ["--config-file=", "--strict", "--no-error-summary", f"--cache-dir={cache}"]
            out, broken, _ = api.run([*options, str(HERE / name)])
            assert not broken, broken
            found[name] = defaultdict(list)
            for line in out.splitlines():
                # What is in the package itself is for `make lint` to say: users are not told of it.
                if (match := REPORTED.match(line)) and Path(line.partition(":")[0]).name == name:
                    found[name][int(match[1])].append(match[2])
    finally:
        os.chdir(before)
    return found


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(durable.__file__).parent / "py.typed").exists()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["good.py", "bad.py"])
def test_a_type_checker_reports_what_is_wrong_and_nothing_else(
    reported: dict[str, Errors], name: str
) -> None:
    errors = reported[name]
    expected = {
        number: match[1]
        for number, line in enumerate((HERE / name).read_text().splitlines(), 1)
        if (match := EXPECTED.search(line))
    }
    assert {number: texts for number, texts in errors.items() if number not in expected} == {}
    missing = {
        number: (text, errors.get(number))
        for number, text in expected.items()
        if not any(text in said for said in errors.get(number, []))
    }
    assert missing == {}
    assert bool(expected) == (name == "bad.py")
