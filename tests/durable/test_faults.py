"""Code in C that keeps the interpreter is named; a process that was stopped, and goes on, is left alone."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import asyncio, re, sys, threading, time
from durable.runtime.steps import Steps
from durable.runtime.watchdog import Watchdog

def keep_the_interpreter():
    length, took = 20, 0.0
    while took < 3.5:  # each match takes twice as long as the one before
        length, began = length + 1, time.thread_time()
        re.match("(a+)+$", "a" * length + "b")
        took = time.thread_time() - began

def keep_busy(over):
    def deeper(depth):
        if depth:
            return deeper(depth - 1)
        time.sleep(0)
    while not over.is_set():
        deeper(30)

async def main():
    watchdog = Watchdog(Steps(), notice=0.5, limit=60.0, grace=60.0)
    watchdog.start()
    if sys.argv[1] == "keep":
        keep_the_interpreter()
    else:
        over = threading.Event()
        threads = [threading.Thread(target=keep_busy, args=(over,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        print("ready", flush=True)
        while sys.stdin.readline() != "end\\n":
            pass
        over.set()
        for thread in threads:
            thread.join()
    watchdog.stop()
    print("went on", flush=True)

asyncio.run(main())
"""


@pytest.mark.cluster
def test_L3_code_in_c_that_keeps_the_interpreter_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "keep"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert "most recent call first" in done.stderr
    assert "keep_the_interpreter" in done.stderr
    assert done.stdout == "went on\n"


@pytest.mark.cluster
def test_L3_a_process_that_was_stopped_goes_on_unharmed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "stop"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(4.0)  # longer than anything that is timed in it
        process.send_signal(signal.SIGCONT)
        told, errors = process.communicate("end\n", timeout=30)
    assert (process.returncode, told) == (0, "went on\n")
    assert "most recent call first" not in errors
