"""The counter's two views, at the addresses of our own service."""

from django.db import transaction
from django.db.models import F
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from .models import Counter


@csrf_exempt
def increment(_request: HttpRequest, name: str) -> JsonResponse:
    """Add one; the row is made by the first."""
    with transaction.atomic():
        if not Counter.objects.filter(name=name).update(value=F("value") + 1):
            Counter.objects.get_or_create(name=name)
            Counter.objects.filter(name=name).update(value=F("value") + 1)
        value = Counter.objects.values_list("value", flat=True).get(name=name)
    return JsonResponse({"name": name, "value": value})


def read(_request: HttpRequest, name: str) -> JsonResponse:
    """The value, 0 when nobody has counted."""
    value = Counter.objects.filter(name=name).values_list("value", flat=True).first()
    return JsonResponse({"name": name, "value": value or 0})


urlpatterns = [
    path("api/v1/counters/<str:name>", read),
    path("api/v1/counters/<str:name>/increment", increment),
]
