"""What a dead worker was doing can be read by the living."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from durable.cluster.marker import KEPT, RunningMarker

DIE = """
import os, signal, sys
from pathlib import Path
from durable.cluster.marker import RunningMarker
marker = RunningMarker(Path(sys.argv[1]), sys.argv[2])
marker.set(b"long before this")
marker.clear()
if sys.argv[3]:
    marker.set(sys.argv[3].encode())
os.kill(os.getpid(), signal.SIGKILL)
"""


def die(directory: Path, name: str, during: str) -> None:
    done = subprocess.run([sys.executable, "-c", DIE, str(directory), name, during], check=False)
    assert done.returncode == -signal.SIGKILL


def test_L4_deaths_are_counted_by_what_they_happened_in(tmp_path: Path) -> None:
    mine = RunningMarker(tmp_path, "mine")
    neighbour = RunningMarker(tmp_path, "neighbour")
    neighbour.set(b"event")  # runs it, and lives
    for name, during in (("one", "event"), ("two", "event"), ("three", "another"), ("four", "")):
        die(tmp_path, name, during)
    assert [mine.deaths(what) for what in (b"event", b"another", b"even", b"long before this")] == [
        2,
        1,
        0,
        0,
    ]
    neighbour.close()
    mine.close()
    assert not list(tmp_path.glob("mine*"))


def test_L4_only_the_last_deaths_are_kept(tmp_path: Path) -> None:
    for number in range(KEPT + 6):
        path = tmp_path / f"{number}.running"
        path.write_bytes(b"\0\5event" if number >= 3 else b"\0\0")
        os.utime(path, (number, number))
    mine = RunningMarker(tmp_path, "mine")
    left = {int(path.stem) for path in tmp_path.glob("[0-9]*.running")}
    assert left == set(range(6, KEPT + 6))
    assert mine.deaths(b"event") == KEPT
    mine.close()
