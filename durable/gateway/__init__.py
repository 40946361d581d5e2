"""The edge: HTTP and WebSocket consumers that hold clients and own no object."""
