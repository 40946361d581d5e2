"""Chat text to safe HTML: Markdown without raw HTML, then an allow-list sanitiser, so that one mistake is not enough.

Links go to http, https and mailto only; a link without a scheme of its own (`//host`, `/path`) stays text. A host is shown in its
ASCII (punycode) form, and a link whose text names another host than its target is followed by the host it really leads to.
Everything is rendered once, by the server.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from html import escape, unescape
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

ALLOWED_TAGS = {
    "p", "br", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a", "hr",
    "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
ALLOWED_ATTRIBUTES = {"a": {"href"}, "ol": {"start"}}
URL_SCHEMES = {"http", "https", "mailto"}
LINK_REL = "noopener noreferrer nofollow ugc"


def _is_allowed_link(url: str) -> bool:
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return False
    if parts.scheme == "mailto":
        return True
    return parts.scheme in URL_SCHEMES and bool(parts.hostname)


class _Markdown(MarkdownIt):
    """Decides about links before they become tags, so that a refused link stays readable text."""

    def validateLink(self, url: str) -> bool:  # noqa: N802 - the parser's name
        return _is_allowed_link(url)

    def normalizeLinkText(self, link: str) -> str:  # noqa: N802
        if link.isascii():
            return super().normalizeLinkText(link)
        return self.normalizeLink(link)


_LOOKS_LIKE_HOST = re.compile(r"\w\.\w")
_ADDRESS = re.compile(r"(?:https?://|mailto:)?([^/?#\s]*)", re.IGNORECASE)


def _host_shown(text: str) -> str:
    """The host (or mail address) that a reader takes the text for."""
    match = _ADDRESS.match(text)
    return re.sub(r":\d+\Z", "", match[1]).lower() if match else ""


def _reveal_hosts(state: StateCore) -> None:
    """Add the true host behind every link whose text looks like the address of another one."""
    for token in state.tokens:
        if token.type == "inline" and token.children:
            token.children = list(_with_hosts(token.children))


def _with_hosts(tokens: list[Token]) -> Iterator[Token]:
    href, text = "", ""
    for token in tokens:
        yield token
        if token.type == "link_open":
            href, text = str(token.attrGet("href") or ""), ""
        elif token.type == "link_close":
            target = urlsplit(href).hostname or href.removeprefix("mailto:").partition("?")[0]
            if _LOOKS_LIKE_HOST.search(text) and _host_shown(text) != target.lower():
                reveal = Token("text", "", 0)
                reveal.content = f" ({target})"
                yield reveal
        else:
            text += token.content


def _parser() -> MarkdownIt:
    options = {"html": False, "linkify": True, "breaks": True, "typographer": False, "maxNesting": 20}
    parser = _Markdown("commonmark", options).enable(["linkify", "strikethrough", "table"])
    parser.disable(["image", "html_block", "html_inline", "reference"])
    parser.core.ruler.push("reveal_hosts", _reveal_hosts)
    return parser


_MARKUP = re.compile(r"[\[\]!*_`~<>|\\]")
_LINKS = re.compile(r"//|www\.|@|mailto:", re.IGNORECASE)
MAX_MARKUP, MAX_LINKS = 500, 100
"""Characters of markup, and beginnings of links, in a message that is still rendered: they cost time, brackets the square of it."""


def _filter_attribute(tag: str, attribute: str, value: str) -> str | None:
    if attribute == "rel":
        return LINK_REL
    if attribute not in ALLOWED_ATTRIBUTES.get(tag, set()):
        return None  # the sanitiser's own list lets `title` and `lang` through
    return value if attribute != "href" or _is_allowed_link(value) else None


_render = _parser().render
_clean = nh3.Cleaner(
    tags=ALLOWED_TAGS,
    attributes=ALLOWED_ATTRIBUTES,
    url_schemes=URL_SCHEMES,
    link_rel=LINK_REL,
    attribute_filter=_filter_attribute,
).clean
_PLAIN = re.compile(r"[^\W\d_](?:[^\W_]|[ ,!?']|\.(?= |\Z))*(?<! )")
"""A line of words, in which no character means anything in Markdown, HTML or an address: most of what people write."""


_TAG = re.compile(r"<[^>]*>")
_UNSEEN = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})


def to_html(text: str) -> str:
    """Render one chat message; the result is safe to insert into a page. What is mostly markup, or nothing else, is shown as it was typed."""
    if _PLAIN.fullmatch(text):
        return f"<p>{text}</p>"
    if len(_MARKUP.findall(text)) > MAX_MARKUP or len(_LINKS.findall(text)) > MAX_LINKS:
        return _as_typed(text)
    return rendered(text)


def rendered(text: str) -> str:
    """The message through parser and sanitiser, whatever is in it; as it was typed where that leaves nothing to be seen."""
    html = _clean(_render(text)).strip()
    return html if _shows_something(html) else _as_typed(text)


def _as_typed(text: str) -> str:
    return "<p>" + escape(text).replace("\n", "<br>\n") + "</p>"


def _shows_something(html: str) -> bool:
    """Whether a reader sees anything of it: a rule, or a character that is neither space nor formatting."""
    if "<hr" in html:
        return True
    return any(unicodedata.category(char) not in _UNSEEN for char in unescape(_TAG.sub("", html)))
