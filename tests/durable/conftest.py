"""The behaviour that tests give to their objects ends with the test."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from durable.identity import id_from_name
from durable.storage.durability import SyncPool
from durable.storage.store import Claim, Store
from tests.durable.lab import HOOKS, STEPS


@pytest.fixture(autouse=True)
def _plain_lab() -> Iterator[None]:
    yield
    HOOKS.clear()
    STEPS.clear()


class OpenStorage(NamedTuple):
    """The storage of one object without an object around it."""

    store: Store
    list: Any
    put_many: Any
    delete: Any


@pytest.fixture
def pool() -> Iterator[SyncPool]:
    """Sync threads that nobody listens to."""
    pool = SyncPool(1, lambda done, error: done(error))
    yield pool
    pool.close()


@pytest.fixture
def storage(tmp_path: Path, pool: SyncPool) -> Iterator[OpenStorage]:
    """An open file, in a transaction that never ends."""
    store = open_store(tmp_path, pool)
    yield OpenStorage(store, store.kv.list, store.kv.put_many, store.kv.delete)
    store.abandon()


def open_store(root: Path, pool: SyncPool, claim: Claim = Claim(1, "w"), name: str = "x") -> Store:  # noqa: B008
    """The storage of Lab `name`."""
    return Store(
        root,
        id_from_name("Lab", name),
        claim,
        pool=pool,
        changed=lambda error: None,
        now=0,
        clock=lambda: 0.0,
        statement_timeout=1,
    )
