"""A peer's server: what it needs is installed, it is started on this machine only, and nothing of it is left."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.running_service import ROOT

HERE = Path(__file__).parent
READY_WITHIN = 60.0
ENDED_WITHIN = 15.0


class PeerMissingError(Exception):
    """A peer cannot be had on this machine; the text says why."""


def npm_packages(name: str) -> Path:
    """The `node_modules` of the peer in folder `name`, installed as its package.json pins them. Raises PeerMissingError."""
    folder = HERE / name
    modules, wanted = folder / "node_modules", (folder / "package.json").read_text()
    stamp = modules / ".stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return modules
    npm = shutil.which("npm")
    if npm is None:
        raise PeerMissingError("npm is not on the PATH")
    done = subprocess.run(
        [npm, "install", "--loglevel=error"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0:
        raise PeerMissingError(f"npm install failed: {last_line(done.stderr)}")
    stamp.write_text(wanted)
    return modules


def wheels(name: str, *requirements: str) -> Path:
    """A folder with these pinned packages, beside those of the environment. Raises PeerMissingError."""
    folder = HERE / name / "site-packages"
    stamp, wanted = folder / ".stamp", "\n".join(requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*command, "--target", str(folder), *requirements], capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0:
        raise PeerMissingError(f"pip install failed: {last_line(done.stderr)}")
    stamp.write_text(wanted)
    return folder


def program(*names: str) -> str:
    """The first of these programs that there is. Raises PeerMissingError."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise PeerMissingError(f"no {' or '.join(names)} on the PATH")


@contextmanager
def started(
    command: Sequence[str],
    port: int,
    log: Path,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
) -> Iterator[int]:
    """The process that the command starts, as soon as it listens on the port. Raises PeerMissingError if it does not."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            user=user,
        )
    try:
        _wait_for(process, port, log)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(ENDED_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + READY_WITHIN
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise PeerMissingError(f"{process.args!r} did not start: {last_line(log.read_text(errors='replace'))}")


def last_line(text: str) -> str:
    """What a program said last, which is mostly why it failed."""
    return (text.strip().splitlines() or ["it said nothing"])[-1]
