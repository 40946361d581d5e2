"""Routes of the Django side: pages, the admin, and what is not hot. Hot endpoints are in each app's `routing`."""

from importlib import import_module
from importlib.util import find_spec

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [path("admin/", admin.site.urls)]

for app in ("durable", "counters", "limiter", "rooms"):
    if find_spec(f"{app}.urls") is not None:
        import_module(f"{app}.urls")
        urlpatterns.append(path("", include(f"{app}.urls")))
