"""Objects to copy from: each module is one whole use of durable objects, explained by its page in docs/examples."""
