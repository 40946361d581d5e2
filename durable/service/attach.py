"""Which Redis this process uses: the configured one, or that of the service running on the data directory."""

from __future__ import annotations

import os
from dataclasses import replace

from django.conf import settings

from durable.conf import DurableSettings, durable_settings

from .discovery import find_service
from .errors import ServiceError


def attach_to_redis() -> DurableSettings:
    """The settings with a Redis address: configured, or found through the running service; else one clear line."""
    conf = durable_settings()
    if conf.redis_url is not None:
        return conf
    service = find_service(conf.data_dir)
    if service is None:
        raise ServiceError(
            f"REDIS_URL is not set and no service runs on {conf.data_dir}: set REDIS_URL, or start `manage.py serve`."
        )
    return use_redis(service.redis_url)


def settings_of_running_service() -> DurableSettings:
    """The settings, with the Redis of the service that runs on the data directory where none is configured."""
    conf = durable_settings()
    service = find_service(conf.data_dir) if conf.redis_url is None else None
    return conf if service is None else replace(conf, redis_url=service.redis_url)


def use_redis(url: str) -> DurableSettings:
    """Make ``url`` the Redis of this process and of the processes it starts."""
    os.environ["REDIS_URL"] = url
    settings.DURABLE = {**settings.DURABLE, "redis_url": url}
    durable_settings.cache_clear()
    return durable_settings()
