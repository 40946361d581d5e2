"""Counters by REST: increments with and without idempotency keys, sets, reads and batches."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from chaos.clients import Answer, Client
from chaos.history import Pending, Stored

from .workload import Stage

PACE = 0.04
BATCH_PACE = 0.3
AGAIN_PACE = 0.1

PLAIN = ("plain-1", "plain-2", "plain-3")
KEYED = ("keyed-1", "keyed-2")
SET = ("set-1",)
BATCHED = ("batched-1", "batched-2", "batched-3", "batched-4")


class Counters:
    """Several counters of each kind, two clients each."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @property
    def objects(self) -> list[str]:
        """The counters that are asked all the time."""
        return [*PLAIN, *KEYED, *SET]

    async def prepare(self) -> None:
        """Counters need nothing."""

    def drive(self) -> list[Coroutine[Any, Any, None]]:
        """The clients."""
        clients = [self._count(f"{name} client {n}", name) for name in PLAIN for n in (1, 2)]
        clients += [self._count_once(f"{name} client {n}", name) for name in KEYED for n in (1, 2)]
        clients += [self._set(f"{name} client {n}", name) for name in SET for n in (1, 2)]
        return [*clients, self._batch("batch client")]

    # -- clients

    async def _count(self, me: str, name: str) -> None:
        chance, client = self._stage.chance(me), self._stage.client()
        while not self._stage.over.is_set():
            if chance.random() < 0.25:
                await self._read(me, client, name)
            else:
                by = chance.randint(1, 5)
                pending = self._stage.history.begin(me, name, "add", by=by)
                _end(pending, await client.ask("POST", f"counters/{name}/increment", {"by": by}))
            await self._stage.pause(PACE)
        await client.close()

    async def _count_once(self, me: str, name: str) -> None:
        """Each increment has a key and is sent until it is acknowledged."""
        client, number = self._stage.client(), 0
        while not self._stage.over.is_set():
            number += 1
            pending = self._stage.history.begin(me, name, "add once", by=1, key=f"{me}/{number}")
            key, path = f'"{pending.argument["key"]}"', f"counters/{name}/increment"
            while (answer := await client.ask("POST", path, {"by": 1}, Idempotency_Key=key)).effect != "done":
                pending.trouble(answer.problem)
                await asyncio.sleep(AGAIN_PACE)
            _end(pending, answer)
            await self._stage.pause(PACE)
        await client.close()

    async def _set(self, me: str, name: str) -> None:
        """Sets, increments and reads of one counter, which then is a register."""
        chance, client = self._stage.chance(me), self._stage.client()
        while not self._stage.over.is_set():
            dice = chance.random()
            if dice < 0.4:
                await self._read(me, client, name)
            elif dice < 0.7:
                value = chance.randint(0, 1_000_000)
                pending = self._stage.history.begin(me, name, "set", value=value)
                _end(pending, await client.ask("PUT", f"counters/{name}", {"value": value}))
            else:
                pending = self._stage.history.begin(me, name, "add", by=1)
                _end(pending, await client.ask("POST", f"counters/{name}/increment", {"by": 1}))
            await self._stage.pause(PACE)
        await client.close()

    async def _batch(self, me: str) -> None:
        """One request that increments several counters; each has an outcome of its own."""
        client = self._stage.client()
        while not self._stage.over.is_set():
            pendings = [self._stage.history.begin(me, name, "add", by=1) for name in BATCHED]
            operations = [{"name": name, "op": "increment", "by": 1} for name in BATCHED]
            answer = await client.ask("POST", "counters:batch", {"operations": operations})
            for index, pending in enumerate(pendings):
                _end(pending, answer if answer.effect != "done" else _part(answer.body["results"][index]))
            await self._stage.pause(BATCH_PACE)
        await client.close()

    async def _read(self, me: str, client: Client, name: str) -> None:
        pending = self._stage.history.begin(me, name, "read")
        _end(pending, await client.ask("GET", f"counters/{name}"))

    # -- the end

    async def collect(self) -> None:
        """Read every counter."""
        client = self._stage.client()
        for name in (*PLAIN, *KEYED, *SET, *BATCHED):
            body = await client.surely("GET", f"counters/{name}")
            value = {key: body[key] for key in ("version", "value")}
            self._stage.history.note(Stored(name, "counter", self._stage.history.clock(), value))
        await client.close()


def _end(pending: Pending, answer: Answer) -> None:
    if answer.effect == "done":
        pending.ok(version=answer.body["version"], value=answer.body["value"])
    elif answer.effect == "none":
        pending.fail(answer.problem)
    else:
        pending.unknown(answer.problem)


def _part(result: dict[str, Any]) -> Answer:
    """One operation of a batch as an answer of its own."""
    status = result["status"]
    if status < 400:
        return Answer("done", status, result)
    problem = f"{status} {result.get('code', '')}".strip()
    return Answer(
        "none" if result.get("delivered") == "no" or status < 500 else "unknown", status, result, problem
    )
