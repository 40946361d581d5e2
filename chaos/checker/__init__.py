"""The checker: given everything that clients saw and what is stored at the end, which promises were broken.

Pure: records in, findings out. It accuses only where the records prove it: an operation without a known outcome may have happened
or not, and whatever fits one of the two is taken as fine.
"""

from __future__ import annotations

from collections.abc import Iterable

from chaos.history import Record

from .alarms import check_alarms
from .counters import check_counters
from .finding import Finding, Kind
from .limits import check_limits
from .rooms import check_rooms

__all__ = ["Finding", "Kind", "check"]


def check(records: Iterable[Record]) -> list[Finding]:
    """Everything that was promised and did not hold, in order of time."""
    known = list(records)
    checks = (check_counters, check_rooms, check_limits, check_alarms)
    return sorted((finding for one in checks for finding in one(known)), key=lambda finding: finding.at)
