"""The OpenAPI document describes every mounted route and method, and nothing else; its page needs nothing from elsewhere."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from django.contrib.staticfiles import finders

from project.openapi import describe
from project.routing import http_urlpatterns
from tests.asgi_client import asgi_client

METHODS = {"get", "post", "put", "patch", "delete"}


def routed() -> Iterator[tuple[str, set[str]]]:
    """Every mounted path as a template, and its methods."""
    for route in http_urlpatterns:
        pattern = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", route.pattern.regex.pattern)
        path = "/" + pattern.removeprefix("^").removesuffix("$").replace("\\", "")
        methods = {name.lower() for name in route.callback.__self__.methods} - {"head"}
        yield path, methods or {"get"}  # probes answer GET in a way of their own


def test_every_route_is_described_and_nothing_else() -> None:
    documented = {path: METHODS & set(item) for path, item in describe()["paths"].items()}
    assert documented == dict(routed())


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a JSON value."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def test_references_resolve() -> None:
    document = describe()
    names = set(document["components"]["schemas"])
    found = {item["$ref"] for item in walk(document) if "$ref" in item}
    assert found
    assert {name.removeprefix("#/components/schemas/") for name in found} <= names


def test_operations_have_ids_summaries_and_problems() -> None:
    operations = [item for item in walk(describe()["paths"]) if "responses" in item]
    ids = [item["operationId"] for item in operations]
    assert len(set(ids)) == len(ids)
    for item in operations:
        assert item["summary"]
        assert "application/problem+json" in item["responses"]["405"]["content"]


def test_path_parameters_are_declared() -> None:
    for path, item in describe()["paths"].items():
        declared = {found["name"] for found in item.get("parameters", []) if found["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path)), path


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with asgi_client(http_urlpatterns) as client:
        yield client


async def test_it_is_served(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/v1/openapi.json")
    assert answer.json()["openapi"] == "3.1.0"
    again = await http.get("/api/v1/openapi.json", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_the_page_uses_our_own_files_only(http: httpx.AsyncClient) -> None:
    page = await http.get("/api/v1/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    files = [found for found in re.findall(r'(?:href|src)="([^"]+)"', page.text) if found != "data:,"]
    assert len(files) == 3
    for file in files:
        assert file.startswith("/static/ninja/")
        assert finders.find(file.removeprefix("/static/"))
