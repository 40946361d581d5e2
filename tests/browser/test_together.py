"""Two people in one room: what one says, draws and points at reaches the other, and nothing else does."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.person import Person
from tests.running_service import RunningService

Two = tuple[Person, Person]

MALICE = [
    "<script>window.harmed = 1</script>",
    "<img src=x onerror='window.harmed = 1'>",
    "<svg onload=window.harmed=1><script>window.harmed = 1</script></svg>",
    "<iframe src='javascript:parent.harmed = 1'></iframe>",
    "<details open ontoggle=window.harmed=1>open</details>",
    "<style>@import url(http://203.0.113.1/s.css)</style><b style='background:url(http://203.0.113.1/b)'>bold</b>",
    "[a link](javascript:window.harmed=1)",
    "[a link](JaVa&#x0A;Script:window.harmed=1)",
    "[data](data:text/html,<script>window.harmed=1</script>)",
    "![a picture](http://203.0.113.1/picture.png)",
    "<a href='https://example.org' onclick='window.harmed = 1' target=_self>a link</a>",
    'https://example.org/"onmouseover="window.harmed=1',
    "```html\n</code></pre><script>window.harmed = 1</script>\n```",
    "<form action='http://203.0.113.1/'><input name=password autofocus onfocus=window.harmed=1></form>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x onerror=window.harmed=1&gt;'>",
    "{{ 7 * 7 }} ${7 * 7} <template><img src=x onerror=window.harmed=1></template>",
]


@pytest.fixture
def together(service: RunningService, visitor: Visitor) -> Two:
    """Alice and Bob in a room of their own."""
    room = service.create_room("Together")
    return visitor(service, "Alice").enter(room), visitor(service, "Bob").enter(room)


def test_what_one_says_the_other_reads(together: Two) -> None:
    alice, bob = together
    alice.say("Hello, Bob")
    bob.sees("Hello, Bob")
    bob.say("Hello, Alice")
    alice.sees("Hello, Alice")
    assert alice.said() == bob.said() == ["Hello, Bob", "Hello, Alice"]
    expect(bob.log.locator(".message-author")).to_have_text(["Alice", "Bob"])


def test_both_are_told_who_is_here(together: Two, service: RunningService, visitor: Visitor) -> None:
    alice, bob = together
    alice.sees_people("Alice", "Bob")
    bob.sees_people("Alice", "Bob")
    carol = visitor(service, "Carol").enter(alice.page.url)
    alice.sees_people("Alice", "Bob", "Carol")
    carol.page.close()
    bob.sees_people("Alice", "Bob")


def test_two_tabs_of_one_person_count_once(together: Two) -> None:
    alice, bob = together
    second = Person(alice.page.context.new_page(), "Alice").enter(alice.page.url)
    second.sees_people("Alice", "Bob")
    second.say("From my other tab")
    alice.sees("From my other tab")
    second.page.close()
    bob.say("Are you still here?")
    alice.sees_people("Alice", "Bob")


def test_what_one_draws_the_other_has(together: Two) -> None:
    alice, bob = together
    alice.draw_rectangle(300, 300)
    bob.has_board_of(alice)
    bob.draw_rectangle(500, 450)
    alice.has_board_of(bob)
    assert [element["type"] for element in alice.elements().values()] == ["rectangle", "rectangle"]


def test_what_one_deletes_is_gone_for_both(together: Two) -> None:
    alice, bob = together
    alice.draw_rectangle(300, 300)
    bob.has_board_of(alice)
    alice.page.keyboard.press("Delete")  # what was drawn last is still selected
    alice.page.wait_for_function("() => window.durableRoom.elements().every((element) => element.isDeleted)")
    alice.is_synced()
    bob.page.wait_for_function("() => window.durableRoom.elements().every((element) => element.isDeleted)")


def test_each_sees_the_others_cursor(together: Two) -> None:
    alice, bob = together
    bob.page.mouse.move(100, 780)
    assert bob.ink_around(450, 420) == 0
    alice.page.mouse.move(440, 410)
    alice.page.mouse.move(450, 420)
    bob.sees_ink_around(450, 420)
    alice.page.mouse.move(900, 600)
    bob.sees_ink_around(900, 600)
    assert bob.ink_around(450, 420) == 0


def test_who_does_not_move_is_found_by_who_comes_later(service: RunningService, visitor: Visitor) -> None:
    room = service.create_room("Standing still")
    alice = visitor(service, "Alice").enter(room)
    alice.page.mouse.move(440, 410)
    alice.page.mouse.move(450, 420)
    bob = visitor(service, "Bob").enter(room)
    bob.sees_ink_around(450, 420)
    alice.page.evaluate("dispatchEvent(new Event('offline'))")
    alice.say("Was I away?")
    bob.sees("Was I away?")
    bob.sees_ink_around(450, 420)


def test_who_points_at_nothing_cannot_be_visited(together: Two) -> None:
    alice, _ = together
    alice.page.locator(".people-button").click()
    alice.page.get_by_role("button", name="Go to the cursor of Bob").click()
    expect(alice.page.get_by_test_id("notice")).to_contain_text("Bob is not pointing at the board right now.")


def test_a_new_name_is_known_to_both_and_kept(together: Two) -> None:
    alice, bob = together
    alice.say("As Alice")
    bob.sees("As Alice")
    alice.rename("Anna")
    bob.sees_people("Anna", "Bob")
    alice.say("As Anna")
    bob.sees("As Anna")
    expect(bob.log.locator(".message-author").last).to_have_text("Anna")
    alice.page.reload()
    alice.is_in()
    alice.sees_people("Anna", "Bob")


def test_who_comes_without_a_name_is_asked_and_may_go_on_without(
    service: RunningService, visitor: Visitor
) -> None:
    room = service.create_room("Strangers")
    bob, stranger = visitor(service, "Bob").enter(room), visitor(service).enter(room)
    expect(stranger.page.get_by_test_id("name-dialog")).to_be_visible()
    stranger.say("Not yet named")
    bob.sees("Not yet named")
    stranger.page.get_by_label("Your name").fill("Dora")
    stranger.page.get_by_role("button", name="Save").click()
    expect(stranger.page.get_by_test_id("name-dialog")).to_be_hidden()
    bob.sees_people("Bob", "Dora")


def test_the_shared_link_leads_in(together: Two, service: RunningService, visitor: Visitor) -> None:
    alice, bob = together
    alice.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    alice.page.get_by_test_id("share").click()
    expect(alice.page.get_by_text("Link copied")).to_be_visible()
    link = alice.page.evaluate("() => navigator.clipboard.readText()")
    visitor(service, "Carol").enter(link)
    bob.sees_people("Alice", "Bob", "Carol")


def test_writing_is_shown_while_it_lasts(together: Two) -> None:
    alice, bob = together
    alice.box.press_sequentially("Let me th")
    expect(bob.page.get_by_text("Alice is writing…")).to_be_visible()
    alice.box.fill("")
    expect(bob.page.get_by_text("Alice is writing…")).to_be_hidden()


def test_markdown_is_shown_as_markup(together: Two) -> None:
    alice, bob = together
    alice.say("**bold** and `code`")
    last = bob.messages.last
    expect(last.locator("strong")).to_have_text("bold")
    expect(last.locator("code")).to_have_text("code")
    alice.say("3. third\n4. fourth")
    expect(bob.messages.last.locator("ol")).to_have_attribute("start", "3")
    alice.say("And https://example.org/page")
    link = bob.messages.last.get_by_role("link")
    expect(link).to_have_attribute("href", "https://example.org/page")
    expect(link).to_have_attribute("rel", re.compile("noopener"))


def test_each_part_of_a_message_runs_in_its_own_direction(together: Two) -> None:
    alice, _ = together
    alice.box.fill("שלום")
    assert alice.box.evaluate("box => getComputedStyle(box).direction") == "rtl"
    alice.say("مرحبا بالعالم!\n\nHello, world!\n\n```\ncode\n```")
    expect(alice.messages).to_have_count(1)
    sides = alice.messages.locator("p, pre").evaluate_all(
        """parts => parts.map((part) => {
          const words = document.createRange();
          words.selectNodeContents(part);
          const [outer, inner] = [part, words].map((one) => one.getBoundingClientRect());
          return inner.left - outer.left < outer.right - inner.right ? "left" : "right";
        })"""
    )
    assert sides == ["right", "left", "left"]


def test_a_wide_table_is_scrolled_and_not_broken(together: Two) -> None:
    alice, _ = together
    alice.say("| a | b | c |\n|---|---|---|\n" + "| 1111111111 | 2222222222 | 3333333333333333 |\n")
    table = alice.messages.locator("table")
    assert table.evaluate("table => table.scrollWidth > table.clientWidth")
    heights = table.locator("tr").evaluate_all("rows => rows.map((row) => row.clientHeight)")
    assert heights[0] == heights[1]


def test_malice_in_messages_does_nothing(together: Two) -> None:
    alice, bob = together
    bob.page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
    for text in MALICE:
        alice.say(text)
    alice.say("That was all")
    bob.sees("That was all")
    for reader in (alice, bob):
        expect(reader.messages).to_have_count(len(MALICE) + 1)
        assert reader.page.evaluate("window.harmed") is None
        foreign = "script, img, svg, iframe, style, form, input, math, template, details, object, embed, link"
        assert reader.log.locator("ol.messages .message-body").locator(foreign).count() == 0
        for link in reader.log.locator(".message-body a").all():
            assert re.match(r"https?://|mailto:", link.get_attribute("href") or "https://")
        marked = reader.log.locator(".message-body *").evaluate_all(
            "all => all.flatMap((one) => [...one.attributes].map((attribute) => attribute.name))"
        )
        assert set(marked) <= {"href", "rel", "target", "class"}


def test_malice_in_names_and_titles_does_nothing(service: RunningService, visitor: Visitor) -> None:
    bad = "<img src=x onerror=harmed=1>"
    room = service.create_room(f"</script>{bad}")
    alice, bob = visitor(service, bad).enter(room), visitor(service, "Bob").enter(room)
    alice.say("Who am I?")
    bob.sees("Who am I?")
    expect(bob.log.locator(".message-author")).to_have_text(bad)
    expect(bob.page.get_by_role("heading", level=1)).to_have_text(f"</script>{bad}")
    alice.page.mouse.move(400, 400)
    bob.sees_people(bad, "Bob")
    assert alice.page.evaluate("window.harmed") is None
    assert bob.page.evaluate("window.harmed") is None


def test_the_keyboard_is_enough_to_talk(together: Two) -> None:
    alice, bob = together
    for _ in range(80):
        alice.page.keyboard.press("Tab")
        if alice.page.evaluate("document.activeElement?.id") == "chat-box":
            break
    else:
        pytest.fail("Tab never came to the message box")
    alice.page.keyboard.type("One")
    alice.page.keyboard.press("Shift+Enter")
    alice.page.keyboard.type("Two")
    assert alice.said() == []
    alice.page.keyboard.press("Enter")
    expect(bob.messages).to_have_text(re.compile(r"^\s*One\s*Two\s*$"))
    expect(alice.box).to_have_value("")
    expect(alice.box).to_be_focused()
