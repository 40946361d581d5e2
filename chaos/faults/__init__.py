"""What can go wrong: one class a fault, by name."""

from .clocks import CLOCK_FAULTS
from .disk import DISK_FAULTS
from .fault import Fault, Site
from .links import LINK_FAULTS
from .processes import PROCESS_FAULTS
from .redis import REDIS_FAULTS
from .resources import RESOURCE_FAULTS
from .syncs import SYNC_FAULTS
from .visitors import VISITOR_FAULTS

_ALL: tuple[type[Fault], ...] = (
    *PROCESS_FAULTS,
    *REDIS_FAULTS,
    *LINK_FAULTS,
    *DISK_FAULTS,
    *SYNC_FAULTS,
    *RESOURCE_FAULTS,
    *CLOCK_FAULTS,
    *VISITOR_FAULTS,
)

FAULTS: dict[str, type[Fault]] = {fault.name: fault for fault in _ALL}

__all__ = ["FAULTS", "Fault", "Site"]
