"""The room directory in the admin."""

import logging
from functools import partial

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from durable import DurableError

from .models import RoomEntry, clean_title
from .objects import Room

logger = logging.getLogger(__name__)


class RoomEntryForm(forms.ModelForm):
    class Meta:
        model = RoomEntry
        fields = ["title"]

    def clean_title(self) -> str:
        try:
            return clean_title(self.cleaned_data["title"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None


@admin.register(RoomEntry)
class RoomEntryAdmin(admin.ModelAdmin):
    form = RoomEntryForm
    list_display = ("title", "slug", "created_at", "created_by", "open_link")
    search_fields = ("title", "slug")
    readonly_fields = ("slug", "created_at", "created_by")
    list_select_related = ("created_by",)
    show_full_result_count = False

    @admin.display(description="page")
    def open_link(self, entry: RoomEntry) -> str:
        return format_html('<a href="{}">open</a>', entry.get_absolute_url())

    def delete_model(self, request: HttpRequest, obj: RoomEntry) -> None:
        super().delete_model(request, obj)
        transaction.on_commit(partial(empty_room, obj.slug))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RoomEntry]) -> None:
        slugs = list(queryset.values_list("slug", flat=True))
        super().delete_queryset(request, queryset)
        for slug in slugs:
            transaction.on_commit(partial(empty_room, slug))


def empty_room(slug: str) -> None:
    """Have a deleted room forget its contents. Nobody finds the room any more, so a failure is only logged."""

    async def close() -> None:
        await Room.namespace.get_by_name(slug).close_room()

    try:
        async_to_sync(close)()
    except (DurableError, RuntimeError) as error:  # RuntimeError: there is no service at all
        logger.warning("the contents of the deleted room %s are still there: %s", slug, error)
