/** Which elements the room still has to hear of: versions known, sent and refused, and frames cut to size. Pure. */

import type { BoardElement } from "./protocol";

export interface Version {
  readonly version: number;
  readonly versionNonce: number;
}

/** The room's rule: the higher version wins, then the lower nonce. Equal versions beat nobody. */
export function beats(one: Version, other: Version | undefined): boolean {
  if (!other) return true;
  if (one.version !== other.version) return one.version > other.version;
  return one.versionNonce < other.versionNonce;
}

export interface DrawBatch {
  readonly id: string;
  /** The finished frame. */
  readonly text: string;
}

export interface BatchLimits {
  readonly elements: number;
  /** Of the elements of one frame together. */
  readonly bytes: number;
  /** Bytes of one element. */
  readonly element: number;
}

/** Draw frames that may wait for their acknowledgement at one time; beyond, changes gather instead. */
const FRAMES_IN_FLIGHT = 4;

const encoder = new TextEncoder();

export class SceneSync {
  /** The newest version of each element that the room is known to have. */
  private readonly known = new Map<string, Version>();
  /** Elements as last seen here or there, to put back what an import threw out of the scene. */
  private readonly latest = new Map<string, BoardElement>();
  private readonly inFlight = new Map<string, ReadonlyMap<string, Version>>();
  private readonly sent = new Map<string, Version>();
  /** Versions the room would not take; a newer version of the same element gets another try. */
  private readonly refused = new Map<string, Version>();
  /** Elements that travel alone, because a batch with them was refused and one of them is to blame. */
  private readonly alone = new Set<string>();

  constructor(private readonly newId: () => string) {}

  /**
   * The room told us these. Where a snapshot has an older version than the room had before, the room itself was put back, to a copy
   * of its earlier self: the older one counts. Answers what was known of those.
   */
  learn(elements: readonly BoardElement[], snapshot = false): ReadonlyMap<string, Version> {
    const putBack = new Map<string, Version>();
    for (const element of elements) {
      const known = this.known.get(element.id);
      if (known && !beats(element, known)) {
        if (!snapshot || !beats(known, element)) continue;
        putBack.set(element.id, known);
        this.sent.delete(element.id);
        this.refused.delete(element.id);
      }
      this.known.set(element.id, { version: element.version, versionNonce: element.versionNonce });
      this.latest.set(element.id, element);
    }
    return putBack;
  }

  /** Elements that the room had and, by a complete snapshot of `ids`, has no longer; they are forgotten here. */
  forgetExcept(ids: ReadonlySet<string>, scene: readonly BoardElement[]): Set<string> {
    const gone = new Set<string>();
    for (const element of scene) {
      const known = this.known.get(element.id);
      if (known && !ids.has(element.id) && !beats(element, known)) gone.add(element.id);
    }
    for (const id of this.known.keys()) {
      if (ids.has(id)) continue;
      this.known.delete(id);
      this.latest.delete(id);
    }
    return gone;
  }

  /** Elements the room has that the scene lost without deleting them, as opening a file over the board does. */
  missingFrom(scene: readonly BoardElement[]): BoardElement[] {
    const present = new Set(scene.map((element) => element.id));
    const missing: BoardElement[] = [];
    for (const id of this.known.keys()) {
      const element = this.latest.get(id);
      if (element && !element.isDeleted && !present.has(id)) missing.push(element);
    }
    return missing;
  }

  /** Frames for what changed, in scene order, and the elements too large for any frame. */
  take(scene: readonly BoardElement[], limits: BatchLimits): { batches: DrawBatch[]; oversized: BoardElement[] } {
    const batches: DrawBatch[] = [];
    const oversized: BoardElement[] = [];
    let texts: string[] = [];
    let versions = new Map<string, Version>();
    let bytes = 0;
    const close = (): void => {
      if (texts.length === 0) return;
      const id = this.newId();
      batches.push({ id, text: `{"type":"draw","id":${JSON.stringify(id)},"elements":[${texts.join(",")}]}` });
      this.inFlight.set(id, versions);
      for (const [element, version] of versions) this.sent.set(element, version);
      texts = [];
      versions = new Map();
      bytes = 0;
    };
    for (const element of scene) {
      if (!this.isNews(element)) continue;
      if (this.inFlight.size >= FRAMES_IN_FLIGHT) break;
      const version = { version: element.version, versionNonce: element.versionNonce };
      const text = JSON.stringify(element);
      const size = encoder.encode(text).length + 1;
      if (size > Math.min(limits.element, limits.bytes)) {
        this.refused.set(element.id, version);
        oversized.push(element);
        continue;
      }
      const solitary = this.alone.has(element.id);
      if (solitary || texts.length >= limits.elements || bytes + size > limits.bytes) close();
      if (this.inFlight.size >= FRAMES_IN_FLIGHT) break;
      texts.push(text);
      versions.set(element.id, version);
      this.latest.set(element.id, element);
      bytes += size;
      if (solitary) close();
    }
    close();
    return { batches, oversized };
  }

  /** True while the room has not confirmed everything in the scene that it could take. */
  isBehind(scene: readonly BoardElement[]): boolean {
    return this.inFlight.size > 0 || scene.some((element) => this.isNews(element));
  }

  acknowledge(frameId: string): boolean {
    const versions = this.inFlight.get(frameId);
    if (!versions) return false;
    this.inFlight.delete(frameId);
    for (const [id, version] of versions) {
      if (beats(version, this.known.get(id))) this.known.set(id, version);
      this.alone.delete(id);
    }
    return true;
  }

  /**
   * The room took nothing of this frame: `again` says that it may later, `culprit` names the element at fault if the room did.
   * Says whether the frame was ours, and whether an element was given up.
   */
  refuse(frameId: string, again: boolean, culprit?: string): "unknown" | "retry" | "given-up" {
    const versions = this.inFlight.get(frameId);
    if (!versions) return "unknown";
    this.inFlight.delete(frameId);
    const guilty = versions.size === 1 ? [...versions.keys()][0] : culprit;
    let givenUp = false;
    for (const [id, version] of versions) {
      const sent = this.sent.get(id);
      if (sent && !beats(sent, version)) this.sent.delete(id);
      if (again) continue;
      if (id === guilty) {
        this.refused.set(id, version);
        givenUp = true;
      } else if (guilty === undefined) {
        this.alone.add(id);
      }
    }
    return givenUp ? "given-up" : "retry";
  }

  /** The connection is gone: whatever was not acknowledged is news again. */
  disconnect(): void {
    this.inFlight.clear();
    this.sent.clear();
  }

  private isNews(element: BoardElement): boolean {
    const known = this.known.get(element.id);
    if (!known && element.isDeleted && !this.sent.has(element.id)) return false;
    return (
      beats(element, known) &&
      beats(element, this.sent.get(element.id)) &&
      beats(element, this.refused.get(element.id))
    );
  }
}
