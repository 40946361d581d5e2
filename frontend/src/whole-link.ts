/** Links as people type them, made into addresses that lead somewhere. */

/** Begins with a host: something with a dot, perhaps a port, and then a path or nothing. */
const HOST_FIRST = /^[^\s/?#:@\\]+\.[^\s/?#:@\\.]{2,}(:\d+)?(?=[/?#]|$)/;

/** With the `https://` that somebody left out. */
export function wholeLink(link: string): string {
  return HOST_FIRST.test(link) ? `https://${link}` : link;
}
