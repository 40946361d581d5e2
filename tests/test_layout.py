"""Habits that no linter knows: telling names, and no address of a package index anywhere."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("bootstrap", "chaos", "durable", "rooms", "counters", "limiter", "project")
MODULES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts
)


def test_modules_are_named_by_their_idea() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [str(path) for path in MODULES if path.stem in vague or path.parent.name in vague]


def test_requirements_are_pins_without_addresses() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            assert re.fullmatch(r"[a-z0-9.-]+==[0-9][^ ]*(?: ; .+)?", line), f"{name}: {line}"


def test_development_pins_repeat_those_of_the_service() -> None:
    service = set((ROOT / "requirements.txt").read_text().splitlines())
    assert service <= set((ROOT / "requirements-dev.txt").read_text().splitlines())


def test_npm_packages_are_locked_by_hash_without_addresses() -> None:
    lock = json.loads((ROOT / "frontend" / "package-lock.json").read_text())
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or package.get("link") or package.get("inBundle") or "integrity" in package, name
    assert "registry=" not in (ROOT / "frontend" / ".npmrc").read_text().replace(
        "omit-lockfile-registry-", ""
    )
