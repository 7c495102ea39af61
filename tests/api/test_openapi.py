"""The description of the API is complete enough to be read."""

import re
from typing import Any

import httpx
import pytest

METHODS = {"get", "post", "patch", "put", "delete"}


@pytest.fixture
async def described(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/api/v1/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


def operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, item in described["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


async def test_every_operation_has_a_summary_a_description_and_a_described_tag(described: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in described["tags"] if tag["description"]}
    assert len(operations(described)) > 30
    for method, path, operation in operations(described):
        assert operation.get("summary"), (method, path)
        assert operation.get("description"), (method, path)
        assert set(operation["tags"]) <= tags, (method, path)


async def test_every_answer_has_a_typed_shape(described: dict[str, Any]) -> None:
    for method, path, operation in operations(described):
        for status, answer in operation["responses"].items():
            if status == "204" or path == "/api/v1/live":
                continue
            schema = answer["content"]["application/json"]["schema"]
            assert schema not in ({}, {"type": "object"}), (method, path, status)


async def test_security_is_declared_for_all_but_the_public_operations(described: dict[str, Any]) -> None:
    assert set(described["components"]["securitySchemes"]) == {"session", "token", "tracker"}
    public = {(method, path) for method, path, operation in operations(described) if not operation.get("security")}
    assert public == {
        ("post", "/api/v1/session"),
        ("get", "/api/v1/health"),
        # The token stands in the address.
        ("get", "/api/v1/trackers/osmand/{token}"),
        ("post", "/api/v1/trackers/osmand/{token}"),
    }


async def test_errors_are_described_in_the_shape_they_have(described: dict[str, Any]) -> None:
    text = str(described)
    assert "HTTPValidationError" not in text
    for method, path, operation in operations(described):
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and path not in ("/api/v1/health", "/api/v1/live"):
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}, (method, path, status)


async def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    names = set(re.findall(r"#/components/schemas/([^'\"]+)", str(described)))
    assert names
    assert names <= set(described["components"]["schemas"])
