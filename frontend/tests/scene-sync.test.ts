import { describe, expect, it } from "vitest";
import type { BoardElement } from "../src/protocol";
import { beats, SceneSync } from "../src/scene-sync";

const LIMITS = { elements: 200, bytes: 190_000, element: 128_000 };

function element(id: string, version = 1, more: Record<string, unknown> = {}): BoardElement {
  return { id, type: "rectangle", version, versionNonce: 7, isDeleted: false, ...more };
}

function sync(): SceneSync {
  let count = 0;
  return new SceneSync(() => `f${++count}`);
}

function sent(text: string): BoardElement[] {
  return (JSON.parse(text) as { elements: BoardElement[] }).elements;
}

describe("the merge rule", () => {
  it("prefers the higher version, then the lower nonce", () => {
    expect(beats({ version: 2, versionNonce: 9 }, { version: 1, versionNonce: 1 })).toBe(true);
    expect(beats({ version: 2, versionNonce: 1 }, { version: 2, versionNonce: 9 })).toBe(true);
    expect(beats({ version: 2, versionNonce: 9 }, { version: 2, versionNonce: 9 })).toBe(false);
    expect(beats({ version: 1, versionNonce: 1 }, undefined)).toBe(true);
  });
});

describe("what is sent", () => {
  it("is what changed, once", () => {
    const scene = sync();
    scene.learn([element("a")]);
    const { batches } = scene.take([element("a"), element("b")], LIMITS);
    expect(batches.map((batch) => sent(batch.text).map(({ id }) => id))).toEqual([["b"]]);
    expect(scene.take([element("a"), element("b")], LIMITS).batches).toEqual([]);
  });

  it("includes a newer version while the older one is still unconfirmed", () => {
    const scene = sync();
    scene.take([element("a", 1)], LIMITS);
    expect(scene.take([element("a", 2)], LIMITS).batches).toHaveLength(1);
  });

  it("leaves out what was drawn and deleted before anybody heard of it", () => {
    expect(sync().take([element("a", 3, { isDeleted: true })], LIMITS).batches).toEqual([]);
  });

  it("tells of the deletion of what the room knows", () => {
    const scene = sync();
    scene.learn([element("a", 1)]);
    expect(scene.take([element("a", 2, { isDeleted: true })], LIMITS).batches).toHaveLength(1);
  });

  it("is cut by count and by bytes", () => {
    const many = Array.from({ length: 5 }, (_, at) => element(`e${at}`));
    expect(sync().take(many, { ...LIMITS, elements: 2 }).batches.map(({ text }) => sent(text).length)).toEqual([2, 2, 1]);
    const heavy = many.map((one) => ({ ...one, text: "ä".repeat(500) }));
    expect(sync().take(heavy, { ...LIMITS, bytes: 2_500 }).batches.map(({ text }) => sent(text).length)).toEqual([2, 2, 1]);
  });

  it("waits when too many frames are unconfirmed, and goes on when one is", () => {
    const scene = sync();
    const many = Array.from({ length: 6 }, (_, at) => element(`e${at}`));
    const limits = { ...LIMITS, elements: 1 };
    const first = scene.take(many, limits).batches;
    expect(first).toHaveLength(4);
    expect(scene.take(many, limits).batches).toEqual([]);
    scene.acknowledge(first[0]?.id ?? "");
    expect(scene.take(many, limits).batches).toHaveLength(1);
    expect(scene.isBehind(many)).toBe(true);
  });

  it("never contains an element over the limit, which is reported once", () => {
    const scene = sync();
    const big = { ...element("big"), text: "x".repeat(500) };
    const limits = { ...LIMITS, element: 300 };
    const { batches, oversized } = scene.take([big, element("a")], limits);
    expect(oversized.map(({ id }) => id)).toEqual(["big"]);
    expect(batches.map(({ text }) => sent(text).map(({ id }) => id))).toEqual([["a"]]);
    expect(scene.take([big], limits).oversized).toEqual([]);
  });
});

describe("after a lost connection", () => {
  it("sends again what was not confirmed, and nothing else", () => {
    const scene = sync();
    const [confirmed] = scene.take([element("a")], LIMITS).batches;
    scene.acknowledge(confirmed?.id ?? "");
    scene.take([element("a"), element("b")], LIMITS);
    scene.disconnect();
    const { batches } = scene.take([element("a"), element("b")], LIMITS);
    expect(batches.map(({ text }) => sent(text).map(({ id }) => id))).toEqual([["b"]]);
  });

  it("does not send what the room turned out to have", () => {
    const scene = sync();
    scene.take([element("a")], LIMITS);
    scene.disconnect();
    scene.learn([element("a")]);
    expect(scene.take([element("a")], LIMITS).batches).toEqual([]);
  });

  it("drops what a full snapshot no longer has, unless it was changed here meanwhile", () => {
    const scene = sync();
    scene.learn([element("kept"), element("gone"), element("edited", 1)]);
    const local = [element("kept"), element("gone"), element("edited", 2), element("new")];
    expect(scene.forgetExcept(new Set(["kept"]), local)).toEqual(new Set(["gone"]));
    expect(scene.take([local[0], local[2], local[3]] as BoardElement[], LIMITS).batches.map(({ text }) => sent(text).length)).toEqual([2]);
  });
});

describe("after the room was put back to a copy", () => {
  it("takes the older version of a snapshot for the room's, and says what was known", () => {
    const scene = sync();
    scene.learn([element("a", 5), element("b", 5), element("same", 2)]);
    const putBack = scene.learn([element("a", 2), element("b", 6), element("same", 2)], true);
    expect([...putBack]).toEqual([["a", { version: 5, versionNonce: 7 }]]);
    expect(scene.isBehind([element("a", 2), element("b", 6), element("same", 2)])).toBe(false);
  });

  it("sends what is changed from there on, though it once sent a higher version", () => {
    const scene = sync();
    const [batch] = scene.take([element("a", 5)], LIMITS).batches;
    scene.acknowledge(batch?.id ?? "");
    scene.learn([element("a", 2)], true);
    expect(scene.take([element("a", 3)], LIMITS).batches).toHaveLength(1);
  });

  it("is not misled by an older version that is no part of a snapshot", () => {
    const scene = sync();
    scene.learn([element("a", 5)]);
    expect(scene.learn([element("a", 2)]).size).toBe(0);
    expect(scene.isBehind([element("a", 5)])).toBe(false);
  });
});

describe("a refused frame", () => {
  it("is tried again whole when the trouble passes", () => {
    const scene = sync();
    const [batch] = scene.take([element("a"), element("b")], LIMITS).batches;
    expect(scene.refuse(batch?.id ?? "", true)).toBe("retry");
    expect(scene.take([element("a"), element("b")], LIMITS).batches).toHaveLength(1);
  });

  it("gives up the element that the room names and keeps the others", () => {
    const scene = sync();
    const [batch] = scene.take([element("a"), element("b")], LIMITS).batches;
    expect(scene.refuse(batch?.id ?? "", false, "a")).toBe("given-up");
    const again = scene.take([element("a"), element("b")], LIMITS).batches;
    expect(again.map(({ text }) => sent(text).map(({ id }) => id))).toEqual([["b"]]);
  });

  it("finds the culprit by sending one at a time when the room names none", () => {
    const scene = sync();
    const [batch] = scene.take([element("a"), element("b")], LIMITS).batches;
    expect(scene.refuse(batch?.id ?? "", false)).toBe("retry");
    const single = scene.take([element("a"), element("b")], LIMITS).batches;
    expect(single.map(({ text }) => sent(text).length)).toEqual([1, 1]);
    expect(scene.refuse(single[0]?.id ?? "", false)).toBe("given-up");
    expect(scene.take([element("a"), element("b")], LIMITS).batches).toEqual([]);
    expect(scene.take([element("a", 2), element("b")], LIMITS).batches).toHaveLength(1);
  });

  it("that is not ours is nobody's", () => {
    expect(sync().refuse("x", false)).toBe("unknown");
    expect(sync().acknowledge("x")).toBe(false);
  });
});

it("finds what an import threw out of the scene", () => {
  const scene = sync();
  scene.learn([element("a"), element("b"), element("c", 1, { isDeleted: true })]);
  expect(scene.missingFrom([element("b"), element("new")]).map(({ id }) => id)).toEqual(["a"]);
});
