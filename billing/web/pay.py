"""The customer's entrance: a pay-link shows what is owed, and one POST opens the way to pay it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from billing import dunning, subscriptions
from billing.clock import day_in
from billing.dunning import StepKind
from billing.gateway import BROWSER_FIELDS, CardForm, DeclineClass, NotSent, Refused
from billing.gateway import Declined as DeclinedOutcome
from billing.mail import Cause, find_cause
from billing.payments import Initiator
from billing.periods import Interval, Unit
from billing.services.consenting import Consent as Terms
from billing.services.context import Context
from billing.services.looking import LinkError, Standing, Visit, chosen_way, visit
from billing.services.looking import Way as PayingWay
from billing.services.paying import Click, Opened, came_back, pay, send_fresh_link
from billing.services.presenting import Submitted, open_fields, pay_by_fields
from billing.services.reconciling import ask_about
from billing.services.showing import bill_of, brand_of, last_day_of, locale_of, means_of, next_charge_of
from billing.subscriptions import SubscriptionState
from billing.web import pages
from billing.web.pages import Consent, Page, Pages, Way, choose_language

router = APIRouter()

# Link checkers ask for the head of a page first, and call a link dead that has none.
_LOOK = ["GET", "HEAD"]

_OVER: Final = (SubscriptionState.CANCELED, SubscriptionState.ENDED)

WORD_BYTES_MAX: Final = 16 * 1024

PATIENCE_S: Final = 2
"""How long a customer who comes back waits for the gateway's answer before the page does the waiting."""


@router.api_route("/p/{token}", methods=_LOOK)
async def show(request: Request, token: str) -> Response:
    """Show what the link is worth; this changes nothing, since mail scanners open links too."""
    return await _show(request, token)


@router.api_route("/p/{token}/back/{came}", methods=_LOOK)
async def back(request: Request, token: str, came: str) -> Response:
    """Show where the payment stands for a customer who comes back; what the address says is never the result."""
    link_id = _read(request, token)
    if link_id is not None and came in ("success", "error"):
        await _ask_for_a_moment(request, link_id, came)
    return await _show(request, token, came)


@router.post("/p/{token}/back/{came}")
async def posted_back(request: Request, token: str, came: str) -> Response:
    """Take a customer whom a gateway sends back by a form; nothing in the form is the result."""
    if _read(request, token) is None:
        return await _show(request, token)
    return RedirectResponse(f"/p/{quote(token)}/back/{quote(came)}", 303)


@router.post("/p/{token}")
async def pay_now(request: Request, token: str) -> Response:
    """Lead to the gateway's page; a second click leads to the same one."""
    link_id, words = _read(request, token), await _words(request)
    if link_id is None:
        return await _show(request, token)
    ctx: Context = request.app.state.ctx
    try:
        seen = await visit(ctx, link_id)
        if _wrong(chosen_way(seen, words.get("way", "")), words):
            return _render(request, _page(request, seen, token, "incomplete", words), seen)
        click = Click(words.get("way", ""), _ip(request), words, _consented(request, seen, words))
        opened = await pay(ctx, link_id, click)
    except LinkError:
        return await _show(request, token)
    return await _lead_on(request, link_id, token, opened)


@router.post("/p/{token}/fields")
async def open_card_fields(request: Request, token: str, way: str = Form("")) -> Response:
    """Open the gateway's own card fields for the page's script; a browser without scripts never asks."""
    link_id = _read(request, token)
    try:
        form = await open_fields(request.app.state.ctx, link_id, way) if link_id is not None else None
    except LinkError:
        form = None
    if form is None:
        return JSONResponse({}, 409)
    return JSONResponse(asdict(form)) if isinstance(form, CardForm) else JSONResponse({}, 503)


@router.post("/p/{token}/card")
async def pay_by_card(request: Request, token: str) -> Response:
    """Charge the card that was typed into the gateway's own fields."""
    link_id, words = _read(request, token), await _words(request)
    if link_id is None:
        return await _show(request, token)
    ctx: Context = request.app.state.ctx
    fields = {name: words.get(name, "") for name in ("card_form", *BROWSER_FIELDS)}
    fields |= {name: request.headers.get(name.replace("_", "-"), "") for name in ("accept_header", "user_agent")}
    fields["accept_header"] = request.headers.get("accept", "")
    try:
        seen = await visit(ctx, link_id)
        consent = _consented(request, seen, words)
        opened = await pay_by_fields(ctx, link_id, Submitted(words.get("way", ""), fields, _ip(request), consent))
    except LinkError:
        return await _show(request, token)
    if opened.url or isinstance(opened.outcome, Refused | NotSent):
        return await _lead_on(request, link_id, token, opened)
    came = "error" if isinstance(opened.outcome, DeclinedOutcome) else "success"
    return RedirectResponse(f"/p/{token}/back/{came}", 303)


async def _lead_on(request: Request, link_id: int, token: str, opened: Opened) -> Response:
    """Send the customer where the gateway wants them, or say what is true of the link."""
    if opened.url and opened.posted:
        seen = await visit(request.app.state.ctx, link_id)
        fields = tuple(opened.posted.items())
        return _render(
            request, pages.Leaving(brand=_brand(seen), gateway=_gateway(seen), action=opened.url, fields=fields), seen
        )
    if opened.url:
        return RedirectResponse(opened.url, 303)
    if isinstance(opened.outcome, DeclinedOutcome | Refused | NotSent):
        return await _unopened(request, link_id, not isinstance(opened.outcome, NotSent))
    return await _show(request, token)


async def _ask_for_a_moment(request: Request, link_id: int, came: str) -> None:
    """Ask a gateway that may be asked at any time; the page waits for a slow one, and this does not."""
    ctx: Context = request.app.state.ctx
    attempt_id = await came_back(ctx, link_id, paid=came == "success")
    if attempt_id is None:
        return
    task = asyncio.create_task(ask_about(ctx, attempt_id))
    request.app.state.asking.add(task)
    task.add_done_callback(request.app.state.asking.discard)
    await asyncio.wait({task}, timeout=PATIENCE_S)


@router.post("/p/{token}/fresh")
async def fresh(request: Request, token: str) -> Response:
    """Mail a fresh link, and say the same whether or not there is anything to pay."""
    link_id = _read(request, token)
    if link_id is None:
        return await _show(request, token)
    try:
        await send_fresh_link(request.app.state.ctx, link_id)
    except LinkError:
        return await _show(request, token)
    seen = await visit(request.app.state.ctx, link_id)
    return _render(request, pages.FreshLinkSent(brand=_brand(seen)), seen)


@router.api_route("/brand/{link_token}.css", methods=_LOOK)
async def brand_style(request: Request, link_token: str) -> Response:
    """Return the merchant's colours for the pages of one link."""
    seen = await _seen(request, link_token)
    if seen is None:
        return Response(status_code=404)
    return Response(pages.brand_css(_brand(seen)), media_type="text/css")


# --- choosing the page ------------------------------------------------------


async def _show(request: Request, token: str, came: str = "") -> Response:
    seen = await _seen(request, token)
    if seen is None:
        return _render(request, pages.UnknownLink(), None)
    return _render(request, _page(request, seen, token, came), seen)


async def _seen(request: Request, token: str) -> Visit | None:
    """Return what a link is worth; one we never made, or that an older backup does not know, is nothing."""
    link_id = _read(request, token)
    try:
        return await visit(request.app.state.ctx, link_id) if link_id is not None else None
    except LinkError:
        return None


def _page(request: Request, seen: Visit, token: str, came: str, typed: Mapping[str, str] | None = None) -> Page:
    """Say which page is true of the link, by what the database knows; what a customer typed is not lost."""
    base: dict[str, Any] = {"brand": _brand(seen, token), "here": request.url.path}
    match seen.standing:
        case Standing.SUPERSEDED:
            return pages.Superseded(**base, action=f"/p/{token}/fresh")
        case Standing.EXPIRED:
            return pages.Expired(**base, action=f"/p/{token}/fresh", days=seen.merchant["link_days"])
        case Standing.VOID:
            return pages.Void(**base, number=_number(seen))
        case Standing.DONE:
            return _done(seen, base, came)
        case Standing.BUSY:
            return pages.Busy(**base, **_under_way(seen), amount=seen.amount, number=_number(seen))
        case Standing.CONFIRMING if came == "success" or not seen.page_open:
            return _confirming(seen, base)
        case _:
            return _offer(seen, base | _typed(seen, typed), token, came, _access_until(request, seen))


def _offer(seen: Visit, base: dict[str, Any], token: str, came: str, access_until: date | None) -> Page:
    """Offer to pay or to renew, saying first what did not happen if the customer has just been away."""
    cause = _cause_of_decline(seen, came)
    declined = cause is not None
    common: dict[str, Any] = base | {"gateway": _gateway(seen), "action": f"/p/{token}"}
    common |= {"ways": _ways(seen), "consent": _consent(seen)}
    if seen.verification is not None:
        facts: dict[str, Any] = {"amount": seen.amount, "plan": _title(seen), "means": means_of(seen.subscription)}
        if declined:
            return pages.RenewDeclined(**common, **facts, cause=cause)
        renewal = pages.RenewCanceled if came == "cancel" else pages.RenewReady
        return renewal(**common, **facts)
    until = {"access_until": access_until, "link_until": last_day_of(seen.link, seen.merchant["timezone"])}
    common |= {"bill": bill_of(_invoice(seen))} | until
    if declined:
        return pages.Declined(**common, cause=cause, in_app=_was_in_app(seen))
    return (pages.CanceledBack if came == "cancel" else pages.Ready)(**common)


def _cause_of_decline(seen: Visit, came: str) -> Cause | None:
    """Return why the customer's try just now did not go through, or nothing where there was none."""
    latest = seen.latest
    if came and latest is not None and latest["initiator"] == Initiator.CUSTOMER and latest["decline_class"]:
        return find_cause(DeclineClass(latest["decline_class"]), latest["decline_code"], None, seen.moment.today)
    on_the_page = seen.attempt is not None and "declined" in seen.attempt["evidence"]
    return Cause.NOT_NOW if came == "error" or on_the_page else None


def _was_in_app(seen: Visit) -> bool:
    """Answer whether the last try was where nothing is stored, because customers confirm each one in an app."""
    account_id = seen.latest["gateway_account_id"] if seen.latest is not None else None
    mine = [way for way in seen.ways if way.account_id == account_id]
    return bool(mine) and not any(way.stores for way in mine)


def _done(seen: Visit, base: dict[str, Any], came: str) -> Page:
    next_on, next_amount = next_charge_of(seen.subscription)
    following: dict[str, Any] = {"next_on": next_on, "next_amount": next_amount}
    if seen.verification is not None:
        released = seen.verification["state"] == "released"
        return pages.Renewed(
            **base, **following, amount=seen.amount, means=means_of(seen.subscription), released=released
        )
    invoice = _invoice(seen)
    if not came:
        paid_on = day_in(seen.merchant["timezone"], invoice["paid_at"])
        return pages.AlreadyPaid(**base, bill=bill_of(invoice), paid_on=paid_on)
    stored = seen.charged_by_itself and seen.latest is not None and seen.latest["kept_profile_id"] is not None
    means = means_of(seen.subscription) if stored else None
    paid: dict[str, Any] = {"bill": bill_of(invoice), "paid_at": invoice["paid_at"], "means": means, "stored": stored}
    return pages.Paid(**base, **following, **paid)


def _confirming(seen: Visit, base: dict[str, Any]) -> Page:
    if seen.verification is not None:
        return pages.RenewConfirming(**base, **_under_way(seen), amount=seen.amount)
    return pages.Confirming(**base, **_under_way(seen), amount=seen.amount, number=_number(seen))


def _under_way(seen: Visit) -> dict[str, Any]:
    sent_at = seen.attempt["sent_at"] if seen.attempt is not None else seen.moment.now
    return {"gateway": _gateway(seen), "sent_at": sent_at}


async def _unopened(request: Request, link_id: int, ours: bool) -> Response:
    """Say calmly that the gateway's page cannot be opened; nothing was charged, and the link stays valid."""
    seen = await visit(request.app.state.ctx, link_id)
    until = last_day_of(seen.link, seen.merchant["timezone"])
    gateway = "" if ours else _gateway(seen)
    page = pages.GatewayDown(brand=_brand(seen), gateway=gateway, number=_number(seen), link_until=until)
    return _render(request, page, seen)


# --- what pages show --------------------------------------------------------


def _read(request: Request, token: str) -> int | None:
    ctx: Context = request.app.state.ctx
    return ctx.links.read(token)


def _render(request: Request, page: Page, seen: Visit | None) -> Response:
    ours: Pages = request.app.state.pages
    locale = _locale(request, seen, request.query_params.get("lang", ""))
    headers = {"Content-Security-Policy": pages.policy_with(origin)} if (origin := pages.framed_origin(page)) else None
    return HTMLResponse(ours.render(page, locale), page.status, headers)


def _locale(request: Request, seen: Visit | None, asked: str) -> str:
    own = locale_of(seen.customer, seen.merchant) if seen is not None else ""
    return choose_language(request.headers.get("accept-language", ""), own, asked)


async def _words(request: Request) -> dict[str, str]:
    """Return the fields of a form; what is no text is none of ours, and neither is what could not be written down."""
    try:
        form = await request.form(max_files=0, max_fields=40, max_part_size=WORD_BYTES_MAX)
    except UnicodeError:
        raise HTTPException(400) from None
    texts = {name: value for name, value in form.items() if isinstance(value, str)}
    return {name: value.encode(errors="replace").decode() for name, value in texts.items()}


def _ip(request: Request) -> str:
    return request.client.host if request.client else ""


def _consented(request: Request, seen: Visit, words: Mapping[str, str]) -> Terms | None:
    """Return the consent as the customer read it, where the way they chose stores something."""
    way, consent = chosen_way(seen, words.get("way", "")), _consent(seen)
    if way is None or not way.stores or consent is None:
        return None
    ours: Pages = request.app.state.pages
    locale = _locale(request, seen, words.get("lang", ""))
    renews = seen.verification is not None
    deal = next(each for each in pages.deals(_ways(seen)) if any(one.value == way.value for one in each.ways))
    return Terms(ours.consent_text(_brand(seen), consent, deal, locale, renews=renews), locale[:2])


def _wrong(way: PayingWay | None, words: Mapping[str, str]) -> frozenset[str]:
    """Return the names of what the way asks for and the customer has not rightly told."""
    asked = way.inputs if way is not None else ()
    return frozenset(each.name for each in asked if not re.fullmatch(each.pattern, words.get(each.name, "").strip()))


def _typed(seen: Visit, typed: Mapping[str, str] | None) -> dict[str, Any]:
    if typed is None:
        return {}
    way = chosen_way(seen, typed.get("way", ""))
    return {"typed": dict(typed), "wrong": _wrong(way, typed), "chosen": way.value if way is not None else ""}


def _brand(seen: Visit, token: str = "") -> Any:
    return brand_of(seen.merchant, f"/brand/{token}.css" if token else "")


def _invoice(seen: Visit) -> Any:
    if seen.invoice is None:
        raise LinkError(str(seen.link["id"]))
    return seen.invoice


def _access_until(request: Request, seen: Visit) -> date | None:
    """Return the day on which dunning will pause the customer's access, while it has not yet."""
    ctx: Context = request.app.state.ctx
    invoice = seen.invoice
    if invoice is None or invoice["dunned_since"] is None:
        return None
    steps = dunning.steps_ahead(ctx.ladder, invoice["dunned_since"], seen.moment.today, retry=False)
    return next((step.on for step in steps if step.kind == StepKind.PAUSE), None)


def _number(seen: Visit) -> str:
    return str(seen.invoice["number"]) if seen.invoice is not None else ""


def _title(seen: Visit) -> str:
    return str(seen.subscription["title"] if seen.subscription is not None else seen.merchant["name"])


def _gateway(seen: Visit) -> str:
    return seen.ways[0].title if seen.ways else ""


def _ways(seen: Visit) -> tuple[Way, ...]:
    """Return the ways as the page offers them; no fields are opened where the button leads back to an open page."""
    fields = seen.standing == Standing.PAYABLE
    return tuple(
        Way(
            way.value,
            way.way,
            title=way.way.replace("_", " ").capitalize(),
            stores=way.stores,
            gateway=way.title,
            card_form=way.card_form if fields else "",
            inputs=tuple((each.name, each.pattern) for each in way.inputs),
        )
        for way in seen.ways
    )


def _consent(seen: Visit) -> Consent | None:
    """Return what paying allows us from now on, where the way to pay stores a profile for what goes on."""
    subscription = seen.subscription
    if subscription is None or subscription["state"] in _OVER or not any(way.stores for way in seen.ways):
        return None
    interval = Interval(Unit(subscription["interval_unit"]), subscription["interval_count"])
    anchor_on, number = subscription["anchor_on"], subscription["next_period"]
    number = subscriptions.period_on_resuming(interval, anchor_on, number, seen.moment.today)
    next_on, amount = next_charge_of(dict(subscription) | {"next_due_on": interval.boundary(anchor_on, number)})
    if next_on is None or amount is None:
        return None
    return Consent(_title(seen), interval, next_on, amount)
