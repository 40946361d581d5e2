"""How a step runs: one line on the terminal, output in a log, one sentence when it fails, a stamp when it is done."""

import contextlib
import fcntl
import hashlib
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence, Union

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".setup"

NO_NETWORK = re.compile(
    r"NewConnectionError|name resolution|Name or service not known|Network is unreachable|Connection refused"
    r"|ConnectTimeout|Read timed out|ProxyError|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|ECONNRESET"
)
NO_COMPILER = re.compile(
    r"command '[^']*(?:gcc|cc|clang|g\+\+)[^']*' failed|unable to execute '[^']*(?:gcc|cc|clang)'"
    r"|[Nn]o (?:acceptable )?C compiler|Failed building wheel|linker `cc` not found|Python\.h: No such file"
)

ERROR = re.compile(r"(?i)(npm )?err(or)?\b|\S*Error:")


class SetupError(Exception):
    """What stops the setup, in one line that says what to do about it."""


class Step:
    """Prints one line for a step: its name, then the time it took."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.began = 0.0

    def __enter__(self) -> "Step":
        self.began = time.monotonic()
        print(f"  {self.name:<16}", end="", flush=True)
        return self

    def __exit__(self, kind: Optional[type], *_: Any) -> None:
        print("failed" if kind else f"{time.monotonic() - self.began:.1f} s", flush=True)


def say(name: str, text: str) -> None:
    """Print the line of a step that does nothing."""
    print(f"  {name:<16}{text}", flush=True)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold off other setups in this directory, two of which would spoil each other's work."""
    with (STATE / "lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("waiting", "for another setup in this directory")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def fingerprint(*parts: Union[str, Path]) -> str:
    """A hash of texts and of the contents of files; a folder counts with everything in it but `node_modules`."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(b"text\0" + part.encode() + b"\0")
            continue
        for path in sorted(tree(part)):
            digest.update(b"file\0" + str(path).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def tree(path: Path) -> Iterator[Path]:
    """The files below a folder, or the file itself."""
    if path.is_file():
        yield path
        return
    for folder, folders, files in os.walk(str(path)):
        folders[:] = [name for name in folders if name not in ("node_modules", "__pycache__")]
        for name in files:
            yield Path(folder, name)


def stamped(stamp: Path, value: str) -> bool:
    """Whether a step has already been done with these inputs."""
    try:
        return stamp.read_text() == value
    except OSError:
        return False


def write_stamp(stamp: Path, value: str) -> None:
    """Remember the inputs with which a step was done."""
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(value)


def works(program: Union[str, Path], *arguments: str) -> bool:
    """Whether a program runs and is content."""
    try:
        quiet = subprocess.DEVNULL
        return subprocess.call([str(program), *arguments], stdin=quiet, stdout=quiet, stderr=quiet) == 0
    except OSError:
        return False


def command(
    name: str,
    arguments: Sequence[Union[str, Path]],
    *,
    cwd: Optional[Path] = None,
    env: Optional[Dict[str, str]] = None,
) -> str:
    """Run a program with its output in `.setup/<name>.log` and return it; SetupError names the likely cause."""
    log = STATE / f"{name}.log"
    line = [str(argument) for argument in arguments]
    with log.open("wb") as out:
        try:
            code = subprocess.call(
                line,
                cwd=str(cwd or ROOT),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise SetupError(f"{name}: cannot run {line[0]}: {error.strerror}") from None
    text = log.read_text(errors="replace")
    if code:
        raise SetupError(f"{name}: {explain(text)} (exit {code}; see {log.relative_to(ROOT)})")
    return text


def explain(output: str) -> str:
    """The likely cause of a failure, from what the program printed."""
    # A compiler is asked for only after a download, so its absence explains more than an earlier network retry.
    if NO_COMPILER.search(output):
        return (
            "a package has no ready build for this machine and could not be compiled; install a C compiler and "
            "Python's headers (Debian: apt-get install build-essential python3-dev)"
        )
    if NO_NETWORK.search(output):
        return "the package registry cannot be reached; check the network"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    told = [index for index, line in enumerate(lines) if ERROR.match(line)]
    if not told:
        return (lines or ["no output"])[-1][:200]
    cause = lines[told[-1]]
    if cause.endswith(":"):
        cause = " ".join([cause, *lines[told[-1] + 1 : told[-1] + 3]])
    return cause[:200]
