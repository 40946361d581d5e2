"""The benchmarks run, check what they measured, and keep figures that can be read again."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figures import Figure, percentile
from tests.running_service import ROOT


@pytest.mark.cluster
def test_a_tiny_run_keeps_figures_that_are_right(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "calls",
        "activations",
        "--size=tiny",
        f"--results={tmp_path}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = tmp_path.glob("runtime-*.json")
    kept = json.loads(path.read_text())
    assert kept["machine"]["processors"] >= 1
    assert all(figure["right"] for figure in kept["figures"])
    assert all(math.isfinite(figure["median"]) and figure["median"] >= 0 for figure in kept["figures"])
    assert {"call in the process, read, p50", "activation with a resting owner, p50"} <= {
        figure["name"] for figure in kept["figures"]
    }


def test_what_does_not_exist_cannot_be_measured() -> None:
    command = [sys.executable, "-m", "benchmarks", "miracles"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55)
    assert done.returncode == 2
    assert "no suite miracles" in done.stderr


def test_a_figure_shows_its_median_its_spread_and_whether_its_aim_is_met() -> None:
    line = Figure("activation", "ms", (0.9, 3.0, 0.7), aim=1.0).line()
    assert line.split() == ["activation", "0.9", "ms", "0.7", "to", "3", "1", "met"]
    assert Figure("activation", "ms", (1.1,), aim=1.0).line().endswith("MISSED")
    assert Figure("activation", "ms", (1.1,), right=False).line().endswith("WRONG")


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (
        51.0,
        100.0,
        100.0,
    )
