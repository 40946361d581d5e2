// The peer's Counter, Relay, RateLimiter, ChatRoom and Subject, behind the addresses of our own service, so that one generator asks both.
import { DurableObject } from "cloudflare:workers";

// A named integer. Nothing is awaited after the write: the output gate holds the answer until it is on disk.
export class Counter extends DurableObject {
  increment(amount) {
    const value = (this.ctx.storage.kv.get("value") ?? 0) + amount;
    this.ctx.storage.kv.put("value", value);
    return value;
  }

  value() {
    return this.ctx.storage.kv.get("value") ?? 0;
  }
}

// Keeps nothing, and has a counter count.
export class Relay extends DurableObject {
  increment(name) {
    return this.env.COUNTERS.getByName(name).increment(1);
  }
}

// A sliding window, exact to the millisecond: at most `limit` admitted in any window, as ours. Refused requests do not count.
export class RateLimiter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec(
      "CREATE TABLE IF NOT EXISTS hit (key TEXT NOT NULL, at INTEGER NOT NULL, cost INTEGER NOT NULL, PRIMARY KEY (key, at)) WITHOUT ROWID",
    );
    this.sql.exec("CREATE TABLE IF NOT EXISTS total (key TEXT PRIMARY KEY, cost INTEGER NOT NULL) WITHOUT ROWID");
  }

  check(key, limit, windowMs) {
    const now = Date.now();
    let used = this.sql.exec("SELECT cost FROM total WHERE key = ?", key).toArray()[0]?.cost ?? 0;
    const oldest = this.sql.exec("SELECT at FROM hit WHERE key = ? ORDER BY at LIMIT 1", key).toArray()[0]?.at;
    if (oldest !== undefined && oldest <= now - windowMs) {
      used -= this.sql
        .exec("SELECT sum(cost) AS gone FROM hit WHERE key = ? AND at <= ?", key, now - windowMs)
        .one().gone;
      this.sql.exec("DELETE FROM hit WHERE key = ? AND at <= ?", key, now - windowMs);
      this.sql.exec("UPDATE total SET cost = ? WHERE key = ?", used, key);
    }
    if (used >= limit) return { allowed: false, remaining: 0, retry_after: (oldest + windowMs - now) / 1000 };
    this.sql.exec("INSERT INTO hit VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET cost = cost + 1", key, now);
    this.sql.exec("INSERT INTO total VALUES (?, 1) ON CONFLICT DO UPDATE SET cost = cost + 1", key);
    return { allowed: true, remaining: limit - used - 1, retry_after: 0 };
  }
}

// A chat that keeps what is said; its sockets outlive it in memory (hibernation).
export class ChatRoom extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec(
      "CREATE TABLE IF NOT EXISTS messages (seq INTEGER PRIMARY KEY, client_id TEXT NOT NULL, user_id TEXT NOT NULL, text TEXT NOT NULL, timestamp INTEGER NOT NULL, UNIQUE (client_id, user_id))",
    );
    this.seq = this.sql.exec("SELECT max(seq) AS seq FROM messages").one().seq ?? 0;
  }

  fetch() {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    server.serializeAttachment(crypto.randomUUID());
    server.send(JSON.stringify({ type: "welcome", seq: this.seq }));
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(ws, frame) {
    const { id, text } = JSON.parse(frame);
    const user = ws.deserializeAttachment();
    const known = this.sql.exec("SELECT seq FROM messages WHERE client_id = ? AND user_id = ?", id, user).toArray()[0];
    if (known) return ws.send(JSON.stringify({ type: "ack", id, seq: known.seq }));
    const seq = (this.seq += 1);
    const timestamp = Date.now();
    this.sql.exec("INSERT INTO messages VALUES (?, ?, ?, ?, ?)", seq, id, user, text, timestamp);
    const chat = JSON.stringify({ type: "chat", seq, id, user_id: user, text, timestamp });
    for (const other of this.ctx.getWebSockets()) if (other !== ws) other.send(chat);
    ws.send(JSON.stringify({ type: "ack", id, seq, timestamp }));
  }

  webSocketClose(ws, code) {
    ws.close(code === 1005 || code === 1006 ? 1000 : code);
  }
}

// An object whose sockets nothing is sent to; asked, it says which of its lives this is.
export class Subject extends DurableObject {
  life = crypto.randomUUID();

  fetch() {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(ws) {
    ws.send(this.life);
  }
}

const COUNTER = /^\/api\/v1\/counters\/([^/]+)(\/increment)?$/;
const RELAY = /^\/api\/v1\/relays\/([^/]+)\/increment$/;
const CHECK = /^\/api\/v1\/limiters\/([^/]+)\/check$/;
const ROOM = /^\/ws\/rooms\/([^/]+)\/$/;
const SUBJECT = /^\/ws\/subject\/([^/]+)$/;

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    let found;
    if ((found = COUNTER.exec(pathname))) {
      const counter = env.COUNTERS.getByName(found[1]);
      const value = found[2] ? await counter.increment(1) : await counter.value();
      return Response.json({ name: found[1], value });
    }
    if ((found = RELAY.exec(pathname))) {
      const value = await env.RELAYS.getByName(found[1]).increment(found[1]);
      return Response.json({ name: found[1], value });
    }
    if ((found = CHECK.exec(pathname))) {
      const { key } = await request.json();
      const [limit, seconds] = env.POLICIES[found[1]];
      const decision = await env.LIMITERS.getByName(found[1]).check(key, limit, seconds * 1000);
      return Response.json(decision, { status: decision.allowed ? 200 : 429 });
    }
    if ((found = ROOM.exec(pathname))) return env.ROOMS.getByName(found[1]).fetch(request);
    if ((found = SUBJECT.exec(pathname))) return env.SUBJECTS.getByName(found[1]).fetch(request);
    return new Response("no such address\n", { status: 404 });
  },
};
