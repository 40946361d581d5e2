"""The probes' project with little patience for handlers that block, and leases that outlast that."""

from tests.cluster.settings import *  # noqa: F403
from tests.cluster.settings import DURABLE

DURABLE = {**DURABLE, "lease_ttl": 12.0, "lease_renew": 1.0, "lease_margin": 0.5}
DURABLE |= {"blocking_notice": 0.5, "blocking_limit": 1.0, "blocking_grace": 1.5}
