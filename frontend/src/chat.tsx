/** The conversation: messages as they come, a box to write in, and older pages on request. */

import { type KeyboardEvent, memo, type ReactNode, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { Avatar } from "./avatar";
import { dayName, entries, type Outgoing } from "./chat-log";
import { DownIcon, SendIcon } from "./icons";
import type { Message, You } from "./protocol";
import type { RoomSession } from "./room-session";
import type { RoomState } from "./room-state";
import { showServerHtml } from "./server-html";
import type { Connection } from "./socket";

const TYPING_EVERY_MS = 3_000;
/** Closer to the end than this counts as being at the end. */
const NEAR_END_PX = 48;

function clock(timestamp: number): string {
  return new Date(timestamp).toLocaleTimeString(undefined, { hour: "numeric", minute: "2-digit" });
}

const Body = memo(function Body({ html, text }: { readonly html: string; readonly text: string }) {
  const target = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (html && target.current) showServerHtml(target.current, html);
  }, [html]);
  return html ? (
    <div className="message-body" dir="auto" ref={target} />
  ) : (
    <div className="message-body" dir="auto">
      <p className="plain">{text}</p>
    </div>
  );
});

const MessageRow = memo(function MessageRow({ message, opens, own }: { readonly message: Message; readonly opens: boolean; readonly own: boolean }) {
  const when = new Date(message.timestamp);
  return (
    <li className="message" data-opens={opens} data-own={own} data-seq={message.seq}>
      {opens && (
        <div className="message-head">
          <Avatar name={message.user} color={message.color} />
          <span className="message-author">{message.user}</span>
          {own && <span className="tag">you</span>}
          <time dateTime={when.toISOString()} title={when.toLocaleString()}>
            {clock(message.timestamp)}
          </time>
        </div>
      )}
      <Body html={message.html} text={message.text} />
    </li>
  );
});

interface OutgoingRowProps {
  readonly own: Outgoing;
  readonly you: You | null;
  readonly opens: boolean;
  readonly closed: boolean;
  readonly session: RoomSession;
}

function OutgoingRow({ own, you, opens, closed, session }: OutgoingRowProps): ReactNode {
  return (
    <li className="message" data-opens={opens} data-own="true" data-pending={own.refusal === undefined}>
      {opens && (
        <div className="message-head">
          <Avatar name={you?.name ?? "?"} color={you?.color ?? "#5d6166"} />
          <span className="message-author">{you?.name ?? "You"}</span>
          <span className="tag">you</span>
          <time>{clock(own.timestamp)}</time>
        </div>
      )}
      <Body html="" text={own.text} />
      {own.refusal !== undefined && (
        <p className="message-refusal" role="alert">
          Not sent: {own.refusal}{" "}
          {!closed && (
            <>
              <button type="button" className="link-button" onClick={() => session.sayAgain(own.id)}>
                Try again
              </button>{" "}
              <button type="button" className="link-button" onClick={() => session.unsay(own.id)}>
                Remove
              </button>
            </>
          )}
        </p>
      )}
    </li>
  );
}

interface ChatProps {
  readonly session: RoomSession;
  readonly state: RoomState;
  readonly inSight: boolean;
  readonly children?: ReactNode;
}

export function Chat({ session, state, inSight, children }: ChatProps): ReactNode {
  const { log, you } = state;
  const list = useMemo(() => entries(log.messages), [log.messages]);
  const scroller = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const seen = useRef({ firstSeq: 0, lastSeq: 0, outgoing: 0, height: 0 });
  const [below, setBelow] = useState(0);

  const toEnd = (): void => {
    const box = scroller.current;
    if (box) box.scrollTop = box.scrollHeight;
    atEnd.current = true;
    setBelow(0);
  };

  useLayoutEffect(() => {
    const box = scroller.current;
    if (!box) return;
    const before = seen.current;
    const firstSeq = log.messages[0]?.seq ?? 0;
    const lastSeq = log.messages.at(-1)?.seq ?? 0;
    const posted = log.outgoing.length > before.outgoing;
    if (firstSeq < before.firstSeq && before.height > 0) {
      // Older messages grew at the top: what one was reading stays where it was.
      box.scrollTop += box.scrollHeight - before.height;
    } else if (atEnd.current || posted) {
      box.scrollTop = box.scrollHeight;
      atEnd.current = true;
      setBelow(0);
    } else if (lastSeq > before.lastSeq) {
      const fresh = log.messages.filter((message) => message.seq > before.lastSeq && message.user_id !== you?.id).length;
      if (fresh > 0) setBelow((count) => count + fresh);
    }
    seen.current = { firstSeq, lastSeq, outgoing: log.outgoing.length, height: box.scrollHeight };
  }, [log, you?.id]);

  // The panel changes its height with the window, the keyboard of a phone and the box below.
  useEffect(() => {
    const box = scroller.current;
    if (!box) return;
    const observer = new ResizeObserver(() => {
      if (atEnd.current) box.scrollTop = box.scrollHeight;
    });
    observer.observe(box);
    return () => observer.disconnect();
  }, []);

  const scrolled = (): void => {
    const box = scroller.current;
    if (!box) return;
    atEnd.current = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END_PX;
    if (atEnd.current) setBelow(0);
  };

  const writers = state.typing.map((id) => state.users.find((user) => user.id === id)?.name).filter((name) => name !== undefined);
  const lastAuthor = log.messages.at(-1)?.user_id;
  const empty = log.messages.length === 0 && log.outgoing.length === 0;
  return (
    <>
      <div className="log-frame">
        {/* biome-ignore lint: a scrolling region must be reachable by keyboard */}
        <div className="log" role="log" aria-live="polite" aria-label="Conversation" aria-busy={state.loadingOlder} tabIndex={0} data-testid="chat-log" ref={scroller} onScroll={scrolled}>
          {log.hasOlder && (
            <button type="button" className="button quiet load-older" disabled={state.loadingOlder} onClick={() => session.loadOlder()}>
              {state.loadingOlder ? "Loading…" : "Load older"}
            </button>
          )}
          {empty && you && (
            <div className="log-empty">
              <p className="hand">Nobody said anything yet.</p>
              <p>
                Whatever you write here is kept with the room. <code>**bold**</code>, <code>`code`</code> and links work.
              </p>
            </div>
          )}
          <ol className="messages">
            {list.map((entry) =>
              entry.kind === "day" ? (
                <li key={entry.key} className="day">
                  <time dateTime={new Date(entry.timestamp).toISOString()}>{dayName(entry.timestamp, Date.now())}</time>
                </li>
              ) : (
                <MessageRow key={entry.key} message={entry.message} opens={entry.opens} own={entry.message.user_id === you?.id} />
              ),
            )}
            {log.outgoing.map((own, at) => (
              <OutgoingRow key={own.id} own={own} you={you} opens={at === 0 && lastAuthor !== you?.id} closed={state.connection.state === "closed"} session={session} />
            ))}
          </ol>
        </div>
        {below > 0 && (
          <button type="button" className="button jump" onClick={toEnd}>
            {DownIcon} {below} new
          </button>
        )}
      </div>
      <p className="typing" aria-hidden="true">
        {writers.length === 1 && `${writers[0]} is writing…`}
        {writers.length === 2 && `${writers[0]} and ${writers[1]} are writing…`}
        {writers.length > 2 && "Several people are writing…"}
      </p>
      {children}
      <Composer session={session} limit={state.limits.text} connection={state.connection.state} inSight={inSight} />
    </>
  );
}

interface ComposerProps {
  readonly session: RoomSession;
  readonly limit: number;
  readonly connection: Connection["state"];
  readonly inSight: boolean;
}

const PLACEHOLDERS: Readonly<Record<Connection["state"], string>> = {
  connecting: "Write to the room",
  live: "Write to the room",
  reconnecting: "Sent when the room is back",
  closed: "The room is closed",
};

function Composer({ session, limit, connection, inSight }: ComposerProps): ReactNode {
  const [text, setText] = useState(session.draft);
  const box = useRef<HTMLTextAreaElement>(null);
  const saidTyping = useRef(0);
  // As the server counts: by code points.
  const length = text.length > limit / 2 ? [...text].length : text.length;
  const tooLong = length > limit;
  const closed = connection === "closed";
  const unsendable = closed || tooLong || text.trim() === "";

  useLayoutEffect(() => {
    const field = box.current;
    if (!field || !inSight) return;
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
  }, [text, inSight, connection]);

  const stopTyping = (): void => {
    if (saidTyping.current === 0) return;
    saidTyping.current = 0;
    session.presence({ typing: false });
  };

  const put = (next: string): void => {
    session.draft = next;
    setText(next);
  };

  const write = (next: string): void => {
    put(next);
    if (next.trim() === "") {
      stopTyping();
      return;
    }
    const now = Date.now();
    if (now - saidTyping.current < TYPING_EVERY_MS) return;
    saidTyping.current = now;
    session.presence({ typing: true });
  };

  const send = (): void => {
    if (unsendable) return;
    stopTyping();
    session.say(text.trim());
    put("");
    box.current?.focus();
  };

  const key = (event: KeyboardEvent<HTMLTextAreaElement>): void => {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <label htmlFor="chat-box" className="visually-hidden">
        Message
      </label>
      <div className="composer-box">
        <textarea
          id="chat-box"
          dir="auto"
          ref={box}
          rows={1}
          value={text}
          placeholder={PLACEHOLDERS[connection]}
          readOnly={closed}
          aria-describedby="chat-hint"
          aria-invalid={tooLong}
          enterKeyHint="send"
          onChange={(event) => write(event.target.value)}
          onKeyDown={key}
          onBlur={stopTyping}
        />
        <button type="submit" className="send" aria-label="Send" title="Send" disabled={unsendable}>
          {SendIcon}
        </button>
      </div>
      <p id="chat-hint" className="composer-hint" data-over={tooLong}>
        {length > limit * 0.9 ? (
          <span role="status">
            {length} of {limit} characters
          </span>
        ) : (
          <span className="composer-keys">Enter sends, Shift + Enter starts a new line</span>
        )}
      </p>
    </form>
  );
}
