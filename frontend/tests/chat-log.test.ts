import { describe, expect, it } from "vitest";
import * as chat from "../src/chat-log";
import type { Message } from "../src/protocol";

const NOON = new Date(2025, 4, 10, 12).valueOf();

function message(seq: number, more: Partial<Message> = {}): Message {
  return { seq, id: `m${seq}`, user: "Ada", user_id: "ada", color: "#000000", text: `text ${seq}`, html: "", timestamp: NOON, ...more };
}

const seqs = (log: chat.ChatLog): number[] => log.messages.map(({ seq }) => seq);

describe("merging", () => {
  it("keeps order and drops repeats", () => {
    const log = chat.merge(chat.merge(chat.EMPTY_LOG, [message(3), message(5)]), [message(5), message(1), message(4)]);
    expect(seqs(log)).toEqual([1, 3, 4, 5]);
  });

  it("answers the same value when nothing is new", () => {
    const log = chat.merge(chat.EMPTY_LOG, [message(1)]);
    expect(chat.merge(log, [message(1)])).toBe(log);
  });

  it("tells messages apart by number: two people may use one id", () => {
    const log = chat.merge(chat.EMPTY_LOG, [message(1, { id: "x" }), message(2, { id: "x", user_id: "bob" })]);
    expect(seqs(log)).toEqual([1, 2]);
  });
});

describe("an own message", () => {
  const own = { id: "mine", text: "hello", timestamp: NOON };
  const rest = { seq: 9, user: "Ada", user_id: "ada", color: "#000000", html: "<p>hello</p>", timestamp: NOON };

  it("becomes a message when the room confirms it", () => {
    const log = chat.confirm(chat.post(chat.EMPTY_LOG, own), "mine", rest);
    expect(log.outgoing).toEqual([]);
    expect(log.messages).toEqual([{ ...rest, id: "mine", text: "hello" }]);
  });

  it("appears once when it comes back by another way than its confirmation", () => {
    const caughtUp = chat.merge(chat.post(chat.EMPTY_LOG, own), [message(9, { id: "mine" })]);
    expect(caughtUp.outgoing).toEqual([]);
    expect(seqs(chat.confirm(caughtUp, "mine", rest))).toEqual([9]);
  });

  it("survives a fresh start", () => {
    const log = chat.restart(chat.post(chat.merge(chat.EMPTY_LOG, [message(1)]), own), [message(7)], false);
    expect(seqs(log)).toEqual([7]);
    expect(log.outgoing).toEqual([own]);
  });

  it("can be refused, tried again and removed", () => {
    const refused = chat.refuse(chat.post(chat.EMPTY_LOG, own), "mine", "too long");
    expect(refused.outgoing[0]?.refusal).toBe("too long");
    expect(chat.post(refused, own).outgoing).toEqual([own]);
    expect(chat.drop(refused, "mine").outgoing).toEqual([]);
  });
});

it("offers older messages for as long as the room says that there are any", () => {
  const log = chat.restart(chat.EMPTY_LOG, [message(50)], true);
  expect(log.hasOlder).toBe(true);
  expect(chat.merge(log, [message(51)]).hasOlder).toBe(true);
  expect(chat.older(log, [message(1)], false).hasOlder).toBe(false);
  expect(chat.restart(log, [message(1)], false).hasOlder).toBe(false);
});

it("groups by author, by pause and by day", () => {
  const minute = 60_000;
  const list = chat.entries([
    message(1),
    message(2, { timestamp: NOON + minute }),
    message(3, { timestamp: NOON + 10 * minute }),
    message(4, { timestamp: NOON + 11 * minute, user_id: "bob" }),
    message(5, { timestamp: NOON + 24 * 60 * minute, user_id: "bob" }),
  ]);
  expect(list.map((entry) => (entry.kind === "day" ? "day" : entry.opens))).toEqual(["day", true, false, true, true, "day", true]);
});

it("names days", () => {
  const day = 24 * 3_600_000;
  expect(chat.dayName(NOON, NOON)).toBe("Today");
  expect(chat.dayName(NOON - day, NOON)).toBe("Yesterday");
  expect(chat.dayName(NOON - 9 * day, NOON, "en-GB")).toContain("1 May 2025");
});
