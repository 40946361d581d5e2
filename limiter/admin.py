"""Policies in Django's admin."""

from django.contrib import admin

from .models import Policy


@admin.register(Policy)
class PolicyAdmin(admin.ModelAdmin):
    """Edits count within a second, for keys in use as well."""

    list_display = ("name", "algorithm", "limit", "window_seconds", "burst", "shards", "updated_at")
    list_filter = ("algorithm",)
    search_fields = ("name",)
    readonly_fields = ("created_at", "updated_at")
