"""The rules in docs/spec.md and the tests that carry their numbers belong together."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(r"^\| ([A-Z]\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
NUMBER = re.compile(r"test_([A-Z]\d+)_")
STATES = re.compile(r"kept|partly: .+|not yet(: .+)?")


def rules() -> dict[str, str]:
    """State by number."""
    return {number: state for number, _, state in ROW.findall((ROOT / "docs/spec.md").read_text())}


def covered() -> dict[str, str]:
    """A test's name by number."""
    found = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
                match := NUMBER.match(node.name)
            ):
                found[match[1]] = f"{path.name}: {node.name}"
    return found


def test_the_page_states_each_rule_once_with_its_state() -> None:
    text = (ROOT / "docs/spec.md").read_text()
    numbers = re.findall(r"^\| ([A-Z]\d+) ", text, re.MULTILINE)
    assert len(numbers) == len(set(numbers)) == len(rules()) > 60
    assert [number for number, state in rules().items() if not STATES.fullmatch(state)] == []


def test_every_number_in_a_tests_name_is_a_rule() -> None:
    assert {number: name for number, name in covered().items() if number not in rules()} == {}


def test_every_rule_that_is_kept_has_a_test() -> None:
    promised = {number for number, state in rules().items() if not state.startswith("not yet")}
    assert promised - set(covered()) == set()
