"""The commands: what each target of the Makefile does, step by step."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NoReturn, Optional, Sequence, Tuple, Union

from . import checks, node, python
from .python import PYTHON, VENV
from .running import ROOT, STATE, SetupError, alone, command

BASE = ["requirements.txt"]
DEVELOPMENT = ["requirements.txt", "requirements-dev.txt"]
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Arguments = Sequence[Union[str, Path]]


def prepare(requirements: List[str]) -> Path:
    """Everything between a fresh clone and a program that can start; returns the data directory."""
    data = checks.data_dir()
    python.make_venv()
    python.install(*requirements)
    node.build()
    python.collect_static()
    return data


def run() -> None:
    """Set up, then become the service."""
    host, port = checks.address()
    with alone():
        python.migrate(prepare(BASE))
    env = dict(os.environ)
    if host in LOOPBACK:
        env.setdefault("API_AUTH", "open")
    become([PYTHON, "manage.py", "serve", "--host", host, "--port", str(port)], env)


def setup() -> None:
    """Everything of `run` but the start."""
    with alone():
        python.migrate(prepare(BASE))


def test(*arguments: str) -> None:
    """Install what the tests need and run them: the front end's, then the rest. With arguments: pytest only."""
    with alone():
        prepare(DEVELOPMENT)
        env = node.packages()
        python.install_chromium()
    failed = []
    if not arguments and call(["npm", "test", "--silent"], node.FRONTEND, env):
        failed.append("front end")
    if call([PYTHON, "-m", "pytest", *arguments]):
        failed.append("pytest")
    if failed:
        raise SetupError(f"tests failed: {', '.join(failed)}")


def lint() -> None:
    """Run every check, also after one failed; then name those that did."""
    checks.data_dir()
    with alone():
        python.make_venv()
        python.install(*DEVELOPMENT)
        env = node.packages()
    jobs: List[Tuple[str, Arguments, Path, Optional[Dict[str, str]]]] = [
        ("ruff", [VENV / "bin/ruff", "check", "."], ROOT, None),
        ("formatting", [VENV / "bin/ruff", "format", "--check", "."], ROOT, None),
        ("mypy", [VENV / "bin/mypy"], ROOT, None),
        ("contracts", [VENV / "bin/lint-imports"], ROOT, None),
        ("typescript", ["npm", "run", "--silent", "check"], node.FRONTEND, env),
    ]
    failed = []
    for name, arguments, cwd, variables in jobs:
        print(f"--- {name}", flush=True)
        if call(arguments, cwd, variables):
            failed.append(name)
    if failed:
        raise SetupError(f"failed: {', '.join(failed)}")


def tidy() -> None:
    """Let ruff fix and format."""
    with alone():
        python.make_venv()
        python.install(*DEVELOPMENT)
    call([VENV / "bin/ruff", "check", "--fix", "."])
    become([VENV / "bin/ruff", "format", "."], dict(os.environ))


def bench(*arguments: str) -> None:
    """Run the benchmarks."""
    with alone():
        python.migrate(prepare(DEVELOPMENT))
    become([PYTHON, "-m", "benchmarks", *arguments], dict(os.environ))


def bench_peers(*arguments: str) -> None:
    """Run the benchmarks beside what one would use instead; those install themselves when they are asked for."""
    with alone():
        python.migrate(prepare(DEVELOPMENT))
        env = node.environment()
    become([PYTHON, "-m", "benchmarks.peers", *arguments], env)


def chaos(*arguments: str) -> None:
    """Run the chaos instrument, on a data directory of its own."""
    with alone():
        prepare(DEVELOPMENT)
    become([PYTHON, "-m", "chaos", *arguments], dict(os.environ))


def lock() -> None:
    """Compile the requirements from the ranges in pyproject.toml, keeping the pins that still fit."""
    python.make_venv()
    uv = shutil.which("uv") or str(VENV / "bin/uv")
    if not Path(uv).exists():
        python.pip_install("uv", "uv")
    options = ["--universal", "--python-version", "3.11", "--no-annotate", "--no-header", "--quiet"]
    compiling = [uv, "pip", "compile", "pyproject.toml", *options]
    command("lock", [*compiling, "-o", "requirements.txt"])
    command("lock", [*compiling, "--group", "dev", "-c", "requirements.txt", "-o", "requirements-dev.txt"])


def call(arguments: Arguments, cwd: Path = ROOT, env: Optional[Dict[str, str]] = None) -> int:
    """Run a program on this terminal; returns its exit code."""
    try:
        return subprocess.call([str(argument) for argument in arguments], cwd=str(cwd), env=env)
    except OSError as error:
        raise SetupError(f"cannot run {arguments[0]}: {error.strerror}") from None


def become(arguments: Arguments, env: Dict[str, str]) -> NoReturn:
    """Replace this process, so that signals go straight to the program."""
    os.chdir(str(ROOT))
    sys.stdout.flush()
    line = [str(argument) for argument in arguments]
    os.execve(line[0], line, env)  # noqa: S606


COMMANDS = {
    "run": run,
    "setup": setup,
    "test": test,
    "lint": lint,
    "format": tidy,
    "bench": bench,
    "bench-peers": bench_peers,
    "chaos": chaos,
    "lock": lock,
}


def main(arguments: List[str]) -> None:
    """Run one command; what can be expected to go wrong ends in one line and exit code 1."""
    if not arguments or arguments[0] not in COMMANDS:
        raise SystemExit(f"usage: python3 -m bootstrap {'|'.join(COMMANDS)}")
    try:
        checks.python()
        STATE.mkdir(exist_ok=True)
        COMMANDS[arguments[0]](*arguments[1:])
    except (SetupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main(sys.argv[1:])
