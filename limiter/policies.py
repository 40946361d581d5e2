"""Policies as the gateway uses them: read from the database, remembered for a second."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from channels.db import database_sync_to_async

from durable.gateway.lookups import LookupCache
from durable.gateway.problems import Header

from .logic import Rule
from .models import DEFAULT_SHARDS, Policy
from .objects import RateLimiter, WireDecision, WireRule, shard_name


@dataclass(frozen=True)
class ActivePolicy:
    """One policy, with all that a check needs worked out."""

    name: str
    rule: Rule
    shards: int
    wire: WireRule = field(init=False)
    policy_header: Header = field(init=False)

    def __post_init__(self) -> None:
        rule = self.rule
        window = math.ceil(rule.window_ms / 1000)
        object.__setattr__(self, "wire", (rule.algorithm, rule.limit, rule.window_ms, rule.burst))
        object.__setattr__(
            self,
            "policy_header",
            (b"ratelimit-policy", b'"%s";q=%d;w=%d' % (self.name.encode(), rule.limit, window)),
        )

    async def check(self, key: str, cost: int) -> WireDecision:
        """Ask the shard that answers for `key`."""
        shard = RateLimiter.namespace.get_by_name(shard_name(self.name, key, self.shards))
        return await shard.check(key, cost, self.wire)

    async def reset(self, key: str) -> None:
        """Forget `key`."""
        await RateLimiter.namespace.get_by_name(shard_name(self.name, key, self.shards)).reset(key)


BUILT_IN = {
    "demo": ActivePolicy("demo", Rule("sliding_window", 100, 60_000, 100), DEFAULT_SHARDS),
}
"""Policies that exist without a row; a row of the same name takes their place."""


def _read(name: str) -> ActivePolicy | None:
    row = Policy.objects.filter(name=name).first()
    if row is None:
        return BUILT_IN.get(name)
    rule = Rule(row.algorithm, row.limit, row.window_seconds * 1000, row.burst or row.limit)
    return ActivePolicy(row.name, rule, row.shards)


async def _load(name: str) -> ActivePolicy | None:
    found: ActivePolicy | None = await database_sync_to_async(_read)(name)
    return found


_policies: LookupCache[str, ActivePolicy | None] = LookupCache(_load)


async def active_policy(name: str) -> ActivePolicy | None:
    """The policy called `name` as of at most a second ago, or None."""
    return await _policies.get(name)


def policy_changed(name: str) -> None:
    """Read the policy anew at its next use in this process; others notice within a second."""
    _policies.forget(name)


def forget_policies() -> None:
    """Read every policy anew at its next use."""
    _policies.clear()
