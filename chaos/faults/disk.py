"""A disk without room, and files that are damaged while their object sleeps."""

from __future__ import annotations

import asyncio
import resource
import shutil
import time
from pathlib import Path
from typing import Any

from chaos.clients import Client
from chaos.service import ServiceFailedError

from .fault import Fault

ASLEEP_WITHIN = 15.0
PAGE_BYTES = 4096
NEW_COUNTERS = 5


class FullDisk(Fault):
    """The disk of the objects' files has no room: for logs, for grown files, for new ones."""

    name, about = "full-disk", "no room on the objects' disk: logs, files and new files"
    hold, cost = 2.0, 6.0
    keeps_sockets = True

    async def inject(self) -> None:
        """Fill the disk; where there is none of our own, forbid the workers to make files longer."""
        self.disk = self.site.disk
        self.figures["a real disk"] = float(self.disk is not None)
        if self.disk is not None:
            self.disk.fill()
        else:
            self._limit(PAGE_BYTES)
        client = self.site.client()
        names = [f"new-{self.chance.getrandbits(32)}" for _ in range(NEW_COUNTERS)]
        answers = [await client.ask("POST", f"counters/{name}/increment") for name in names]
        await client.close()
        self.figures["new counters refused"] = float(sum(answer.status >= 500 for answer in answers))
        if any(answer.status not in (200, 500, 503, 507) for answer in answers):
            self.broken.append(f"a full disk is answered by {sorted({answer.problem for answer in answers})}")

    def _limit(self, size: int) -> None:
        for worker in self.site.service.processes("worker"):
            _, hard = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (size, hard))

    async def heal(self) -> None:
        """Make room."""
        if self.disk is not None:
            self.disk.free()
        else:
            self._limit(resource.RLIM_INFINITY)


class _Damage(Fault):
    """The file of a sleeping object is damaged: that object says so, all others go on; the file put back, it is as before."""

    cost = 12.0
    fails_nothing = keeps_sockets = True
    client: Client

    def damage(self, file: Path) -> None:
        """Damage it."""
        raise NotImplementedError

    async def inject(self) -> None:
        """Make a counter, let it sleep, damage its file, ask for it."""
        self.client = self.site.client()
        self.counter = f"damaged-{self.chance.getrandbits(32)}"
        for _ in range(3):
            await self.client.surely("POST", f"counters/{self.counter}/increment", {"by": 1})
        shown = await self._asleep()
        self.file = (
            self.site.service.data_dir / "objects" / "Counter" / shown["id"][:2] / f"{shown['id']}.sqlite3"
        )
        self.whole = self.site.service.data_dir / f"{self.counter}.whole"
        shutil.copyfile(self.file, self.whole)
        self.damage(self.file)
        for method, path, body in (
            ("GET", f"counters/{self.counter}", None),
            ("POST", f"counters/{self.counter}/increment", {"by": 1}),
        ):
            answer = await self.client.ask(method, path, body)
            code = answer.body.get("code") if isinstance(answer.body, dict) else None
            if answer.status != 500 or code != "damaged_file":
                self.broken.append(
                    f"{method} of a damaged counter is answered by {answer.status} {answer.body}"
                )

    async def _asleep(self) -> dict[str, Any]:
        deadline = time.monotonic() + ASLEEP_WITHIN
        while time.monotonic() < deadline:
            shown: dict[str, Any] = await self.client.surely("GET", f"objects/Counter/{self.counter}")
            if shown["state"] == "asleep":
                return shown
            await asyncio.sleep(0.1)
        raise ServiceFailedError(f"{self.counter} does not fall asleep")

    async def heal(self) -> None:
        """Put the whole file back."""
        await self._asleep()
        shutil.copyfile(self.whole, self.file)
        self.whole.unlink()
        body = await self.client.surely("POST", f"counters/{self.counter}/increment", {"by": 1})
        await self.client.close()
        if (body["value"], body["version"]) != (4, 4):
            self.broken.append(f"a counter whose file was put back is {body}, not 4 at version 4")


class TruncatedFile(_Damage):
    """The end is missing."""

    name, about = "truncated-file", "a truncated database file"

    def damage(self, file: Path) -> None:
        """Cut it somewhere, so that some whole pages are left, and perhaps a part of one."""
        size = file.stat().st_size
        with file.open("r+b") as opened:
            opened.truncate(self.chance.randrange(PAGE_BYTES, size - PAGE_BYTES))


class FlippedFile(_Damage):
    """Bits have changed: in the head of every page, where SQLite can tell."""

    name, about = "flipped-file", "a database file with flipped bits"

    def damage(self, file: Path) -> None:
        """Flip one bit in the type of each page."""
        content = bytearray(file.read_bytes())
        for start in range(0, len(content), PAGE_BYTES):
            content[start + (100 if start == 0 else 0)] ^= 1 << self.chance.randrange(8)
        file.write_bytes(content)


DISK_FAULTS: tuple[type[Fault], ...] = (FullDisk, TruncatedFile, FlippedFile)
