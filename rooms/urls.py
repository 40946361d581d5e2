"""Pages, served by Django."""

from django.urls import path

from . import views

app_name = "rooms"
urlpatterns = [
    path("", views.home, name="home"),
    path("r/<slug:slug>", views.room, name="room"),
    path("i/<str:token>", views.invite, name="invite"),
]
