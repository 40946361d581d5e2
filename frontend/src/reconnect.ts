/** When to come back after a socket closed, and when not to: pure decisions. */

const BASE_MS = 500;
const CEILING_MS = 15_000;

/** Full jitter: anywhere between nothing and an exponentially growing ceiling, so that a crowd does not return at once. */
export function reconnectDelay(attempt: number, random: number): number {
  const ceiling = Math.min(CEILING_MS, BASE_MS * 2 ** Math.min(attempt, 10));
  return Math.round(ceiling * random);
}

export type CloseVerdict =
  | { readonly kind: "return"; readonly atLeastMs: number }
  | { readonly kind: "final"; readonly reason: FinalReason };

export type FinalReason = "missing" | "forbidden" | "signed-out" | "refused";

/** What a close code asks of a client. Unknown codes, a lost network among them, mean: come back. */
export function judgeClose(code: number): CloseVerdict {
  switch (code) {
    case 4404:
      return { kind: "final", reason: "missing" };
    case 4403:
      return { kind: "final", reason: "forbidden" };
    case 4401:
      return { kind: "final", reason: "signed-out" };
    case 4400:
    case 4413:
      return { kind: "final", reason: "refused" };
    case 4429:
      return { kind: "return", atLeastMs: 2_000 };
    case 1013:
      return { kind: "return", atLeastMs: 1_000 };
    default:
      return { kind: "return", atLeastMs: 0 };
  }
}
