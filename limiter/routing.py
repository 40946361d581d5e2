"""The limiter's routes, matched against the raw path."""

from django.urls import re_path

from .consumers import CheckConsumer, DemoLimitedConsumer, GateConsumer, PolicyConsumer, ResetConsumer

http_urlpatterns = [
    re_path(r"^api/v1/limiters/(?P<policy>[^/]+)/check$", CheckConsumer.as_asgi()),
    re_path(r"^api/v1/limiters/(?P<policy>[^/]+)/gate$", GateConsumer.as_asgi()),
    re_path(r"^api/v1/limiters/(?P<policy>[^/]+)/reset$", ResetConsumer.as_asgi()),
    re_path(r"^api/v1/limiters/(?P<policy>[^/]+)$", PolicyConsumer.as_asgi()),
    re_path(r"^demo/limited$", DemoLimitedConsumer.as_asgi()),
]
