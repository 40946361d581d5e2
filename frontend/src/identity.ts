/** How a person looks: initials, and the hue of their colour for the cursor on the board. */

/** One or two letters, by words and by whole characters. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/u).filter(Boolean);
  const first = [...(words[0] ?? "?")][0] ?? "?";
  const second = words.length > 1 ? ([...(words.at(-1) ?? "")][0] ?? "") : "";
  return (first + second).toUpperCase();
}

/** Hue in degrees of a `#rrggbb` colour; null for anything else. */
export function hueOf(color: string): number | null {
  const match = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(color);
  if (!match) return null;
  const [red = 0, green = 0, blue = 0] = match.slice(1).map((part) => Number.parseInt(part, 16) / 255);
  const high = Math.max(red, green, blue);
  const span = high - Math.min(red, green, blue);
  if (span === 0) return 0;
  const sextant = high === red ? ((green - blue) / span) % 6 : high === green ? (blue - red) / span + 2 : (red - green) / span + 4;
  return (sextant * 60 + 360) % 360;
}

/**
 * Excalidraw takes a cursor's colour from a hash of the collaborator's id: `hash % 37` tens of degrees. The hash of a single
 * character is its code, so a character can stand for any of the 37 hues, and the cursor wears its owner's colour.
 */
export function cursorId(color: string): string {
  return String.fromCharCode(37 * 3 + (Math.round((hueOf(color) ?? 0) / 10) % 37));
}

/** A key for what the page itself makes: unguessable, and short enough for a frame. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(15));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}
