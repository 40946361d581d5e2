/**
 * The only place where HTML from the server enters the page.
 *
 * The server has rendered and sanitised it. This is the second lock: the text is parsed into an inert document, and only
 * the elements below are built anew, with no attribute but a web or mail address on links and the first number of a list.
 */

const ALLOWED: ReadonlySet<string> = new Set([
  ..."a b blockquote br code del em h1 h2 h3 h4 h5 h6 hr i li ol p pre s strong table tbody td th thead tr ul".split(" "),
]);

/** Elements whose text is not for reading; everything else unknown keeps its children. */
const DROPPED: ReadonlySet<string> = new Set("iframe math noscript object script style svg template textarea title".split(" "));

export function showServerHtml(target: Element, html: string): void {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  target.replaceChildren(copyChildren(parsed.body, document));
}

function copyChildren(source: Node, into: Document): DocumentFragment {
  const fragment = into.createDocumentFragment();
  for (const child of source.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) {
      fragment.append(into.createTextNode(child.textContent ?? ""));
    } else if (child instanceof Element) {
      const name = child.localName;
      if (DROPPED.has(name)) continue;
      if (!ALLOWED.has(name)) {
        fragment.append(copyChildren(child, into));
        continue;
      }
      const copy = into.createElement(name);
      if (copy instanceof HTMLAnchorElement) copyAddress(child, copy);
      if (copy instanceof HTMLOListElement) copyStart(child, copy);
      copy.append(copyChildren(child, into));
      fragment.append(copy);
    }
  }
  return fragment;
}

function copyStart(source: Element, list: HTMLOListElement): void {
  const start = source.getAttribute("start") ?? "";
  if (/^\d{1,9}$/.test(start)) list.start = Number(start);
}

function copyAddress(source: Element, link: HTMLAnchorElement): void {
  const address = source.getAttribute("href") ?? "";
  if (!/^(https?:\/\/|mailto:)/i.test(address)) return;
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow ugc";
}
