"""A text that many people write at once: a CRDT in memory, its edits in SQL, the Yjs protocol on the sockets.

Any Yjs client (`y-websocket`, editors' bindings) can connect: frames are binary, a kind (sync or awareness) and its payload. Edits
commute, so nothing depends on their order and a repeated one changes nothing. Each edit is a row; when enough of them have come
together, or a minute after the last one, they become one.
"""

from __future__ import annotations

from pycrdt import (
    Doc,
    Text,
    YMessageType,
    YSyncMessageType,
    create_sync_message,
    create_update_message,
    handle_sync_message,
    read_message,
)

from durable import AlarmInfo, DurableObject, ObjectError, WebSocket

NOTHING = b"\0\0"
"""An update that says nothing."""


class DocumentFullError(ObjectError):
    """The text has reached its size."""


class Document(DurableObject):
    """One text, shared under the name "text"."""

    max_bytes = 1024 * 1024
    compact_after = 200
    quiet_ms = 60_000

    migrations = ["CREATE TABLE edit (id INTEGER PRIMARY KEY, data BLOB NOT NULL)"]

    async def start(self) -> None:
        """Rebuild the text: what is in memory is a cache of the table."""
        self._doc: Doc[Text] = Doc()
        self._text = self._doc.get("text", type=Text)
        self._edits = self._bytes = 0
        for (data,) in self.ctx.storage.sql.exec("SELECT data FROM edit ORDER BY id"):
            self._doc.apply_update(data)
            self._edits += 1
            self._bytes += len(data)

    async def read(self) -> str:
        """The text as it is now."""
        return str(self._text)

    async def append(self, text: str) -> str:
        """Write at the end, from the server's side; the whole text. Raises DocumentFullError."""
        if not self._has_room(len(text.encode())):
            raise DocumentFullError("the text is full", max_bytes=self.max_bytes)
        before = self._doc.get_state()
        self._text += text
        self._keep(self._doc.get_update(before))
        return str(self._text)

    async def web_socket_connect(self, ws: WebSocket) -> None:
        """Ask the client what it has that we lack. It asks us the same."""
        self.ctx.accept_web_socket(ws)
        ws.send(create_sync_message(self._doc))

    async def web_socket_message(self, ws: WebSocket, message: str | bytes) -> None:
        """A question, an edit, or where somebody's cursor is."""
        if isinstance(message, str) or len(message) < 2:
            ws.close(4400, "not a Yjs frame")
        elif message[0] == YMessageType.AWARENESS:
            self.ctx.broadcast(message, exclude=[ws], volatile=f"awareness:{ws.id}")
        elif message[0] == YMessageType.SYNC:
            try:
                self._sync(ws, message[1:])
            except (ValueError, IndexError, AssertionError):  # as pycrdt meets what it cannot read
                ws.close(4400, "not a Yjs frame")

    async def web_socket_resume(self) -> None:
        """Edits may have been lost on their way out: everybody gets all, and is asked for what we lack."""
        self.ctx.broadcast(create_update_message(self._doc.get_update()))
        self.ctx.broadcast(create_sync_message(self._doc))

    async def alarm(self, info: AlarmInfo) -> None:
        """Nobody has written for a while."""
        self._compact()

    def _sync(self, ws: WebSocket, message: bytes) -> None:
        if message[0] == YSyncMessageType.SYNC_STEP1:
            answer = handle_sync_message(message, self._doc)
            assert answer is not None
            ws.send(answer)
            return
        update = read_message(message[1:])
        if update == NOTHING:
            return
        if not self._has_room(len(update)):
            ws.close(4413, "the text is full")
            return
        self._doc.apply_update(update)
        self._keep(update, ws)

    def _has_room(self, more: int) -> bool:
        if self._bytes + more > self.max_bytes:
            self._compact()
        return self._bytes + more <= self.max_bytes

    def _keep(self, update: bytes, *but: WebSocket) -> None:
        """Store an edit that is in memory already, and tell everybody `but` its author."""
        self.ctx.storage.sql.exec("INSERT INTO edit (data) VALUES (?)", update)
        self._edits += 1
        self._bytes += len(update)
        if self._edits >= self.compact_after:
            self._compact()
        else:
            self.ctx.storage.set_alarm(self.ctx.now() + self.quiet_ms)
        self.ctx.broadcast(create_update_message(update), exclude=but)

    def _compact(self) -> None:
        """Put one row in the place of all."""
        whole = self._doc.get_update()
        self.ctx.storage.sql.exec("DELETE FROM edit")
        self.ctx.storage.sql.exec("INSERT INTO edit (data) VALUES (?)", whole)
        self._edits, self._bytes = 1, len(whole)
