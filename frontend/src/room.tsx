/**
 * The room page: puts board, conversation and people together.
 *
 * For browser tests, these stay: `data-testid` `connection` (with `data-state` connecting, live, reconnecting or closed), `board`
 * (with `data-ready` once drawing works), `chat`, `chat-log`, `people-count`, `people-list`, `name-dialog`, `share`, `notice`; the box
 * labelled "Message"; the buttons "Send", "Share", "Board", "Chat", "Hide chat", "Show chat", "Dark theme", "Light theme". Messages
 * carry `data-seq`, those not yet confirmed `data-pending="true"`. `window.durableRoom.elements()` gives the board's elements, deleted
 * ones included, `.synced()` whether the room has confirmed all of it. The first-visit question for a name does not block anything, and
 * `localStorage["durable-rooms:name"]` set beforehand answers it.
 */

import "./assets";
import "./room.css";
import { lazy, type ReactNode, Suspense, useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { createRoot } from "react-dom/client";
import type { BoardHandle } from "./board";
import { BoardBoundary } from "./board-boundary";
import { Chat } from "./chat";
import { ConnectionPill } from "./connection-pill";
import { BoardIcon, ChatIcon, CloseIcon, MoonIcon, SunIcon } from "./icons";
import { NameDialog, rememberedName, rememberName } from "./name-dialog";
import { People } from "./people";
import type { RoomConfig } from "./protocol";
import type { FinalReason } from "./reconnect";
import { RoomSession } from "./room-session";
import { ShareButton } from "./share-button";
import { useTheme } from "./theme";

declare global {
  interface Window {
    durableRoom?: { elements(): readonly unknown[]; synced(): boolean };
  }
}

const Board = lazy(async () => ({ default: (await import("./board")).Board }));

const CHAT_KEY = "durable-rooms:chat";
const PHONE = window.matchMedia("(max-width: 760px)");

const FAREWELLS: Readonly<Record<FinalReason, { title: string; text: string; reload: boolean }>> = {
  missing: { title: "There is no such room", text: "It may have been deleted, or the link is incomplete.", reload: false },
  forbidden: { title: "You may not enter this room", text: "Ask whoever invited you for a new link.", reload: false },
  "signed-out": { title: "You were signed out", text: "Load the page again to come back in.", reload: true },
  refused: { title: "The room closed the connection", text: "It did not understand this page. Loading it again usually helps.", reload: true },
};

function usePhone(): boolean {
  return useSyncExternalStore(
    (watcher) => {
      PHONE.addEventListener("change", watcher);
      return () => PHONE.removeEventListener("change", watcher);
    },
    () => PHONE.matches,
  );
}

function usePageVisible(): boolean {
  return useSyncExternalStore(
    (watcher) => {
      document.addEventListener("visibilitychange", watcher);
      return () => document.removeEventListener("visibilitychange", watcher);
    },
    () => document.visibilityState === "visible",
  );
}

function readChatOpen(): boolean {
  try {
    return localStorage.getItem(CHAT_KEY) !== "closed";
  } catch {
    return true;
  }
}

function Room({ session }: { readonly session: RoomSession }): ReactNode {
  const state = useSyncExternalStore(session.subscribe, session.read);
  const phone = usePhone();
  const visible = usePageVisible();
  const [theme, switchTheme] = useTheme();
  const [view, setView] = useState<"board" | "chat">("board");
  const [chatOpen, setChatOpen] = useState(readChatOpen);
  const [asking, setAsking] = useState<"first" | "rename" | null>(() => (rememberedName() === null ? "first" : null));
  const [boardReady, setBoardReady] = useState(false);
  const board = useRef<BoardHandle | null>(null);

  const boardInSight = !phone || view === "board";
  const chatInSight = phone ? view === "chat" : chatOpen;
  useEffect(() => session.setChatInSight(chatInSight && visible), [session, chatInSight, visible]);

  useEffect(() => {
    document.title = `${state.unread > 0 ? `(${state.unread}) ` : ""}${state.title} · Durable Rooms`;
  }, [state.unread, state.title]);

  useEffect(() => {
    const warn = (event: BeforeUnloadEvent): void => {
      if (session.hasUnsent || board.current?.isBehind) event.preventDefault();
    };
    window.addEventListener("beforeunload", warn);
    return () => window.removeEventListener("beforeunload", warn);
  }, [session]);

  const onBoard = useCallback((handle: BoardHandle | null) => {
    board.current = handle;
    setBoardReady(handle !== null);
    if (handle) window.durableRoom = { elements: () => handle.elements(), synced: () => !handle.isBehind };
    else delete window.durableRoom;
  }, []);

  const toggleChat = (): void => {
    const next = !chatOpen;
    setChatOpen(next);
    try {
      localStorage.setItem(CHAT_KEY, next ? "open" : "closed");
    } catch {
      // The panel opens again next time; nothing is lost.
    }
  };

  const answered = (): void => {
    // The card stood above it; the modal dialog gives the focus back by itself.
    if (asking === "first") document.getElementById("chat-box")?.focus();
    setAsking(null);
  };

  const named = (name: string): void => {
    rememberName(name);
    session.rename(name);
    answered();
  };

  const skipped = (): void => {
    if (asking === "first") rememberName("");
    answered();
  };

  const visit = (id: string): void => {
    setView("board");
    if (board.current?.visit(id)) return;
    const name = state.users.find((user) => user.id === id)?.name;
    session.notify(`${name} is not pointing at the board right now.`);
  };

  const dismiss = (): void => {
    session.notify(null);
    document.querySelector<HTMLElement>(".excalidraw")?.focus();
  };

  const farewell = state.connection.state === "closed" ? FAREWELLS[state.connection.reason] : null;
  const askFirst = asking === "first" && state.you?.guest;
  return (
    <div className="room" data-view={view} data-chat={chatOpen ? "open" : "closed"}>
      <header className="bar">
        <a className="bar-home" href="/" title="All rooms">
          <svg className="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
            <path className="mark-wall" d="M13 27H5V5h22v22h-4" />
            <path className="mark-door" d="M13 27V16.5A10.5 10.5 0 0 1 23 27" />
          </svg>
          <span className="visually-hidden">All rooms</span>
        </a>
        <h1 className="bar-title" title={state.title}>
          {state.title}
        </h1>
        <ConnectionPill connection={state.connection} onRetry={() => session.reconnect()} />
        <div className="bar-space" />
        {state.you && (
          <People you={state.you} users={state.users} typing={state.typing} onRename={() => setAsking("rename")} onVisit={visit} />
        )}
        <button type="button" className="icon-button" onClick={switchTheme} aria-label={theme === "dark" ? "Light theme" : "Dark theme"} title={theme === "dark" ? "Light theme" : "Dark theme"}>
          {theme === "dark" ? SunIcon : MoonIcon}
        </button>
        <ShareButton title={state.title} />
        <button type="button" className="icon-button chat-toggle" onClick={toggleChat} aria-expanded={chatOpen} aria-controls="chat" aria-label={chatOpen ? "Hide chat" : "Show chat"} title={chatOpen ? "Hide chat" : "Show chat"}>
          {ChatIcon}
          {!chatOpen && state.unread > 0 && <Badge count={state.unread} />}
        </button>
      </header>

      <main className="board" id="board" aria-label="Whiteboard" data-testid="board" data-ready={boardReady && state.you !== null} ref={(element) => setInert(element, !boardInSight || farewell !== null)}>
        <BoardBoundary>
          <Suspense fallback={<p className="board-loading">Rolling out the paper…</p>}>
            <Board session={session} theme={theme} title={state.title} onReady={onBoard} />
          </Suspense>
        </BoardBoundary>
        {state.notice !== null && (
          <div className="notice" role="alert" data-testid="notice">
            <span>{state.notice}</span>
            <button type="button" className="icon-button" aria-label="Dismiss" onClick={dismiss}>
              {CloseIcon}
            </button>
          </div>
        )}
      </main>

      {/* Not a part of the board: it is for whoever is looking at the chat as well. */}
      {farewell && (
        <div className="farewell" role="alert">
          <h2>{farewell.title}</h2>
          <p>{farewell.text}</p>
          <p>
            {farewell.reload && (
              <a className="button primary" href={window.location.pathname} onClick={() => session.keepUnsent()}>
                Load again
              </a>
            )}
            <a className="button" href="/">
              All rooms
            </a>
          </p>
        </div>
      )}

      <aside className="chat" id="chat" aria-label="Chat" data-testid="chat" ref={(element) => setInert(element, !chatInSight)}>
        <Chat session={session} state={state} inSight={chatInSight}>
          {askFirst && <NameDialog current={state.you?.name ?? ""} modal={false} onName={named} onSkip={skipped} />}
        </Chat>
      </aside>

      <nav className="tabs" aria-label="Views">
        <button type="button" aria-pressed={view === "board"} onClick={() => setView("board")}>
          {BoardIcon}
          Board
        </button>
        <button type="button" aria-pressed={view === "chat"} onClick={() => setView("chat")}>
          {ChatIcon}
          Chat
          {state.unread > 0 && <Badge count={state.unread} />}
        </button>
      </nav>

      {asking === "rename" && <NameDialog current={state.you?.name ?? ""} modal onName={named} onSkip={skipped} />}
    </div>
  );
}

/** Out of sight is out of reach, for the keyboard and for screen readers. React 18 does not know the attribute. */
function setInert(element: HTMLElement | null, inert: boolean): void {
  if (element) element.inert = inert;
}

function Badge({ count }: { readonly count: number }): ReactNode {
  return (
    <span className="badge" data-testid="unread">
      {count > 99 ? "99+" : count}
      <span className="visually-hidden"> unread</span>
    </span>
  );
}

function start(): void {
  const source = document.getElementById("room-config");
  const root = document.getElementById("room");
  if (!source || !root) return;
  const config = JSON.parse(source.textContent ?? "") as RoomConfig;
  const session = new RoomSession(config, rememberedName);
  session.start();
  createRoot(root).render(<Room session={session} />);
}

start();
