"""Puts an operator's question to the cluster through this process's one client, from any thread or loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from durable.client import ClusterClient, home
from durable.conf import durable_settings

from .inspector import Inspector

T = TypeVar("T")
Question = Callable[[Inspector], Coroutine[Any, Any, T]]


def ask(who: str, question: Question[T]) -> T:
    """The answer, in synchronous code: `ask("shell:root", lambda inspector: inspector.workers())`."""
    return home.run(_bound(who, question))


async def aask(who: str, question: Question[T]) -> T:
    """The answer, in asynchronous code."""
    return await home.arun(_bound(who, question))


def _bound(who: str, question: Question[T]) -> Callable[[ClusterClient], Coroutine[Any, Any, T]]:
    return lambda client: question(Inspector(client, durable_settings(), who))
