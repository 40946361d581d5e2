"""Between processes: who owns what, and how a request finds its owner."""
