from __future__ import annotations

import pytest

from tests.billing.web.api.support import Caller

ANNA = {
    "reference": "C1",
    "name": "Anna Huber",
    "email": "anna@example.net",
    "salutation": "Liebe Frau Huber",
    "language": "de",
    "country": "AT",
}


async def test_a_customer_is_registered_changed_and_found_by_address(api: Caller) -> None:
    assert await api.post("/customers", ANNA) == ANNA
    changed = await api.patch("/customers/C1", {"email": "new@example.net", "salutation": ""})
    assert changed == ANNA | {"email": "new@example.net", "salutation": ""}
    assert await api.get("/customers/C1") == changed

    await api.world.subscribe(2)
    assert [one["reference"] for one in await api.everything("/customers")] == ["C1", "K1", "K2"]
    assert await api.everything("/customers", email="k2@example.org") == [await api.get("/customers/K2")]


async def test_a_change_of_nothing_changes_nothing(lite_api: Caller) -> None:
    await lite_api.post("/customers", ANNA)
    assert await lite_api.patch("/customers/C1", {}) == ANNA
    assert await lite_api.patch("/customers/C1", {"name": None}) == ANNA


async def test_a_customer_who_is_there_already_is_a_conflict(lite_api: Caller) -> None:
    await lite_api.post("/customers", ANNA)
    await lite_api.post("/customers", ANNA | {"name": "Somebody else"}, 409)
    assert await lite_api.get("/customers/C1") == ANNA


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": "two@at@example.net"}, "email"),
        ({"email": "line\n@example.net"}, "email"),
        ({"language": "German"}, "language"),
        ({"country": "Austria"}, "country"),
        ({"name": ""}, "name"),
        ({"reference": "x" * 33}, "reference"),
        ({"reference": None}, "reference"),
        ({"id": 4}, "id"),
    ],
)
async def test_a_bad_field_of_a_customer_is_named(lite_api: Caller, changed: dict[str, object], field: str) -> None:
    problem = await lite_api.post("/customers", ANNA | changed, 422)
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_every_bad_field_is_named_at_once(lite_api: Caller) -> None:
    problem = await lite_api.post("/customers", {"reference": "C1", "email": "x", "colour": "red"}, 422)
    assert {error["field"] for error in problem["errors"]} == {"name", "email", "colour"}


async def test_a_customer_who_is_not_there_is_not_found(lite_api: Caller) -> None:
    await lite_api.get("/customers/none", 404)
    await lite_api.patch("/customers/none", {"name": "x"}, 404)
