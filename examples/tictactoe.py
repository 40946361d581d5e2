"""A game room: two play, everybody watches, and a clock decides when somebody walks away.

The first two people who connect play X and O. State is read from storage at each event, so that nothing has to be undone when an
event fails, and nothing is lost when the room sleeps or moves. Frames are JSON:

    client: {"turn": 0, "cell": 4}          a move; `turn` makes a frame that is sent twice harmless
            {"turn": 5, "again": true}      after the end: another game, the other one begins
    server: {"you": "X", "cells": "    X    ", "turn": 1, "winner": null, "ends_at": 1800000030000}
            {"error": "not your turn"}
"""

from __future__ import annotations

import msgspec

from durable import AlarmInfo, DurableObject, WebSocket

LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
MARKS = "XO"


class Frame(msgspec.Struct):
    """What a player sends."""

    turn: int
    cell: int = -1
    again: bool = False


class Game(msgspec.Struct):
    """The state of a room.

    Attributes:
        players: ids of who plays X and O; fewer than two while the room waits.
        cells: nine characters, row by row.
        turn: moves made; who has the even ones plays X.
        winner: "X", "O", "draw" or None.
        ends_at: when the turn's time is over, ms since the epoch, or None.
    """

    players: list[str] = []
    cells: str = " " * 9
    turn: int = 0
    winner: str | None = None
    ends_at: int | None = None

    def play(self, player: str, turn: int, cell: int) -> str | None:
        """Make a move; why not, when it is none."""
        if self.winner or len(self.players) < 2:
            return "nobody plays now"
        if player != self.players[self.turn % 2]:
            return "not your turn"
        if turn != self.turn or not 0 <= cell < 9 or self.cells[cell] != " ":
            return "not a move"
        mark = MARKS[self.turn % 2]
        self.cells = self.cells[:cell] + mark + self.cells[cell + 1 :]
        self.turn += 1
        if any(all(self.cells[place] == mark for place in line) for line in LINES):
            self.winner = mark
        elif self.turn == 9:
            self.winner = "draw"
        return None


class TicTacToe(DurableObject):
    """One room. Who somebody is, the gateway says: `ws.user["id"]`."""

    turn_seconds = 30

    async def state(self) -> Game:
        """How the game stands."""
        return self._game()

    async def web_socket_connect(self, ws: WebSocket) -> None:
        """Take a seat if one is free. A player who comes back, or opens a second tab, has one already."""
        self.ctx.accept_web_socket(ws)
        game, player = self._game(), str(ws.user["id"])
        if player not in game.players and len(game.players) < 2:
            game.players.append(player)
            self._keep(game)
        else:
            self._show(game, [ws])

    async def web_socket_message(self, ws: WebSocket, message: str | bytes) -> None:
        """A move, or the wish for another game."""
        game, player = self._game(), str(ws.user["id"])
        try:
            frame = msgspec.json.decode(message, type=Frame)
        except msgspec.DecodeError:  # its child ValidationError included
            ws.close(4400, "not a frame of this game")
            return
        if frame.again and game.winner and player in game.players and frame.turn == game.turn:
            self._keep(Game(players=game.players[::-1]))
        elif refusal := game.play(player, frame.turn, frame.cell):
            ws.send(msgspec.json.encode({"error": refusal}).decode())
        else:
            self._keep(game)

    async def web_socket_resume(self) -> None:
        """The last thing that was said may have been lost."""
        self._show(self._game(), self.ctx.get_web_sockets())

    async def alarm(self, info: AlarmInfo) -> None:
        """Time is over: the other one wins."""
        game = self._game()
        game.winner = MARKS[(game.turn + 1) % 2]
        self._keep(game)

    def _game(self) -> Game:
        return msgspec.convert(self.ctx.storage.get("game", {}), Game)

    def _keep(self, game: Game) -> None:
        """Store the game, wind the clock, show it to everybody."""
        if game.winner or len(game.players) < 2:
            game.ends_at = None
            self.ctx.storage.delete_alarm()
        else:
            game.ends_at = self.ctx.now() + self.turn_seconds * 1000
            self.ctx.storage.set_alarm(game.ends_at)
        self.ctx.storage.put("game", game)
        self._show(game, self.ctx.get_web_sockets())

    def _show(self, game: Game, sockets: list[WebSocket]) -> None:
        state = {
            "cells": game.cells,
            "turn": game.turn,
            "winner": game.winner,
            "ends_at": game.ends_at,
        }
        for ws in sockets:
            player = str(ws.user["id"])
            you = MARKS[game.players.index(player)] if player in game.players else None
            ws.send(msgspec.json.encode({"you": you, **state}).decode())
