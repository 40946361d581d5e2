"""The limiter's REST endpoints and the tutorial's demonstration."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from channels.db import database_sync_to_async
from django.db import transaction

from durable.gateway.addresses import limit_key
from durable.gateway.auth import require
from durable.gateway.http import HttpConsumer, Problem, Request, Response, json_response, text_response
from durable.gateway.problems import invalid
from durable.models import AuditEntry

from .headers import limit_headers
from .logic import ALGORITHMS, MAX_LIMIT, MAX_WINDOW_SECONDS
from .models import DEFAULT_SHARDS, MAX_SHARDS, NAME_PATTERN, Policy
from .objects import WireDecision
from .policies import BUILT_IN, ActivePolicy, active_policy, policy_changed

MAX_KEY = 512
DEMO = "demo"

_NAME = re.compile(NAME_PATTERN)
_Count = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)]
_Key = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY)]


class PolicyBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a policy; what is left out has its default."""

    limit: _Count
    window_seconds: Annotated[int, msgspec.Meta(ge=1, le=MAX_WINDOW_SECONDS)]
    algorithm: str = "sliding_window"
    burst: _Count | None = None
    shards: Annotated[int, msgspec.Meta(ge=1, le=MAX_SHARDS)] = DEFAULT_SHARDS
    name: str | None = None


class CheckBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a check."""

    key: _Key
    cost: Annotated[int, msgspec.Meta(ge=0, le=MAX_LIMIT)] = 1


class KeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a reset."""

    key: _Key


class PolicyConsumer(HttpConsumer):
    """`/limiters/{policy}`: one policy. Never open: it decides over others' requests."""

    requires = require(
        "limiter",
        staff={
            "GET": ("limiter.view_policy",),
            "PUT": ("limiter.add_policy", "limiter.change_policy"),  # it may turn out to be either
            "DELETE": ("limiter.delete_policy",),
        },
        always=True,
    )

    async def get(self, request: Request) -> Response:
        """The policy."""
        name = policy_name(request)
        document = await database_sync_to_async(_read)(name)
        if document is None:
            raise _unknown(name)
        return json_response(document)

    async def put(self, request: Request) -> Response:
        """Create (201) or replace (200) the policy."""
        name = policy_name(request)
        if not _NAME.fullmatch(name):
            raise Problem(
                400,
                "bad_name",
                "A policy's name has 1 to 64 letters, digits, '.', '_' and '-', a letter or digit first.",
            )
        body = await request.json(PolicyBody)
        if body.name is not None and body.name != name:
            raise invalid("The name in the body is not the one in the path.", "/name")
        _check_algorithm(body.algorithm)
        created = await database_sync_to_async(_write)(request.principal.name, name, body)
        policy_changed(name)
        document = await database_sync_to_async(_read)(name)
        return json_response(document, 201 if created else 200)

    async def delete(self, request: Request) -> Response:
        """Remove the policy. What was counted under it expires by itself."""
        name = policy_name(request)
        if not await database_sync_to_async(_remove)(request.principal.name, name):
            if name in BUILT_IN:
                raise Problem(409, "built_in", "A built-in policy can be replaced, not deleted.")
            raise _unknown(name)
        policy_changed(name)
        return Response(204)


class CheckConsumer(HttpConsumer):
    """`/limiters/{policy}/check`: admit or refuse one request."""

    needs_no_task = True
    requires = require("limiter")

    async def post(self, request: Request) -> Response:
        """200 or 429, both with the decision."""
        policy = await _policy(request)
        body = await request.json(CheckBody)
        decision = await _decide(policy, body.key, body.cost)
        return json_response(
            _document(policy, body.key, decision),
            200 if decision[0] else 429,
            limit_headers(policy, decision),
        )


class ResetConsumer(HttpConsumer):
    """`/limiters/{policy}/reset`: forget a key."""

    needs_no_task = True
    requires = require("limiter")

    async def post(self, request: Request) -> Response:
        """204; the key begins anew."""
        policy = await _policy(request)
        body = await request.json(KeyBody)
        await policy.reset(_usable(body.key))
        return Response(204)


class GateConsumer(HttpConsumer):
    """`/limiters/{policy}/gate?key=`: a check in the form that proxies ask for."""

    needs_no_task = True
    requires = require("limiter")

    async def get(self, request: Request) -> Response:
        """204 or 429. Without a key, the client's address is the key."""
        policy = await _policy(request)
        key = request.query.get("key") or limit_key(request.client_address)
        if len(key) > MAX_KEY:
            raise Problem(400, "bad_query", f"key has at most {MAX_KEY} characters.")
        text = request.query.get("cost") or "1"
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_LIMIT))):
            raise Problem(400, "bad_query", f"cost must be a number from 0 to {MAX_LIMIT}.")
        decision = await _decide(policy, key, int(text))
        headers = limit_headers(policy, decision)
        if decision[0]:
            return Response(204, headers=headers)
        return json_response(_document(policy, key, decision), 429, headers)


class DemoLimitedConsumer(HttpConsumer):
    """`/demo/limited`: the tutorial's limited page, 100 times in any 60 seconds for one client address."""

    needs_no_task = True

    async def get(self, request: Request) -> Response:
        """Answer `OK`, or `Rate limit exceeded` with status 429."""
        policy = await active_policy(DEMO) or BUILT_IN[DEMO]
        decision = await policy.check(limit_key(request.client_address), 1)
        headers = limit_headers(policy, decision)
        return (
            text_response("OK", 200, headers)
            if decision[0]
            else text_response("Rate limit exceeded", 429, headers)
        )


def policy_name(request: Request) -> str:
    """The policy named in the path."""
    return request.kwargs["policy"]


async def _policy(request: Request) -> ActivePolicy:
    name = policy_name(request)
    policy = await active_policy(name) if _NAME.fullmatch(name) else None
    if policy is None:
        raise _unknown(name)
    return policy


async def _decide(policy: ActivePolicy, key: str, cost: int) -> WireDecision:
    if cost > policy.rule.capacity:
        raise invalid(
            f"A cost of {cost} is above {policy.rule.capacity}, the most this policy admits at once: "
            "it would never be allowed.",
            "/cost",
            code="cost_too_high",
        )
    return await policy.check(_usable(key), cost)


def _usable(key: str) -> str:
    if "\0" in key:
        raise invalid("A key cannot contain NUL.", "/key")
    return key


def _check_algorithm(name: str) -> None:
    if name == "concurrency":
        raise invalid(
            "The algorithm 'concurrency' is not supported yet.", "/algorithm", code="unsupported_algorithm"
        )
    if name not in ALGORITHMS:
        raise invalid(f"The algorithm must be one of {', '.join(ALGORITHMS)}.", "/algorithm")


def _document(policy: ActivePolicy, key: str, decision: WireDecision) -> dict[str, Any]:
    allowed, remaining, reset_after, retry_after = decision
    return {
        "allowed": allowed,
        "limit": policy.rule.limit,
        "remaining": remaining,
        "reset_after": reset_after / 1000,
        "retry_after": retry_after / 1000,
        "policy": policy.name,
        "key": key,
    }


def _unknown(name: str) -> Problem:
    return Problem(404, "no_such_policy", f"There is no policy {name!r}.")


def _read(name: str) -> dict[str, Any] | None:
    row = Policy.objects.filter(name=name).first()
    if row is not None:
        return {
            "name": row.name,
            "algorithm": row.algorithm,
            "limit": row.limit,
            "window_seconds": row.window_seconds,
            "burst": row.burst,
            "shards": row.shards,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
            "built_in": False,
        }
    built_in = BUILT_IN.get(name)
    if built_in is None:
        return None
    return {
        "name": name,
        "algorithm": built_in.rule.algorithm,
        "limit": built_in.rule.limit,
        "window_seconds": built_in.rule.window_ms // 1000,
        "burst": None,
        "shards": built_in.shards,
        "created_at": None,
        "updated_at": None,
        "built_in": True,
    }


@transaction.atomic
def _write(who: str, name: str, body: PolicyBody) -> bool:
    values: dict[str, Any] = {
        "algorithm": body.algorithm,
        "limit": body.limit,
        "window_seconds": body.window_seconds,
        "burst": body.burst,
        "shards": body.shards,
    }
    AuditEntry.record(who, "policy.save", name=name, **values)
    _, created = Policy.objects.update_or_create(name=name, defaults=values)
    return created


@transaction.atomic
def _remove(who: str, name: str) -> bool:
    deleted, _ = Policy.objects.filter(name=name).delete()
    if deleted:
        AuditEntry.record(who, "policy.delete", name=name)
    return deleted > 0
