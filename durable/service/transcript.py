"""What a process on trial writes: passed on as it comes, and its last lines kept to say why it failed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque

MAX_LINES = 30
MAX_LINE = 500  # characters kept of one line
_READ = 1 << 16


class Transcript:
    """The last lines of one process."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._unfinished = ""

    @property
    def text(self) -> str:
        """The last lines, without a line break at the end."""
        return "\n".join([*self._lines, self._unfinished]).strip("\n")

    async def follow(self, descriptor: int) -> None:
        """Read until every process that writes there has ended, or has turned to another output."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        try:
            while data := await reader.read(_READ):
                sys.stderr.write(self.note(data))
                sys.stderr.flush()
        finally:
            transport.close()

    def note(self, data: bytes) -> str:
        """Keep what was written; the same as text."""
        text = data.decode(errors="replace")
        *lines, unfinished = (self._unfinished + text).split("\n")
        self._lines.extend(line[:MAX_LINE] for line in lines)
        self._unfinished = unfinished[:MAX_LINE]
        return text
