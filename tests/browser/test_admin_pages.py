"""The admin and the pages beside it keep to the security policy as well."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor
from tests.browser.person import Person
from tests.browser.test_phone import PHONE, tab
from tests.running_service import RunningService


@pytest.fixture(scope="session")
def password(service: RunningService) -> str:
    """Of the administrator that the first start makes."""
    told = re.search(r"admin / (\S+)", service.manage("ensure_admin"))
    assert told
    return told[1]


@pytest.fixture
def admin(service: RunningService, visitor: Visitor, password: str) -> Person:
    """Somebody signed in."""
    admin = visitor(service, "Admin")
    admin.page.goto("/admin/")
    admin.page.get_by_label("Username").fill("admin")
    admin.page.get_by_label("Password").fill(password)
    admin.page.get_by_role("button", name="Log in").click()
    expect(admin.page.get_by_role("heading", name="Administration", exact=True)).to_be_visible()
    return admin


def test_a_wrong_password_is_refused(service: RunningService, visitor: Visitor, password: str) -> None:
    somebody = visitor(service)
    somebody.page.goto("/admin/")
    somebody.page.get_by_label("Username").fill("admin")
    somebody.page.get_by_label("Password").fill(f"not {password}")
    somebody.page.get_by_role("button", name="Log in").click()
    expect(somebody.page.get_by_text("Please enter the correct username and password")).to_be_visible()


def hrefs(page: Page, selector: str) -> list[str]:
    return sorted(set(page.locator(selector).evaluate_all("all => all.map((link) => link.href)")))


def test_every_list_and_one_of_each_kind_opens(service: RunningService, admin: Person) -> None:
    service.create_room("Listed")
    lists = hrefs(admin.page, "#content-main a")
    assert lists
    for address in lists:
        answer = admin.page.goto(address)
        assert answer is not None
        assert answer.status == 200, address
        for first in hrefs(admin.page, "#result_list tbody a[href*='/admin/']")[:1]:
            answer = admin.page.goto(first)
            assert answer is not None
            assert answer.status == 200, first


def test_a_room_in_use_is_among_the_objects_with_its_sockets(
    service: RunningService, visitor: Visitor, admin: Person
) -> None:
    room = service.create_room("Looked into")
    alice = visitor(service, "Alice").enter(room)
    alice.say("Who looks?")
    alice.sees("Who looks?")
    admin.page.goto("/admin/durable/objectrecord/?q=" + room.rpartition("/")[2])
    admin.page.locator("#content-main, main").get_by_role("link", name=room.rpartition("/")[2]).click()
    expect(admin.page).to_have_url(re.compile("/admin/durable/objectrecord/object/Room/[0-9a-f]{64}/$"))
    expect(admin.page.get_by_role("cell", name="Who looks?", exact=True)).to_be_visible()
    expect(admin.page.get_by_role("cell", name=re.compile("^user:"))).to_have_count(1)
    admin.page.goto("/admin/durable/objectrecord/workers/")
    for pid in service.worker_pids():
        expect(admin.page.get_by_text(str(pid)).first).to_be_visible()


def test_an_object_with_a_long_name_fits_a_phone(admin: Person) -> None:
    admin.page.set_viewport_size({"width": 360, "height": 740})
    name = "https://example.org/" + "w" * 900
    admin.page.goto(f"/admin/durable/objectrecord/open/?class=Counter&name={name}")
    expect(admin.page.get_by_role("heading", name=f"Counter {name}")).to_be_visible()
    assert admin.page.evaluate("document.documentElement.scrollWidth") <= 360


def delete(admin: Person, title: str) -> None:
    admin.page.goto("/admin/rooms/roomentry/")
    admin.page.get_by_role("link", name=title).click()
    admin.page.get_by_role("link", name="Delete").click()
    admin.page.get_by_role("button", name="Yes, I’m sure").click()


def test_who_is_in_a_room_that_is_deleted_is_told(
    service: RunningService, visitor: Visitor, admin: Person
) -> None:
    room = service.create_room("Short-lived")
    alice = visitor(service, "Alice").enter(room)
    delete(admin, "Short-lived")
    expect(alice.page.get_by_role("heading", name="There is no such room")).to_be_visible()
    expect(alice.box).not_to_be_editable()
    expect(alice.page.get_by_role("button", name="Send")).to_be_disabled()
    answer = alice.page.goto(room)
    assert answer is not None
    assert answer.status == 404


def test_the_farewell_is_seen_from_the_chat_of_a_phone_as_well(
    service: RunningService, visitor: Visitor, admin: Person
) -> None:
    room = service.create_room("Gone on the way")
    alice = visitor(service, "Alice", **PHONE).enter(room)
    tab(alice, "Chat")
    alice.box.fill("Not yet sent")
    delete(admin, "Gone on the way")
    expect(alice.page.get_by_role("heading", name="There is no such room")).to_be_in_viewport(ratio=1)
    expect(alice.page.get_by_role("alert").get_by_role("link", name="All rooms")).to_be_in_viewport(ratio=1)
    expect(alice.box).to_be_in_viewport(ratio=1)
    tab(alice, "Board")
    expect(alice.page.get_by_role("heading", name="There is no such room")).to_be_in_viewport(ratio=1)
    expect(alice.board).to_have_js_property("inert", True)


def test_the_documentation_of_the_api_is_drawn(service: RunningService, visitor: Visitor) -> None:
    reader = visitor(service)
    reader.page.goto("/")
    reader.page.get_by_role("navigation", name="Site").get_by_role("link", name="API").click()
    expect(reader.page.get_by_text("/api/v1/counters/{name}/increment").first).to_be_visible()
