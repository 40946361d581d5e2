"""The runtime's settings: defaults, refusals and reading once."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from durable.conf import DurableSettings, durable_settings
from durable.runtime.memory import machine_bytes


def make(**values: Any) -> DurableSettings:
    return DurableSettings.from_mapping({"data_dir": "/tmp/volume", **values})


def test_only_the_data_directory_is_required() -> None:
    settings = make()
    assert settings.data_dir == Path("/tmp/volume")
    assert settings.redis_url is None
    assert (settings.lease_ttl, settings.lease_renew, settings.lease_margin) == (10.0, 3.0, 1.0)
    assert settings.max_queue_bytes == 64 * 1024 * 1024
    assert settings.api_auth == "token"
    with pytest.raises(ImproperlyConfigured, match=r"DURABLE\['data_dir'\] is required"):
        DurableSettings.from_mapping({})


def test_a_misspelt_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ImproperlyConfigured, match="no setting 'LEASE_TLL'; did you mean 'lease_ttl'"):
        make(LEASE_TLL=5)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"workers": 0}, "workers'] must be above 0"),
        ({"workers": 1.5}, "workers'] must be a whole number"),
        ({"workers": True}, "workers'] must be a whole number"),
        ({"idle_seconds": "10"}, "idle_seconds'] must be a number of seconds"),
        ({"api_auth": "none"}, "api_auth'] must be 'open' or 'token'"),
        ({"trusted_proxy_count": -1}, "trusted_proxy_count'] must be 0 or more"),
        ({"backup_every": 0}, "backup_every'] must be a number of seconds above 0, or None"),
        ({"backup_every": "1h"}, "backup_every'] must be a number of seconds above 0, or None"),
        ({"backup_every": True}, "backup_every'] must be a number of seconds above 0, or None"),
        ({"backup_keep": 0}, "backup_keep'] must be above 0"),
        ({"backup_keep_days": 1_000_000}, "backup_keep_days'] must be at most 36500"),
        ({"backup_every": 1e12}, "backup_every'] must be at most 3153600000"),
        ({"backup_every": float("nan")}, "backup_every'] must be at most 3153600000"),
        (
            {"redis_url": "localhost:6379"},
            "redis_url'] (REDIS_URL) cannot be used: it must begin with redis://",
        ),
        ({"lease_margin": 10.0}, "lease_margin'] must be below lease_ttl"),
        ({"lease_renew": 5.0}, "lease_renew'] must leave room for one failed renewal"),
        ({"statement_timeout": 31.0}, "statement_timeout'] must not exceed event_timeout"),
        ({"worker_memory": -1}, "worker_memory'] must be 0 or more"),
        (
            {"worker_memory": 2, "worker_memory_limit": 1},
            "worker_memory_limit'] must not be below worker_memory",
        ),
        ({"max_message_bytes": 65 * 1024 * 1024}, "max_message_bytes'] must not exceed max_queue_bytes"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=re.escape(problem)):
        make(**values)


def test_backups_can_be_left_to_the_operator() -> None:
    assert make(backup_every=None).backup_every is None


def test_workers_share_a_part_of_the_machines_memory_unless_told_otherwise() -> None:
    few, many = make(workers=2), make(workers=1000)
    assert few.worker_memory == machine_bytes() * 6 // 10 // 2
    assert few.worker_memory_limit == few.worker_memory * 3 // 2
    assert many.worker_memory == 256 * 1024 * 1024
    assert make(worker_memory=1000).worker_memory_limit == 1500


def test_a_whole_number_will_do_for_seconds() -> None:
    assert make(idle_seconds=5).idle_seconds == 5


def test_every_setting_is_documented() -> None:
    source = Path(durable_settings.__wrapped__.__code__.co_filename).read_text()
    for name in DurableSettings.__dataclass_fields__:
        assert re.search(rf'^    {name}: .*\n    """[A-Z`].+\."""$', source, re.MULTILINE), name


def test_settings_are_read_once_and_follow_override_settings() -> None:
    assert durable_settings() is durable_settings()
    with override_settings(DURABLE={"data_dir": "/tmp/volume", "max_queue": 7}):
        assert durable_settings().max_queue == 7
    assert durable_settings().max_queue == 1000
