"""The pages a customer of the simulated PAYONE sees: card form, challenge, hosted checkout (sections 7.6, 9.1, 13)."""

from pathlib import Path
from urllib.parse import parse_qsl, quote_plus, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateways.sandbox.faults import Luck
from gateways.sandbox.ledger import Ledger
from gateways.sandbox.payone_cards import unpacked
from gateways.sandbox.payone_desk import Desk, is_over
from gateways.sandbox.payone_html import render, render_form, render_message, shown_amount, words_for
from gateways.sandbox.payone_payments import note_result
from gateways.sandbox.payone_refusals import RefusalError
from gateways.sandbox.payone_store import Checkout, Payment, Session
from gateways.sandbox.payone_tokenization import Tokenization, script
from gateways.sandbox.payone_values import (
    CHALLENGE_PATH,
    CHECKOUT_PATH,
    DECLINED_SALE_AMOUNT,
    FORM_PATH,
    INSUFFICIENT_FUNDS,
    PAGE_OPERATION,
    SCRIPT_PATH,
    SOFT_DECLINE,
)

FORM_BYTES_MAX = 20_000
FORM_SCRIPT_PATH = "/hostedtokenization/js/client/form.js"
SCRIPT_HEADERS = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-cache"}


async def read_form(request: Request) -> dict[str, str]:
    """Read the fields of a posted form; of a field sent twice the last counts."""
    body = (await request.body())[:FORM_BYTES_MAX].decode("utf-8", "replace")
    try:
        return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=50))
    except ValueError:
        return {}


class Pages:
    """Serves every page under its own address."""

    def __init__(self, desk: Desk, ledger: Ledger, tokenization: Tokenization) -> None:
        self._desk = desk
        self._ledger = ledger
        self._tokenization = tokenization

    def routes(self) -> list[Route]:
        """Return the addresses of the pages and scripts."""
        both = ["GET", "POST"]
        return [
            Route(SCRIPT_PATH, self.tokenizer, methods=["GET"]),
            Route(FORM_SCRIPT_PATH, self.form_script, methods=["GET"]),
            Route(f"{FORM_PATH}{{form}}", self.form, methods=both),
            Route(f"{CHALLENGE_PATH}{{page}}", self.challenge, methods=both),
            Route(f"{CHECKOUT_PATH}{{page}}", self.checkout, methods=both),
        ]

    # ---- the card form

    async def tokenizer(self, _request: Request) -> Response:
        """Serve the script that shops load, from any origin."""
        return Response(script(), media_type="text/javascript", headers=SCRIPT_HEADERS)

    async def form_script(self, _request: Request) -> Response:
        """Serve the script of the form itself."""
        path = Path(__file__).parent / "pages" / "payone_form.js"
        return Response(path.read_bytes(), media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    async def form(self, request: Request) -> Response:
        """Show the card form, or take what was typed into it and answer with the result."""
        typed = await read_form(request) if request.method == "POST" else None
        session = self._desk.store.sessions.first("WHERE form = ?", request.path_params["form"])
        if session is None:
            return render_message("EN", "unknown", 404)
        if typed is not None:
            return self._submitted(session, typed)
        if session.state == "spent" or is_over(session.expires_at):
            return render_message(session.language, "expired", 410)
        return self._shown_form(session)

    def _shown_form(self, session: Session) -> Response:
        offered = [self._desk.store.tokens.get(token_id) for token_id in session.offered.split(",") if token_id]
        return render_form(
            session.language,
            asks_consent=session.asks_consent,
            needs_cvc=session.needs_cvc,
            needs_stored_cvc=session.needs_stored_cvc,
            tokens={token.id: unpacked(token.card).alias for token in offered if token},
        )

    def _submitted(self, session: Session, typed: dict[str, str]) -> Response:
        with self._ledger.together():
            wrong = self._tokenization.submit(session, typed)
        if not wrong:
            return JSONResponse({"success": True, "hostedTokenizationId": session.id})
        words = words_for(session.language)
        return JSONResponse({"success": False, "error": {"message": words.get(wrong, words["session"])}})

    # ---- the challenge of a payment

    async def challenge(self, request: Request) -> Response:
        """Show a challenge, or take the customer's answer and send them back to the shop."""
        form = await read_form(request) if request.method == "POST" else None
        page = self._desk.store.challenges.get(request.path_params["page"])
        payment = self._desk.store.payments.get(page.number) if page else None
        if page is None or payment is None:
            return render_message("EN", "unknown", 404)
        if payment.code != 46:
            return render_message(page.language, "closed", 410)
        action = (form or {}).get("action")
        if action not in {"confirm", "refuse"}:
            return self._asked(payment, page.language)
        self._answered(payment, is_confirmed=action == "confirm")
        return self._back(payment, page.language, ("paymentId", payment.id()))

    def _asked(self, payment: Payment, language: str) -> Response:
        return render(
            language,
            "secure",
            amount=shown_amount(payment.amount, payment.currency, language),
            reference=payment.merchant_reference,
            text=words_for(language)["text_secure"],
            asks_confirmation=True,
        )

    def _answered(self, payment: Payment, *, is_confirmed: bool) -> None:
        """Let the issuer decide after a challenge: a refusing customer fails, a card may fail all the same."""
        luck = self._desk.till.luck(PAGE_OPERATION, payment)
        with self._ledger.together():
            code = note_result(payment, unpacked(payment.card).result if is_confirmed else "R")
            payment.flow = "challenge"
            self._decide(payment, code or after_challenge(payment), luck)
        self._desk.sender.dispatch()

    def _decide(self, payment: Payment, code: str, luck: Luck) -> None:
        rule = luck.draw("outcome")
        if rule and rule.fault == "suspend":
            self._desk.till.suspend(payment, luck)
        elif code or rule:
            self._desk.till.decline(payment, rule.detail if rule else code, luck)
        else:
            self._desk.till.approve(payment, luck)

    def _back(self, payment: Payment, language: str, name: tuple[str, str]) -> Response:
        """Send the customer back to the shop, whether it went well or not (reference section 7.6)."""
        if not payment.return_url:
            return render_message(language, "failed" if payment.code in {1, 2} else "done")
        url = appended(payment.return_url, [name, ("RETURNMAC", payment.return_mac)])
        return Response(status_code=303, headers={"Location": url, "Cache-Control": "no-store"})

    # ---- hosted checkout

    async def checkout(self, request: Request) -> Response:
        """Show a hosted checkout, or take what the customer did on it."""
        form = await read_form(request) if request.method == "POST" else None
        page = self._desk.store.checkouts.first("WHERE page = ?", request.path_params["page"])
        payment = self._desk.store.payments.get(page.id) if page else None
        if page is None or payment is None:
            return render_message("EN", "unknown", 404)
        if page.state != "IN_PROGRESS":
            return render_message(page.language, "closed", 410)
        if is_over(page.expires_at):
            return render_message(page.language, "expired", 410)
        return self._shown(page, payment, "") if form is None else self._take(page, payment, form)

    def _shown(self, page: Checkout, payment: Payment, error: str) -> Response:
        if payment.code == 46:
            return self._asked(payment, page.language)
        amount = shown_amount(payment.amount, payment.currency, page.language)
        return render(
            page.language,
            "pay",
            error=error,
            amount=amount,
            reference=payment.merchant_reference,
            asks_card=True,
            pay_label=words_for(page.language)["pay"].format(amount=amount),
        )

    def _take(self, page: Checkout, payment: Payment, form: dict[str, str]) -> Response:
        action = form.get("action")
        if payment.code == 46:
            if action not in {"confirm", "refuse"}:
                return self._shown(page, payment, "")
            self._answered(payment, is_confirmed=action == "confirm")
            return self._after_try(page, payment)
        if action == "cancel":
            return self._leave(page, payment, "CANCELLED_BY_CONSUMER")
        return self._try(page, payment, form) if action == "pay" else self._shown(page, payment, "")

    def _try(self, page: Checkout, payment: Payment, form: dict[str, str]) -> Response:
        expiry = form.get("expiry", "").replace("/", "").replace(" ", "")
        try:
            card = self._desk.card({"cardNumber": form.get("number", ""), "expiryDate": expiry}, "card")
        except RefusalError as refusal:
            wrong = refusal.flaw.property_name.rpartition(".")[2]
            return self._shown(page, payment, words_for(page.language)[wrong])
        cvc = form.get("cvc", "").strip()
        if not (cvc.isdecimal() and len(cvc) in {3, 4}):
            return self._shown(page, payment, words_for(page.language)["cvv"])
        payment.card, payment.is_tried, payment.flow = card.packed(), True, ""
        return self._tried(page, payment)

    def _tried(self, page: Checkout, payment: Payment) -> Response:
        page.tries += 1
        card, luck = unpacked(payment.card), self._desk.till.luck(PAGE_OPERATION, payment)
        code = after_challenge(payment)
        asks = page.asks_challenge or card.flow == "challenge" or card.decline() == SOFT_DECLINE
        with self._ledger.together():
            self._desk.store.checkouts.save(page)
            if asks and luck.draw("outcome") is None:
                payment.flow = "challenge"
                self._desk.till.redirect(payment, luck)
            else:
                payment.flow = "frictionless"
                self._decide(payment, note_result(payment, card.result) or code, luck)
        self._desk.sender.dispatch()
        return self._shown(page, payment, "") if payment.code == 46 else self._after_try(page, payment)

    def _after_try(self, page: Checkout, payment: Payment) -> Response:
        if payment.code == 2 and page.tries < page.tries_max:
            return self._shown(page, payment, words_for(page.language)["failed"])
        return self._leave(page, payment, "PAYMENT_CREATED")

    def _leave(self, page: Checkout, payment: Payment, state: str) -> Response:
        page.state = state
        self._desk.store.checkouts.save(page)
        return self._back(payment, page.language, ("hostedCheckoutId", str(page.id)))


def after_challenge(payment: Payment) -> str:
    """Return the code with which the issuer declines an authenticated payment, or an empty text."""
    if payment.mode == "SALE" and payment.amount == DECLINED_SALE_AMOUNT:
        return INSUFFICIENT_FUNDS
    code = unpacked(payment.card).decline()
    return "" if code == SOFT_DECLINE else code


def appended(url: str, pairs: list[tuple[str, str]]) -> str:
    """Append parameters after the merchant's own query, before a fragment."""
    address, hash_mark, fragment = url.partition("#")
    query = "&".join(f"{name}={quote_plus(value)}" for name, value in pairs)
    joined = f"{address}{'&' if urlsplit(address).query else '?'}{query}{hash_mark}{fragment}"
    return "".join(c if "!" <= c <= "~" else quote_plus(c) for c in joined)
