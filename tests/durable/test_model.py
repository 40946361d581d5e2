"""Whatever happens to objects and their workers, in any order: what was acknowledged is there once, and nothing is half-done.

A state machine does random things to a few diaries and lets trouble come at the worst moments; `DiaryModel` says what must
be there. `MODEL_EXAMPLES=2000 pytest tests/durable/test_model.py` looks harder.
"""

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from durable import DurableError
from durable.testing import CrashPoint, LocalObjects, LocalSocket, local_objects
from tests.durable.diary import KEEP, Alarm, Deed, Diary, DiaryModel

NAMES = ("a", "b", "c")
DEADLINE = 20.0  # seconds that anything may take
EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "30"))
names = st.sampled_from(NAMES)
crashes = st.tuples(st.sampled_from(CrashPoint), st.sampled_from((1, 1, 2)))
troubles = st.none() | crashes | st.sampled_from(("fence", "failed sync"))
kinds = st.sampled_from(
    (
        "write",
        "write",
        "parts",
        "fail",
        "refuse",
        "fail later",
        "call",
        "write, call, write",
        "frame",
        "bad frame",
    )
)


class Diaries(RuleBasedStateMachine):
    """Diaries, their model, and everything that can be done to them."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.entering = local_objects(Path(self.directory.name) / "objects")
        self.models = {name: DiaryModel(name) for name in NAMES}
        self.clients: dict[str, dict[str, LocalSocket]] = {name: {} for name in NAMES}  # by opening entry
        self.heard: dict[str, list[str]] = {}  # by opening entry
        self.epochs: dict[str, tuple[str, int]] = {}
        self.numbers = 0
        self.broken = False
        self.fenced: set[str] = set()  # diaries whose owner may not commit any more
        self.local: LocalObjects

    @initialize()
    def enter(self) -> None:
        self.local = self.run(self.entering.__aenter__())

    def run(self, act: Coroutine[Any, Any, Any]) -> Any:
        """Let the objects live until `act` has ended."""
        try:
            return self.runner.run(asyncio.wait_for(act, DEADLINE))
        except BaseException:
            self.broken = True
            raise

    def teardown(self) -> None:
        try:
            if not self.broken:
                self.run(self.end())
            self.run(self.entering.__aexit__(None, None, None))
        finally:
            self.runner.close()
            self.directory.cleanup()

    async def end(self) -> None:
        """Every alarm rings in the end, and everything is still there after another death."""
        for _ in range(4):
            await self.let_pass(400)
        assert [model.alarm for model in self.models.values()] == [None] * len(NAMES)
        await self.local.crash()
        await self.check([], smooth=False)

    def new(self, what: str) -> str:
        self.numbers += 1
        return f"{what} {self.numbers}"

    # -- single operations, with trouble at a chosen moment

    @rule(
        kind=kinds,
        name=names,
        ahead=st.integers(1, 2),
        alarm=st.sampled_from((KEEP, None, 1, 5, 60)),
        trouble=troubles,
    )
    def operation(self, kind: str, name: str, ahead: int, alarm: Any, trouble: Any) -> None:
        async def run() -> None:
            deed, act = self.prepare(kind, name, ahead, alarm)
            await self.under(trouble, name, lambda: self.do(deed, act))
            await self.check([deed], smooth=trouble in (None, "fence"))

        self.run(run())

    @rule(name=names, trouble=st.none() | crashes)
    def connect(self, name: str, trouble: Any) -> None:
        async def run() -> None:
            opened, closed = self.new("open"), self.new("close")
            deed = Deed([(name, opened)])

            async def act() -> None:
                socket = await self.local.connect(
                    Diary.namespace.get_by_name(name), {"opened": opened, "closed": closed}
                )
                assert socket.is_open, socket.close_reason
                self.clients[name][opened] = socket
                self.heard[opened] = []
                self.models[name].open[opened] = socket.id
                self.models[name].closings[closed] = opened

            await self.under(trouble, name, lambda: self.do(deed, act()))
            await self.check([deed], smooth=trouble is None)

        self.run(run())

    @rule(name=names, bad=st.booleans(), trouble=troubles)
    def frame(self, name: str, bad: bool, trouble: Any) -> None:
        if not self.clients[name]:
            self.connect(name, None)
        self.operation("bad frame" if bad else "frame", name, 1, KEEP, trouble)

    @rule(name=names, clean=st.booleans(), trouble=troubles)
    def disconnect(self, name: str, clean: bool, trouble: Any) -> None:
        async def run() -> None:
            if not self.clients[name]:
                return
            opened, socket = self.clients[name].popitem()
            closing = next(c for c, o in self.models[name].closings.items() if o == opened)
            deed = Deed([(name, closing)])
            act = socket.close() if clean else socket.vanish()
            await self.under(trouble, name, lambda: self.do(deed, act))
            await self.check([deed], smooth=trouble in (None, "fence"))

        self.run(run())

    @rule(seconds=st.sampled_from((1, 3, 11, 70)), trouble=st.none() | crashes)
    def time_passes(self, seconds: int, trouble: Any) -> None:
        self.run(self.let_pass(seconds, trouble))

    async def let_pass(self, seconds: float, trouble: Any = None) -> None:
        until = self.local.clock.now() + seconds * 1000
        due = {n: m.alarm for n, m in self.models.items() if m.alarm is not None and m.alarm[0] <= until}
        deeds = [Deed([(name, alarm[1])]) for name, alarm in due.items()]
        for deed, (_, _, failures) in zip(deeds, due.values(), strict=True):
            deed.outcome = TimeoutError("it may have to be tried again") if failures else None
        await self.under(trouble, None, lambda: self.local.advance(seconds))
        await self.check(deeds, smooth=False)

    # -- many at once, none of which may be told anything before the disk has it

    @rule(
        asked=st.lists(
            st.tuples(st.sampled_from(("write", "parts", "call", "frame")), names), min_size=1, max_size=4
        ),
        then=st.sampled_from(("release", "crash", "fail")),
    )
    def held(self, asked: list[tuple[str, str]], then: str) -> None:
        async def run() -> None:
            prepared = [self.prepare(kind, name, 1, KEEP) for kind, name in asked]
            self.local.commits.hold()
            tasks = [asyncio.create_task(self.do(deed, act)) for deed, act in prepared]
            await self.local.commits.waiting()
            await self.local.settle()
            assert not any(task.done() for task in tasks), "a reply left before its write was durable"
            assert not any(s.take() for clients in self.clients.values() for s in clients.values()), (
                "a frame left"
            )
            if then == "crash":
                await self.local.crash()
            elif then == "fail":
                self.local.commits.fail()
            self.local.commits.release()
            await asyncio.gather(*tasks)
            await self.check([deed for deed, _ in prepared], smooth=then == "release")

        self.run(run())

    # -- the life of objects

    @rule(name=names, what=st.sampled_from(("evict", "transfer")))
    def move(self, name: str, what: str) -> None:
        async def run() -> None:
            stub = Diary.namespace.get_by_name(name)
            if what == "evict":
                await self.local.evict(stub)
            else:
                here = self.owner(name)
                others = [worker.id for worker in self.local.workers if worker.id != here]
                to = next((worker for worker in self.local.workers if worker.id in others), None)
                await self.local.transfer(stub, to)
            await self.check([], smooth=True)

        self.run(run())

    @rule(what=st.sampled_from(("crash", "redeploy", "lose gateway")))
    def workers_change(self, what: str) -> None:
        async def run() -> None:
            deeds = []
            if what == "crash":
                await self.local.crash()
            elif what == "redeploy":
                await self.local.redeploy()
            else:
                deeds = [Deed([(name, closing)]) for name in NAMES for closing in self.closings_of_all(name)]
                await self.local.lose_gateway()
                for worker in self.local.workers:
                    await self.local.crash(worker)
            await self.check(deeds, smooth=False)

        self.run(run())

    def closings_of_all(self, name: str) -> list[str]:
        opened = self.clients[name]
        closings = [closing for closing, opening in self.models[name].closings.items() if opening in opened]
        opened.clear()
        return closings

    # -- how

    def prepare(self, kind: str, name: str, ahead: int, alarm: Any) -> tuple[Deed, Coroutine[Any, Any, Any]]:
        """An operation: what it does to the model, and the call that does it."""
        diary: Any = Diary.namespace.get_by_name(name)
        one, two, three = (self.new("entry") for _ in range(3))
        other = NAMES[min(NAMES.index(name) + ahead, len(NAMES) - 1)]  # calls go one way: no cycles
        client = next(iter(self.clients[name].values()), None)
        if kind in ("frame", "bad frame") and client is not None:
            bad = kind == "bad frame"
            return Deed([] if bad else [(name, one)]), client.send(f"never {one}" if bad else one)
        if kind in ("call", "write, call, write") and other != name:
            before, after = ([], [two]) if kind == "call" else ([one], [two])
            parts = (
                [(name, entry) for entry in before] + [(other, three)] + [(name, entry) for entry in after]
            )
            return Deed(parts), diary.pass_on(other, three, before, after)
        if kind in ("fail", "refuse"):
            return Deed([], fails=True), diary.fail(one, kind == "refuse")
        if kind == "fail later":
            return Deed([(name, one)], fails=True), diary.fail(two, False, one)
        entries = [one, two] if kind == "parts" else [one]
        effect = self.effect(name, alarm, entries)
        return Deed([(name, entry) for entry in entries]), diary.write(*entries, alarm=effect)

    def effect(self, name: str, alarm: Any, entries: list[str]) -> Alarm:
        if isinstance(alarm, int):
            ring = self.new("ring")
            self.models[name].alarms[ring] = None
            alarm = [self.local.clock.now() + alarm * 1000 + self.numbers, ring, self.numbers % 3]
        for entry in entries:
            self.models[name].alarms[entry] = alarm
        return alarm  # type: ignore[no-any-return]

    async def do(self, deed: Deed, act: Awaitable[Any]) -> None:
        try:
            await act
        except DurableError as error:
            deed.outcome = error
        else:
            assert not deed.fails, "it was to fail"

    async def under(self, trouble: Any, name: str | None, act: Callable[[], Awaitable[Any]]) -> None:
        """Do something while trouble comes."""
        if trouble == "failed sync":
            with self.local.commits.failing():
                await act()
        elif trouble is None or trouble == "fence":
            if trouble == "fence" and name is not None and self.owner(name) and self.models[name].entries:
                self.local.fence(Diary.namespace.get_by_name(name))
                self.fenced.add(name)
            await act()
        else:
            async with self.local.crash_at(trouble[0], nth=trouble[1], required=False):
                await act()

    def owner(self, name: str) -> str | None:
        """The worker that has the diary in memory."""
        object_id = str(Diary.namespace.id_from_name(name))
        return next((w.id for w in self.local.workers if object_id in w.host.activations), None)

    # -- what must hold

    async def check(self, deeds: list[Deed], *, smooth: bool) -> None:
        """Compare everything with the model; `smooth`: nothing has happened that may cost a frame."""
        await self.local.settle()
        for name, model in self.models.items():
            stub = Diary.namespace.get_by_name(name)
            seen = await stub.look()
            mine = [(deed, entry) for deed in deeds for where, entry in deed.parts if where == name]
            certain = [entry for deed, entry in mine if deed.is_certain]
            new = model.learn(seen["entries"], certain, [entry for _, entry in mine])
            assert seen["rows"] == seen["entries"]
            assert seen["alarm"] == model.alarm
            self.check_alarm(stub, model, seen["due"])
            assert seen["sockets"] == model.sockets
            assert set(seen["sockets"]) == {socket.id for socket in self.clients[name].values()}
            await self.local.settle()
            self.check_frames(name, new if smooth else [])
            self.check_epoch(name, wrote=bool(new))
        for deed in deeds:
            there = [entry in self.models[name].entries for name, entry in deed.parts]
            assert there == sorted(there, reverse=True), "a later part stands without an earlier one"

    def check_alarm(self, stub: Any, model: DiaryModel, due: int | None) -> None:
        if model.alarm is None:
            assert due is None
        else:
            planned, _, failures = model.alarm
            assert due is not None
            assert due == planned or (failures and due > planned)
        assert self.local.alarm(stub) == due, "the index says otherwise"

    def check_frames(self, name: str, all_of: list[str]) -> None:
        entries = self.models[name].entries
        for opened, socket in self.clients[name].items():
            assert socket.is_open
            frames = [str(frame) for frame in socket.take()]
            heard = self.heard[opened]
            heard += frames
            assert set(frames) <= set(entries), f"told, but not true: {set(frames) - set(entries)}"
            assert heard == [entry for entry in entries if entry in heard], f"twice, or out of order: {heard}"
            missed = set(all_of[all_of.index(opened) :] if opened in all_of else all_of) - set(frames)
            assert not missed, f"a frame was lost: {missed}"

    def check_epoch(self, name: str, *, wrote: bool) -> None:
        worker = next(w for w in self.local.workers if w.id == self.owner(name))
        epoch = worker.host.activations[str(Diary.namespace.id_from_name(name))].epoch
        before, last = self.epochs.get(name, ("", 0))
        if self.models[name].entries:
            assert epoch > last or (worker.id, epoch) == (before, last), "an epoch came back"
            assert epoch > last or not (wrote and name in self.fenced), (
                "an owner wrote that was not one any more"
            )
            if epoch > last:
                self.fenced.discard(name)
            self.epochs[name] = (worker.id, epoch)


def test_O5_whatever_happens_what_was_acknowledged_is_there_once_and_nothing_is_half_done() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Diaries,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
