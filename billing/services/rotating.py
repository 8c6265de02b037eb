"""Exchange the secret key: whatever is sealed with the former one is sealed again with the one of now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, RowMapping, Table, and_, bindparam, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Profile, metadata, table
from billing.services.context import Context
from billing.services.profiling import profile_digests
from billing.store import PAGE
from billing.vault import Vault, VaultError

PREFIX: Final = "sealed_"
"""Every column that holds sealed texts is named so, and no other is."""


class RotationError(ValueError):
    """A key that cannot be exchanged; the message says why, and nothing was changed."""


def sealed_columns() -> Iterator[tuple[Table, list[Column[Any]]]]:
    """Yield every table with columns that hold sealed texts, and those columns."""
    for each in metadata.sorted_tables:
        columns = [column for column in each.c if column.name.startswith(PREFIX)]
        if columns:
            yield each, columns


async def rotate(ctx: Context) -> Counter[str]:
    """Seal everything again that the former key has sealed, and return how many rows of each table that was.

    It goes page by page and can be broken off anywhere and started again, while others are at work. Raises
    `RotationError` before anything is changed where there is no former key, or another one is needed.
    """
    if not ctx.vault.is_rotating:
        raise RotationError("TURNUS_SECRET_KEY_OLD is not set; it is the key that was TURNUS_SECRET_KEY until now")
    for of, columns in sealed_columns():
        await _check(ctx, of, columns)
    done: Counter[str] = Counter()
    for of, columns in sealed_columns():
        done[of.name] += await _rotate(ctx, of, columns)
    return +done


async def left_to_rotate(ctx: Context, session: AsyncSession) -> Counter[str]:
    """Count the rows of each table that another key than the one of now has sealed."""
    left: Counter[str] = Counter()
    for of, columns in sealed_columns():
        query = select(func.count()).select_from(of).where(_is_former(ctx.vault, columns))
        left[of.name] = (await session.execute(query)).scalar_one()
    return +left


def _is_former(vault: Vault, columns: list[Column[Any]]) -> ColumnElement[bool]:
    return or_(*(and_(column != "", column.not_like(f"{vault.mark}%")) for column in columns))


async def _check(ctx: Context, of: Table, columns: list[Column[Any]]) -> None:
    """Open one text of each column, so that a mistyped key is found before anything is changed."""
    for column in columns:
        async with ctx.store.read() as session:
            query = select(column).where(_is_former(ctx.vault, [column])).limit(1)
            sealed = (await session.execute(query)).scalar()
        try:
            ctx.vault.unseal(sealed or ctx.vault.seal(""))
        except VaultError as error:
            raise RotationError(f"{error}: {of.name}.{column.name} is sealed with another key") from None


async def _rotate(ctx: Context, of: Table, columns: list[Column[Any]]) -> int:
    done, last, more = 0, None, True
    while more and not ctx.leaving:
        async with ctx.store.write() as session:
            rows = await _page(ctx, session, of, columns, last)
            if rows:
                await _write(session, of, [_resealed(ctx.vault, of, columns, row) for row in rows])
                last = [rows[-1][column.name] for column in of.primary_key]
        done, more = done + len(rows), len(rows) == PAGE
    return done


async def _page(
    ctx: Context, session: AsyncSession, of: Table, columns: list[Column[Any]], last: list[Any] | None
) -> list[RowMapping]:
    query = select(of).where(_is_former(ctx.vault, columns)).order_by(*of.primary_key).limit(PAGE)
    if last is not None:
        query = query.where(tuple_(*of.primary_key) > tuple_(*last))
    return list((await session.execute(ctx.store.lock(query))).mappings())


def _resealed(vault: Vault, of: Table, columns: list[Column[Any]], row: RowMapping) -> dict[str, Any]:
    """Return the row's key and what changes in it: its sealed texts, and the name that one is found under."""
    found = {f"of_{column.name}": row[column.name] for column in of.primary_key}
    for column in columns:
        sealed = row[column.name]
        found[column.name] = vault.seal(vault.unseal(sealed)) if sealed else sealed
    if of is table(Profile):
        reference = vault.unseal(row["sealed_reference"])
        digests = profile_digests(vault, row["gateway_account_id"], reference, row["slot"])
        found["reference_digest"] = digests[0]
    return found


async def _write(session: AsyncSession, of: Table, rows: list[dict[str, Any]]) -> None:
    mine = [column == bindparam(f"of_{column.name}") for column in of.primary_key]
    changed: dict[str, Any] = {name: bindparam(name) for name in rows[0] if not name.startswith("of_")}
    await (await session.connection()).execute(update(of).where(*mine).values(changed), rows)
