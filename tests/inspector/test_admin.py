"""The admin's pages about objects: who may see what, and that buttons do what they say."""

import re
from html import unescape
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from durable.identity import id_from_name
from durable.models import AuditEntry, ObjectRecord, moment
from tests.inspector.conftest import Staff
from tests.running_service import RunningService, eventually

LIST = "/admin/durable/objectrecord/"


@pytest.fixture
def viewer(db: None, client: Client) -> Client:
    """A staff user who may see objects, and nothing in them."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_objectrecord"))
    client.force_login(user)
    return client


def add(*names: str, class_key: str = "Counter") -> None:
    for name in names:
        ObjectRecord.objects.create(
            class_key=class_key,
            object_id=str(id_from_name(class_key, name)),
            name=name,
            created_at=moment(0),
            last_active_at=moment(0),
        )


def shown(client: Client, **query: Any) -> list[str]:
    page = client.get(LIST, query).content.decode()
    return re.findall(r'<th class="durable-name"><a href="[^"]+">([^<]*)</a>', page)


def test_the_list_searches_by_prefix_class_and_id(viewer: Client) -> None:
    add("alpha", "alphabet", "beta")
    add("alpha", class_key="Room")
    assert shown(viewer) == ["alpha", "alphabet", "beta", "alpha"]
    assert shown(viewer, q="alph") == ["alpha", "alphabet", "alpha"]
    assert shown(viewer, q="alph", **{"class": "Room"}) == ["alpha"]
    assert shown(viewer, q=str(id_from_name("Counter", "beta"))) == ["beta"]
    assert "No stored object is found by" in viewer.get(LIST, {"q": "gamma"}).content.decode()


def test_the_list_goes_on_page_after_page_without_counting(viewer: Client) -> None:
    add(*(f"n{number:03}" for number in range(120)))
    seen: list[str] = []
    address = LIST
    with CaptureQueriesContext(connection) as asked:
        while True:
            page = viewer.get(address).content.decode()
            seen += re.findall(r">(n\d+)</a>", page)
            following = re.search(r'href="(\?[^"]+)" rel="next"', page)
            if following is None:
                break
            address = LIST + following[1].replace("&amp;", "&")
    assert seen == [f"n{number:03}" for number in range(120)]
    catalog = [query["sql"] for query in asked.captured_queries if "durable_objectrecord" in query["sql"]]
    assert catalog
    assert not any("COUNT" in sql or "OFFSET" in sql for sql in catalog)


def test_names_are_escaped(viewer: Client) -> None:
    add("<script>alert(1)</script>")
    page = viewer.get(LIST).content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


def test_nothing_can_be_added_changed_or_deleted_by_hand(admin_client: Client) -> None:
    add("kept")
    record = ObjectRecord.objects.get()
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.post(f"{LIST}{record.pk}/delete/", {"post": "yes"}).status_code == 403
    answer = admin_client.get(f"{LIST}{record.pk}/change/")
    assert answer.status_code == 302
    assert answer["Location"] == f"{LIST}object/Counter/{record.object_id}/"


def test_the_audit_log_finds_entries_by_date_without_reading_the_time_of_all(admin_client: Client) -> None:
    AuditEntry.record("user:old", "object.look")
    AuditEntry.objects.update(at=moment(1_000))
    AuditEntry.record("user:new", "object.look")
    address = "/admin/durable/auditentry/"
    with CaptureQueriesContext(connection) as asked:
        whole = admin_client.get(address).content.decode()
    assert "user:old" in whole
    assert [query["sql"] for query in asked.captured_queries if "trunc" in query["sql"]] == []
    today = re.search(r'href="(\?at__gte=[^"]+)">Today', whole)
    assert today is not None
    found = admin_client.get(address + unescape(today[1])).content.decode()
    assert "user:new" in found
    assert "user:old" not in found


def test_an_object_is_opened_by_exact_name_also_when_nobody_knows_it(viewer: Client) -> None:
    answer = viewer.get(f"{LIST}open/", {"class": "Counter", "name": "n/e w"})
    target = id_from_name("Counter", "n/e w")
    assert answer["Location"] == f"{LIST}object/Counter/{target}/?name=n%2Fe+w"
    answer = viewer.get(f"{LIST}open/", {"class": "Nope", "name": "x"}, follow=True)
    said = answer.content.decode().partition("There is no object class &#x27;Nope&#x27;; there are ")[2]
    assert "Counter, " in said[: said.index("</li>")]


@pytest.mark.parametrize(
    "path", ["", "workers/", "open/?class=Counter&name=x", f"object/Counter/{'0' * 64}/"]
)
def test_staff_without_the_permission_see_nothing(db: None, client: Client, path: str) -> None:
    client.force_login(User.objects.create_user("other", is_staff=True))
    assert client.get(LIST + path).status_code == 403


def test_an_id_of_no_object_is_not_found(viewer: Client) -> None:
    assert viewer.get(f"{LIST}object/Counter/{'0' * 64}/").status_code == 404
    assert viewer.get(f"{LIST}object/Nope/{'0' * 64}/").status_code == 404


def test_without_a_service_the_page_says_so(viewer: Client, settings: Any) -> None:
    settings.DURABLE = {**settings.DURABLE, "redis_url": "unix:///nowhere/redis.sock"}
    answer = viewer.get(f"{LIST}workers/")
    assert answer.status_code == 503
    assert "cannot be told at the moment" in answer.content.decode()


def test_N3_an_action_that_is_not_allowed_is_refused_and_recorded(viewer: Client) -> None:
    address = f"{LIST}object/Counter/{id_from_name('Counter', 'x')}/evict/"
    assert viewer.get(address).status_code == 405
    assert viewer.post(address, {"confirmed": "yes"}).status_code == 403
    entry = AuditEntry.objects.get()
    assert (entry.who, entry.what, entry.result) == ("user:viewer", "object.evict", "refused")


# -- with a running service


def object_page(client: httpx.Client, name: str) -> httpx.Response:
    path = f"{LIST}open/?class=Counter&name={quote(name, safe='')}"
    answer = client.get(path, follow_redirects=True)
    answer.raise_for_status()
    return answer


def submit(client: httpx.Client, path: str, **fields: str) -> httpx.Response:
    form = {"csrfmiddlewaretoken": client.cookies["csrftoken"], **fields}
    return client.post(path, data=form, headers={"Origin": str(client.base_url).rstrip("/")})


@pytest.mark.cluster
def test_an_objects_page_and_its_buttons(service: RunningService, make_staff: Staff) -> None:
    boss, name = make_staff("boss", "*"), 'page "<b>'
    httpx.post(f"{service.base_url}/api/v1/counters/{quote(name, safe='')}/increment").raise_for_status()
    page = object_page(boss, name)
    assert "durable-state-active" in page.text
    assert "key-value storage" in page.text
    assert "page &quot;&lt;b&gt;" in page.text
    assert "no-store" in page.headers["cache-control"]
    action = re.search(r'action="([^"]+/evict/[^"]*)"', page.text)
    assert action is not None
    path = action[1].replace("&amp;", "&")
    assert boss.post(path, data={"confirmed": "yes"}).status_code == 403  # no CSRF token
    asked = submit(boss, path)
    assert "Evict Counter page" in asked.text
    assert "durable-state-active" in object_page(boss, name).text  # asked, not done
    done = submit(boss, path, confirmed="yes")
    assert done.status_code == 302
    assert "Evicted: it sleeps" in boss.get(done.headers["location"]).text
    assert "durable-state-asleep" in object_page(boss, name).text
    assert "object.evict" in boss.get("/admin/durable/auditentry/").text


@pytest.mark.cluster
def test_contents_are_for_those_who_may_look_inside(service: RunningService, make_staff: Staff) -> None:
    httpx.post(f"{service.base_url}/api/v1/counters/inside/increment").raise_for_status()
    viewer = make_staff("viewer", "view_objectrecord")
    page = object_page(viewer, "inside")
    assert "durable-state-active" in page.text
    assert "key-value storage" not in page.text
    assert "/evict/" not in page.text
    looker = make_staff("looker", "view_objectrecord", "view_object_contents")
    assert "key-value storage" in object_page(looker, "inside").text


@pytest.mark.cluster
def test_an_absent_object_is_shown_and_not_made(service: RunningService, make_staff: Staff) -> None:
    boss = make_staff("boss", "*")
    page = object_page(boss, "not there")
    assert "durable-state-absent" in page.text
    assert "Looking has not changed that" in page.text
    target = id_from_name("Counter", "not there")
    assert not list((service.data_dir / "objects").rglob(f"{target}*"))


@pytest.mark.cluster
def test_the_workers_page(service: RunningService, make_staff: Staff) -> None:
    boss = make_staff("boss", "*")
    page = boss.get(f"{LIST}workers/").text
    assert all(f"<td>{pid}</td>" in page for pid in service.worker_pids())
    eventually(lambda: boss.get(LIST).status_code == 200)
