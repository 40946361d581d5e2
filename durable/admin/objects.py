"""Objects in the admin: the catalog to search, a page for each object that looks without waking it, and the workers."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import capfirst

from durable.errors import DurableError, InvalidNameError, UnknownClassError
from durable.identity import ObjectId, id_from_name, id_from_string
from durable.inspector import (
    Page,
    Shown,
    ask,
    class_keys,
    decode_position,
    encode_position,
    find_class,
    find_object,
    list_records,
    records_of_id,
    stored_classes,
)
from durable.models import AuditEntry, ObjectRecord, moment

from .tokens import who

PAGE_ROWS = 50
ID_DIGITS = 64

ACTIONS = {
    "evict": "Evicted: it sleeps, and wakes at its next event.",
    "abort": "Aborted: the live instance was discarded, and its running event undone.",
    "rerun": "The alarm runs again.",
}
_RUNNING_ONLY = ("evict", "abort")
_FOLDER = "admin/durable/objectrecord/"

View = Callable[..., HttpResponse]


@admin.register(ObjectRecord)
class ObjectRecordAdmin(admin.ModelAdmin):
    """The stock pages would count all rows and skip through them; these do neither."""

    def get_urls(self) -> list[URLPattern]:
        def named(route: str, view: View, name: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(view), name=f"durable_objectrecord_{name}")

        return [
            named("open/", self.open_view, "open"),
            named("workers/", self.workers_view, "workers"),
            named("object/<str:class_key>/<str:hex_id>/", self.object_view, "object"),
            named("object/<str:class_key>/<str:hex_id>/<str:action>/", self.act_view, "act"),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ObjectRecord | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ObjectRecord | None = None) -> bool:
        return False

    # -- the catalog

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self._require_view(request)
        key, text = request.GET.get("class", ""), request.GET.get("q", "")
        page = _search(key, text, request.GET.get("after", ""))
        chosen = {"class": key, "q": text}
        classes = sorted({*stored_classes(), *class_keys()})
        return self._page(
            request,
            "list.html",
            title="Objects",
            records=page.records,
            next=page.next and f"?{urlencode({**chosen, 'after': encode_position(page.next)})}",
            is_first="after" not in request.GET,
            first=f"?{urlencode(chosen)}",
            chosen_class=key,
            text=text,
            choices=[("All", f"?{urlencode({'q': text})}", not key)]
            + [(name, f"?{urlencode({'class': name, 'q': text})}", name == key) for name in classes],
            classes=class_keys(),
            **(extra_context or {}),
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        self._require_view(request)
        record = self.get_object(request, object_id)
        if record is None:
            raise Http404("The catalog has no such row.")
        return HttpResponseRedirect(_address(ObjectId(record.class_key, record.object_id)))

    def open_view(self, request: HttpRequest) -> HttpResponse:
        """Lead to the page of the object that a class and a name or id mean, whether it exists or not."""
        self._require_view(request)
        try:
            target = find_object(request.GET.get("class", ""), request.GET.get("name", ""))
        except (UnknownClassError, InvalidNameError) as error:
            self.message_user(request, f"{capfirst(str(error))}.", messages.ERROR)
            return HttpResponseRedirect(reverse("admin:durable_objectrecord_changelist"))
        return HttpResponseRedirect(_address(target))

    # -- one object

    def object_view(self, request: HttpRequest, class_key: str, hex_id: str) -> HttpResponse:
        """State and contents of one object."""
        self._require_view(request)
        target = _target(class_key, hex_id, request.GET.get("name"))
        may_look = request.user.has_perm("durable.view_object_contents")
        try:
            shown = ask(who(request), lambda inspector: inspector.show(target))
        except DurableError as error:
            return self._unavailable(request, f"{class_key} {target.name or hex_id}", error)
        tables, tables_problem = None, None
        if may_look and shown["state"] != "absent":
            try:
                tables = ask(who(request), lambda inspector: inspector.tables(target))
            except DurableError as error:
                tables_problem = str(error)
        return self._page(
            request,
            "object.html",
            title=f"{class_key} {shown['name'] or hex_id}",
            object=shown,
            alarm_at=_moment(shown["alarm"]),
            created_at=_parsed(shown["created_at"]),
            last_active_at=_parsed(shown["last_active_at"]),
            troubles=[
                {**one, "first_at": _parsed(one["first_at"]), "last_at": _parsed(one["last_at"])}
                for one in shown["troubles"]
            ],
            may_look=may_look,
            may_operate=request.user.has_perm("durable.operate_object"),
            tables=tables,
            tables_problem=tables_problem,
            actions=[(action, _address(target, action)) for action in ACTIONS if _makes_sense(action, shown)],
        )

    def act_view(self, request: HttpRequest, class_key: str, hex_id: str, action: str) -> HttpResponse:
        """Ask whether it is meant, then do it."""
        if action not in ACTIONS:
            raise Http404("There is no such action.")
        target = _target(class_key, hex_id, request.GET.get("name"))
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm("durable.operate_object"):
            AuditEntry.record(
                who(request),
                f"object.{action}",
                class_key=class_key,
                object_id=hex_id,
                name=target.name or "",
                result=AuditEntry.Result.REFUSED,
            )
            raise PermissionDenied
        if "confirmed" not in request.POST:
            return self._page(
                request,
                "confirm.html",
                title=f"{action.capitalize()} {class_key} {target.name or hex_id}?",
                action=action,
                target=target,
                back=_address(target),
                here=_address(target, action),
            )
        try:
            done = ask(who(request), lambda inspector: getattr(inspector, action)(target))
        except DurableError as error:
            self.message_user(request, f"Failed: {error}.", messages.ERROR)
        else:
            if done:
                self.message_user(request, ACTIONS[action], messages.SUCCESS)
            else:
                self.message_user(request, "There was nothing to do.", messages.INFO)
        return HttpResponseRedirect(_address(target))

    # -- workers

    def workers_view(self, request: HttpRequest) -> HttpResponse:
        """The processes that own objects."""
        self._require_view(request)
        try:
            workers = ask(who(request), lambda inspector: inspector.workers())
        except DurableError as error:
            return self._unavailable(request, "Workers", error)
        return self._page(request, "workers.html", title="Workers", workers=workers)

    # -- what all pages share

    def _require_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _unavailable(self, request: HttpRequest, title: str, error: DurableError) -> HttpResponse:
        response = self._page(request, "unavailable.html", title=title, error=error)
        response.status_code = 503
        return response

    def _page(self, request: HttpRequest, template: str, **context: Any) -> TemplateResponse:
        request.current_app = self.admin_site.name  # as Django's own pages do
        shared = {**self.admin_site.each_context(request), "opts": self.opts}
        response = TemplateResponse(request, _FOLDER + template, {**shared, **context})
        response["Cache-Control"] = "no-store"
        return response


def _search(key: str, text: str, cursor: str) -> Page:
    """One page of the catalog; an id finds its object, any other text the names that begin with it."""
    if len(text) == ID_DIGITS:
        found = [record for record in records_of_id(text) if key in ("", record.class_key)]
        if found:
            return Page(found, None)
    try:
        after = decode_position(cursor) if cursor else None
    except ValueError:
        after = None
    return list_records(key or None, prefix=text, after=after, limit=PAGE_ROWS)


def _target(class_key: str, hex_id: str, name: str | None) -> ObjectId:
    try:
        find_class(class_key)
        target = id_from_string(class_key, hex_id)
        if name is not None and id_from_name(class_key, name) == target:
            return ObjectId(class_key, hex_id, name)
    except (UnknownClassError, InvalidNameError) as error:
        raise Http404(str(error)) from None
    return target


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else moment(ms)


def _parsed(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _makes_sense(action: str, shown: Shown) -> bool:
    if action in _RUNNING_ONLY:
        return bool(shown["state"] == "active")
    return shown["alarm"] is None and bool(shown["alarm_error"])


def _address(target: ObjectId, action: str | None = None) -> str:
    """The page of an object. The name goes along, since nobody else knows it of an object that does not exist."""
    parts = [target.class_key, str(target)]
    found = reverse("admin:durable_objectrecord_act", args=[*parts, action]) if action else None
    query = "" if target.name is None else f"?{urlencode({'name': target.name})}"
    return (found or reverse("admin:durable_objectrecord_object", args=parts)) + query
