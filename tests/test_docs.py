"""The documentation is tested: its Python compiles, the names it mentions exist, and its links lead somewhere."""

import ast
import importlib
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from durable import DurableObject
from durable.conf import DurableSettings
from durable.runtime.registry import registry
from durable.runtime.storage import Storage
from durable.testing import LocalObjects

ROOT = Path(__file__).resolve().parent.parent
TOP = [
    path
    for path in (ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"))
    if path.exists()
]
PAGES = sorted([*TOP, *(ROOT / "docs").rglob("*.md")])

BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
DOTTED = re.compile(r"\b(?:chaos|durable|rooms|counters|limiter|project|examples)(?:\.[A-Za-z_]\w*)+")
FILE = re.compile(
    r"(?<![/\w])((?:chaos|durable|rooms|counters|limiter|project|examples|tests)/[\w./-]*)(?:\{([\w,]+)\}([\w./-]*))?"
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
THE_READERS_OWN = {"guests"}
SETTINGS = (
    "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
)
FILES = (".py", ".md", ".sqlite3", ".json", ".lua", ".toml", ".txt", ".html")


def pages(paths: list[Path]) -> Any:
    return pytest.mark.parametrize("source", paths, ids=lambda path: str(path.relative_to(ROOT)))


def prose(source: Path) -> str:
    """The page without its blocks of code."""
    return BLOCK.sub("", source.read_text())


def resolve(name: str) -> Any:
    """The module, class or function of that dotted name; raises AttributeError."""
    module, *rest = name.split(".")
    found: Any = importlib.import_module(module)
    for number, part in enumerate(rest, 1):
        if not hasattr(found, part) and isinstance(found, ModuleType):
            try:
                importlib.import_module(".".join([module, *rest[:number]]))
            except ModuleNotFoundError as error:
                raise AttributeError(name) from error
        found = getattr(found, part)
    return found


def anchor(heading: str) -> str:
    """As GitHub makes one of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pages(PAGES)
def test_python_in_the_documentation_compiles(source: Path) -> None:
    blocks = [
        textwrap.dedent(code) for _, kind, code in BLOCK.findall(source.read_text()) if kind == "python"
    ]
    for code in blocks:
        compile(code, str(source), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pages(PAGES)
def test_python_in_the_documentation_imports_what_exists(source: Path) -> None:
    for _, kind, code in BLOCK.findall(source.read_text()):
        if kind != "python":
            continue
        for node in ast.walk(ast.parse(textwrap.dedent(code))):
            if isinstance(node, ast.ImportFrom) and not node.level and node.module is not None:
                for alias in node.names if node.module.split(".")[0] not in THE_READERS_OWN else ():
                    resolve(f"{node.module}.{alias.name}")


@pages(PAGES)
def test_names_in_the_documentation_exist(source: Path) -> None:
    missing = []
    for quoted in INLINE.findall(prose(source)):
        for name in DOTTED.findall(quoted):
            if re.fullmatch(r"durable\.[EW]\d+", name):  # of a system check
                continue
            if name.endswith(FILES):
                continue
            try:
                resolve(name)
            except AttributeError:
                missing.append(name)
    assert missing == []


@pages(PAGES)
def test_files_in_the_documentation_exist(source: Path) -> None:
    missing = []
    pictures = [text for _, kind, text in BLOCK.findall(source.read_text()) if not kind]
    for text in [*INLINE.findall(prose(source)), *pictures]:
        for head, choices, tail in FILE.findall(text):
            names = [head + choice + tail for choice in choices.split(",")]
            missing += [
                name for name in names if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()
            ]
    assert missing == []


@pages(PAGES)
def test_links_in_the_documentation_lead_somewhere(source: Path) -> None:
    broken = []
    for target in LINK.findall(prose(source)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (source.parent / path).resolve() if path else source
        if not file.exists():
            broken.append(target)
        elif fragment:
            headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", file.read_text()), re.MULTILINE)
            if fragment not in {anchor(heading) for heading in headings}:
                broken.append(target)
    assert broken == []


def test_every_example_has_its_page_and_its_tests() -> None:
    names = {path.stem for path in (ROOT / "examples").glob("*.py")} - {"__init__"}
    index = (ROOT / "docs/examples/README.md").read_text()
    for name in names:
        assert (ROOT / f"docs/examples/{name}.md").exists()
        assert (ROOT / f"tests/examples/test_{name}.py").exists()
        assert f"({name}.md)" in index
    assert {path.stem for path in (ROOT / "docs/examples").glob("*.md")} - {"README"} == names


def test_nothing_but_tests_depends_on_the_examples() -> None:
    importing = re.compile(r"^\s*(?:from|import) examples\b", re.MULTILINE)
    packages = ("bootstrap", "chaos", "durable", "rooms", "counters", "limiter", "project")
    modules = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert [str(path) for path in modules if importing.search(path.read_text())] == []
    assert "pycrdt" not in (ROOT / "requirements.txt").read_text()


def test_the_page_on_objects_names_all_that_a_class_can_set_and_its_storage_can_do() -> None:
    page = ROOT / "docs/objects.md"
    code = [*INLINE.findall(prose(page)), *(text for _, _, text in BLOCK.findall(page.read_text()))]
    named = set(re.findall(r"\w+", " ".join(code)))
    of_classes = {name for name in DurableObject.__annotations__ if name != "namespace"}
    of_storage = {name for name in dir(Storage) if not name.startswith("_")}
    assert of_classes | of_storage <= named


def test_the_defaults_on_the_page_on_objects_are_those_of_the_settings() -> None:
    page = (ROOT / "docs/objects.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", page, re.MULTILINE))
    conf = DurableSettings(data_dir=ROOT)
    assert {name: float(text.replace(",", "")) for name, text in rows.items()} == {
        name: getattr(conf, name) for name in ("event_timeout", "idle_seconds", "max_queue", "max_sockets")
    }


async def test_the_guest_book_of_the_readme_works(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    blocks = [code for _, kind, code in BLOCK.findall((ROOT / "README.md").read_text()) if kind == "python"]
    module: dict[str, Any] = {"__name__": "guests.objects"}
    exec(compile(blocks[0], "guests/objects.py", "exec"), module)
    book = module["GuestBook"].namespace.get_by_name("lobby")
    reader = await local.connect(book)
    assert await book.sign("Ada") == 1
    await local.run_alarm(book)
    assert reader.take() == ["welcome", "Ada has signed", "a quiet minute"]


def test_the_worked_examples_of_testing_work_as_they_stand(tmp_path: Path) -> None:
    blocks = [
        code for _, kind, code in BLOCK.findall((ROOT / "docs/testing.md").read_text()) if kind == "python"
    ]
    setup, *examples = blocks
    assert len(examples) == 3
    (tmp_path / "conftest.py").write_text(setup)
    for number, code in enumerate(examples):
        (tmp_path / f"test_{number}.py").write_text(code)
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:django", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"^9 passed", ran.stdout, re.MULTILINE), ran.stdout
