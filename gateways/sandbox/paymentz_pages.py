"""The pages a customer of the simulated PaymentZ sees: card, challenge, and the way back (sections 9 and 13)."""

import json
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from gateways.sandbox.ledger import Ledger
from gateways.sandbox.paymentz_desk import Desk
from gateways.sandbox.paymentz_fields import BODY_BYTES_MAX, Fields, RefusalError, amount_text, malformed, read_form
from gateways.sandbox.paymentz_payments import Payments, wants_challenge
from gateways.sandbox.paymentz_shapes import return_fields
from gateways.sandbox.paymentz_signing import checksum, is_same
from gateways.sandbox.paymentz_store import Card, Payment, read_card
from gateways.sandbox.paymentz_values import (
    BAD_CHECKSUM,
    CARD_MODES,
    CHALLENGE_PATH,
    CHECKOUT_PATH,
    DUPLICATE,
    MEMBER_ID,
    NOT_USABLE,
    PAGE,
    PAGE_PATH,
    REST,
    SECRET_KEY,
    TO_TYPE,
)
from gateways.sandbox.push import Sender
from gateways.sandbox.server import cut

REQUIRED = "memberId totype amount currency merchantTransactionId merchantRedirectUrl orderDescription checksum".split()
# The names that the hosted page has of its own, and those of the REST request for the same.
OWN_NAMES = {
    "orderDescription": "orderDescriptor",
    "TMPL_AMOUNT": "tmpl_amount",
    "TMPL_CURRENCY": "tmpl_currency",
    "terminalid": "authentication.terminalId",
}
OUTCOMES = frozenset(("approve", "decline", "cancel"))
REFUSED = "Authentication refused"
DECLINED = "The payment was declined. Please try again or use another card."
WRONG_CARD = "Please check card number, date and security code."
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "pages"), autoescape=True, undefined=StrictUndefined
)
HEADERS = {"Cache-Control": "no-store", "X-Frame-Options": "DENY", "Content-Security-Policy": "frame-ancestors 'none'"}
BRAND_BY_START = {
    "4": "VISA",
    "5": "MC",
    "2": "MC",
    "34": "AMEX",
    "37": "AMEX",
    "35": "JCB",
    "36": "DINER",
    "6": "DISC",
}


def render(title: str, payment: Payment | None = None, status: int = 200, **shown: Any) -> HTMLResponse:
    """Write a page that no other page may frame."""
    amount = amount_text(payment.cents) if payment else ""
    filled = {"asks": "", "error": "", "text": "", "fields": {}, **shown}
    html = TEMPLATES.get_template("paymentz.html").render(title=title, payment=payment, amount=amount, **filled)
    return HTMLResponse(html, status, HEADERS)


async def read_page_form(request: Request) -> Fields:
    """Read what a browser posts; what cannot be read is nothing."""
    body = await request.body()
    try:
        return read_form(body) if len(body) <= BODY_BYTES_MAX else {}
    except RefusalError:
        return {}


class Pages:
    """Serves every page under its own address."""

    def __init__(self, desk: Desk, ledger: Ledger, sender: Sender, payments: Payments) -> None:
        self._desk = desk
        self._ledger = ledger
        self._sender = sender
        self._payments = payments

    def routes(self) -> list[Route]:
        """Return the addresses of the pages."""
        both = ["GET", "POST"]
        return [
            Route(CHECKOUT_PATH, self.checkout, methods=["POST"]),
            Route(f"{PAGE_PATH}{{page}}", self.page, methods=both),
            Route(f"{CHALLENGE_PATH}{{page}}", self.challenge, methods=both),
        ]

    # ---- opening

    async def checkout(self, request: Request) -> Response:
        """Open the hosted page that a browser was sent to with a signed form."""
        sent = await read_page_form(request)
        try:
            with self._ledger.together():
                payment = self._opened(sent)
        except RefusalError as refusal:
            return render("This payment cannot be made", None, 400, text=refusal.description)
        return self._next(payment)

    def _opened(self, sent: Fields) -> Payment:
        """Return the payment of a page; the same form leads to the same page, as often as it is sent."""
        check_form(sent)
        mark = sha256(json.dumps(sorted(sent.items())).encode()).hexdigest()
        earlier = self._desk.store.by_reference(sent["merchantTransactionId"])
        if earlier and earlier.sent == mark:
            return earlier
        if earlier:
            raise RefusalError(DUPLICATE)
        mode = sent.get("paymentMode") or "CC"
        is_recurring = sent.get("recurringType", "") != ""
        if mode not in CARD_MODES or (is_recurring and not self._desk.knobs.flag("hosted_initial")):
            raise RefusalError(NOT_USABLE)
        payment = self._payments.new(as_rest(sent), Card(), mode, "")
        payment.is_hosted, payment.sent, payment.page = True, mark, secrets.token_hex(16)
        self._desk.store.payments.add(payment)
        self._desk.till.enter(payment, "begun", self._desk.till.luck(PAGE, payment))
        return payment

    # ---- paying

    async def page(self, request: Request) -> Response:
        """Show the card form, or take what was typed into it."""
        form = await read_page_form(request)
        payment = self._known(request)
        if payment is None:
            return render("There is no such page", None, 404, text="Please check the address.")
        action = form.get("action") if is_open(payment) else None
        if action == "cancel":
            return self._settled(payment, "cancel")
        if action == "pay":
            return await self._try(request, payment, form)
        return self._shown(payment, "") if is_open(payment) else self._next(payment)

    def _known(self, request: Request) -> Payment | None:
        return self._desk.store.payments.first("WHERE page = ?", request.path_params["page"])

    def _shown(self, payment: Payment, error: str) -> Response:
        return render("Payment", payment, asks="card", error=error or (DECLINED if payment.tries else ""))

    async def _try(self, request: Request, payment: Payment, form: Fields) -> Response:
        try:
            card = read_card(typed_card(form))
        except RefusalError:
            return self._shown(payment, WRONG_CARD)
        payment.card, payment.tries = card.packed(), payment.tries + 1
        payment.brand = brand_of(card.bin)
        if payment.trigger == "broken":
            return render("Something went wrong", None, 500, text="Please try again.")
        luck = self._desk.till.luck(PAGE, payment)
        with self._ledger.together():
            if wants_challenge(payment, "") and luck.draw("outcome") is None:
                self._desk.till.challenge(payment, luck)
            else:
                self._desk.till.charge(payment, luck)
        return await self._left(request, payment)

    async def _left(self, request: Request, payment: Payment) -> Response:
        """Send the customer on after a try, unless the answer is meant to be lost."""
        self._sender.dispatch()
        if payment.trigger == "lost" and not payment.is_challenged:
            await cut(request)
        return self._next(payment)

    # ---- the challenge

    async def challenge(self, request: Request) -> Response:
        """Ask as the customer's bank does, or take the answer; a GET may carry it as well (D-81)."""
        form = await read_page_form(request)
        payment = self._known(request)
        if payment is None:
            return render("There is no such page", None, 404, text="Please check the address.")
        if not payment.is_challenged:
            return self._next(payment)
        outcome = form.get("outcome") or request.query_params.get("outcome") or self._desk.knobs.text("acs_auto")
        if outcome not in OUTCOMES:
            text = "Your bank asks you to confirm this payment."
            return render("3-D Secure", payment, asks="confirmation", text=text)
        return self._settled(payment, outcome)

    def _settled(self, payment: Payment, outcome: str) -> Response:
        till, luck = self._desk.till, self._desk.till.luck(PAGE, payment)
        with self._ledger.together():
            if outcome == "cancel":
                till.go(payment, "cancelled", luck)
            elif outcome == "decline":
                till.refuse(payment, luck, REFUSED)
            else:
                payment.eci = "05"
                till.charge(payment, luck)
        self._sender.dispatch()
        return self._next(payment)

    # ---- onwards

    def _next(self, payment: Payment) -> Response:
        """Send the customer where they are to be: to the card, to the bank, or back to the merchant."""
        if payment.is_challenged:
            return RedirectResponse(f"{CHALLENGE_PATH}{payment.page}", 303, HEADERS)
        if is_open(payment):
            return RedirectResponse(f"{PAGE_PATH}{payment.page}", 303, HEADERS)
        path = f"{REST}payments/{payment.id}"
        fields = return_fields(payment, self._desk.till.after_refund, path)
        return render("Back to the shop", payment, asks="return", fields=fields)


def is_open(payment: Payment) -> bool:
    """Say whether a card can still be tried on a hosted page: then leaving it is what happens next."""
    return payment.is_hosted and payment.due_status == "cancelled"


def check_form(sent: Fields) -> None:
    """Refuse a form that is not the account's own or lacks a field; here the key is signed last."""
    for name in REQUIRED:
        if not sent.get(name):
            raise malformed(name)
    names = ("memberId", "totype", "amount", "merchantTransactionId", "merchantRedirectUrl")
    expected = checksum(*(sent[name] for name in names), SECRET_KEY)
    is_ours = sent["memberId"] == MEMBER_ID and sent["totype"] == TO_TYPE
    if not (is_ours and is_same(sent["checksum"], expected)):
        raise RefusalError(BAD_CHECKSUM)
    if sent.get("recurringType", "") not in {"", "INITIAL"}:
        raise malformed("recurringType")


def as_rest(sent: Fields) -> Fields:
    """Name the fields of the hosted page as the REST request names them (D-121)."""
    kind = "PA" if sent.get("transactionType") == "PREAUTH" else "DB"
    return {OWN_NAMES.get(name, name): value for name, value in sent.items()} | {"paymentType": kind}


def typed_card(form: Fields) -> Fields:
    """Name what was typed as the REST request names it."""
    month, _, year = form.get("expiry", "").replace(" ", "").partition("/")
    return {
        "card.number": form.get("number", "").replace(" ", ""),
        "card.expiryMonth": month,
        "card.expiryYear": f"20{year}" if len(year) == 2 else year,
        "card.cvv": form.get("cvc", "").strip(),
        "card.holder": form.get("holder", "").strip(),
    }


def brand_of(start: str) -> str:
    """Return the brand of a number by its first digits."""
    return BRAND_BY_START.get(start[:2]) or BRAND_BY_START.get(start[:1], "VISA")
