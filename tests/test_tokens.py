"""API tokens: shown once, hashed at rest, revocable; from Python, the shell and the admin."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from durable.models import ApiToken, AuditEntry

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("api_token", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_a_token_is_found_by_its_text_which_is_not_stored() -> None:
    token, text = ApiToken.issue("ci", ["counters"])
    assert ApiToken.find(text) == token
    row = json.dumps(list(ApiToken.objects.values()), default=str)
    assert text.split("_", 2)[2] not in row


@pytest.mark.parametrize(
    "text", ["", "dr", "dr_", "dr__", "dr_0123456789_", "xx_0123456789_secret", "é" * 50, "\0"]
)
def test_a_malformed_token_finds_nothing(text: str) -> None:
    assert ApiToken.find(text) is None


def test_a_right_prefix_with_a_wrong_secret_finds_nothing() -> None:
    token, text = ApiToken.issue("ci", ["counters"])
    assert ApiToken.find(text[:-1] + ("A" if text[-1] != "A" else "B")) is None
    assert ApiToken.find(f"dr_{token.prefix}_{token.digest}") is None


@pytest.mark.parametrize("name", ["", "  ", "x" * 201])
def test_a_token_needs_a_name_that_can_be_kept(name: str) -> None:
    with pytest.raises(CommandError, match="^the token's name: "):
        run("create", name, "--scopes=counters")
    assert not ApiToken.objects.exists()


def test_scopes_are_exact() -> None:
    token, _ = ApiToken.issue("ci", ["counters", "counters"])
    assert token.scopes == ["counters"]
    assert token.allows("counters")
    assert not token.allows("counter")
    assert not token.allows("objects")


def test_a_revoked_token_is_closed_for_good() -> None:
    token, text = ApiToken.issue("ci", ["counters"])
    token.revoke()
    assert ApiToken.find(text) is None
    assert not token.allows("counters")


def test_use_is_remembered_to_the_minute() -> None:
    token, _ = ApiToken.issue("ci", ["counters"])
    token.mark_used()
    first = ApiToken.objects.get().last_used_at
    token.mark_used()
    assert ApiToken.objects.get().last_used_at == first
    token.last_used_at = timezone.now() - timedelta(minutes=2)
    token.mark_used()
    assert ApiToken.objects.get().last_used_at != first


def test_the_command_prints_a_working_token_and_nothing_else() -> None:
    text = run("create", "ci", "--scopes", "objects,counters").strip()
    token = ApiToken.find(text)
    assert token is not None
    assert token.scopes == ["counters", "objects"]
    assert AuditEntry.objects.get().what == "token.create"


def test_the_command_refuses_an_unknown_scope() -> None:
    with pytest.raises(CommandError, match="unknown scope objcts; scopes are objects, "):
        run("create", "ci", "--scopes", "objcts")
    assert not ApiToken.objects.exists()


def test_the_command_lists_without_secrets_and_revokes_by_name() -> None:
    text = json.loads(run("create", "ci", "--scopes", "objects", "--json"))["token"]
    listed = run("list", "--json")
    assert json.loads(listed)[0]["name"] == "ci"
    assert text not in listed
    run("revoke", "ci")
    assert ApiToken.find(text) is None
    assert json.loads(run("list", "--json"))[0]["revoked_at"]
    with pytest.raises(CommandError, match="no live token"):
        run("revoke", "ci")


def test_the_command_asks_which_of_two_tokens_of_one_name_to_revoke() -> None:
    first, _ = ApiToken.issue("ci", ["objects"])
    ApiToken.issue("ci", ["objects"])
    with pytest.raises(CommandError, match="2 live tokens"):
        run("revoke", "ci")
    run("revoke", first.prefix)
    assert ApiToken.objects.filter(revoked_at=None).count() == 1


@pytest.fixture
def staff(client: Client, admin_user: User) -> Client:
    client.force_login(admin_user)
    return client


def test_the_admin_shows_a_new_token_once(staff: Client) -> None:
    answer = staff.post("/admin/durable/apitoken/add/", {"name": "ci", "scopes": ["rooms"]})
    token = ApiToken.objects.get()
    text = answer.context["text"]
    assert ApiToken.find(text) == token
    assert text in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    for page in ("", f"{token.pk}/change/"):
        assert text not in staff.get(f"/admin/durable/apitoken/{page}").content.decode()


def test_the_admin_refuses_an_unknown_scope(staff: Client) -> None:
    answer = staff.post("/admin/durable/apitoken/add/", {"name": "ci", "scopes": ["everything"]})
    assert answer.status_code == 200
    assert not ApiToken.objects.exists()


def test_the_admin_revokes_and_the_audit_log_says_who(staff: Client) -> None:
    token, text = ApiToken.issue("ci", ["objects"])
    staff.post("/admin/durable/apitoken/", {"action": "revoke", "_selected_action": [token.pk]})
    assert ApiToken.find(text) is None
    entry = AuditEntry.objects.get()
    assert (entry.who, entry.what) == ("user:admin", "token.revoke")


@pytest.mark.parametrize("page", ["", "add/", "{pk}/change/", "{pk}/delete/"])
def test_the_audit_log_can_only_be_read(staff: Client, page: str) -> None:
    entry = AuditEntry.record(
        "user:alice", "object.look", class_key="Room", name="a", result="ok", tab="storage"
    )
    answer = staff.get("/admin/durable/auditentry/" + page.format(pk=entry.pk))
    assert answer.status_code == (200 if page in ("", "{pk}/change/") else 403)
    assert b'name="_save"' not in answer.content


def test_the_audit_log_keeps_details() -> None:
    AuditEntry.record("token:ci", "object.call", class_key="Counter", name="a", method="increment")
    entry: Any = AuditEntry.objects.get()
    assert entry.details == {"method": "increment"}
    assert str(entry) == "token:ci object.call Counter"
