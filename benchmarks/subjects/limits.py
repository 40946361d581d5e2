"""Bounds that are wider where it is measured what the service can do, and not what it lets one client do."""

FRAME_RATE = 200.0
"""Frames a second of one socket of a room; the project takes 30."""
