"""Starting one child process with its pipes: life (ends when the supervisor does), report (it serves), and go (for a spare)."""

from __future__ import annotations

import asyncio
import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from durable.cluster.processes import ProcessIdentity, identify

from .lifeline import GO_VARIABLE, LIFE_VARIABLE, REPORT_VARIABLE


class Role(enum.Enum):
    """What a child does; the value is the management command that does it."""

    GATEWAY = "gateway"
    WORKER = "worker"
    SPARE = "standby"


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start one child."""

    name: str
    role: Role
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()


@dataclass(slots=True)
class Launched:
    """A process that has been started, and our ends of its pipes."""

    process: asyncio.subprocess.Process
    identity: ProcessIdentity | None
    reports: int
    go: int | None

    def send_go(self) -> None:
        """Let a spare begin."""
        if self.go is not None:
            os.write(self.go, b"g")
            os.close(self.go)
            self.go = None

    def close(self) -> None:
        """Give up pipes that nobody will use."""
        os.close(self.reports)
        if self.go is not None:
            os.close(self.go)
            self.go = None


async def launch(spec: ChildSpec, life_reader: int) -> Launched:
    """Start a child; raises OSError when the system would not make a process."""
    reports, report_writer = os.pipe()
    given = [life_reader, report_writer, *spec.descriptors]
    variables = {LIFE_VARIABLE: str(life_reader), REPORT_VARIABLE: str(report_writer)}
    go_reader = go_writer = None
    if spec.role is Role.SPARE:
        go_reader, go_writer = os.pipe()
        given.append(go_reader)
        variables[GO_VARIABLE] = str(go_reader)
    try:
        process = await asyncio.create_subprocess_exec(
            *spec.command,
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, **spec.environment, **variables},
            pass_fds=given,
            process_group=0,  # a Ctrl-C at the terminal reaches the supervisor only, which stops in order
        )
    except OSError:
        os.close(reports)
        if go_writer is not None:
            os.close(go_writer)
        raise
    finally:
        os.close(report_writer)
        if go_reader is not None:
            os.close(go_reader)
    return Launched(process, identify(process.pid), reports, go_writer)
