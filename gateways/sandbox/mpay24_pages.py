"""The pages a shopper sees: pay, authenticate, confirm at a wallet, store a card (reference section 2.5).

A page of an order can make several transactions with one tid: each failed try
has a number and a notification of its own, and the page closes with a success.
"""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote_plus

from starlette.requests import Request
from starlette.responses import Response

from gateways.sandbox.faults import Luck
from gateways.sandbox.ledger import Ledger
from gateways.sandbox.mpay24_desk import Desk
from gateways.sandbox.mpay24_html import render, render_message, shown_amount, words_for
from gateways.sandbox.mpay24_instruments import (
    APPROVED,
    DECLINED,
    Verdict,
    account,
    card,
    elv_brand,
    maestro,
    paypal_account,
    verdict,
)
from gateways.sandbox.mpay24_refusals import RefusalError
from gateways.sandbox.mpay24_store import Instrument, Page, Token, Transaction
from gateways.sandbox.mpay24_till import packed
from gateways.sandbox.mpay24_values import PROFILE_TYPES, REDIRECT_TYPES, brands_of

OPERATION = "PaymentPage"
FORM_BYTES_MAX = 20_000
ALWAYS_OFFERED = ("CC", "ELV", "PAYPAL")
CARD_TYPES = frozenset(("CC", "MAESTRO"))
ERROR_WORDS = {
    "INVALID_CREDITCARD_NUMBER": "input_number",
    "INVALID_MAESTRO_NUMBER": "input_number",
    "EXPIRY_NOT_CORRECT": "input_expiry",
    "CVC_NOT_CORRECT": "input_cvc",
    "INVALID_IBAN": "input_iban",
    "BRAND_NOT_CORRECT": "input_brand",
    "TYPE_NOT_CORRECT": "input_type",
}


def offered(order: dict[str, Any], active: list[str]) -> list[str]:
    """Return the types a page offers: card, debit and PayPal, and others only where the order names them."""
    named = [str(pair[0]) for pair in order["filter"]["types"]]
    if order["filter"]["enable"]:
        known = [*ALWAYS_OFFERED, "MAESTRO", *sorted(REDIRECT_TYPES - {"PAYPAL"})]
        return [kind for kind in known if kind in named and kind in active]
    blocked = [str(kind) for kind, brand in order["filter"]["types"] if not brand]
    return [kind for kind in ALWAYS_OFFERED if kind not in blocked and kind in active]


def allows_brand(order: dict[str, Any], kind: str, brand: str) -> bool:
    """Say whether the order's filter lets a brand pass."""
    named = [pair[1] for pair in order["filter"]["types"] if pair[0] == kind]
    if order["filter"]["enable"]:
        return "" in named or brand in named
    return brand not in named


def typed_card(form: dict[str, str], kind: str) -> Instrument:
    """Read the card a shopper typed in."""
    expiry = re.fullmatch(r"\s*(0?[1-9]|1[0-2])\s*/?\s*([0-9]{2})\s*", form.get("expiry", ""))
    if kind == "CC" and not re.fullmatch(r"[0-9]{3,4}", form.get("cvc", "").strip()):
        raise RefusalError("CVC_NOT_CORRECT")
    month, year = (int(expiry[1]), int(expiry[2])) if expiry else (0, 0)
    return (maestro if kind == "MAESTRO" else card)(form.get("number", ""), year * 100 + month)


def typed_instrument(form: dict[str, str], order: dict[str, Any], choices: list[str]) -> Instrument:
    """Read the means of payment a shopper chose, or refuse it with the code of what is wrong."""
    kind = form.get("type", choices[0] if len(choices) == 1 else "")
    if kind not in choices:
        raise RefusalError("TYPE_NOT_CORRECT")
    if kind in CARD_TYPES:
        found = typed_card(form, kind)
    elif kind == "ELV":
        found = account(form.get("iban", ""), elv_brand(form.get("iban", "")))
    else:
        found = paypal_account() if kind == "PAYPAL" else Instrument(kind, brands_of(kind)[0])
    if kind in CARD_TYPES and not allows_brand(order, kind, found.brand):
        raise RefusalError("BRAND_NOT_CORRECT")
    return found


def step_of(instrument: Instrument) -> str:
    """Name the page a shopper is sent to before the issuer decides, or none."""
    if instrument.p_type in REDIRECT_TYPES:
        return "wallet"
    asks = instrument.expiry and int(instrument.expiry[2:]) >= 6 and verdict(instrument) == APPROVED
    return "secure" if asks else ""


async def read_form(request: Request) -> dict[str, str]:
    """Read the fields of a posted form; of a field sent twice the last counts."""
    body = (await request.body())[:FORM_BYTES_MAX].decode("utf-8", "replace")
    return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=50))


class Pages:
    """Serves every hosted page under its own address."""

    def __init__(self, desk: Desk, ledger: Ledger) -> None:
        self._desk = desk
        self._ledger = ledger
        self._shown: dict[str, Callable[[Page, str], Response]] = {
            "order": self._show_order,
            "step": self._show_step,
            "token": self._show_token,
            "profile": self._show_profile,
        }
        self._posted: dict[str, Callable[[Page, dict[str, str]], Response]] = {
            "order": self._post_order,
            "step": self._post_step,
            "token": self._post_token,
            "profile": self._post_profile,
        }

    async def serve(self, request: Request) -> Response:
        """Show a page, or take what the shopper posted on it."""
        form = await read_form(request) if request.method == "POST" else None
        page = self._desk.store.pages.get(request.path_params["page"])
        default = self._desk.knobs.text("default_language")
        if page is None:
            return render_message(default, "unknown", 404)
        if not page.is_open:
            return self._message(page, "closed", 410)
        if page.is_expired():
            return self._message(page, "expired", 410)
        if form is None:
            return self._shown[page.kind](page, "")
        return self._take(page, form)

    def _message(self, page: Page, name: str, status: int = 200) -> Response:
        return render_message(page.language, name, status, framed=page.kind == "token")

    def _take(self, page: Page, form: dict[str, str]) -> Response:
        with self._ledger.together():
            answer = self._posted[page.kind](page, form)
        self._desk.sender.dispatch()
        return answer

    # ---- an order

    def _order(self, page: Page) -> dict[str, Any]:
        order: dict[str, Any] = json.loads(page.details)
        return order

    def _show_order(self, page: Page, error: str) -> Response:
        order, words = self._order(page), words_for(page.language)
        if order.get("step"):
            return self._show_step(page, error)
        amount = shown_amount(order["amount"], order["currency"], page.language)
        label = words["pay"].format(amount=amount)
        return self._form(page, "pay", error, label, amount=amount, reference=order["tid"], can_cancel=True)

    def _form(self, page: Page, title: str, error: str, label: str, **more: Any) -> Response:
        choices = self._choices(page)
        return render(
            page.language,
            title,
            error=error,
            choices=choices,
            chosen=choices[0],
            asks_card=bool(CARD_TYPES & set(choices)),
            asks_account="ELV" in choices,
            pay_label=label,
            **more,
        )

    def _choices(self, page: Page) -> list[str]:
        choices = offered(self._order(page), self._desk.knobs.words("active_payment_types"))
        if page.kind == "profile":
            choices = [kind for kind in choices if kind in PROFILE_TYPES]
        # What was offered when the page was opened may have been switched off since.
        return choices or ["CC"]

    def _post_order(self, page: Page, form: dict[str, str]) -> Response:
        if self._order(page).get("step"):
            return self._post_order_step(page, form)
        if form.get("action") == "cancel":
            return self._leave(page, self._order(page)["cancel"], "canceled")
        if form.get("action") != "pay":
            return self._show_order(page, "")
        return self._try(page, form)

    def _try(self, page: Page, form: dict[str, str]) -> Response:
        order = self._order(page)
        try:
            instrument = typed_instrument(form, order, self._choices(page))
        except RefusalError as refusal:
            return self._show_order(page, words_for(page.language)[ERROR_WORDS[refusal.code]])
        transaction = self._transaction(page, order, instrument)
        luck = self._desk.till.luck(OPERATION, transaction)
        forced = self._forced(luck)
        self._desk.till.open(transaction)
        page.mpay_tid, page.tries = transaction.mpay_tid, page.tries + 1
        step = step_of(instrument)
        if forced is None and step:
            self._desk.till.wait_for_shopper(transaction, page.expires_at, luck)
            self._keep_step(page, step)
            return self._show_step(page, "")
        return self._conclude(page, transaction, forced or verdict(instrument), luck)

    def _forced(self, luck: Luck) -> Verdict | None:
        """Return the outcome a rule forces; on a page, a code that no issuer gives is a decline all the same."""
        try:
            return self._desk.forced(luck)
        except RefusalError as refusal:
            return Verdict("decline", refusal.code, refusal.err_text or "")

    def _keep_step(self, page: Page, step: str) -> None:
        page.details = json.dumps({**self._order(page), "step": step})
        self._desk.store.pages.save(page)

    def _transaction(self, page: Page, order: dict[str, Any], instrument: Instrument) -> Transaction:
        return Transaction(
            tid=order["tid"],
            p_type=instrument.p_type,
            brand=instrument.brand,
            amount=order["amount"],
            currency=order["currency"],
            operation=OPERATION,
            customer_id=order["customer_id"],
            customer_name=order["customer_name"],
            email=order["email"],
            language=page.language,
            user_field=order["user_field"],
            description=order["description"],
            confirmation_url=order["confirmation"],
            success_url=order["success"],
            error_url=order["error"],
            manual_clearing=not self._desk.knobs.flag("automatic_clearing"),
            to_store=packed(instrument) if order["use_profile"] else "",
        )

    def _post_order_step(self, page: Page, form: dict[str, str]) -> Response:
        transaction = self._desk.find(page.mpay_tid)
        if transaction.state == "REDIRECTED" and form.get("action") not in {"confirm", "refuse"}:
            return self._show_step(page, "")
        luck = self._desk.till.luck(OPERATION, transaction)
        self._keep_step(page, "")
        if transaction.state != "REDIRECTED":
            return self._show_order(page, "")
        said = APPROVED if form["action"] == "confirm" else DECLINED
        return self._conclude(page, transaction, said, luck)

    def _conclude(self, page: Page, transaction: Transaction, said: Verdict, luck: Luck) -> Response:
        answer = self._desk.settle(transaction, said, luck)
        if answer.is_ok:
            return self._leave(page, transaction.success_url, "done", transaction)
        limit = self._desk.knobs.count("page_tries_max")
        if limit and page.tries >= limit:
            return self._leave(page, transaction.error_url, "failed", transaction)
        self._desk.store.pages.save(page)
        words = words_for(page.language)
        reason = transaction.err_text
        return self._show_order(page, words["failed_because"].format(reason=reason) if reason else words["failed"])

    def _leave(self, page: Page, url: str, message: str, transaction: Transaction | None = None) -> Response:
        """Close the page and send the shopper back with exactly the address the merchant gave."""
        page.is_open = False
        self._desk.store.pages.save(page)
        if not url:
            return self._message(page, message)
        if transaction and self._desk.knobs.flag("return_append_tid"):
            url += ("&" if "?" in url else "?") + "TID=" + quote_plus(transaction.tid)
        # Starlette's own redirect would encode the address anew.
        return Response(status_code=303, headers={"Location": ascii_url(url), "Cache-Control": "no-store"})

    # ---- one step of a payment that began elsewhere

    def _show_step(self, page: Page, error: str) -> Response:
        transaction = self._desk.find(page.mpay_tid)
        words, step = words_for(page.language), str(self._order(page)["step"])
        named = words["types"].get(transaction.p_type, transaction.p_type)
        return render(
            page.language,
            step,
            error=error,
            amount=shown_amount(transaction.amount, transaction.currency, page.language) if transaction.amount else "",
            reference=transaction.tid,
            text=words[f"text_{step}"].format(type=named),
            asks_confirmation=True,
        )

    def _post_step(self, page: Page, form: dict[str, str]) -> Response:
        transaction, till = self._desk.find(page.mpay_tid), self._desk.till
        action = form.get("action")
        if action not in {"confirm", "refuse"}:
            return self._show_step(page, "")
        if transaction.state != "REDIRECTED":
            return self._leave(page, "", "closed")
        luck = till.luck(OPERATION, transaction)
        said = self._forced(luck) or (APPROVED if action == "confirm" else DECLINED)
        if said.word == "decline":
            self._desk.settle(transaction, said, luck)
            return self._leave(page, transaction.error_url, "failed", transaction)
        if transaction.operation == "CreateCustomer":
            till.validate(transaction, luck)
        else:
            self._desk.settle(transaction, Verdict("wait") if transaction.callback_owed else said, luck)
        return self._leave(page, transaction.success_url, "done", transaction)

    # ---- a token

    def _show_token(self, page: Page, error: str) -> Response:
        words = words_for(page.language)
        choices = [str(self._order(page)["p_type"])]
        label = words["store"]
        return render(
            page.language, "token", framed=True, error=error, choices=choices, asks_card=True, pay_label=label
        )

    def _post_token(self, page: Page, form: dict[str, str]) -> Response:
        order = self._order(page)
        try:
            instrument = typed_card(form, str(order["p_type"]))
        except RefusalError as refusal:
            return self._show_token(page, words_for(page.language)[ERROR_WORDS[refusal.code]])
        token: Token | None = self._desk.store.tokens.get(str(order["token"]))
        if token is None:
            return self._leave(page, "", "closed")
        token.instrument = packed(instrument)
        self._desk.store.tokens.save(token)
        return self._leave(page, "", "done")

    # ---- a profile

    def _show_profile(self, page: Page, error: str) -> Response:
        return self._form(page, "store", error, words_for(page.language)["store"], can_cancel=True)

    def _post_profile(self, page: Page, form: dict[str, str]) -> Response:
        order, words = self._order(page), words_for(page.language)
        if form.get("action") == "cancel":
            return self._leave(page, str(order["cancel"]), "canceled")
        try:
            instrument = typed_instrument(form, order, self._choices(page))
        except RefusalError as refusal:
            return self._show_profile(page, words[ERROR_WORDS[refusal.code]])
        if verdict(instrument).word == "decline":
            return self._show_profile(page, words["failed"])
        self._desk.till.store_profile(str(order["customer_id"]), "", instrument, str(order["profile_id"]))
        return self._leave(page, str(order["success"]), "done")


def ascii_url(url: str) -> str:
    """Make an address fit for a header, leaving all that is already fit untouched."""
    return "".join(c if "!" <= c <= "~" else quote_plus(c) for c in url)
