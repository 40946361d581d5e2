"""Routes of the Django side: pages and the admin. Hot endpoints are in `project.routing`, ahead of these."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

admin.site.site_header = "Durable Rooms"
admin.site.site_title = "Durable Rooms"
admin.site.index_title = "Administration"

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url=static("favicon.svg"))),  # asked for by browsers on any page
    path("", include("rooms.urls")),
]

handler400 = "project.errors.bad_request"
handler403 = "project.errors.forbidden"
handler404 = "project.errors.not_found"
handler500 = "project.errors.server_error"
