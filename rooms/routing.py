"""What is mounted ahead of Django, matched against the percent-encoded path."""

from typing import Any

from django.urls import re_path

from .consumers import CreateRoomConsumer, DemoChatConsumer, RoomConsumer

http_urlpatterns: list[Any] = [
    re_path(r"^api/v1/rooms$", CreateRoomConsumer.as_asgi()),
]

websocket_urlpatterns: list[Any] = [
    re_path(r"^ws/rooms/(?P<slug>[^/]+)/$", RoomConsumer.as_asgi()),
    re_path(r"^ws/demo/chat/(?P<room>[^/]+)/$", DemoChatConsumer.as_asgi()),
]
