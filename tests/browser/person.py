"""A person in a room, by what they see and do: the page's selectors are named here and nowhere else."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page, WebSocket, expect

# Pixels that are not transparent on Excalidraw's upper canvas, which shows cursors and selections, not the drawing.
INK_RADIUS = 30
COUNT_INK = """
([x, y, radius]) => {
  const canvas = document.querySelector("canvas.interactive");
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  const left = (x - box.left - radius) * scale, top = (y - box.top - radius) * scale;
  const { data } = canvas.getContext("2d").getImageData(left, top, 2 * radius * scale, 2 * radius * scale);
  let ink = 0;
  for (let at = 3; at < data.length; at += 4) if (data[at] > 0) ink += 1;
  return ink;
}
"""


class Person:
    """One browser page and what somebody does with it."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name
        self.closed_sockets: list[str] = []
        self.sockets: list[WebSocket] = []
        page.on("websocket", self._opened)

    def _opened(self, socket: WebSocket) -> None:
        self.sockets.append(socket)
        socket.on("close", lambda closed: self.closed_sockets.append(closed.url))

    # -- the room

    @property
    def pill(self) -> Locator:
        """How the connection stands."""
        return self.page.get_by_test_id("connection")

    @property
    def board(self) -> Locator:
        """The whiteboard."""
        return self.page.get_by_test_id("board")

    def enter(self, room: str) -> Person:
        """Go to a room and wait until one can talk and draw there."""
        self.page.goto(room)
        self.is_in()
        return self

    def is_in(self) -> None:
        """Wait until the room is live."""
        self.is_live()
        expect(self.board).to_have_attribute("data-ready", "true")

    def is_live(self) -> None:
        """Wait for a good connection."""
        expect(self.pill).to_have_attribute("data-state", "live", timeout=30_000)

    # -- the conversation

    @property
    def log(self) -> Locator:
        """The conversation."""
        return self.page.get_by_test_id("chat-log")

    @property
    def box(self) -> Locator:
        """The box labelled "Message"."""
        return self.page.get_by_label("Message", exact=True)

    @property
    def messages(self) -> Locator:
        """The confirmed messages, oldest first."""
        return self.log.locator("li.message[data-seq] .message-body")

    def say(self, text: str) -> None:
        """Post a message."""
        self.box.fill(text)
        self.box.press("Enter")

    def sees(self, text: str, timeout: float | None = None) -> None:
        """Wait for a message of exactly this text that the room has confirmed."""
        exactly = re.compile(rf"^{re.escape(text)}$")
        expect(self.messages.filter(has_text=exactly)).to_have_count(1, timeout=timeout)

    def said(self) -> list[str]:
        """All confirmed messages."""
        return self.messages.all_inner_texts()

    # -- the people

    def sees_people(self, *names: str) -> None:
        """Wait until exactly these are here; opens and closes the list."""
        expect(self.page.get_by_test_id("people-count")).to_have_text(str(len(names)))
        button = self.page.locator(".people-button")
        button.click()
        people = self.page.get_by_test_id("people-list").locator("li")
        expect(people).to_have_count(len(names))
        for name in names:
            expect(people.filter(has_text=name)).to_have_count(1)
        button.click()

    def rename(self, name: str) -> None:
        """Take another name."""
        self.page.locator(".people-button").click()
        self.page.get_by_role("button", name="Rename yourself").click()
        self.page.get_by_label("Your name").fill(name)
        self.page.get_by_role("button", name="Save").click()
        self.name = name

    # -- the board

    def draw_rectangle(self, left: int, top: int, width: int = 120, height: int = 80) -> None:
        """Draw with the mouse and wait until the room has it. Window coordinates."""
        before = len(self.elements())
        self.page.get_by_test_id("toolbar-rectangle").check(force=True)
        self.page.mouse.move(left, top)
        self.page.mouse.down()
        self.page.mouse.move(left + width // 2, top + height // 2)
        self.page.mouse.move(left + width, top + height)
        self.page.mouse.up()
        self.page.wait_for_function("count => window.durableRoom.elements().length > count", arg=before)
        self.is_synced()

    def is_synced(self) -> None:
        """Wait until the room has confirmed all of the board."""
        self.page.wait_for_function("() => window.durableRoom.synced()")

    def elements(self) -> dict[str, dict[str, Any]]:
        """What is on the board, by id, as far as the room shares it."""
        shared = ("id", "type", "x", "y", "width", "height", "version", "versionNonce", "isDeleted")
        found = self.page.evaluate("window.durableRoom.elements()")
        return {element["id"]: {name: element[name] for name in shared} for element in found}

    def has_board_of(self, other: Person) -> None:
        """Wait until both see the same drawing."""
        wanted = {element["id"]: element["version"] for element in other.elements().values()}
        self.page.wait_for_function(
            """wanted => {
              const mine = new Map(window.durableRoom.elements().map((element) => [element.id, element.version]));
              return Object.entries(wanted).every(([id, version]) => mine.get(id) === version);
            }""",
            arg=wanted,
        )
        assert self.elements() == other.elements()

    def ink_around(self, x: float, y: float) -> int:
        """How much is painted above the drawing around a point of the window."""
        return int(self.page.evaluate(COUNT_INK, [x, y, INK_RADIUS]))

    def sees_ink_around(self, x: float, y: float) -> None:
        """Wait until something is painted there, such as a cursor."""
        self.page.wait_for_function(COUNT_INK, arg=[x, y, INK_RADIUS])
