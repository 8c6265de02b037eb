"""The customer's entrance: a pay-link shows what is owed, and one POST opens the way to pay it."""

from __future__ import annotations

from datetime import date
from typing import Any

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from billing import dunning, subscriptions
from billing.clock import day_in
from billing.dunning import StepKind
from billing.gateway import Declined as DeclinedOutcome
from billing.gateway import Refused
from billing.periods import Interval, Unit
from billing.services.context import Context
from billing.services.paying import LinkError, Standing, Visit, came_back, pay, send_fresh_link, visit
from billing.services.showing import bill_of, brand_of, last_day_of, locale_of, means_of, next_charge_of
from billing.web import pages
from billing.web.pages import Consent, Page, Pages, Way, choose_language

router = APIRouter()

# Link checkers ask for the head of a page first, and call a link dead that has none.
_LOOK = ["GET", "HEAD"]


@router.api_route("/p/{token}", methods=_LOOK)
async def show(request: Request, token: str) -> Response:
    """Show what the link is worth; this changes nothing, since mail scanners open links too."""
    return await _show(request, token)


@router.api_route("/p/{token}/back", methods=_LOOK)
async def back(request: Request, token: str, way: str = "") -> Response:
    """Show where the payment stands for a customer who comes back; what the address says is never the result."""
    link_id = _read(request, token)
    if link_id is not None and way == "success":
        await came_back(request.app.state.ctx, link_id)
    return await _show(request, token, way)


@router.post("/p/{token}")
async def pay_now(request: Request, token: str, way: str = Form("")) -> Response:
    """Lead to the gateway's page; a second click leads to the same one."""
    link_id = _read(request, token)
    if link_id is None:
        return await _show(request, token)
    try:
        opened = await pay(request.app.state.ctx, link_id, way, request.client.host if request.client else "")
    except LinkError:
        return await _show(request, token)
    if opened.url:
        return RedirectResponse(opened.url, 303)
    if opened.outcome is None:
        return await _show(request, token)
    return await _unopened(request, link_id, isinstance(opened.outcome, DeclinedOutcome | Refused))


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


def _page(request: Request, seen: Visit, token: str, came: str) -> Page:
    """Say which page is true of the link, by what the database knows."""
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
            return _offer(seen, base, token, came, _access_until(request, seen))


def _offer(seen: Visit, base: dict[str, Any], token: str, came: str, access_until: date | None) -> Page:
    """Offer to pay or to renew, saying first what did not happen if the customer has just been away."""
    declined = came == "error" or (seen.attempt is not None and "declined" in seen.attempt["evidence"])
    common: dict[str, Any] = base | {"gateway": _gateway(seen), "action": f"/p/{token}"}
    common |= {"ways": _ways(seen), "consent": _consent(seen)}
    if seen.verification is not None:
        facts: dict[str, Any] = {"amount": seen.amount, "plan": _title(seen), "means": means_of(seen.subscription)}
        renewal = pages.RenewDeclined if declined else pages.RenewCanceled if came == "cancel" else pages.RenewReady
        return renewal(**common, **facts)
    until = {"access_until": access_until, "link_until": last_day_of(seen.link, seen.merchant["timezone"])}
    common |= {"bill": bill_of(_invoice(seen))} | until
    ready = pages.Declined if declined else pages.CanceledBack if came == "cancel" else pages.Ready
    return ready(**common)


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
    stored = bool(seen.ways and seen.ways[0].stores)
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
    own = locale_of(seen.customer, seen.merchant) if seen is not None else ""
    asked = request.query_params.get("lang", "")
    locale = choose_language(request.headers.get("accept-language", ""), own, asked)
    return HTMLResponse(ours.render(page, locale), page.status)


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
    return tuple(Way(way.value, way.way, stores=way.stores) for way in seen.ways)


def _consent(seen: Visit) -> Consent | None:
    """Return what paying allows us from now on, where the way to pay stores a profile for a subscription."""
    subscription = seen.subscription
    if subscription is None or not any(way.stores for way in seen.ways):
        return None
    interval = Interval(Unit(subscription["interval_unit"]), subscription["interval_count"])
    anchor_on, number = subscription["anchor_on"], subscription["next_period"]
    number = subscriptions.period_on_resuming(interval, anchor_on, number, seen.moment.today)
    next_on, amount = next_charge_of(dict(subscription) | {"next_due_on": interval.boundary(anchor_on, number)})
    if next_on is None or amount is None:
        return None
    return Consent(_title(seen), interval, next_on, amount, _gateway(seen))
