"""Keep what a customer consented to, word for word, and which profile came of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing import gateway
from billing.models import Mandate, new_row, table

_mandate = table(Mandate)


@dataclass(frozen=True, slots=True)
class Consent:
    """The words a customer read before paying, in their language."""

    text: str
    language: str


async def record_consent(
    session: AsyncSession, attempt_id: int, merchant_id: int, customer_id: int, given: Consent, ip: str, now: datetime
) -> None:
    """Write down who consented to what, when and from which network address."""
    row = new_row(
        Mandate,
        attempt_id=attempt_id,
        merchant_id=merchant_id,
        customer_id=customer_id,
        text=given.text,
        text_digest=hashlib.sha256(given.text.encode()).hexdigest(),
        language=given.language,
        address=ip[:45],
        given_at=now,
    )
    await session.execute(insert(_mandate).values(**row))


async def is_fulfilled(session: AsyncSession, attempt_id: int) -> bool | None:
    """Answer whether the consent given with an attempt has led to a profile; nothing where none was given."""
    query = select(_mandate.c.profile_id.is_not(None)).where(_mandate.c.attempt_id == attempt_id)
    found = (await session.execute(query)).scalar()
    return None if found is None else bool(found)


async def fulfil_mandate(session: AsyncSession, attempt_id: int, profile_id: int, made: gateway.Mandate | None) -> None:
    """Say which profile the consent has led to, and the references that later charges cite."""
    change: dict[str, object] = {"profile_id": profile_id}
    if made is not None:
        change |= {"first_transaction": made.first_transaction, "scheme_reference": made.scheme_reference}
    await session.execute(update(_mandate).where(_mandate.c.attempt_id == attempt_id).values(**change))
