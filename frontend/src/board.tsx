/** The whiteboard: Excalidraw, what changes on it sent to the room, and what the room says drawn onto it. */

import "@excalidraw/excalidraw/index.css";
import {
  CaptureUpdateAction,
  Excalidraw,
  isInvisiblySmallElement,
  MainMenu,
  newElementWith,
  reconcileElements,
  restoreElements,
  WelcomeScreen,
} from "@excalidraw/excalidraw";
import type { RemoteExcalidrawElement } from "@excalidraw/excalidraw/data/reconcile";
import type { OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import type { Collaborator, ExcalidrawImperativeAPI, SocketId } from "@excalidraw/excalidraw/types";
import { memo, useEffect, useMemo, useRef } from "react";
import { cursorId } from "./identity";
import type { BoardElement, Cursor, PresenceState, User } from "./protocol";
import type { RoomSession } from "./room-session";
import type { BoardListener } from "./room-state";
import { beats, type Version } from "./scene-sync";
import type { Theme } from "./theme";
import { wholeLink } from "./whole-link";

const DRAW_EVERY_MS = 90;
/** A long stroke is sent whole each time it grows; the pause grows with it, so that it stays near this rate. */
const DRAW_BYTES_PER_MS = 250;
const PRESENCE_EVERY_MS = 70;
const SELECTED_AT_MOST = 20;
/** Of a frame's limit, what is left after its envelope, and of the count, what keeps one frame quick to handle. */
const FRAME_SHARE = 0.75;
const ELEMENTS_AT_MOST = 200;
const UI_OPTIONS = {
  canvasActions: { loadScene: false, saveToActiveFile: false, toggleTheme: false, changeViewBackgroundColor: false, clearCanvas: false },
  tools: { image: false },
} as const;

/** Joins one Excalidraw with one room; lives as long as the component. */
class BoardLink implements BoardListener {
  private readonly collaborators = new Map<SocketId, Collaborator>();
  private users: readonly User[] = [];
  private drawTimer: number | undefined;
  private presenceTimer: number | undefined;
  private collaboratorFrame: number | undefined;
  private drawnAt = 0;
  private drawPause = DRAW_EVERY_MS;
  private presenceAt = 0;
  private cursor: Cursor | null = null;
  private button: "up" | "down" = "up";
  private saidPresence = "";
  /** The room's versions of elements that were under somebody's hand here when they came; tried again until adopted. */
  private readonly waiting = new Map<string, BoardElement>();
  private fitted = false;
  private settled = false;

  constructor(
    private readonly api: ExcalidrawImperativeAPI,
    private readonly session: RoomSession,
  ) {}

  receive(elements: readonly BoardElement[], putBack: ReadonlyMap<string, Version> = new Map()): void {
    // What nobody here has touched since gives way to the room's older version; what was changed here goes on to win.
    const local = this.api.getSceneElementsIncludingDeleted().filter((element) => {
      const was = putBack.get(element.id);
      return !was || beats(element, was);
    });
    const byId = new Map(local.map((element) => [element.id, element]));
    const remote: OrderedExcalidrawElement[] = [];
    const alive: OrderedExcalidrawElement[] = [];
    for (const element of elements) {
      if (!element.isDeleted) {
        alive.push(element as unknown as OrderedExcalidrawElement);
        continue;
      }
      // A tombstone may carry no shape; whoever never had the element does not need it.
      const mine = byId.get(element.id);
      if (mine) remote.push({ ...mine, ...element } as OrderedExcalidrawElement);
    }
    // Fills in what an older or foreign client left out, and cleans links.
    remote.push(...(restoreElements(alive, null) as OrderedExcalidrawElement[]));
    if (remote.length === 0) return;
    const next = reconcileElements(local, remote as RemoteExcalidrawElement[], this.api.getAppState());
    this.api.updateScene({ elements: next, captureUpdate: CaptureUpdateAction.NEVER });
    const adopted = new Map(next.map((element) => [element.id, element]));
    for (const element of remote) {
      const here = adopted.get(element.id);
      if (here && beats(element, here)) this.waiting.set(element.id, element);
      else this.waiting.delete(element.id);
    }
  }

  settle(ids: ReadonlySet<string> | null): void {
    this.settled = true;
    // Whoever saw us leave has forgotten where we point.
    this.sayPresenceAgain();
    const scene = this.api.getSceneElementsIncludingDeleted();
    if (ids) {
      for (const id of this.waiting.keys()) if (!ids.has(id)) this.waiting.delete(id);
      const gone = this.session.scene.forgetExcept(ids, scene);
      if (gone.size > 0) {
        const elements = scene.filter((element) => !gone.has(element.id));
        this.api.updateScene({ elements, captureUpdate: CaptureUpdateAction.NEVER });
      }
    }
    if (this.fitted) return;
    this.fitted = true;
    const elements = this.api.getSceneElements();
    if (elements.length === 0) return;
    this.api.scrollToContent(elements, { fitToViewport: true, viewportZoomFactor: 0.8, animate: false, maxZoom: 1 });
  }

  people(users: readonly User[]): void {
    this.users = users;
    const here = new Set<string>(users.map((user) => user.id));
    for (const id of this.collaborators.keys()) {
      if (!here.has(id)) this.collaborators.delete(id);
    }
    for (const user of users) {
      const known = this.collaborators.get(user.id as SocketId);
      if (known) this.collaborators.set(user.id as SocketId, { ...known, ...look(user) });
    }
    this.showCollaborators();
  }

  presence(id: string, presence: PresenceState): void {
    const user = this.users.find((other) => other.id === id);
    if (!user) return;
    const known = this.collaborators.get(id as SocketId);
    // Somebody's board speaks for the first time: from now on it hears, and it has missed what we said before.
    if (presence.selected && !known?.selectedElementIds) this.sayPresenceAgain();
    const next: { -readonly [Key in keyof Collaborator]: Collaborator[Key] } = { ...known, ...look(user) };
    if (presence.cursor === null) delete next.pointer;
    else if (presence.cursor) next.pointer = { x: presence.cursor.x, y: presence.cursor.y, tool: presence.cursor.tool ?? "pointer" };
    if (presence.button) next.button = presence.button;
    if (presence.selected) next.selectedElementIds = Object.fromEntries(presence.selected.map((element) => [element, true as const]));
    this.collaborators.set(id as SocketId, next);
    this.showCollaborators();
  }

  flush(): void {
    this.changed();
  }

  /** Brings another person's cursor into the middle; says whether they show one. */
  visit(id: string): boolean {
    const pointer = this.collaborators.get(id as SocketId)?.pointer;
    if (!pointer) return false;
    const { width, height, zoom } = this.api.getAppState();
    this.api.updateScene({
      appState: { scrollX: width / 2 / zoom.value - pointer.x, scrollY: height / 2 / zoom.value - pointer.y },
      captureUpdate: CaptureUpdateAction.NEVER,
    });
    return true;
  }

  /** Something on the board may have changed; what did is found out, and sent, in a moment. */
  readonly changed = (): void => {
    this.tellTrouble();
    if (this.drawTimer === undefined) {
      const wait = Math.max(0, this.drawnAt + this.drawPause - performance.now());
      this.drawTimer = window.setTimeout(this.draw, wait);
    }
    this.presenceSoon();
  };

  readonly pointed = (payload: { pointer: Cursor; button: "up" | "down" }): void => {
    const { x, y, tool } = payload.pointer;
    this.cursor = { x: Math.round(x * 10) / 10, y: Math.round(y * 10) / 10, tool: tool ?? "pointer" };
    this.button = payload.button;
    this.presenceSoon();
  };

  readonly pointerLeft = (): void => {
    this.cursor = null;
    this.presenceSoon();
  };

  close(): void {
    window.clearTimeout(this.drawTimer);
    window.clearTimeout(this.presenceTimer);
    if (this.collaboratorFrame !== undefined) cancelAnimationFrame(this.collaboratorFrame);
  }

  elements(): readonly OrderedExcalidrawElement[] {
    return this.api.getSceneElementsIncludingDeleted();
  }

  get isBehind(): boolean {
    return this.session.scene.isBehind(shareable(this.elements()));
  }

  /** Excalidraw's own dialog for errors, such as a pasted image, has no button and never gets the keyboard. */
  private tellTrouble(): void {
    const { errorMessage } = this.api.getAppState();
    if (errorMessage === null) return;
    this.api.updateScene({ appState: { errorMessage: null }, captureUpdate: CaptureUpdateAction.NEVER });
    this.session.notify(typeof errorMessage === "string" ? errorMessage : "That did not work.");
  }

  private readonly draw = (): void => {
    this.drawTimer = undefined;
    if (!this.settled) return;
    if (this.waiting.size > 0) this.receive([...this.waiting.values()]);
    const scene = this.elements();
    const missing = this.session.scene.missingFrom(scene);
    if (missing.length > 0) this.receive(missing);
    this.completeLinks();
    if (!this.session.mayDraw) {
      // Without a connection the welcome flushes; after a pause nobody else would.
      if (this.session.isLive) this.drawTimer = window.setTimeout(this.draw, 250);
      return;
    }
    const { limits } = this.session.read();
    const { batches, oversized } = this.session.scene.take(shareable(this.elements()), {
      elements: Math.min(limits.elements, ELEMENTS_AT_MOST),
      bytes: limits.frame * FRAME_SHARE,
      element: limits.element,
    });
    let bytes = 0;
    for (const batch of batches) {
      this.session.sendText(batch.text);
      bytes += batch.text.length;
    }
    this.drawnAt = performance.now();
    this.drawPause = Math.max(DRAW_EVERY_MS, bytes / DRAW_BYTES_PER_MS);
    if (oversized.length > 0) this.session.notify("That drawing is too large to share. The others do not see it.");
  };

  /** The room drops a link that is no whole address, and here it leads nowhere. */
  private completeLinks(): void {
    const scene = this.elements();
    const whole = scene.map((element) => (element.link ? newElementWith(element, { link: wholeLink(element.link) }) : element));
    if (whole.every((element, at) => element === scene[at])) return;
    this.api.updateScene({ elements: whole, captureUpdate: CaptureUpdateAction.NEVER });
  }

  private presenceSoon(): void {
    if (this.presenceTimer !== undefined) return;
    const wait = Math.max(0, this.presenceAt + PRESENCE_EVERY_MS - performance.now());
    this.presenceTimer = window.setTimeout(this.sayPresence, wait);
  }

  private readonly sayPresence = (): void => {
    this.presenceTimer = undefined;
    const chosen = this.api.getAppState().selectedElementIds;
    const selected = Object.keys(chosen)
      .filter((id) => chosen[id])
      .slice(0, SELECTED_AT_MOST);
    const presence = { cursor: this.cursor, button: this.button, selected };
    const said = JSON.stringify(presence);
    if (said === this.saidPresence) return;
    this.presenceAt = performance.now();
    if (this.session.presence(presence)) this.saidPresence = said;
    // The network does not keep up; without a connection it is said when there is one again.
    else if (this.session.isLive) this.presenceSoon();
  };

  private sayPresenceAgain(): void {
    this.saidPresence = "";
    this.presenceSoon();
  }

  /** Many cursors move in one frame of the screen; Excalidraw hears of them once. */
  private showCollaborators(): void {
    this.collaboratorFrame ??= requestAnimationFrame(() => {
      this.collaboratorFrame = undefined;
      this.api.updateScene({ collaborators: new Map(this.collaborators), captureUpdate: CaptureUpdateAction.NEVER });
    });
  }
}

function look(user: User): Pick<Collaborator, "id" | "username" | "socketId"> {
  return { id: cursorId(user.color), username: user.name, socketId: user.id as SocketId };
}

/** A click that became no shape is nobody's business. */
function shareable(scene: readonly OrderedExcalidrawElement[]): readonly OrderedExcalidrawElement[] {
  return scene.filter((element) => element.isDeleted || !isInvisiblySmallElement(element));
}

export interface BoardHandle {
  elements(): readonly OrderedExcalidrawElement[];
  visit(id: string): boolean;
  readonly isBehind: boolean;
}

interface BoardProps {
  readonly session: RoomSession;
  readonly theme: Theme;
  /** What exported files are called. */
  readonly title: string;
  readonly onReady: (handle: BoardHandle | null) => void;
}

export const Board = memo(function Board({ session, theme, title, onReady }: BoardProps) {
  const link = useRef<BoardLink | null>(null);
  const detach = useRef<(() => void) | null>(null);

  useEffect(
    () => () => {
      detach.current?.();
      detach.current = null;
      link.current?.close();
      link.current = null;
      onReady(null);
    },
    [onReady],
  );

  const events = useMemo(
    () => ({
      excalidrawAPI: (api: ExcalidrawImperativeAPI) => {
        link.current = new BoardLink(api, session);
      },
      onChange: () => {
        const current = link.current;
        if (!current) return;
        // The first change is the end of loading; until then Excalidraw would throw away what it is given.
        if (!detach.current) {
          detach.current = session.attach(current);
          onReady(current);
        }
        current.changed();
      },
      onPointerUpdate: (payload: { pointer: Cursor; button: "up" | "down" }) => link.current?.pointed(payload),
      onPointerLeave: () => link.current?.pointerLeft(),
    }),
    [session, onReady],
  );

  return (
    <div className="board-canvas" onPointerLeave={events.onPointerLeave}>
      <Excalidraw
        excalidrawAPI={events.excalidrawAPI}
        onChange={events.onChange}
        onPointerUpdate={events.onPointerUpdate}
        isCollaborating
        theme={theme}
        name={title}
        UIOptions={UI_OPTIONS}
        aiEnabled={false}
        validateEmbeddable={false}
      >
        <MainMenu>
          <MainMenu.DefaultItems.SaveAsImage />
          <MainMenu.DefaultItems.Export />
          <MainMenu.DefaultItems.SearchMenu />
          <MainMenu.DefaultItems.Help />
        </MainMenu>
        <WelcomeScreen>
          <WelcomeScreen.Hints.ToolbarHint>Pick a tool and draw</WelcomeScreen.Hints.ToolbarHint>
          <WelcomeScreen.Center>
            <WelcomeScreen.Center.Heading>
              Everybody with the link sees what you draw, as you draw it. It stays.
            </WelcomeScreen.Center.Heading>
          </WelcomeScreen.Center>
        </WelcomeScreen>
      </Excalidraw>
    </div>
  );
});
