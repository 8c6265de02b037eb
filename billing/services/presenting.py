"""A customer pays in the gateway's own card fields on our page; what is typed there never touches us.

The fields are opened without taking anything. Only what comes back from them, by the customer's own click,
takes the charge right; it is kept sealed, so that a lost answer can be asked for by the same request again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import CardForm, Gateway, MisuseError, NotSent, Outcome, Pending, PresentCharge, Unknown
from billing.models import Checkout, table
from billing.services.charging import limit_repeats
from billing.services.consenting import Consent
from billing.services.context import Context
from billing.services.looking import Standing, Visit, Way, look
from billing.services.paying import Opened, Taken, open_page, payer_in, recall_owed, take_right, told_before, too_early
from billing.services.settling import News, settle
from billing.services.wording import words_for
from billing.store import after_s

_page = table(Checkout)
_request = TypeAdapter(PresentCharge)


@dataclass(frozen=True, slots=True)
class Submitted:
    """What came out of the card fields, and from where; `fields` are those of the port's `CardForm`."""

    way: str
    fields: Mapping[str, str]
    ip: str
    consent: Consent | None = None


async def open_fields(ctx: Context, link_id: int, way: str) -> CardForm | Outcome | None:
    """Open the card fields of a way, or return nothing where the link pays nothing now; this writes nothing."""
    async with ctx.store.read() as session:
        seen = await look(ctx, session, link_id)
        chosen = _way_with_fields(seen, way)
        if seen.standing != Standing.PAYABLE or chosen is None:
            return None
        gateway = (await ctx.gateways.of(session, [chosen.account_id]))[chosen.account_id]
    try:
        return await gateway.open_card_form(payer_in(seen))
    except Exception as error:  # noqa: BLE001 - whatever broke, the customer gets no fields
        return Unknown(words_for(error))


async def pay_by_fields(ctx: Context, link_id: int, submitted: Submitted) -> Opened:
    """Charge the card that was typed in, once; what follows is an address of the bank's, or the outcome.

    While the bank asks its own question, or a page is open, this leads back there.
    """
    is_clear = await recall_owed(ctx, link_id)
    async with ctx.store.write() as session:
        seen = await look(ctx, session, link_id, lock=True)
        if seen.standing != Standing.PAYABLE:
            return await open_page(ctx, session, seen)
        chosen = _way_with_fields(seen, submitted.way)
        if chosen is None:
            return Opened()
        gateway = (await ctx.gateways.of(session, [chosen.account_id]))[chosen.account_id]
        if early := too_early(ctx, gateway.abilities.asking, is_clear=is_clear):
            return Opened(outcome=early)
        taken = await take_right(ctx, session, seen, chosen, submitted.ip, submitted.consent)
        if taken is None:
            return Opened()
        charge = _charge(ctx, seen, taken, submitted)
        await limit_repeats(ctx, session, [taken.attempt_id], gateway.abilities.asking)
        await _keep_request(ctx, session, taken.attempt_id, link_id, charge)
    outcome = await told_before(ctx, gateway, charge.key, charge.amount) or await _send(gateway, charge)
    await settle(ctx, [News(taken.attempt_id, outcome)])
    return _lead_on(outcome)


def _way_with_fields(seen: Visit, value: str) -> Way | None:
    """Return the way a form named, if it has fields; those of one account are no good at another."""
    return next((way for way in seen.ways if way.value == value and way.card_form), None)


def unseal_request(ctx: Context, sealed: str) -> PresentCharge:
    """Return a request exactly as it was sent the first time; the error where it cannot be read shows nothing of it."""
    try:
        return _request.validate_json(ctx.vault.unseal(sealed))
    except ValidationError:
        raise ValueError("another version of Turnus kept the request, and this one cannot read it") from None


def _charge(ctx: Context, seen: Visit, taken: Taken, submitted: Submitted) -> PresentCharge:
    return PresentCharge(
        key=taken.key,
        amount=seen.amount,
        payer=payer_in(seen, submitted.ip),
        order=taken.order,
        method="card",
        fields=dict(submitted.fields),
        returns=ctx.links.returns(seen.link["id"]),
        notify_url=ctx.links.notify(taken.account_id, taken.key),
        store=taken.store,
        reserve_only=seen.verification is not None,
    )


async def _keep_request(
    ctx: Context, session: AsyncSession, attempt_id: int, link_id: int, charge: PresentCharge
) -> None:
    row = {
        "attempt_id": attempt_id,
        "pay_link_id": link_id,
        "sealed_url": "",
        "sealed_fields": ctx.vault.seal(_request.dump_json(charge).decode()),
        "opened_at": after_s(),
        "closes_at": after_s(),
    }
    await session.execute(insert(_page).values(**row))


async def _send(gateway: Gateway, charge: PresentCharge) -> Outcome:
    try:
        return await gateway.charge_present(charge)
    except MisuseError as error:
        return NotSent(words_for(error), lasting=True)
    except Exception as error:  # noqa: BLE001 - money may have moved, so whatever broke is a doubt
        return Unknown(words_for(error))


def _lead_on(outcome: Outcome) -> Opened:
    if isinstance(outcome, Pending) and outcome.redirect:
        return Opened(outcome.redirect, outcome.posted, outcome)
    return Opened(outcome=outcome)
