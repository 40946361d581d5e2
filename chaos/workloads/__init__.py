"""What clients do while faults strike: one module a product, each with clients that keep a complete history."""
