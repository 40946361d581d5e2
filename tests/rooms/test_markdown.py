"""Chat text to HTML: what people mean comes out, what attackers mean does not."""

from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rooms.markdown import ALLOWED_TAGS, LINK_REL, rendered, to_html

CORPUS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x></svg>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](&#x6A;&#x61;vascript&colon;alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](\x01javascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "<javascript:alert(1)>",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox)",
    "[x](file:///etc/passwd)",
    "[x](//evil.example)",
    "[x](/\\evil.example)",
    "[x](\\\\evil.example)",
    "//evil.example",
    "[x](http:evil.example)",
    "![x](https://evil.example/pixel.png)",
    "![x](javascript:alert(1))",
    '[x](https://a.example "onmouseover=alert(1)")',
    '[x](https://a.example"onmouseover="alert(1))',
    "[x]: javascript:alert(1)\n\n[x]",
    "**[x](javascript:alert(1))**",
    "> - [x](javascript:alert(1))",
    "[<img src=x onerror=alert(1)>](https://a.example)",
    "`<script>alert(1)</script>`",
    "```html\n<script>alert(1)</script>\n```",
    "```\"><script>alert(1)</script>\nx\n```",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<!--<img src='--><img src=x onerror=alert(1)>",
    "<style>@import 'https://evil.example'</style>",
    "<base href='https://evil.example'>",
    "<form action='https://evil.example'><input name=password>",
    "<details open ontoggle=alert(1)>",
    "https://a.example/<script>alert(1)</script>",
    "https://a.example/\"onmouseover=\"alert(1)",
    "<p style='position:fixed'>x</p>",
    "\u202e[x](javascript:alert(1))",
]  # fmt: skip


class Reader(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")


def assert_harmless(html):
    for tag, attributes in Reader(html).found:
        assert tag in ALLOWED_TAGS
        if tag == "a":
            assert set(attributes) <= {"href", "rel"}
            if "href" in attributes:
                url = urlsplit(attributes["href"])
                assert url.scheme in {"http", "https", "mailto"}
                assert url.scheme == "mailto" or url.hostname
                assert attributes["rel"] == LINK_REL
        elif tag == "ol":
            assert set(attributes) <= {"start"}
        else:
            assert not attributes


@pytest.mark.parametrize("text", CORPUS)
def test_attacks_come_out_inert(text):
    html = to_html(text)
    assert_harmless(html)
    assert not [
        attributes for tag, attributes in Reader(html).found if "evil" in attributes.get("href", "")
    ] or ("https://evil.example" in text)


SIGNS = ["<", ">", '"', "'", "[", "]", "(", ")", "`", "*", "_", "!", "\\", "#", "&", ";", ":", "/", "//"]
WORDS = [
    "javascript:",
    "https://a.example",
    "www.b.example",
    "data:",
    "<script>",
    "onerror=",
    "&#x3a;",
    "a@b.example",
    "x",
]
pieces = st.sampled_from([*SIGNS, *WORDS, " ", "\n"])


@given(st.lists(pieces, max_size=40).map("".join) | st.text())
def test_anything_comes_out_inert(text):
    assert_harmless(to_html(text))


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Hello!", "<p>Hello!</p>"),
        ("a\nb", "<p>a<br>\nb</p>"),
        ("**b** *i* ~~s~~ `c`", "<p><strong>b</strong> <em>i</em> <s>s</s> <code>c</code></p>"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
        ("> q", "<blockquote>\n<p>q</p>\n</blockquote>"),
        ("<b>", "<p>&lt;b&gt;</p>"),
        ("1 < 2 & 3", "<p>1 &lt; 2 &amp; 3</p>"),
        ("//evil.example", "<p>//evil.example</p>"),
        (
            "see https://a.example/x",
            f'<p>see <a href="https://a.example/x" rel="{LINK_REL}">https://a.example/x</a></p>',
        ),
        ("[docs](https://a.example)", f'<p><a href="https://a.example" rel="{LINK_REL}">docs</a></p>'),
        ("[m](mailto:a@b.example)", f'<p><a href="mailto:a@b.example" rel="{LINK_REL}">m</a></p>'),
    ],
)
def test_what_people_write(text, html):
    assert to_html(text) == html


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[https://bank.example](https://evil.example)", "</a> (evil.example)"),
        ("[bank.example/evil.example](https://evil.example)", "</a> (evil.example)"),
        ("http://bank.example@evil.example", "</a> (evil.example)"),
        ("[www.evil.example/x](https://www.evil.example/y)", "</a></p>"),
        ("https://а.example", ">https://xn--80a.example</a>"),
    ],
)
def test_a_link_shows_where_it_leads(text, shown):
    assert shown in to_html(text)


@pytest.mark.parametrize(
    "text", ["[" * 4000, "![[" * 1333, "**a " * 1000, "> " * 2000, "`" * 4000, "<" * 4000, "_a_" * 1333]
)
def test_the_longest_nonsense_is_rendered(text):
    assert to_html(text) is not None


def test_what_is_mostly_markup_is_shown_as_typed():
    assert to_html("[" * 600 + "\n<b>") == "<p>" + "[" * 600 + "<br>\n&lt;b&gt;</p>"
    assert "<a" not in to_html("https://a.example " * 101)
    assert to_html("https://a.example " * 100).count("<a") == 100


words = st.text(alphabet=st.sampled_from("aZé中0 ,.!?'_-#\n\xa0"), max_size=12)


@given(words | st.text(max_size=12))
@example("Hello, is it 5 already?")
@example("It's done. Really")
@example("a. ")
@example("1. a")
@example("a.example")
@example("a_b_")
@example("www.example")
@example("a  b")
def test_words_alone_look_as_if_they_had_been_rendered(text):
    assert to_html(text) == rendered(text)


def test_words_alone_are_not_parsed(monkeypatch):
    monkeypatch.setattr("rooms.markdown.rendered", lambda text: "parsed")
    assert to_html("Hello, is it 5 already?") == "<p>Hello, is it 5 already?</p>"
    assert to_html("is it *5*?") == "parsed"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("#", "<p>#</p>"),
        ("-", "<p>-</p>"),
        ("> >", "<p>&gt; &gt;</p>"),
        ("1.", "<p>1.</p>"),
        ("```\n```", "<p>```<br>\n```</p>"),
        ("[ ](https://a.example)", "<p>[ ](https://a.example)</p>"),
        ("&#8203;", "<p>&amp;#8203;</p>"),
        ("---", "<hr>"),
        ("# x", "<h1>x</h1>"),
    ],
)
def test_a_message_of_markup_alone_is_shown_as_it_was_typed(text, html):
    assert to_html(text) == html
