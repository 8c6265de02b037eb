"""Lists in pages: whole, in order, without gap or repeat, in a constant number of statements."""

from __future__ import annotations

import base64
import json

import pytest

from tests.billing.services.support import counted
from tests.billing.web.api.support import Caller


@pytest.mark.parametrize("sort", ["id", "-id"])
async def test_pages_make_the_whole_list_whatever_their_size(api: Caller, sort: str) -> None:
    await api.world.subscribe(7)
    whole = [f"K{number}" for number in range(1, 8)]
    for limit in (1, 2, 3, 7, 8, 200):
        found = [one["reference"] for one in await api.everything("/customers", sort=sort, limit=limit)]
        assert found == (whole if sort == "id" else whole[::-1])


async def test_what_is_added_meanwhile_makes_nothing_appear_twice(lite_api: Caller) -> None:
    await lite_api.world.subscribe(4)
    page = await lite_api.get("/customers", sort="-id", limit=2)
    await lite_api.world.subscribe(1)
    rest = await lite_api.get(page["next"].removeprefix("/api/v1"))
    assert [one["reference"] for one in page["data"] + rest["data"]] == ["K4", "K3", "K2", "K1"]


async def test_the_next_page_keeps_the_filters_and_is_in_a_header_too(lite_api: Caller) -> None:
    await lite_api.world.subscribe(3)
    answer = await lite_api.http.get("/customers?limit=1&sort=-id")
    following = answer.json()["next"]
    assert following.startswith("/api/v1/customers?limit=1&sort=-id&cursor=")
    assert answer.headers["link"] == f'<{following}>; rel="next"'
    last = await lite_api.http.get("/customers?limit=3")
    assert last.json()["next"] is None
    assert "link" not in last.headers


@pytest.mark.parametrize("limit", [0, 201, "many"])
async def test_a_page_has_a_sane_size(lite_api: Caller, limit: object) -> None:
    problem = await lite_api.get("/customers", 422, limit=limit)
    assert [error["field"] for error in problem["errors"]] == ["limit"]


def _cursor(*place: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


_WRONG = (("-id", 1), ("id",), ("id", 1, 2), ("id", 2**70), ("id", "x"), ("id", None), ("id", -1), ())


@pytest.mark.parametrize(
    "cursor",
    ["x", "é", "WyJpZCJd", "e30", "bnVsbA", *(_cursor(*place) for place in _WRONG)],
)
async def test_a_cursor_that_was_not_given_is_refused(lite_api: Caller, cursor: str) -> None:
    problem = await lite_api.get("/customers", 422, cursor=cursor)
    assert [error["field"] for error in problem["errors"]] == ["cursor"]


async def test_a_page_takes_as_many_statements_whatever_its_size(api: Caller) -> None:
    await api.world.subscribe(30)
    await api.get("/customers")
    seen = []
    for limit in (1, 10, 200):
        with counted(api.world.store) as statements:
            await api.get("/customers", limit=limit)
        seen.append(len([each for each in statements if each.startswith("SELECT")]))
    assert seen == [2, 2, 2]
