"""The rate limit headers: RateLimit-Policy and RateLimit of the IETF draft (structured fields), and Retry-After."""

from __future__ import annotations

from durable.gateway.problems import Header

from .objects import WireDecision
from .policies import ActivePolicy


def limit_headers(policy: ActivePolicy, decision: WireDecision) -> list[Header]:
    """The headers of one decision, in whole seconds rounded up.

    `t` is the time until the whole quota is back, or for a refused request until it would be admitted, so that
    Retry-After is never earlier.
    """
    allowed, remaining, reset_after, retry_after = decision
    seconds = -(-(reset_after if allowed else retry_after) // 1000)
    headers = [
        policy.policy_header,
        (b"ratelimit", b'"%s";r=%d;t=%d' % (policy.name.encode(), remaining, seconds)),
        (b"cache-control", b"no-store"),
    ]
    if not allowed:
        headers.append((b"retry-after", b"%d" % max(1, seconds)))
    return headers
