"""Rooms: chat and a shared whiteboard, each room one durable object."""
