"""The room directory in the admin."""

from django.contrib import admin
from django.utils.html import format_html

from .models import RoomEntry


@admin.register(RoomEntry)
class RoomEntryAdmin(admin.ModelAdmin):
    list_display = ("title", "slug", "created_at", "created_by", "open_link")
    search_fields = ("title", "slug")
    readonly_fields = ("slug", "created_at", "created_by")
    list_select_related = ("created_by",)
    show_full_result_count = False

    @admin.display(description="page")
    def open_link(self, entry: RoomEntry) -> str:
        return format_html('<a href="{}">open</a>', entry.get_absolute_url())
