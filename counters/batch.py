"""Many operations on counters in one request: a status each, and nothing atomic across counters."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec

from durable.errors import DurableError
from durable.gateway.auth import require
from durable.gateway.bodies import Int64
from durable.gateway.http import HttpConsumer, Principal, Request, Response, json_response
from durable.gateway.problems import Problem, invalid, problem_from

from .consumers import DECLARED, MAX_NAME, document, scoped_key
from .objects import Counter

MAX_OPERATIONS = 100


class Operation(msgspec.Struct, forbid_unknown_fields=True):
    """One operation; `by`, `min`, `max` and `idempotency_key` belong to increments, `value` to sets: elsewhere they are refused."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
    op: Literal["increment", "get", "set", "delete"] = "increment"
    by: Int64 = 1
    min: Int64 | None = None
    max: Int64 | None = None
    value: Int64 | None = None
    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None


_BELONGS_TO = {
    "by": "increment",
    "min": "increment",
    "max": "increment",
    "idempotency_key": "increment",
    "value": "set",
}
_UNSAID = Operation("")


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a batch."""

    operations: Annotated[list[Operation], msgspec.Meta(min_length=1, max_length=MAX_OPERATIONS)]


class BatchConsumer(HttpConsumer):
    """`/counters:batch`: operations on one counter run in their order, those on different counters side by side."""

    requires = require("counters")

    async def post(self, request: Request) -> Response:
        """200 with a result for each operation, in the order of the request."""
        operations = (await request.json(Batch)).operations
        for index, operation in enumerate(operations):
            _check(operation, index)
        by_name: dict[str, list[int]] = {}
        for index, operation in enumerate(operations):
            by_name.setdefault(operation.name, []).append(index)
        results: list[dict[str, Any]] = [{}] * len(operations)

        async def run(indices: list[int]) -> None:
            for index in indices:
                results[index] = await _result(operations[index], request.principal)

        await asyncio.gather(*map(run, by_name.values()))
        return json_response({"results": results})


def _check(operation: Operation, index: int) -> None:
    here = f"/operations/{index}"
    if "\0" in operation.name:
        raise invalid("A counter's name cannot contain NUL.", f"{here}/name")
    for member, op in _BELONGS_TO.items():
        if operation.op != op and getattr(operation, member) != getattr(_UNSAID, member):
            raise invalid(
                f"{member} belongs to the operation {op!r}; this one is {operation.op!r}.", f"{here}/{member}"
            )
    if operation.op == "set" and operation.value is None:
        raise invalid("A set needs a value.", f"{here}/value")
    if operation.min is not None and operation.max is not None and operation.min > operation.max:
        raise invalid("min is above max.", f"{here}/min")


async def _result(operation: Operation, principal: Principal) -> dict[str, Any]:
    try:
        return await _run(operation, principal)
    except DurableError as error:
        problem: Problem = problem_from(error, DECLARED)
    return {
        "status": problem.status,
        "name": operation.name,
        "code": problem.code,
        "detail": problem.detail,
        **problem.extensions,
    }


async def _run(operation: Operation, principal: Principal) -> dict[str, Any]:
    counter = Counter.namespace.get_by_name(operation.name)
    replayed = False
    match operation.op:
        case "get":
            state = await counter.read()
        case "set":
            assert operation.value is not None  # checked before anything ran
            state = await counter.set(operation.value)
        case "delete":
            await counter.delete()
            return {"status": 204, "name": operation.name}
        case _:  # increment
            if operation.idempotency_key is None:
                state = await counter.add(operation.by, operation.min, operation.max)
            else:
                key = scoped_key(principal, operation.idempotency_key)
                replayed, state = await counter.add_once(key, operation.by, operation.min, operation.max)
    answer = {"status": 200, **document(operation.name, state)}
    return {**answer, "replayed": True} if replayed else answer
