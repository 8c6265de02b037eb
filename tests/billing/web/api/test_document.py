"""The OpenAPI document: whole, with an example of everything, and true."""

from __future__ import annotations

import json
from typing import Any

import pytest

from billing.web.api.app import create_api
from billing.web.api.problems import MEDIA_TYPE, Kind
from tests.billing.services.support import World
from tests.billing.web.api.routes import Route, routes
from tests.billing.web.api.support import client, whole_app

API = create_api(None)  # type: ignore[arg-type]  # nothing is called: only its document is looked at
ROUTES = routes(API)


async def test_the_document_is_open_to_everybody_and_names_where_it_serves(lite: World) -> None:
    answer = await client(whole_app(lite.ctx)).get("/openapi.json")
    document = answer.json()
    assert document == API.openapi()
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": "/api/v1"}]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_body_and_answer_has_an_example_that_is_whole(route: Route) -> None:
    assert route.operation["tags"]
    assert route.operation["summary"]
    if "requestBody" in route.operation:
        taken = route.schema(route.operation["requestBody"]["content"]["application/json"]["schema"])
        assert taken["additionalProperties"] is False
        assert set(taken.get("required", ())) <= set(route.example) <= set(taken["properties"])
    for status, answer in route.operation["responses"].items():
        if status.startswith("2"):
            given = route.schema(answer["content"]["application/json"]["schema"])
            listed = given["properties"].get("data", {}).get("items")
            shown = route.schema(listed) if listed else given
            never_empty = {
                name for name, each in shown["properties"].items() if {"type": "null"} not in each.get("anyOf", ())
            }
            assert never_empty <= set(shown["examples"][0]) <= set(shown["properties"])


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_error_has_the_one_schema_and_an_example(route: Route) -> None:
    errors = {status: answer for status, answer in route.operation["responses"].items() if status >= "400"}
    assert {"401", "403", "429"} <= set(errors)
    for status, answer in errors.items():
        content = answer["content"][MEDIA_TYPE]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        assert content["example"]["status"] == int(status)


def test_there_is_one_error_schema_and_every_kind_has_its_own_type() -> None:
    names = set(API.openapi()["components"]["schemas"])
    assert "Problem" in names
    assert not {name for name in names if "ValidationError" in name}
    assert len({kind.type for kind in Kind}) == len(Kind)


def test_every_reference_leads_somewhere() -> None:
    document = API.openapi()
    there = set(document["components"]["schemas"])
    assert {name.rpartition("/")[2] for name in _references(document)} <= there
    json.dumps(document)


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        found = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return found + [each for value in part.values() for each in _references(value)]
    return [each for value in part for each in _references(value)] if isinstance(part, list) else []
