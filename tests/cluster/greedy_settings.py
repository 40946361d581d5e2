"""The probes' project with little memory for its workers, and leases that outlast handlers that take it."""

from tests.cluster.impatient_settings import *  # noqa: F403
from tests.cluster.impatient_settings import DURABLE

MIB = 1024 * 1024
DURABLE = {**DURABLE, "worker_memory": 300 * MIB, "worker_memory_limit": 400 * MIB}
DURABLE |= {"blocking_notice": 5.0, "blocking_limit": 20.0, "blocking_grace": 1.5}
