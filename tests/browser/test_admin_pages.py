"""The admin keeps to the security policy as well."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.person import Person
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


def test_every_page_of_the_index_opens(admin: Person) -> None:
    links = admin.page.locator("#content-main a").evaluate_all("all => all.map((link) => link.href)")
    assert links
    for link in sorted(set(links)):
        answer = admin.page.goto(link)
        assert answer is not None
        assert answer.status == 200, link
