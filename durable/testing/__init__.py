"""Tools to test objects without a server: the real runtime in the test's process, over real SQLite files.

    # conftest.py
    pytest_plugins = ["durable.testing.fixtures"]

    # test_counter.py
    async def test_it_counts_on_after_a_crash(local):
        counter = Counter.namespace.get_by_name("views")
        await counter.increment()
        await local.crash()
        assert await counter.increment() == 2

`local` is a `LocalObjects`: it moves the clock, evicts objects, moves them to other workers, lets their worker die (at a chosen
point, if it matters), runs alarms, opens WebSockets, and holds commits back or fails them. Nothing here is a double of the
runtime: only Redis is replaced, by a few dictionaries.
"""

from .clock import LocalClock
from .commits import Commits
from .crashes import CrashPoint, PlannedCrash
from .local import LocalObjects, local_objects
from .sockets import LocalSocket

__all__ = [
    "Commits",
    "CrashPoint",
    "LocalClock",
    "LocalObjects",
    "LocalSocket",
    "PlannedCrash",
    "local_objects",
]
