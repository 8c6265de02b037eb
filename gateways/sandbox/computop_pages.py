"""Where the customer's browser is sent: the wallet's and the card's forms, their pages, the way back (section 4)."""

import asyncio
import time
from urllib.parse import parse_qsl, quote, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateways.sandbox.computop_calls import Call, answer
from gateways.sandbox.computop_cards import FINE, brand_of, is_holder, make_card, typed_expiry
from gateways.sandbox.computop_crypto import seal
from gateways.sandbox.computop_html import render, shown_amount
from gateways.sandbox.computop_json import read_articles
from gateways.sandbox.computop_store import Payment
from gateways.sandbox.computop_till import (
    SILENT_ACCOUNT,
    SUSPENDED,
    Pairs,
    Till,
    clear_words,
    code_of,
    new_id,
    simulated_detail,
)
from gateways.sandbox.computop_values import CARD, NO_PAYMENT, PAGE_OPERATION, PAGE_PATH, WALLET
from gateways.sandbox.faults import Luck
from gateways.sandbox.push import PENDING

FORM_BYTES_MAX = 20_000
CANCELLED, REFUSED_AT_BANK = "0053", "0200"
GOOD_STATUSES = frozenset(("OK", "AUTHORIZED", "PENDING"))
LOOK_S = 0.01
METHODS = {"PaybackPay": WALLET, "PaySSL": CARD}


async def read_form(request: Request) -> Pairs:
    """Read the fields of a posted form; of a field sent twice the last counts."""
    body = (await request.body())[:FORM_BYTES_MAX].decode("utf-8", "replace")
    try:
        return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=50))
    except ValueError:
        return {}


class Pages:
    """Opens payments for browsers, serves their pages and sends them back."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self.base_url = ""

    def routes(self) -> list[Route]:
        """Return the address of the pages."""
        return [Route(f"{PAGE_PATH}{{page}}", self.page, methods=["GET", "POST"])]

    # ---- there

    def open(self, call: Call) -> Response:
        """Begin a payment and send the browser to its page."""
        self._till.refuse_known(call.given)
        payment = self._till.open(call.given, METHODS[call.operation])
        return found(f"{self.base_url}{PAGE_PATH}{payment.page}")

    def again(self, call: Call, pairs: Pairs) -> Response:
        """Send the browser back with what a ReqId came to before; nobody is notified."""
        return self._back(pairs, call.given, METHODS[call.operation])

    def rejected(self, operation: str, given: Pairs, code: str) -> Response:
        """Send the browser back with the news that its request was rejected."""
        pairs = answer(given | {"payid": NO_PAYMENT}, new_id(), "FAILED", code)
        return self._back(pairs, given, METHODS[operation])

    # ---- the pages

    async def page(self, request: Request) -> Response:
        """Show a page, or take what the customer did on it; from a finished one they are sent back again."""
        form = await read_form(request) if request.method == "POST" else {}
        payment = self._till.store.payments.first("WHERE page = ?", request.path_params["page"])
        if payment is None:
            return render("unknown", "en", 404)
        if payment.state != "open":
            return self._back(self._till.result(payment), payment.sent, payment.method)
        with self._till.ledger.together():
            answered = self._take(payment, form)
        self._till.sender.dispatch()
        if answered:
            return answered
        await self._notified(payment)
        return self._back(self._till.result(payment), payment.sent, payment.method)

    def _take(self, payment: Payment, form: Pairs) -> Response | None:
        """Do what a form says; return the page to show, or None when the payment is finished."""
        luck, action = self._till.luck(PAGE_OPERATION, payment), form.get("action", "")
        if action in {"decline", "cancel"} and not payment.is_at_bank:
            self._till.decline(payment, code_of(payment, CANCELLED), luck)
            return None
        if payment.method == WALLET:
            return self._confirm(payment, luck) if action == "confirm" else self._shown(payment)
        if payment.is_at_bank:
            return self._at_bank(payment, action, luck)
        return self._try_card(payment, form, luck) if action == "pay" else self._shown(payment)

    def _shown(self, payment: Payment, *, error: str = "", text: str = "") -> Response:
        language = payment.sent.get("language", "").lower()
        kind = "bank" if payment.is_at_bank else payment.method
        return render(
            kind,
            language,
            error=error,
            text=text or kind,
            amount=shown_amount(payment.amount, payment.currency, language),
            reference=payment.ref_nr or payment.trans_id,
            lines=basket(payment, language),
        )

    def _confirm(self, payment: Payment, luck: Luck) -> Response | None:
        """Take a confirmation, unless this account's app never hands it on."""
        rule = luck.draw("outcome")
        is_silent = payment.sent["accountid"].endswith(SILENT_ACCOUNT) and not simulated_detail(payment.sent)
        if rule.fault == "suspend" if rule else is_silent:
            return self._shown(payment, text="waiting")
        self._till.conclude(payment, self._till.verdict(payment, luck), luck)
        return None

    def _try_card(self, payment: Payment, form: Pairs, luck: Luck) -> Response | None:
        wrong = wrong_field(form)
        if wrong:
            return self._shown(payment, error=wrong)
        card = make_card(digits_of(form), typed_expiry(form["expiry"]), form["holder"].strip())
        self._till.store.cards.remove("WHERE pcnr = ?", card.pcnr)
        self._till.store.cards.add(card)
        payment.pcnr, payment.xid, payment.tries = card.pcnr, new_id(), payment.tries + 1
        payment.is_at_bank = card.asks_bank and not simulated_detail(payment.sent)
        self._till.store.payments.save(payment)
        return self._shown(payment) if payment.is_at_bank else self._decide(payment, luck)

    def _at_bank(self, payment: Payment, action: str, luck: Luck) -> Response | None:
        if action not in {"confirm", "decline"}:
            return self._shown(payment)
        payment.is_at_bank = False
        if action == "confirm":
            return self._decide(payment, luck)
        return self._declined(payment, code_of(payment, REFUSED_AT_BANK), luck)

    def _decide(self, payment: Payment, luck: Luck) -> Response | None:
        detail = self._till.verdict(payment, luck)
        if detail in {FINE, SUSPENDED}:
            self._till.conclude(payment, detail, luck)
            return None
        return self._declined(payment, code_of(payment, detail), luck)

    def _declined(self, payment: Payment, code: str, luck: Luck) -> Response | None:
        """Let the customer try again, unless this was the last time."""
        if payment.tries >= self._till.knobs.count("card_tries_max"):
            self._till.decline(payment, code, luck)
            return None
        self._till.book_declined(payment)
        self._till.store.payments.save(payment)
        return self._shown(payment, error="declined")

    # ---- and back

    async def _notified(self, payment: Payment) -> None:
        """Wait until the first try to notify the merchant is over; only then may the browser go back."""
        clause = "WHERE gateway_id = ? AND status = ? AND attempts = 0 AND due_at <= ?"
        for _ in range(int(self._till.knobs.seconds("notify_timeout_s") / LOOK_S)):
            if not self._till.sender.pushes.first(clause, payment.pay_id, PENDING, time.time()):
                return
            await asyncio.sleep(LOOK_S)

    def _back(self, pairs: Pairs, sent: Pairs, method: str) -> Response:
        """Send the browser back with a result: by GET from the wallet, by POST from the card form."""
        url = sent["urlsuccess" if pairs["Status"] in GOOD_STATUSES else "urlfailure"]
        words = [*self._words(pairs, sent), *clear_words(sent)]
        if method == WALLET:
            return found(f"{url}?{'&'.join(words)}")
        split = [word.partition("=") for word in words]
        fields = [(unquote(name, "latin-1"), unquote(value, "latin-1")) for name, _, value in split]
        return render("back", sent.get("language", "").lower(), action=url, fields=fields)

    def _words(self, pairs: Pairs, sent: Pairs) -> list[str]:
        """Write a result encrypted, or in clear for a merchant that did not ask for better."""
        signed = self._till.signed(pairs)
        if sent.get("response") == "encrypt":
            length, data = seal(self._till.account(), signed)
            return [f"Len={length}", f"Data={data}"]
        inside = [(name, value) for name, value in signed.items() if name not in {"Plain", "Custom"}]
        return [f"{name}={quote(value, safe='', encoding='latin-1')}" for name, value in inside]


def found(url: str) -> Response:
    """Send the browser elsewhere."""
    return Response(status_code=302, headers={"Location": url, "Cache-Control": "no-store"})


def basket(payment: Payment, language: str) -> list[tuple[int, str, str]]:
    """Return the lines of a wallet's payment: how many, of what, for how much."""
    articles = read_articles(payment.sent["articlelist"]) if payment.method == WALLET else []
    return [
        (line["quantity"], line["name"], shown_amount(line["quantity"] * line["amount"], payment.currency, language))
        for line in articles
    ]


def digits_of(form: Pairs) -> str:
    """Return the number as it was typed, without its spaces."""
    return form.get("number", "").replace(" ", "")


def wrong_field(form: Pairs) -> str:
    """Return the first field of the card form that cannot be right, or an empty text."""
    cvc = form.get("cvc", "").strip()
    checks = {
        "number": bool(brand_of(digits_of(form))),
        "expiry": bool(typed_expiry(form.get("expiry", ""))),
        "cvc": cvc.isascii() and cvc.isdecimal() and len(cvc) in {3, 4},
        "holder": is_holder(form.get("holder", "").strip()),
    }
    return next((name for name, is_right in checks.items() if not is_right), "")
