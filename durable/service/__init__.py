"""One host's processes: the embedded Valkey, the gateways and workers, and the supervisor that keeps them."""
