"""Long lists in pages: by a cursor over what is sorted by and the id, so that nothing is missed or shown twice."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query
from pydantic import BaseModel
from sqlalchemy import ColumnElement, RowMapping, Select, tuple_
from starlette.responses import Response

from billing.services.refusing import UnfitError
from billing.web.api.bodies import ID_MAX, Page
from billing.web.api.calls import PREFIX, Call

Sort = Literal["id", "-id", "created", "-created"]
PlainSort = Literal["id", "-id"]

LIMIT_MAX: Final = 200
_LIMIT: Final = "How many at most."
_CURSOR: Final = "Where a page before this one ended; it is part of the address in `next`."
_SORT: Final = "By what, and with `-` the last ones first."

_Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description=_LIMIT, examples=[50])]
_Cursor = Annotated[str, Query(max_length=200, description=_CURSOR)]


@dataclass(frozen=True, slots=True)
class Paging:
    """What part of a list is wanted."""

    limit: int
    cursor: str
    sort: str

    @property
    def last_first(self) -> bool:
        """Whether it is sorted the other way round."""
        return self.sort.startswith("-")

    @property
    def by_time(self) -> bool:
        """Whether it is sorted by when things were made."""
        return self.sort.endswith("created")


def _paging(limit: _Limit = 50, cursor: _Cursor = "", sort: Annotated[Sort, Query(description=_SORT)] = "id") -> Paging:
    return Paging(limit, cursor, sort)


def _plain_paging(
    limit: _Limit = 50, cursor: _Cursor = "", sort: Annotated[PlainSort, Query(description=_SORT)] = "id"
) -> Paging:
    return Paging(limit, cursor, sort)


Paged = Annotated[Paging, Depends(_paging)]
"""Part of a list of things that know when they were made."""

PlainPaged = Annotated[Paging, Depends(_plain_paging)]
"""Part of a list of things that know only their order."""


async def list_page(
    call: Call,
    paging: Paging,
    query: Select[Any],
    show: Callable[[RowMapping], BaseModel],
    id_column: ColumnElement[int],
    created: ColumnElement[datetime] | None = None,
) -> Response:
    """Answer with one page of what a query finds, in one statement; `show` tells a row as callers see it."""
    async with call.ctx.store.read() as session:
        rows = (await session.execute(_page(query, paging, id_column, created))).mappings().all()
    shown, following = rows[: paging.limit], None
    if len(rows) > paging.limit:
        following = _address(call, _cursor(paging, shown[-1], id_column, created))
    return _answer([show(row) for row in shown], following)


def _page(
    query: Select[Any], paging: Paging, id_column: ColumnElement[int], created: ColumnElement[datetime] | None
) -> Select[Any]:
    columns: list[ColumnElement[Any]] = [id_column]
    if paging.by_time and created is not None:
        columns.insert(0, created)
    if paging.cursor:
        place = tuple_(*_place(paging, len(columns)), types=[column.type for column in columns])
        behind = tuple_(*columns)
        query = query.where(behind < place if paging.last_first else behind > place)
    ordered = [column.desc() if paging.last_first else column.asc() for column in columns]
    return query.order_by(*ordered).limit(paging.limit + 1)


def _cursor(
    paging: Paging, row: RowMapping, id_column: ColumnElement[int], created: ColumnElement[datetime] | None
) -> str:
    place: list[Any] = [row[id_column]]
    if paging.by_time and created is not None:
        place.insert(0, row[created].isoformat())
    raw = json.dumps([paging.sort, *place]).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _place(paging: Paging, parts: int) -> list[Any]:
    """Read a cursor, which belongs to the order it was made for."""
    try:
        sort, *place = json.loads(base64.urlsafe_b64decode(paging.cursor + "=" * (-len(paging.cursor) % 4)))
        if sort != paging.sort or len(place) != parts or not 0 <= int(place[-1]) <= ID_MAX:
            raise ValueError(sort)
        return [*(_instant(each) for each in place[:-1]), int(place[-1])]
    except (ValueError, TypeError, OverflowError):
        raise UnfitError("cursor", "take it as it was given, with the same `sort`") from None


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(text)
    return instant


def _address(call: Call, cursor: str) -> str:
    url = call.request.url.include_query_params(cursor=cursor)
    path = PREFIX + url.path.removeprefix(PREFIX)
    return f"{path}?{url.query}"


def _answer(shown: Sequence[BaseModel], following: str | None) -> Response:
    page = Page[Any](data=list(shown), next=following)
    headers = {"Link": f'<{following}>; rel="next"'} if following else {}
    return Response(page.model_dump_json(), 200, headers, "application/json")
