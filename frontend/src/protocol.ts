/** The frames of a room's socket, as they travel: one JSON object a text frame, `type` first. */

/** A person in the room. All tabs of one person share one id. */
export interface User {
  readonly id: string;
  readonly name: string;
  readonly color: string;
}

/** The person this page belongs to. */
export interface You extends User {
  readonly guest: boolean;
}

/** A chat message as the room keeps it; `html` was rendered and sanitised by the server. */
export interface Message {
  readonly seq: number;
  readonly id: string;
  readonly user: string;
  readonly user_id: string;
  readonly color: string;
  readonly text: string;
  readonly html: string;
  readonly timestamp: number;
}

/** An Excalidraw element; only what the protocol itself looks at is named. */
export interface BoardElement {
  readonly id: string;
  readonly type: string;
  readonly version: number;
  readonly versionNonce: number;
  readonly isDeleted: boolean;
}

export interface Limits {
  /** Characters of one message. */
  readonly text: number;
  /** Elements of one draw frame. */
  readonly elements: number;
  /** Bytes of one frame. */
  readonly frame: number;
  /** Bytes of one element. */
  readonly element: number;
  /** Elements of one board. */
  readonly board_elements: number;
}

/** Pointer position in scene coordinates. */
export interface Cursor {
  readonly x: number;
  readonly y: number;
  readonly tool?: "pointer" | "laser";
}

/** What one person shows the others about the moment; never stored. */
export interface PresenceState {
  readonly cursor?: Cursor | null;
  readonly button?: "up" | "down";
  readonly selected?: readonly string[];
  readonly typing?: boolean;
}

export type ClientFrame =
  | { readonly type: "chat"; readonly id: string; readonly text: string }
  | { readonly type: "draw"; readonly id: string; readonly elements: readonly BoardElement[] }
  | ({ readonly type: "presence" } & PresenceState)
  | { readonly type: "rename"; readonly name: string }
  | { readonly type: "history"; readonly before: number }
  | { readonly type: "sync"; readonly since: number }
  | { readonly type: "more"; readonly next: string };

export interface Welcome {
  readonly type: "welcome";
  readonly you: You;
  readonly users: readonly User[];
  readonly title: string;
  readonly seq: number;
  readonly mode: "snapshot" | "delta";
  readonly messages: readonly Message[];
  /** Whether the room has messages before the first one of this welcome, its parts included; not every server says so. */
  readonly older?: boolean;
  readonly elements: readonly BoardElement[];
  /** False when `part` frames follow. */
  readonly complete: boolean;
  /** Where a large board goes on: to be asked for with `more`. */
  readonly next?: string;
  readonly limits: Limits;
}

export interface Part {
  readonly type: "part";
  readonly elements: readonly BoardElement[];
  readonly messages: readonly Message[];
  readonly last: boolean;
  /** Where a large board goes on: to be asked for with `more`. */
  readonly next?: string;
}

export type ServerFrame =
  | Welcome
  | Part
  | { readonly type: "ack"; readonly id: string; readonly seq: number; readonly timestamp?: number; readonly html?: string }
  | ({ readonly type: "chat" } & Message)
  | {
      readonly type: "draw";
      readonly seq: number;
      readonly user: string;
      readonly user_id: string;
      readonly elements: readonly BoardElement[];
    }
  | ({ readonly type: "presence"; readonly id: string; readonly user: string; readonly color: string } & PresenceState)
  | { readonly type: "join"; readonly user: User }
  | { readonly type: "leave"; readonly user: User }
  | { readonly type: "rename"; readonly user: User }
  | { readonly type: "history"; readonly messages: readonly Message[]; readonly more: boolean }
  | { readonly type: "heartbeat"; readonly activeUsers: number; readonly seq: number }
  | { readonly type: "error"; readonly code: string; readonly message: string; readonly id?: string; readonly element?: string };

const KNOWN: ReadonlySet<string> = new Set<ServerFrame["type"]>([
  "welcome",
  "part",
  "ack",
  "chat",
  "draw",
  "presence",
  "join",
  "leave",
  "rename",
  "history",
  "heartbeat",
  "error",
]);

/** What a text from the socket says, or null for anything this page does not know: newer servers may say more. */
export function parseFrame(text: string): ServerFrame | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null || !("type" in value)) return null;
  return typeof value.type === "string" && KNOWN.has(value.type) ? (value as ServerFrame) : null;
}

/** What the page is told by the template, through `json_script`. */
export interface RoomConfig {
  readonly slug: string;
  readonly title: string;
  readonly socket: string;
  readonly name: string;
  readonly userId: string;
}
