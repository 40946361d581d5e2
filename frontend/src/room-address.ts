/** Reads what people paste to say which room they mean. Pure. */

const SLUG = /^[A-Za-z0-9_-]{1,128}$/;

/** The path of the room or invite named by a link, a path or a bare code; null for anything else, other sites included. */
export function roomAddress(text: string, here: string): string | null {
  const given = text.trim();
  if (SLUG.test(given)) return `/r/${given}`;
  if (!given.includes("/")) return null;
  let url: URL;
  try {
    url = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(given) || given.startsWith("/") ? given : `${new URL(here).protocol}//${given}`, here);
  } catch {
    return null;
  }
  if (url.host !== new URL(here).host) return null;
  const match = /^\/(r|i)\/([A-Za-z0-9_-]{1,128})\/?$/.exec(url.pathname);
  return match ? `/${match[1]}/${match[2]}` : null;
}
