"""Django's error pages: problem documents below /api/, pages elsewhere."""

from random import getrandbits

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

from durable.gateway.problems import PROBLEM_JSON, Problem


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404."""
    if _is_api(request):
        return _answer(Problem(404, "not_found", "There is nothing at this path."))
    return defaults.page_not_found(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    if _is_api(request):
        return _answer(Problem(403, "forbidden", "This is not allowed."))
    return defaults.permission_denied(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400."""
    if _is_api(request):
        return _answer(Problem(400, "bad_request", "The request cannot be understood."))
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """500; Django has logged the exception."""
    if _is_api(request):
        return _answer(Problem(500, "internal", "The request could not be completed."))
    return defaults.server_error(request)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def _answer(problem: Problem) -> JsonResponse:
    request_id = f"{getrandbits(64):016x}"
    response = JsonResponse(
        problem.document(request_id), status=problem.status, content_type=PROBLEM_JSON.decode()
    )
    response["X-Request-ID"] = request_id
    response["Cache-Control"] = "no-store"
    return response
