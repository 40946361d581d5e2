"""The Redis channel layer, with its address taken from the environment when a process first uses it.

The embedded Redis gets its socket only when the supervisor starts it, after the settings were read. And redis-py's
default read time-out breaks the blocking reads of an idle layer, so it is turned off.
"""

import os
from typing import Any

from channels_redis.core import RedisChannelLayer


class EnvironmentRedisLayer(RedisChannelLayer):  # type: ignore[misc]  # channels_redis has no types
    """`RedisChannelLayer` on `REDIS_URL` as it stands at construction."""

    def __init__(self, **config: Any) -> None:
        address = os.environ.get("REDIS_URL", "").strip() or "redis://127.0.0.1:6379/0"
        super().__init__(hosts=[{"address": address, "socket_timeout": None}], **config)
