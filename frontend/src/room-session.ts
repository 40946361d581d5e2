/** One visit to a room: the socket, what the room said so far, and what this page still has to tell it. */

import * as chat from "./chat-log";
import { newId } from "./identity";
import {
  type BoardElement,
  type ClientFrame,
  type Limits,
  type Message,
  type PresenceState,
  parseFrame,
  type RoomConfig,
  type ServerFrame,
  type User,
} from "./protocol";
import type { BoardListener, RoomState } from "./room-state";
import { SceneSync } from "./scene-sync";
import { type Connection, RoomSocket } from "./socket";
import { keepUnsent, takeUnsent } from "./unsent";
import { Writers } from "./writers";

const DEFAULT_LIMITS: Limits = { text: 4000, elements: 500, frame: 256 * 1024, element: 128 * 1024, board_elements: 5000 };
/** Where a server does not say whether there are older messages, this many make it likely. */
const FULL_PAGE = 100;
const CATCH_UP_EVERY_MS = 5_000;
const RATE_PAUSE_MS = 1_500;
const LONGEST_PAUSE_MS = 60_000;
/** Errors that mean "not now"; the others mean "not this". */
const PASSING_ERRORS: ReadonlySet<string> = new Set(["rate_limited", "internal"]);

const REFUSALS: Readonly<Record<string, string>> = {
  board_full: "The board is full. Delete something before you add more.",
  element_too_large: "That drawing is too large to share. The others do not see it.",
  bad_element: "The room does not take this kind of drawing. The others do not see it.",
  version_too_high: "The room does not take this change. The others do not see it.",
};

export class RoomSession {
  readonly scene = new SceneSync(newId);
  private state: RoomState;
  private readonly watchers = new Set<() => void>();
  private readonly socket: RoomSocket;
  private board: BoardListener | null = null;
  private backlog: ((board: BoardListener) => void)[] = [];
  private readonly writers = new Writers((typing) => this.update({ typing }));
  /** Everything up to here has arrived, without gaps. */
  private seq = 0;
  /** While a welcome continues in parts: the number it leads up to, the elements named so far, and whether it is not the first one. */
  private arriving: { seq: number; readonly ids: Set<string> | null; readonly again: boolean } | null = null;
  /** When the room was last asked for what never came. */
  private askedAt = 0;
  private pausedUntil = 0;
  /** How often in a row the room has failed at something of ours. */
  private failures = 0;
  /** What the person is called where the browser remembers nothing. */
  private name: string;
  private chatInSight = true;
  /** What stands in the message box. */
  draft: string;
  /** The tab remembers what was not sent. */
  private kept = false;

  /** `remembered` reads the name that this browser's person chose last, in whichever tab. */
  constructor(
    private readonly config: RoomConfig,
    private readonly remembered: () => string | null,
  ) {
    this.name = config.name;
    const { draft, outgoing } = takeUnsent(config.slug);
    this.draft = draft;
    this.state = {
      connection: { state: "connecting" },
      you: null,
      users: [],
      title: config.title,
      // Somebody else may be signed in by now: whether it goes again is for the person to say.
      log: { ...chat.EMPTY_LOG, outgoing },
      loadingOlder: false,
      unread: 0,
      typing: [],
      limits: DEFAULT_LIMITS,
      notice: null,
    };
    this.socket = new RoomSocket({
      address: () => this.address(),
      onText: (text) => this.hear(text),
      onChange: (connection) => this.connectionChanged(connection),
    });
  }

  start(): void {
    this.socket.start();
  }

  readonly subscribe = (watcher: () => void): (() => void) => {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  };

  readonly read = (): RoomState => this.state;

  /** The board is loaded later than the conversation; what came meanwhile is told now. */
  attach(board: BoardListener): () => void {
    this.board = board;
    board.people(this.state.users);
    for (const tell of this.backlog.splice(0)) tell(board);
    return () => {
      this.board = null;
    };
  }

  get isLive(): boolean {
    return this.state.connection.state === "live" && this.arriving === null;
  }

  /** False while the room asked for a pause or the network does not keep up: changes gather meanwhile. */
  get mayDraw(): boolean {
    return this.isLive && Date.now() >= this.pausedUntil && this.socket.buffered < 512 * 1024;
  }

  /** Whether something that was written here would be lost with the page. */
  get hasUnsent(): boolean {
    const { connection, log } = this.state;
    if (connection.state === "closed") return !this.kept && (this.draft.trim() !== "" || log.outgoing.length > 0);
    return log.outgoing.some((own) => own.refusal === undefined);
  }

  /** The page is about to be loaded again. */
  keepUnsent(): void {
    this.kept = keepUnsent(this.config.slug, { draft: this.draft, outgoing: this.state.log.outgoing });
  }

  sendText(text: string): boolean {
    return this.socket.send(text);
  }

  say(text: string): void {
    const own = { id: newId(), text, timestamp: Date.now() };
    this.update({ log: chat.post(this.state.log, own) });
    if (this.isLive) this.send({ type: "chat", id: own.id, text });
  }

  sayAgain(id: string): void {
    const own = this.state.log.outgoing.find((other) => other.id === id);
    if (!own) return;
    this.update({ log: chat.post(this.state.log, { id, text: own.text, timestamp: Date.now() }) });
    if (this.isLive) this.send({ type: "chat", id, text: own.text });
  }

  unsay(id: string): void {
    this.update({ log: chat.drop(this.state.log, id) });
  }

  loadOlder(): void {
    const first = this.state.log.messages[0];
    if (!first || this.state.loadingOlder || !this.isLive) return;
    this.update({ loadingOlder: this.send({ type: "history", before: first.seq }) });
  }

  rename(name: string): void {
    this.name = name;
    const { you } = this.state;
    if (you) {
      this.update({ you: { ...you, name }, users: this.state.users.map((user) => (user.id === you.id ? { ...user, name } : user)) });
    }
    this.send({ type: "rename", name });
  }

  /** Says whether it went out: it does not wait for a slow network, and is soon out of date. */
  presence(presence: PresenceState): boolean {
    return this.isLive && this.socket.buffered < 16 * 1024 && this.send({ type: "presence", ...presence });
  }

  reconnect(): void {
    this.socket.hurry();
  }

  notify(notice: string | null): void {
    this.update({ notice });
  }

  setChatInSight(inSight: boolean): void {
    this.chatInSight = inSight;
    if (inSight && this.state.unread > 0) this.update({ unread: 0 });
  }

  private address(): string {
    const url = new URL(this.config.socket, window.location.href);
    url.protocol = url.protocol.replace("http", "ws");
    // The room takes a name in the address for a wish to be called so: an old one would undo what another tab chose since.
    const name = this.remembered() || this.name;
    if (name) url.searchParams.set("name", name);
    if (this.seq > 0) url.searchParams.set("since", String(this.seq));
    return url.href;
  }

  private send(frame: ClientFrame): boolean {
    return this.socket.send(JSON.stringify(frame));
  }

  private update(change: Partial<RoomState>): void {
    this.state = { ...this.state, ...change };
    for (const watcher of this.watchers) watcher();
  }

  private tellBoard(tell: (board: BoardListener) => void): void {
    if (this.board) tell(this.board);
    else this.backlog.push(tell);
  }

  private connectionChanged(connection: Connection): void {
    if (connection.state !== "live") {
      this.arriving = null;
      this.scene.disconnect();
      this.writers.clear();
      const { log } = this.state;
      this.update({
        connection,
        loadingOlder: false,
        log: connection.state === "closed" ? chat.refuseAll(log, "The connection ended first.") : log,
      });
      return;
    }
    this.update({ connection });
  }

  /** A piece of the welcome is in: it is complete, its next piece is on its way, or a large board's next piece is to be asked for. */
  private arrived(complete: boolean, next: string | undefined): void {
    if (complete) this.settle();
    else if (next !== undefined) this.send({ type: "more", next });
  }

  private hear(text: string): void {
    const frame = parseFrame(text);
    if (frame) this.take(frame);
  }

  private take(frame: ServerFrame): void {
    switch (frame.type) {
      case "welcome": {
        const ids = frame.mode === "snapshot" ? new Set(frame.elements.map((element) => element.id)) : null;
        const again = this.state.you !== null;
        this.arriving = { seq: frame.seq, ids, again };
        if (again) this.countUnread(frame.messages);
        const older = frame.older ?? frame.messages.length >= FULL_PAGE;
        const log = frame.mode === "snapshot" ? chat.restart(this.state.log, frame.messages, older) : chat.merge(this.state.log, frame.messages);
        this.update({ you: frame.you, title: frame.title || this.state.title, limits: { ...DEFAULT_LIMITS, ...frame.limits }, log });
        this.setUsers(frame.users);
        this.elements(frame.elements, ids !== null);
        this.socket.confirm();
        this.arrived(frame.complete !== false, frame.next);
        return;
      }
      case "part":
        for (const element of frame.elements) this.arriving?.ids?.add(element.id);
        if (this.arriving?.again) this.countUnread(frame.messages);
        this.update({ log: chat.merge(this.state.log, frame.messages) });
        this.elements(frame.elements, this.arriving?.ids != null);
        this.arrived(frame.last, frame.next);
        return;
      case "chat":
        this.countUnread([frame]);
        this.reach(frame.seq);
        this.writers.stop(frame.user_id);
        this.update({ log: chat.merge(this.state.log, [frame]) });
        return;
      case "ack":
        this.reach(frame.seq);
        this.failures = 0;
        if (this.scene.acknowledge(frame.id)) this.tellBoard((board) => board.flush());
        else this.confirmMessage(frame.id, frame.seq, frame.timestamp, frame.html);
        return;
      case "draw":
        this.reach(frame.seq);
        for (const element of frame.elements) this.arriving?.ids?.add(element.id);
        this.elements(frame.elements, false);
        return;
      case "presence":
        if (frame.id === this.state.you?.id) return;
        if (frame.typing) this.writers.start(frame.id);
        else if (frame.typing === false) this.writers.stop(frame.id);
        // Only the latest matters: without a board there is nobody to show it to.
        this.board?.presence(frame.id, frame);
        return;
      case "join":
      case "rename": {
        const { user } = frame;
        const known = this.state.users.some((other) => other.id === user.id);
        if (user.id === this.state.you?.id) {
          this.name = user.name;
          this.update({ you: { ...this.state.you, ...user } });
        }
        this.setUsers(known ? this.state.users.map((other) => (other.id === user.id ? user : other)) : [...this.state.users, user]);
        return;
      }
      case "leave":
        this.writers.stop(frame.user.id);
        this.setUsers(this.state.users.filter((user) => user.id !== frame.user.id));
        return;
      case "history":
        this.update({ log: chat.older(this.state.log, frame.messages, frame.more), loadingOlder: false });
        return;
      case "heartbeat":
        // Frames keep their order, so a higher number here means that some frame never came.
        if (frame.seq > this.seq) this.catchUp();
        return;
      case "error":
        this.hearError(frame.code, frame.message, frame.id, frame.element);
        return;
    }
  }

  /** Numbers come one after another, each once: one beyond the next shows that some frame never came. */
  private reach(seq: number): void {
    const reached = this.arriving?.seq ?? this.seq;
    if (seq > reached + 1) this.catchUp();
    else if (seq <= reached) return;
    else if (this.arriving) this.arriving.seq = seq;
    else this.seq = seq;
  }

  /** Has the room tell again what is missing here; not more often than it can answer, however many frames show the gap. */
  private catchUp(): void {
    if (this.arriving || Date.now() - this.askedAt < CATCH_UP_EVERY_MS) return;
    this.askedAt = Date.now();
    this.send({ type: "sync", since: this.seq });
  }

  /** All that the room had to catch us up on is here: from now on `seq` counts, and what was not acknowledged goes again. */
  private settle(): void {
    const arrived = this.arriving;
    if (!arrived) return;
    this.arriving = null;
    // A snapshot's number may be lower than ours: the room was put back to a copy of its earlier self.
    this.seq = arrived.seq;
    for (const own of this.state.log.outgoing) {
      if (own.refusal === undefined) this.send({ type: "chat", id: own.id, text: own.text });
    }
    this.tellBoard((board) => {
      board.settle(arrived.ids);
      board.flush();
    });
  }

  private elements(elements: readonly BoardElement[], snapshot: boolean): void {
    if (elements.length === 0) return;
    const putBack = this.scene.learn(elements, snapshot);
    this.tellBoard((board) => board.receive(elements, putBack));
  }

  private confirmMessage(id: string, seq: number, timestamp: number | undefined, html: string | undefined): void {
    const { you, log } = this.state;
    if (!you) return;
    const message = { seq, user: you.name, user_id: you.id, color: you.color, html: html ?? "", timestamp: timestamp ?? Date.now() };
    this.update({ log: chat.confirm(log, id, message) });
  }

  private hearError(code: string, message: string, id: string | undefined, element: string | undefined): void {
    const passing = PASSING_ERRORS.has(code);
    if (passing) this.pausedUntil = Date.now() + RATE_PAUSE_MS;
    if (id === undefined) {
      // It may be the answer to a request for older messages; those are asked for by hand.
      this.update({ loadingOlder: false });
      if (code === "rate_limited") return;
      console.warn(`The room answered ${code}: ${message}`);
      if (code === "internal") this.askAgainLater();
      return;
    }
    const drawing = this.scene.refuse(id, passing, element);
    if (drawing === "given-up") this.notify(REFUSALS[code] ?? message);
    if (drawing !== "unknown") {
      window.setTimeout(() => this.tellBoard((board) => board.flush()), passing ? RATE_PAUSE_MS : 0);
      return;
    }
    const own = this.state.log.outgoing.find((other) => other.id === id);
    if (!own) return;
    if (passing) {
      window.setTimeout(() => {
        const waiting = this.state.log.outgoing.some((other) => other.id === id && other.refusal === undefined);
        if (waiting && this.isLive) this.send({ type: "chat", id, text: own.text });
      }, RATE_PAUSE_MS);
    } else {
      this.update({ log: chat.refuse(this.state.log, id, message) });
    }
  }

  /** The room failed at something it could not name: what it tells us of itself then shows what has to go again. */
  private askAgainLater(): void {
    const pause = Math.min(LONGEST_PAUSE_MS, RATE_PAUSE_MS * 2 ** this.failures);
    this.failures += 1;
    window.setTimeout(() => {
      if (this.isLive) this.send({ type: "sync", since: this.seq });
    }, pause);
  }

  /** Counts what has not been here before; to be told before the log and `seq` have it. */
  private countUnread(messages: readonly Message[]): void {
    if (this.chatInSight) return;
    const known = new Set(this.state.log.messages.map((message) => message.seq));
    const fresh = messages.filter(({ seq, user_id }) => seq > this.seq && !known.has(seq) && user_id !== this.state.you?.id).length;
    if (fresh > 0) this.update({ unread: this.state.unread + fresh });
  }

  private setUsers(users: readonly User[]): void {
    this.update({ users });
    this.board?.people(users);
  }
}
