"""The network between a page and its room, in the hands of a test."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, WebSocketRoute

Frame = dict[str, Any]


class Wire:
    """Passes frames on, both ways, but for those that the test swallows. Put up before the page is opened."""

    def __init__(self, page: Page) -> None:
        self.sent: list[Frame] = []
        self.swallows_sent: Callable[[Frame], bool] = lambda frame: False
        self.swallows_heard: Callable[[Frame], bool] = lambda frame: False
        self._socket: WebSocketRoute | None = None
        page.route_web_socket("**/ws/rooms/**", self._connected)

    def say(self, **frame: Any) -> None:
        """Tell the page something in the room's name."""
        assert self._socket is not None
        self._socket.send(json.dumps(frame))

    def close(self, code: int) -> None:
        """Close the page's socket with a code of the room's."""
        assert self._socket is not None
        self._socket.close(code=code)

    def _connected(self, page: WebSocketRoute) -> None:
        self._socket = page
        room = page.connect_to_server()
        page.on_message(lambda text: self._pass(text, room, self.swallows_sent, self.sent))
        room.on_message(lambda text: self._pass(text, page, self.swallows_heard, []))

    @staticmethod
    def _pass(
        text: str | bytes, on: WebSocketRoute, swallows: Callable[[Frame], bool], seen: list[Frame]
    ) -> None:
        if isinstance(text, str) and text.startswith("{"):
            frame = json.loads(text)
            seen.append(frame)
            if swallows(frame):
                return
        on.send(text)
