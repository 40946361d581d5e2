/** What was written to a room and did not arrive, kept in the tab for the next load of the page. */

import type { Outgoing } from "./chat-log";

export interface Unsent {
  readonly draft: string;
  readonly outgoing: readonly Outgoing[];
}

const key = (slug: string): string => `durable-rooms:unsent:${slug}`;

/** Says whether it is kept. */
export function keepUnsent(slug: string, unsent: Unsent): boolean {
  try {
    sessionStorage.setItem(key(slug), JSON.stringify(unsent));
    return true;
  } catch {
    return false;
  }
}

/** What the page before this one kept; once. */
export function takeUnsent(slug: string): Unsent {
  try {
    const kept = sessionStorage.getItem(key(slug));
    sessionStorage.removeItem(key(slug));
    if (kept !== null) return JSON.parse(kept) as Unsent;
  } catch {
    // Without storage nothing was kept.
  }
  return { draft: "", outgoing: [] };
}
