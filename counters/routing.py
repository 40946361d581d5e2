"""The counters' routes, matched against the raw path; a name with a slash in it arrives percent-encoded."""

from django.urls import re_path

from .batch import BatchConsumer
from .consumers import (
    CounterConsumer,
    CountersConsumer,
    DemoConsumer,
    DemoIncrementConsumer,
    IncrementConsumer,
)

# The increment first: routes are tried in order, and it is the one that is in a hurry.
http_urlpatterns = [
    re_path(r"^api/v1/counters/(?P<name>[^/]*)/increment$", IncrementConsumer.as_asgi()),
    re_path(r"^api/v1/counters/(?P<name>[^/]*)$", CounterConsumer.as_asgi()),
    re_path(r"^api/v1/counters$", CountersConsumer.as_asgi()),
    re_path(r"^api/v1/counters:batch$", BatchConsumer.as_asgi()),
    re_path(r"^demo/increment$", DemoIncrementConsumer.as_asgi()),
    re_path(r"^demo/$", DemoConsumer.as_asgi()),
]
