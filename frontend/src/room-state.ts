/** What the page shows of a room, and what the board is told of it. */

import type { ChatLog } from "./chat-log";
import type { BoardElement, Limits, PresenceState, User, You } from "./protocol";
import type { Version } from "./scene-sync";
import type { Connection } from "./socket";

export interface RoomState {
  readonly connection: Connection;
  readonly you: You | null;
  readonly users: readonly User[];
  readonly title: string;
  readonly log: ChatLog;
  readonly loadingOlder: boolean;
  /** Messages of others that arrived while the conversation was out of sight. */
  readonly unread: number;
  /** Ids of people who are writing. */
  readonly typing: readonly string[];
  readonly limits: Limits;
  /** Something to tell the person, until dismissed. */
  readonly notice: string | null;
}

/** What the board does with the room's news. */
export interface BoardListener {
  /** Elements the room sent; `putBack` has the versions it had before of those that it has an older one of now. */
  receive(elements: readonly BoardElement[], putBack: ReadonlyMap<string, Version>): void;
  /** The whole board has arrived; `ids` names all of it after a snapshot. */
  settle(ids: ReadonlySet<string> | null): void;
  presence(id: string, presence: PresenceState): void;
  /** Who is here, or how they look, has changed. */
  people(users: readonly User[]): void;
  /** There may be something to send again. */
  flush(): void;
}
