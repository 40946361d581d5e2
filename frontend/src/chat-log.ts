/** The conversation as a value: confirmed messages in order, own ones still under way, and how each frame changes them. */

import type { Message } from "./protocol";

export interface Outgoing {
  readonly id: string;
  readonly text: string;
  readonly timestamp: number;
  /** Why the room would not take it; absent while it is still under way. */
  readonly refusal?: string;
}

export interface ChatLog {
  /** By `seq`, without repeats. */
  readonly messages: readonly Message[];
  readonly outgoing: readonly Outgoing[];
  /** Whether the room has messages before the first one here. */
  readonly hasOlder: boolean;
}

export const EMPTY_LOG: ChatLog = { messages: [], outgoing: [], hasOlder: false };

/** Adds messages the room told us, whatever order or repetition they come in. */
export function merge(log: ChatLog, incoming: readonly Message[]): ChatLog {
  if (incoming.length === 0) return log;
  const known = new Set(log.messages.map((message) => message.seq));
  const fresh: Message[] = [];
  for (const message of incoming) {
    if (known.has(message.seq)) continue;
    known.add(message.seq);
    fresh.push(message);
  }
  const ids = new Set(incoming.map((message) => message.id));
  const outgoing = log.outgoing.some((own) => ids.has(own.id)) ? log.outgoing.filter((own) => !ids.has(own.id)) : log.outgoing;
  if (fresh.length === 0 && outgoing === log.outgoing) return log;
  const messages = [...log.messages, ...fresh];
  const last = log.messages.at(-1);
  if (!last || fresh.some((message, at) => message.seq < (fresh[at - 1] ?? last).seq)) {
    messages.sort((one, other) => one.seq - other.seq);
  }
  return { ...log, messages, outgoing };
}

/** Starts over from a snapshot, which may leave a gap to what was here before; what is under way stays. */
export function restart(log: ChatLog, incoming: readonly Message[], hasOlder: boolean): ChatLog {
  return merge({ messages: [], outgoing: log.outgoing, hasOlder }, incoming);
}

export function older(log: ChatLog, incoming: readonly Message[], more: boolean): ChatLog {
  return { ...merge(log, incoming), hasOlder: more };
}

export function post(log: ChatLog, own: Outgoing): ChatLog {
  return { ...log, outgoing: [...log.outgoing.filter((other) => other.id !== own.id), own] };
}

export function drop(log: ChatLog, id: string): ChatLog {
  return { ...log, outgoing: log.outgoing.filter((own) => own.id !== id) };
}

/** The room has it, under this number. */
export function confirm(log: ChatLog, id: string, message: Omit<Message, "id" | "text">): ChatLog {
  const own = log.outgoing.find((other) => other.id === id);
  return own ? merge(log, [{ ...message, id, text: own.text }]) : log;
}

export function refuse(log: ChatLog, id: string, refusal: string): ChatLog {
  return { ...log, outgoing: log.outgoing.map((own) => (own.id === id ? { ...own, refusal } : own)) };
}

/** Whatever is under way will not arrive. */
export function refuseAll(log: ChatLog, refusal: string): ChatLog {
  return { ...log, outgoing: log.outgoing.map((own) => ({ refusal, ...own })) };
}

export type ChatEntry =
  | { readonly kind: "day"; readonly key: string; readonly timestamp: number }
  | { readonly kind: "message"; readonly key: string; readonly message: Message; readonly opens: boolean };

const GROUP_MS = 5 * 60_000;

/** Messages with a divider before each day; `opens` where the author or their name changes or some minutes went by. */
export function entries(messages: readonly Message[]): ChatEntry[] {
  const list: ChatEntry[] = [];
  let previous: Message | undefined;
  for (const message of messages) {
    const day = new Date(message.timestamp).toDateString();
    const newDay = !previous || new Date(previous.timestamp).toDateString() !== day;
    if (newDay) list.push({ kind: "day", key: `d${message.seq}`, timestamp: message.timestamp });
    const sameAuthor = previous?.user_id === message.user_id && previous.user === message.user;
    const opens = newDay || !previous || !sameAuthor || message.timestamp - previous.timestamp > GROUP_MS;
    list.push({ kind: "message", key: `m${message.seq}`, message, opens });
    previous = message;
  }
  return list;
}

/** "Today", "Yesterday", or the date. */
export function dayName(timestamp: number, now: number, locale?: string): string {
  const day = new Date(timestamp).toDateString();
  if (day === new Date(now).toDateString()) return "Today";
  const yesterday = new Date(now);
  yesterday.setDate(yesterday.getDate() - 1);
  if (day === yesterday.toDateString()) return "Yesterday";
  return new Date(timestamp).toLocaleDateString(locale, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
}
