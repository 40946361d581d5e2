"""One gateway of a test: the real hub and router, in this process, without a server in front."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import cast

from durable.cluster.directory import Directory
from durable.cluster.redis import GatewaySession, RedisCluster
from durable.cluster.router import Router
from durable.conf import DurableSettings
from durable.gateway.hub import Hub

from .cluster import LocalCluster


class LocalGateway:
    """A gateway without a process of its own.

    Args:
        conf: limits and times.
        cluster: shared with the workers.
        now: ms since the epoch.

    Attributes:
        hub: the sockets it holds.
        router: its way to the objects.
    """

    def __init__(self, conf: DurableSettings, cluster: LocalCluster, now: Callable[[], int]) -> None:
        self.directory = Directory(cast(RedisCluster, cluster))
        self.hub = Hub(uuid.uuid4().hex, now)
        self.router = Router(
            self.hub.gateway,
            "gateway",
            self.directory,
            park_seconds=conf.park_seconds,
            max_parked=conf.max_parked,
            effects=self.hub.apply,
            last_auto_response=self.hub.last_auto_response,
        )
        self.hub.router = self.router
        cluster.gateways[self.hub.gateway] = GatewaySession(self.hub.gateway, os.getpid(), "test")
