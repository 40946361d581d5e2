"""New code without anybody noticing: one child after the other makes room for one that has loaded what is on disk now.

The new process serves beside the old one before the old one drains, so nobody ever waits for imports. Code that does not start stops
the roll-out; what still runs the old code goes on with it, and what was replaced before stays replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from .child import Child, ChildState
from .children import Children
from .errors import ServiceError
from .launch import Role
from .spare import Spare
from .transcript import Transcript

logger = logging.getLogger(__name__)

Tell = Callable[[str], None]
"""Hears of each step, in one line."""

#: Seconds that the check of the new code may take.
CHECK_WITHIN = 60.0


class Rollout:
    """Brings the code on disk in.

    Args:
        children: what runs.
        spare: the loaded worker that waits. It has the old code, and may stand in for an old worker that dies, until the
            first new one serves.
        check: a command that fails when the code cannot work, run before anything is touched; (): none.
        end_within: seconds an old process may take to end.
    """

    def __init__(
        self, children: Children, spare: Spare, *, check: tuple[str, ...], end_within: float
    ) -> None:
        self._children = children
        self._spare = spare
        self._check = check
        self._end_within = end_within

    async def run(self, roles: tuple[Role, ...], tell: Tell) -> None:
        """Replace all children of these roles. Raises `ServiceError` when the new code does not come to serve."""
        await self._children.all_ready()
        if self._check:
            tell("checking the new code")
            await self._check_code()
        news: list[Child] = []
        for role in roles:
            olds = self._children.of(role)
            for number, old in enumerate(olds, 1):
                new = await self._children.replace(old)
                try:
                    self._refuse_misfit(new)
                    _refuse_ended(news)
                except ServiceError:
                    await self._children.retire(new, self._end_within)
                    raise
                pid = "?" if new.identity is None else new.identity.pid
                tell(f"{new.spec.name} serves with the new code (pid {pid})")
                if role is Role.WORKER:
                    self._spare.retire()
                news.append(new)
                await self._children.retire(old, self._end_within)
                tell(f"{role.value} {number}/{len(olds)} replaced")
        _refuse_ended(news)

    async def _check_code(self) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._check,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                process_group=0,
            )
        except OSError as error:
            raise ServiceError(f"The new code cannot be checked: {error}.") from None
        said = Transcript()
        try:
            async with asyncio.timeout(CHECK_WITHIN):
                output, _ = await process.communicate()
        except TimeoutError:
            raise ServiceError(f"The new code was not checked within {CHECK_WITHIN:g} s.") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        said.note(output)
        if process.returncode != 0:
            raise ServiceError(
                f"The new code does not pass its checks (exit {process.returncode}).", said.text
            )

    def _refuse_misfit(self, new: Child) -> None:
        """New code must work beside what runs: speak the same link, and know the migrations that objects may have seen."""
        mine = new.report
        for other in self._children:
            theirs = other.report
            if mine is None or theirs is None:
                continue
            if mine.link != theirs.link:
                raise ServiceError(
                    f"The new code speaks version {mine.link} of the link, {other.spec.name} version {theirs.link}: they "
                    "cannot run side by side. Restart the service."
                )
            for key, version in mine.classes.items():
                if version < theirs.classes.get(key, version):
                    raise ServiceError(
                        f"The new code has {version} migrations of {key}, {other.spec.name} has {theirs.classes[key]}: it could "
                        "not open what has been migrated. Restart the service to run it all the same."
                    )


def _refuse_ended(news: list[Child]) -> None:
    """New code that serves for a moment only is no code to go on with."""
    for new in news:
        if new.starts > 1 or new.state is not ChildState.READY:
            raise ServiceError(
                f"{new.spec.name} ended soon after it began to serve: its reason stands in the log."
            )


class Rollouts:
    """One roll-out at a time, and one that waits.

    Args:
        rollout: what each of them does.
    """

    def __init__(self, rollout: Rollout) -> None:
        self._rollout = rollout
        self._turn = asyncio.Lock()
        self._one_waits = False
        self._failure: str | None = None

    async def run(self, gateways: bool, tell: Tell) -> None:
        """Replace all workers, and the gateways too if asked. Raises `ServiceError`."""
        if self._one_waits:
            raise ServiceError("A roll-out is under way, and another one waits already.")
        if self._turn.locked():
            tell("waiting for the roll-out that is under way")
        self._one_waits = True
        try:
            await self._turn.acquire()
        finally:
            self._one_waits = False

        def tell_all(message: str) -> None:
            logger.info("roll-out: %s", message)
            tell(message)

        try:
            await self._rollout.run((Role.WORKER, Role.GATEWAY) if gateways else (Role.WORKER,), tell_all)
        except ServiceError as error:
            self._failure = error.message
            logger.error("the roll-out stops; what runs goes on. %s", error)
            raise
        else:
            self._failure = None
            logger.info("roll-out: done")
        finally:
            self._turn.release()

    async def run_unasked(self) -> None:
        """Replace all workers, because of a signal: nobody but the log hears how it went."""
        try:
            await self.run(gateways=False, tell=lambda _: None)
        except ServiceError as error:
            logger.error("SIGHUP has brought no new code in: %s", error.message)

    def process_ended(self) -> None:
        """A child has ended; when the code on disk is known not to start, say what that means."""
        if self._failure is not None and not self._turn.locked():
            logger.error(
                "what ends now is started with the code on disk, which failed at the last roll-out: %s Mend it, and roll it out.",
                self._failure,
            )
