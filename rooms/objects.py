"""The durable objects of this app: `Room`, and `DemoChat`, the tutorial's chat.

Neither has anything in memory only: who is here is in the sockets' attachments, the rest in the database, so a room that slept, moved or
crashed goes on where it was. A refused frame raises `FrameError` before anything is written.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Raw

from durable import DurableObject, WebSocket

from . import board, chat, protocol
from .board import Board, Place
from .chat import Log, Message, newest_seq
from .elements import parse_element
from .logic import clean_name, colour_of, distinct_people, public
from .markdown import to_html
from .protocol import FrameError, render

HEARTBEAT_MS = 30_000
DELETED = "deleted"
FORGET_MS = 60_000
"""How long a deleted room remembers that it is: longer than a gateway may still believe in it, and an opening be on its way."""

GONE = 4404, "this room was deleted"
LIMITS = {
    "text": protocol.MAX_TEXT,
    "elements": protocol.MAX_ELEMENTS_PER_FRAME,
    "frame": protocol.MAX_FRAME_BYTES,
    "element": protocol.MAX_ELEMENT_BYTES,
    "board_elements": protocol.MAX_LIVE_ELEMENTS,
    "history": protocol.HISTORY_PAGE,
}


class Beating(DurableObject, abstract=True):
    """An object that tells its sockets every 30 seconds how many are here, by alarm, so that it may sleep in between."""

    async def alarm(self, info: Any) -> None:
        """Arm the next beat before anything can fail, then beat; an empty room stops."""
        if not self.ctx.get_web_sockets():
            return
        self.ctx.storage.set_alarm(self.ctx.now() + HEARTBEAT_MS)
        self._beat()

    async def web_socket_resume(self) -> None:
        """After a takeover: frames may have been lost with the old owner, so say at once where things stand."""
        self._keep_beating()
        self._beat()

    def _let_in(self, ws: WebSocket, tags: tuple[str, ...] = ()) -> None:
        """Accept a socket, let its gateway answer pings, and keep the beat going."""
        self.ctx.accept_web_socket(ws, tags)
        self.ctx.set_web_socket_auto_response("ping", "pong")
        self._keep_beating()

    def _keep_beating(self) -> None:
        if self.ctx.storage.get_alarm() is None:
            self.ctx.storage.set_alarm(self.ctx.now() + HEARTBEAT_MS)

    def _others(self, gone: WebSocket) -> list[WebSocket]:
        return [ws for ws in self.ctx.get_web_sockets() if ws.id != gone.id]

    def _beat(self) -> None:
        raise NotImplementedError


class Room(Beating):
    """A shared room: chat and a whiteboard, in one order of events numbered by `seq`."""

    key = "Room"
    migrations = (chat.SCHEMA + board.SCHEMA,)
    web_socket_error = render("error", code="internal", message="That did not work. It is tried again.")

    async def start(self) -> None:
        """Know whether the room has been deleted."""
        self._deleted = bool(self.ctx.storage.get(DELETED))

    async def alarm(self, info: Any) -> None:
        """Beat; or forget the last of a deleted room, its file too, when nobody can believe in it any more."""
        if self._deleted:
            self.ctx.storage.delete_all()
        else:
            await super().alarm(info)

    # --- sockets -----------------------------------------------------------------------------------

    async def web_socket_connect(self, ws: WebSocket) -> None:
        """Let a person in: they get everything they miss, the others hear of them if it is their first socket."""
        if self._deleted:
            ws.close(*GONE)
            return
        me = _identity(ws)
        tag = _tag(me["user_id"])
        tabs = self.ctx.get_web_sockets(tag)
        renamed = False
        if tabs:
            named, me = me["name"], tabs[0].attachment
            renamed = bool(ws.user.get("named")) and me["guest"] and named != me["name"]
            if renamed:
                me["name"] = named
        else:
            me["color"] = colour_of(me["user_id"], {person["color"] for person in self._people()})
        self._let_in(ws, (tag,))
        for tab in (*tabs, ws) if renamed else (ws,):
            tab.attachment = me
        self._welcome(ws, _since(ws.url))
        if not tabs:
            self.ctx.broadcast(render("join", user=public(me)), exclude=[ws])
        elif renamed:
            self.ctx.broadcast(render("rename", user=public(me)), exclude=[ws])

    async def web_socket_message(self, ws: WebSocket, message: str | bytes) -> None:
        """Handle one frame; one that is refused has no effect but an error frame to its sender."""
        if self._deleted:  # it was on its way when the socket was closed
            return
        try:
            self._handle(ws, protocol.parse(message))
        except FrameError as error:
            ws.send(error.render())

    async def web_socket_close(self, ws: WebSocket, code: int, reason: str, was_clean: bool) -> None:
        """Tell the others when a person's last socket is gone."""
        if self._deleted:
            return
        others = self._others(ws)
        if not others:
            self.ctx.storage.delete_alarm()
            return
        me = ws.attachment or _identity(ws)
        if not any(_tag(me["user_id"]) in other.tags for other in others):
            self.ctx.broadcast(render("leave", user=public(me)), exclude=[ws])

    # --- methods for pages, commands and the admin ---------------------------------------------------

    async def summary(self) -> dict[str, int]:
        """How much is in this room: `seq`, `messages`, `elements`, `people`."""
        messages = next(iter(self.ctx.storage.sql.exec("SELECT count(*) FROM messages")))[0]
        live = self._board.totals().live
        return {"seq": self._seq(), "messages": messages, "elements": live, "people": self._active_users()}

    async def close_room(self) -> None:
        """Forget everything that was said and drawn, and send everybody away: the room has been deleted."""
        for ws in self.ctx.get_web_sockets():
            ws.close(*GONE)
        for table in ("messages", "elements", "board"):
            self.ctx.storage.sql.exec(f"DELETE FROM {table}")
        self.ctx.storage.put(DELETED, True)
        self.ctx.storage.set_alarm(self.ctx.now() + FORGET_MS)
        self._deleted = True

    # --- frames ------------------------------------------------------------------------------------

    def _handle(self, ws: WebSocket, frame: protocol.ClientFrame) -> None:
        match frame:
            case protocol.Chat():
                self._chat(ws, frame)
            case protocol.Draw():
                self._draw(ws, frame)
            case protocol.Presence():
                self._presence(ws, frame)
            case protocol.Sync():
                self._welcome(ws, frame.since)
            case protocol.More():
                self._more(ws, frame)
            case protocol.History():
                self._history(ws, frame)
            case protocol.Rename():
                self._rename(ws, frame)

    def _chat(self, ws: WebSocket, frame: protocol.Chat) -> None:
        me, text = ws.attachment, frame.text
        message, is_new = self._log.post(
            frame.id, me["user_id"], me["name"], me["color"], text, to_html(text), self.ctx.now()
        )
        if is_new:
            self.ctx.broadcast(message.frame(), exclude=[ws])
        ws.send(render("ack", id=frame.id, seq=message.seq, timestamp=message.timestamp, html=message.html))

    def _draw(self, ws: WebSocket, frame: protocol.Draw) -> None:
        me = ws.attachment
        elements = [parse_element(raw, frame.id) for raw in frame.elements]
        outcome = self._board.plan(elements, frame.id)
        seq = self._seq()
        if outcome.winners:
            seq += 1
            self._board.apply(outcome, seq)
            drawn = protocol.raw_list(element.json for element in outcome.winners)
            text = render("draw", seq=seq, user=me["name"], user_id=me["user_id"], elements=drawn)
            self.ctx.broadcast(text, exclude=[ws])
        ws.send(render("ack", id=frame.id, seq=seq))

    def _presence(self, ws: WebSocket, frame: protocol.Presence) -> None:
        me = ws.attachment
        seen = {
            name: value for name, value in msgspec.structs.asdict(frame).items() if value is not msgspec.UNSET
        }
        text = render("presence", id=me["user_id"], user=me["name"], color=me["color"], **seen)
        self.ctx.broadcast(text, exclude=[ws], volatile=f"presence:{me['user_id']}")

    def _history(self, ws: WebSocket, frame: protocol.History) -> None:
        page = self._log.before(frame.before, protocol.HISTORY_PAGE + 1)
        newest = page[-protocol.HISTORY_PAGE :]
        ws.send(render("history", messages=newest, more=len(page) > len(newest)))

    def _rename(self, ws: WebSocket, frame: protocol.Rename) -> None:
        me = ws.attachment
        if not me["guest"]:
            raise FrameError("not_allowed", "An account keeps its name.")
        renamed = {**me, "name": clean_name(frame.name, me["user_id"])}
        if renamed != me:
            for mine in self.ctx.get_web_sockets(_tag(me["user_id"])):
                mine.attachment = renamed
        self.ctx.broadcast(render("rename", user=public(renamed)))

    # --- what a client gets when it comes or missed something -----------------------------------------

    def _welcome(self, ws: WebSocket, since: int) -> None:
        """Everything after `since`, or everything; the first frames of a socket and the answer to `sync`."""
        me = ws.attachment
        seq = self._seq()
        messages = self._missed_messages(since, seq)
        mode = "snapshot" if messages is None else "delta"
        if messages is None:
            messages = _newest_that_fit(self._log.newest(protocol.SNAPSHOT_MESSAGES))
            since = 0
        older = bool(messages) and bool(self._log.before(messages[0].seq, 1))
        elements, rest = self._elements(mode, Place(since))
        head = {
            "you": {**public(me), "guest": me["guest"]},
            "users": self._people(),
            "title": str(ws.user.get("title", "")),
            "seq": seq,
            "mode": mode,
            "older": older,
            "limits": LIMITS,
        }
        chunks = list(protocol.parts([message.to_json() for message in messages], elements))
        ends = not chunks[1:] and rest is None
        more = {"next": rest} if rest is not None and not chunks[1:] else {}
        ws.send(
            render("welcome", **head, messages=chunks[0][0], elements=chunks[0][1], complete=ends, **more)
        )
        self._send_parts(ws, chunks[1:], rest)

    def _more(self, ws: WebSocket, frame: protocol.More) -> None:
        """The next pages of a board that was too large for one burst."""
        mode, seq, element_id = frame.next.split("/", 2)
        elements, rest = self._elements(mode, Place(int(seq), element_id))
        self._send_parts(ws, list(protocol.parts([], elements)), rest)

    def _elements(self, mode: str, after: Place) -> tuple[list[str], str | None]:
        """A burst of elements, and the cursor of the next if there is one."""
        elements, place = self._board.page(after, deleted=mode == "delta", budget=protocol.BURST_BYTES)
        return elements, None if place is None else f"{mode}/{place.seq}/{place.id}"

    def _send_parts(self, ws: WebSocket, chunks: list[tuple[Raw, Raw]], rest: str | None) -> None:
        for index, (messages, elements) in enumerate(chunks, 1):
            ends = index == len(chunks)
            more = {"next": rest} if ends and rest is not None else {}
            ws.send(render("part", messages=messages, elements=elements, last=ends and rest is None, **more))

    def _missed_messages(self, since: int, seq: int) -> list[Message] | None:
        """The messages of a delta, or None when the client must start afresh."""
        if not 0 < since <= seq or since < self._board.horizon():
            return None
        missed = self._log.since(since, protocol.DELTA_MESSAGES + 1)
        if len(missed) > protocol.DELTA_MESSAGES or len(_newest_that_fit(missed)) < len(missed):
            return None
        return missed

    def _beat(self) -> None:
        self.ctx.broadcast(render("heartbeat", activeUsers=self._active_users(), seq=self._seq()))

    def _active_users(self) -> int:
        return len({tag for ws in self.ctx.get_web_sockets() for tag in ws.tags})

    def _people(self) -> list[dict[str, Any]]:
        return distinct_people(ws.attachment for ws in self.ctx.get_web_sockets())

    def _seq(self) -> int:
        return newest_seq(self.ctx.storage.sql)

    @property
    def _log(self) -> Log:
        return Log(self.ctx.storage.sql)

    @property
    def _board(self) -> Board:
        return Board(self.ctx.storage.sql)


def _identity(ws: WebSocket) -> dict[str, Any]:
    """The attachment of a new socket: the person as the gateway knows them."""
    user_id = str(ws.user["id"])
    return {
        "user_id": user_id,
        "name": str(ws.user["name"]),
        "color": colour_of(user_id),
        "guest": bool(ws.user.get("guest", True)),
    }


def _tag(user_id: str) -> str:
    """The one tag of a socket: whose it is, so that people can be told apart without reading attachments."""
    return f"user:{user_id}"


def _since(url: str) -> int:
    values = parse_qs(urlsplit(url).query).get("since", ["0"])
    return int(values[-1]) if values[-1].isascii() and values[-1].isdecimal() and len(values[-1]) <= 16 else 0


def _newest_that_fit(messages: list[Message]) -> list[Message]:
    """The newest messages that fit into one burst, in their order."""
    size = 0
    for index in range(len(messages) - 1, -1, -1):
        size += len(messages[index].text) + len(messages[index].html)
        if size > protocol.BURST_BYTES:
            return messages[index + 1 :]
    return messages


class _Said(msgspec.Struct):
    user: str
    text: str


_said = msgspec.json.Decoder(_Said)


class DemoChat(Beating):
    """The tutorial's chat room: what one says, the others receive; nothing is kept."""

    key = "DemoChat"

    async def web_socket_connect(self, ws: WebSocket) -> None:
        """Let anybody in."""
        self._let_in(ws)

    async def web_socket_message(self, ws: WebSocket, message: str | bytes) -> None:
        """Pass `{"user","text"}` on to the others with the time."""
        try:
            said = parse_demo(message)
        except FrameError as error:
            ws.send(render("error", message=error.message))
            return
        text = msgspec.json.encode(
            {"user": said.user, "text": said.text, "timestamp": self.ctx.now()}
        ).decode()
        self.ctx.broadcast(text, exclude=[ws])

    async def web_socket_close(self, ws: WebSocket, code: int, reason: str, was_clean: bool) -> None:
        """The last one turns off the light."""
        if not self._others(ws):
            self.ctx.storage.delete_alarm()

    def _beat(self) -> None:
        self.ctx.broadcast(render("heartbeat", activeUsers=len(self.ctx.get_web_sockets())))


def parse_demo(message: str | bytes) -> _Said:
    """One frame of the demonstration chat, or `FrameError`."""
    if isinstance(message, bytes):
        raise FrameError("bad_frame", "Frames are JSON text, not binary.")
    try:
        said = _said.decode(message.encode())
    except msgspec.ValidationError as error:
        raise FrameError("bad_frame", f'Send {{"user": "Alice", "text": "Hello!"}}: {error}.') from None
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise FrameError("bad_json", "The frame is not JSON.") from None
    if len(said.user) > 100 or len(said.text) > protocol.MAX_TEXT:
        raise FrameError("text_too_long", f"A user is at most 100 characters, a text {protocol.MAX_TEXT}.")
    return said
