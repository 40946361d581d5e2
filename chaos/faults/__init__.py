"""What can go wrong: one class a fault, by name."""

from .clocks import CLOCK_FAULTS
from .fault import Fault, Site
from .links import LINK_FAULTS
from .processes import PROCESS_FAULTS
from .redis import REDIS_FAULTS
from .syncs import SYNC_FAULTS

FAULTS: dict[str, type[Fault]] = {
    fault.name: fault for fault in (*PROCESS_FAULTS, *REDIS_FAULTS, *LINK_FAULTS, *SYNC_FAULTS, *CLOCK_FAULTS)
}

__all__ = ["FAULTS", "Fault", "Site"]
