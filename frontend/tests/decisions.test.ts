import { describe, expect, it } from "vitest";
import { cursorId, hueOf, initials, newId } from "../src/identity";
import { parseFrame } from "../src/protocol";
import { judgeClose, reconnectDelay } from "../src/reconnect";
import { roomAddress } from "../src/room-address";
import { wholeLink } from "../src/whole-link";

describe("coming back", () => {
  it("waits anywhere between nothing and a doubling ceiling", () => {
    expect(reconnectDelay(0, 0)).toBe(0);
    expect(reconnectDelay(0, 1)).toBe(500);
    expect(reconnectDelay(3, 0.5)).toBe(2000);
    expect(reconnectDelay(50, 1)).toBe(15_000);
  });

  it.each([1000, 1001, 1006, 1011, 1012, 1013, 4429])("is right after %i", (code) => {
    expect(judgeClose(code).kind).toBe("return");
  });

  it.each([
    [4404, "missing"],
    [4403, "forbidden"],
    [4401, "signed-out"],
    [4400, "refused"],
    [4413, "refused"],
  ])("is pointless after %i", (code, reason) => {
    expect(judgeClose(code)).toEqual({ kind: "final", reason });
  });

  it("is slower for a client that was too fast or too slow", () => {
    expect(judgeClose(4429)).toMatchObject({ atLeastMs: 2000 });
    expect(judgeClose(1013)).toMatchObject({ atLeastMs: 1000 });
  });
});

describe("frames", () => {
  it("are objects of a known type", () => {
    expect(parseFrame('{"type":"heartbeat","activeUsers":2,"seq":5}')).toEqual({ type: "heartbeat", activeUsers: 2, seq: 5 });
  });

  it.each(["", "pong", "[]", "null", '"chat"', "{}", '{"type":7}', '{"type":"tomorrow"}'])("are not %j", (text) => {
    expect(parseFrame(text)).toBeNull();
  });
});

describe("a link on the board", () => {
  it.each(["example.com", "example.com/a?b=c", "www.example.co.uk:8080/x", "bücher.example#top"])("%j gets its scheme", (text) => {
    expect(wholeLink(text)).toBe(`https://${text}`);
  });

  it.each(["https://example.com", "mailto:me@example.com", "me@example.com", "/r/abc.d", "javascript:a.b", "word", "e.g. this", ""])(
    "%j stays as it is",
    (text) => {
      expect(wholeLink(text)).toBe(text);
    },
  );
});

describe("people", () => {
  it.each([
    ["Mira Okafor", "MO"],
    ["jon", "J"],
    ["  ", "?"],
    ["ßen ålund", "SSÅ"],
    ["🦊 fox", "🦊F"],
  ])("%j has the initials %s", (name, expected) => {
    expect(initials(name)).toBe(expected);
  });

  it("wear the hue of their colour on the board", () => {
    expect(hueOf("#ff0000")).toBe(0);
    expect(hueOf("#00ff00")).toBe(120);
    expect(hueOf("teal")).toBeNull();
    expect((cursorId("#0000ff").charCodeAt(0) % 37) * 10).toBe(240);
    expect(cursorId("teal")).toHaveLength(1);
  });

  it("get ids that the room accepts", () => {
    expect(newId()).toMatch(/^[A-Za-z0-9_-]{20}$/);
    expect(newId()).not.toBe(newId());
  });
});

describe("a room's address", () => {
  const here = "https://rooms.example:8000/";
  it.each([
    ["Ab3_-x", "/r/Ab3_-x"],
    [" https://rooms.example:8000/r/abc/ ", "/r/abc"],
    ["rooms.example:8000/r/abc", "/r/abc"],
    ["/r/abc", "/r/abc"],
    ["https://rooms.example:8000/i/token", "/i/token"],
    ["https://rooms.example:8000/r/abc?x=1#y", "/r/abc"],
  ])("%j leads to %s", (text, expected) => {
    expect(roomAddress(text, here)).toBe(expected);
  });

  it.each(["", "two words", "https://elsewhere.example/r/abc", "//elsewhere.example/r/abc", "/admin/", "javascript:alert(1)//r/x"])(
    "%j leads nowhere",
    (text) => {
      expect(roomAddress(text, here)).toBeNull();
    },
  );
});
