/** A room's socket that comes back by itself: jittered retries, keep-alive, and an early try when the network returns. */

import { type FinalReason, judgeClose, reconnectDelay } from "./reconnect";

export type Connection =
  | { readonly state: "connecting" }
  | { readonly state: "live" }
  /** `retryAt` is in milliseconds of the epoch. */
  | { readonly state: "reconnecting"; readonly retryAt: number }
  | { readonly state: "closed"; readonly reason: FinalReason };

export interface SocketOptions {
  /** Address of the next connection; asked each time, since `since` moves on. */
  readonly address: () => string;
  readonly onText: (text: string) => void;
  readonly onChange: (connection: Connection) => void;
}

const PING_EVERY_MS = 20_000;
/** No traffic for this long, a pong included, and the connection is taken for dead. */
const SILENCE_MS = 45_000;
/** A connection that does not open in this time is given up. */
const OPEN_WITHIN_MS = 10_000;

export class RoomSocket {
  private socket: WebSocket | null = null;
  private connection: Connection = { state: "connecting" };
  private attempt = 0;
  private heardAt = 0;
  private retryTimer: number | undefined;
  private openTimer: number | undefined;
  private pingTimer: number | undefined;

  constructor(private readonly options: SocketOptions) {}

  start(): void {
    window.addEventListener("online", this.hurry);
    window.addEventListener("offline", this.drop);
    document.addEventListener("visibilitychange", this.onVisibility);
    this.open();
  }

  /** Sends a text if the socket is open; says whether it went out. What matters is resent by its owner. */
  send(text: string): boolean {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(text);
    return true;
  }

  /** Bytes that the browser has not handed to the network yet. */
  get buffered(): number {
    return this.socket?.bufferedAmount ?? 0;
  }

  /** The room has answered: the connection counts as good, and the next loss starts with a short wait again. */
  confirm(): void {
    this.attempt = 0;
    this.become({ state: "live" });
  }

  /** Tries at once instead of waiting out the delay. */
  readonly hurry = (): void => {
    if (this.connection.state === "reconnecting") this.open();
  };

  private readonly drop = (): void => {
    if (this.socket) this.lose(this.socket, 1006);
  };

  private readonly onVisibility = (): void => {
    if (document.visibilityState !== "visible") return;
    this.hurry();
    this.checkPulse();
  };

  private open(): void {
    window.clearTimeout(this.retryTimer);
    this.become({ state: "connecting" });
    const socket = new WebSocket(this.options.address());
    this.socket = socket;
    this.heardAt = Date.now();
    this.openTimer = window.setTimeout(() => this.lose(socket, 1006), OPEN_WITHIN_MS);
    socket.onopen = () => {
      window.clearTimeout(this.openTimer);
      this.heardAt = Date.now();
      this.pingTimer = window.setInterval(this.checkPulse, PING_EVERY_MS);
    };
    socket.onmessage = (event: MessageEvent<unknown>) => {
      if (this.socket !== socket || typeof event.data !== "string") return;
      this.heardAt = Date.now();
      if (event.data !== "pong") this.options.onText(event.data);
    };
    socket.onclose = (event) => this.lose(socket, event.code);
  }

  private readonly checkPulse = (): void => {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    if (Date.now() - this.heardAt > SILENCE_MS) this.lose(this.socket, 1006);
    else this.socket.send("ping");
  };

  /** Every way a connection ends comes through here, once: a dead network reports a close only minutes later. */
  private lose(socket: WebSocket, code: number): void {
    if (this.socket !== socket) return;
    this.socket = null;
    window.clearTimeout(this.openTimer);
    window.clearInterval(this.pingTimer);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    const verdict = judgeClose(code);
    if (verdict.kind === "final") {
      this.become({ state: "closed", reason: verdict.reason });
      return;
    }
    const delay = verdict.atLeastMs + reconnectDelay(this.attempt, Math.random());
    this.attempt += 1;
    this.become({ state: "reconnecting", retryAt: Date.now() + delay });
    this.retryTimer = window.setTimeout(() => this.open(), delay);
  }

  private become(connection: Connection): void {
    this.connection = connection;
    this.options.onChange(connection);
  }
}
