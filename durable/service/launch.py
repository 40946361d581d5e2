"""Starting one child process with its pipes: life (ends when the supervisor does), report (it serves), and go (for a spare).

The output of a child on trial goes through a pipe as well, until it serves.
"""

from __future__ import annotations

import asyncio
import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from durable.cluster.processes import ProcessIdentity, identify

from .lifeline import GO_VARIABLE, LIFE_VARIABLE, OUTPUTS_VARIABLE, PLACE_VARIABLE, REPORT_VARIABLE


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
    output: int | None = None

    def send_go(self, place: str) -> None:
        """Let a spare begin, as the worker of that name."""
        if self.go is not None:
            os.write(self.go, place.encode())
            os.close(self.go)
            self.go = None

    def close(self) -> None:
        """Give up pipes that nobody will use."""
        os.close(self.reports)
        if self.output is not None:
            os.close(self.output)
        if self.go is not None:
            os.close(self.go)
            self.go = None


async def launch(spec: ChildSpec, life_reader: int, *, on_trial: bool = False) -> Launched:
    """Start a child; raises OSError when the system would not make a process."""
    reports, report_writer = os.pipe()
    given = [life_reader, report_writer, *spec.descriptors]
    variables = {LIFE_VARIABLE: str(life_reader), REPORT_VARIABLE: str(report_writer)}
    ours: list[int] = [reports]
    theirs: list[int] = [report_writer]
    go_writer = output = output_writer = None
    if spec.role is Role.SPARE:
        go_reader, go_writer = os.pipe()
        ours.append(go_writer)
        theirs.append(go_reader)
        given.append(go_reader)
        variables[GO_VARIABLE] = str(go_reader)
    else:
        variables[PLACE_VARIABLE] = spec.name
    if on_trial:
        output, output_writer = os.pipe()
        later = [os.dup(1), os.dup(2)]
        ours.append(output)
        theirs += [output_writer, *later]
        given += later
        variables[OUTPUTS_VARIABLE] = " ".join(map(str, later))
    try:
        process = await asyncio.create_subprocess_exec(
            *spec.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output_writer,
            stderr=output_writer,
            env={**os.environ, **spec.environment, **variables},
            pass_fds=given,
            process_group=0,  # a Ctrl-C at the terminal reaches the supervisor only, which stops in order
        )
    except OSError:
        for descriptor in ours:
            os.close(descriptor)
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    return Launched(process, identify(process.pid), reports, go_writer, output)
