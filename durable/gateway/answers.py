"""Whole answers, handed to the server in one call where it takes them.

A server that offers the ASGI extension `durable_answers` writes head and body at once, without taking them apart again. Others
get the two messages that ASGI knows. A middleware that has to see what is sent takes the extension out of the scope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .problems import Header

EXTENSION = "durable_answers"
WriteAnswer = Callable[[int, Sequence[Header], bytes], bool]
"""Writes status, headers and body of an answer; False when the connection wants them as messages."""


def answer_writer(scope: Mapping[str, Any]) -> WriteAnswer | None:
    """How the server of this request takes a whole answer, if it does."""
    extension = (scope.get("extensions") or {}).get(EXTENSION)
    return None if extension is None else extension["write"]
