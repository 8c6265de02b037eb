"""The simulated PaymentZ: REST with tokens and checksums, a hosted page beside it, and its part of the controls.

``reference`` in the ledger is the merchant's own ``merchantTransactionId``, and
``gateway_id`` the ``paymentId``; captures, reversals and refunds carry both of
their payment, as this wire gives them no ids of their own.

``POST /_sandbox/profiles`` puts cards on file: of each it takes ``reference`` and
``card``, and if wanted ``expiry`` (MM/YYYY), ``currency``, ``customer_id``,
``payment_id`` and ``registration_id``, after how many ``approvals`` the card
``declines`` and with which words; it answers with the ids to charge them by.
``POST /_sandbox/expire-tokens`` expires every token given out so far.

Choices where the reference leaves one:

* amounts have two decimals on the wire in every currency; those of currencies
  without cents must end in ``.00``, and the ledger counts whole units;
* a hosted page stays open through declined tries, three by default; while it is
  open the same form leads to it again, afterwards to the way back to the shop;
* a try that the bank refuses on the hosted page is a row of the ledger and no
  change of status, so no callback tells of it;
* ``.09`` and the garbage fault book first; ``.06`` and ``.09`` act on calls that
  make a payment or payout, not on captures and refunds;
* a REPEATED that carries card data or a redirect address is refused;
* inquiries tell ``recurringType``, and ``registrationId`` where there is one.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from gateways.sandbox.control import ExchangeLog, IllegalMoveError
from gateways.sandbox.faults import Facts, Faults, Luck, Words, wait
from gateways.sandbox.knobs import NOTE as SETTINGS
from gateways.sandbox.knobs import Knobs
from gateways.sandbox.ledger import Booking, Ledger
from gateways.sandbox.paymentz_backoffice import BackOffice
from gateways.sandbox.paymentz_desk import AccessError, BrokenError, Call, Desk
from gateways.sandbox.paymentz_fields import (
    Body,
    Fields,
    RefusalError,
    as_xml,
    malformed,
    minor_units,
    read_cents,
    read_fields,
)
from gateways.sandbox.paymentz_pages import Pages
from gateways.sandbox.paymentz_payments import Payments
from gateways.sandbox.paymentz_profiles import shown_profile, store_profiles
from gateways.sandbox.paymentz_shapes import refusal_shape, reordered, result, timestamp, with_strangers
from gateways.sandbox.paymentz_signing import expiry_of, is_same, make_token
from gateways.sandbox.paymentz_store import Store
from gateways.sandbox.paymentz_till import Till, may_go
from gateways.sandbox.paymentz_values import (
    BROKEN,
    KNOB_CHOICES,
    KNOBS,
    MEMBER_ID,
    MOVE,
    NO_ACCESS,
    PAGE,
    PARTNER_ID,
    PROVIDER,
    REGENERATE_PATH,
    REST,
    SECRET_KEY,
    TERMINAL_ID,
    TO_TYPE,
    USERNAME,
)
from gateways.sandbox.push import FAILED, TAKEN, Letter, Patience, Push, Sender
from gateways.sandbox.server import complain, cut
from gateways.sandbox.throttle import turned_away

DUE_CHECK_S = 0.1
GENERATION = "token_generation"
HTML_ERROR = "<html><body><h1>An error occurred</h1></body></html>"
# Paths of one word, and of a word and an id, by the operation they are; None where the fields say which.
PLAIN = {
    "payments": None,
    "inquiry": "Inquiry",
    "getTransactionList": "TransactionList",
    "payout": "Payout",
    "registrations": "Register",
    "getCardsAndAccounts": "ListRegistrations",
}
ON_PAYMENT = {"CP": "Capture", "RF": "Refund", "RV": "Reversal", "IN": "Inquiry"}
ALIASES = frozenset(("refund", "registrations"))
TOKEN_CALLS = frozenset(("authToken", "partnerAuthToken", "regenerateToken"))
# Those that are answered, when refused, as a payment that does not exist (D-42, D-74).
MAKING = frozenset(("Payment", "Repeated", "PayWithToken", "Payout", "DeleteRegistration"))
BOOKING = frozenset(("Payment", "Repeated", "PayWithToken", "Payout", "Capture", "Refund", "Reversal"))
OPERATIONS = TOKEN_CALLS | MAKING | BOOKING | frozenset(filter(None, PLAIN.values())) | {"Status", PAGE, MOVE, PROVIDER}

Handler = Callable[[Call], Body]


def judge(status: int, _text: str) -> str:
    """Word how a merchant took a callback: anything from 200 to 299 is taken, whatever its body (D-87)."""
    return TAKEN if 200 <= status < 300 else FAILED


def operation_of(path: str, fields: Fields) -> tuple[str, str]:
    """Return the operation that a POST asks for and the id in its path; LookupError if there is none such."""
    word, _, payment_id = path.partition("/")
    if word == "payments" and fields.get("recurringType") == "REPEATED":
        return "Repeated", payment_id
    if not payment_id:
        return PLAIN[word] or "Payment", ""
    if word == "refund":
        return "Refund", payment_id
    if word in {"paywithtoken", "registrations"}:
        return "DeleteRegistration" if fields.get("paymentType") == "DL" else "PayWithToken", payment_id
    if word != "payments":
        raise LookupError(path)
    if fields.get("paymentType") not in ON_PAYMENT:
        raise malformed("paymentType")
    return ON_PAYMENT[fields["paymentType"]], payment_id


class PaymentZ:
    """One simulated PaymentZ with one member's account."""

    name = "paymentz"
    profile_key, moves_path = "reference", "payments"

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder, self.name)
        self.knobs = Knobs(self.ledger, KNOBS, KNOB_CHOICES)
        self.log = ExchangeLog()
        self._store = Store(self.ledger)
        self._sender = Sender(self.ledger, self._patience, judge, self._write)
        self.faults = Faults(self.ledger, Words(OPERATIONS, absent_faults=frozenset(("fault",))))
        till = Till(self._store, self.ledger, self._sender, self.knobs, self.faults)
        self._desk = Desk(self._store, till, self.knobs)
        payments = Payments(self._desk)
        self._pages = Pages(self._desk, self.ledger, self._sender, payments)
        self._handlers = self._list_handlers(payments, BackOffice(self._desk))
        self._clockwork: asyncio.Task[None] | None = None

    def _list_handlers(self, payments: Payments, office: BackOffice) -> dict[str, Handler]:
        return {
            "authToken": self._log_in,
            "partnerAuthToken": self._log_in,
            "regenerateToken": self._regenerate,
            "Payment": payments.purchase,
            "Repeated": payments.repeated,
            "PayWithToken": payments.with_token,
            "Payout": payments.payout,
            "Capture": office.capture,
            "Refund": office.refund,
            "Reversal": office.reversal,
            "Inquiry": office.inquiry,
            "Status": office.status,
            "TransactionList": office.transactions,
            "Register": office.register,
            "DeleteRegistration": office.delete,
            "ListRegistrations": office.registrations,
        }

    # ---- what every simulator offers

    def routes(self) -> list[Route]:
        """Return the addresses of the wire, of the pages, and of the control that expires all tokens."""
        return [
            Route(f"{REST}{{rest:path}}", self.endpoint, methods=["GET", "POST"]),
            Route(REGENERATE_PATH, self.endpoint, methods=["POST"]),
            Route("/_sandbox/expire-tokens", self.expire_tokens, methods=["POST"]),
            *self._pages.routes(),
        ]

    def credentials(self, base_url: str) -> dict[str, str]:
        """Return the host's address and the account."""
        return {
            "endpoint": base_url,
            "member_id": MEMBER_ID,
            "partner_id": PARTNER_ID,
            "username": USERNAME,
            "secret_key": SECRET_KEY,
            "terminal_id": TERMINAL_ID,
            "to_type": TO_TYPE,
        }

    def use_base_url(self, base_url: str) -> None:
        """Make the addresses of pages begin with this."""
        self._desk.base_url = base_url

    async def start(self) -> None:
        """Send what is owed and let provider time run."""
        self._sender.resume()
        self._clockwork = asyncio.create_task(self._let_time_pass())
        self._clockwork.add_done_callback(complain)

    async def stop(self) -> None:
        """Stop time and sending, and close the file."""
        if self._clockwork:
            self._clockwork.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._clockwork
        await self._sender.stop()
        self.ledger.close()

    async def _let_time_pass(self) -> None:
        while True:
            if self._desk.till.pass_time():
                self._sender.dispatch()
            await asyncio.sleep(DUE_CHECK_S)

    def reset(self) -> None:
        """Forget everything but the settings; tokens expired by the tester stay so."""
        self._sender.drop_all()
        with self.ledger.together():
            self.ledger.empty(SETTINGS, GENERATION)
        self.faults.replace([])
        self.log.clear()

    def store_profiles(self, sent: list[Any]) -> list[dict[str, object]]:
        """Store test INITIALs, all or none, and show by what they are charged."""
        return store_profiles(self.ledger, self._store, sent)

    def shown_profiles(self, wanted: str) -> list[dict[str, object]]:
        """Return the payment of a reference, if it left a registered card."""
        payment = self._store.by_reference(wanted)
        registered = self._store.registrations.get(payment.registration) if payment else None
        return [shown_profile(payment, registered)] if payment and registered else []

    def shown_bookings(self, rows: list[Booking]) -> list[dict[str, object]]:
        """Give rows of the ledger; the merchant's own word is their reference."""
        return [row.shown() for row in rows]

    def move(self, gateway_id: str, state: str) -> dict[str, object]:
        """Bring a payment to a long status as the provider would, later."""
        payment = self._store.payment(gateway_id)
        if payment is None:
            raise LookupError(gateway_id)
        if not may_go(payment, state):
            raise IllegalMoveError(f"payment {gateway_id} is {payment.status} and cannot become {state}")
        with self.ledger.together():
            self._desk.till.go(payment, state, self._desk.till.luck(MOVE, payment))
        self._sender.dispatch()
        return {"gateway_id": payment.id, "state": payment.status}

    def shown_log(self) -> dict[str, object]:
        """Return the last exchanges and what became of the last callbacks."""
        pushes = self._sender.pushes.all("ORDER BY id DESC LIMIT 1000")
        callbacks = [
            {"gateway_id": push.gateway_id, "callback": push.subject, "status": push.status, "attempts": push.attempts}
            for push in reversed(pushes)
        ]
        return {"exchanges": self.log.shown(), "callbacks": callbacks}

    # ---- callbacks

    def _patience(self) -> Patience:
        words = self.knobs.words("callback_retry_delays")
        delays = [float(word) for word in words if word.replace(".", "", 1).isdecimal()]
        return Patience(self.knobs.seconds("callback_timeout_s"), len(delays) + 1, lambda tries: delays[tries - 1])

    def _write(self, push: Push) -> Letter:
        callback = self._store.callbacks.get(int(push.subject))
        headers = {"Content-Type": "application/json; charset=utf-8"}
        return Letter("POST", headers, callback.body.encode() if callback else b"{}")

    # ---- tokens

    def _log_in(self, call: Call) -> Body:
        """Give a token to whoever knows the secret key and names nothing that is not the account's (D-13)."""
        known = {
            "authentication.partnerId": PARTNER_ID,
            "authentication.memberId": MEMBER_ID,
            "merchant.username": USERNAME,
            "partner.userName": USERNAME,
        }
        is_ours = all(call.fields.get(name, value) == value for name, value in known.items())
        if not (is_ours and is_same(call.fields.get("authentication.sKey", ""), SECRET_KEY)):
            raise AccessError
        return self._new_token("partner" if call.operation == "partnerAuthToken" else "merchant")

    def _regenerate(self, call: Call) -> Body:
        """Give a new token for one that has not been over for long (D-15)."""
        expires_at = expiry_of(call.fields.get("authToken", ""), self._generation)
        is_ours = call.fields.get("authentication.partnerId") == PARTNER_ID
        if not is_ours or expires_at + self.knobs.seconds("regenerate_grace_s") <= time.time():
            raise AccessError
        return self._new_token("merchant")

    def _new_token(self, role: str) -> Body:
        expires_at = int(time.time() + self.knobs.seconds("token_ttl_s"))
        return {
            "partnerId": PARTNER_ID,
            "memberId": MEMBER_ID,
            "result": result("200"),
            "timestamp": timestamp(),
            "LoginName": USERNAME,
            "AuthToken": make_token(USERNAME, role, expires_at, self._generation),
        }

    @property
    def _generation(self) -> int:
        return int(self.ledger.note(GENERATION) or 0)

    async def expire_tokens(self, _request: Request) -> Response:
        """Make every token given out so far one that is no longer known."""
        self.ledger.remember(GENERATION, self._generation + 1)
        return JSONResponse({"expired": True})

    def _check_token(self, request: Request) -> None:
        if expiry_of(request.headers.get("authtoken", ""), self._generation) <= time.time():
            raise AccessError

    # ---- the wire

    async def endpoint(self, request: Request) -> Response:
        """Answer one call of the merchant's server."""
        raw = await request.body()
        path = request.path_params.get("rest", "regenerateToken")
        try:
            if path not in TOKEN_CALLS:
                self._check_token(request)
            call = self._call(request.method, path, read_fields(request.headers.get("content-type", ""), raw))
        except AccessError:
            return self._no_access(request, "-")
        except RefusalError as refusal:
            return self._refused(request, refusal, is_payment=True)
        except LookupError:
            return Response(status_code=404)
        return await self._with_misfortune(request, call)

    def _call(self, method: str, path: str, fields: Fields) -> Call:
        word, _, payment_id = path.partition("/")
        if method == "GET":
            if word != "payments" or not payment_id or not self.knobs.flag("allow_get_status"):
                raise LookupError(path)
            operation = "Status"
        elif payment_id and word in ALIASES and not self.knobs.flag("enable_path_aliases"):
            raise LookupError(path)
        else:
            operation, payment_id = (path, "") if path in TOKEN_CALLS else operation_of(path, fields)
        return Call(operation, payment_id, fields, Luck(self.faults, self._facts(operation, payment_id, fields)))

    def _facts(self, operation: str, payment_id: str, fields: Fields) -> Facts:
        """Gather what rules can match, of a call that has not been checked."""
        facts = Facts(operation, fields.get("merchantTransactionId", ""), books=operation in BOOKING)
        about = self._store.payment(payment_id) if operation not in MAKING else None
        facts.currency = fields.get("currency", about.currency if about else "")
        if about:
            facts.reference, facts.profile, facts.amount_minor = about.reference, about.profile, about.minor
        elif operation in MAKING:
            facts.profile = payment_id or fields.get("paymentId", "")
        with contextlib.suppress(RefusalError):
            cents = read_cents(fields.get("amount", ""), facts.currency)
            facts.amount_minor = minor_units(cents, facts.currency)
        return facts

    async def _with_misfortune(self, request: Request, call: Call) -> Response:
        line, luck = call.luck.fault("line"), call.luck
        await wait(luck, "delay")
        await asyncio.sleep(self.knobs.count("processing_ms") / 1000)
        if line == "drop_before_booking":
            await cut(request)
            return Response(status_code=500)
        if line == "unauthorized":
            return self._no_access(request, call.operation)
        if line == "http_500":
            return self._broken(request, call)
        if busy := turned_away(call.luck):
            return busy
        return await self._answer(request, call, line)

    async def _answer(self, request: Request, call: Call, line: str) -> Response:
        try:
            answer = self._book(request, call)
        except AccessError:
            return self._no_access(request, call.operation)
        except BrokenError:
            return self._broken(request, call)
        await wait(call.luck, "answer_delay")
        if line == "drop_after_booking" or call.trigger == "lost":
            await cut(request)
        if line == "garbage" or call.trigger == "html":
            return HTMLResponse(HTML_ERROR)
        return answer

    def _book(self, request: Request, call: Call) -> Response:
        """Process a call as one booking: when this returns, it is on disk and its callbacks are on their way."""
        try:
            with self.ledger.together():
                body = self._handlers[call.operation](call)
                refuse_if_forced(call)
        except RefusalError as refusal:
            self._sender.forget_queued()
            self.log.note(call.operation, call.luck.facts.reference, refusal.code)
            return self._refused(request, refusal, is_payment=call.operation in MAKING)
        except BaseException:
            self._sender.forget_queued()
            raise
        self._sender.dispatch()
        self.log.note(call.operation, call.luck.facts.reference, body["result"]["code"])
        body = reordered(body) if call.luck.fault("order") else body
        return self._written(request, with_strangers(body) if call.luck.fault("extra") else body, 200)

    # ---- writing

    def _written(self, request: Request, body: Body, status: int) -> Response:
        """Write an answer as the Accept header wants it."""
        accepted = request.headers.get("accept", "")
        if "application/xml" in accepted and "json" not in accepted:
            return Response(as_xml(self.knobs.text("xml_root"), body), status, media_type="application/xml")
        return JSONResponse(body, status)

    def _refused(self, request: Request, refusal: RefusalError, *, is_payment: bool) -> Response:
        status = self.knobs.count("reject_http_status") if is_payment else 200
        return self._written(request, refusal_shape(refusal, is_payment=is_payment), status)

    def _no_access(self, request: Request, operation: str) -> Response:
        """Answer without a usable token, or a login that is none, in the way that is set (D-12, D-13)."""
        self.log.note(operation, "", NO_ACCESS)
        mode = self.knobs.text("auth_failure_mode")
        if mode == "html200":
            return HTMLResponse(HTML_ERROR)
        status = 401 if mode == "json401" and operation not in TOKEN_CALLS else 200
        return self._written(request, refusal_shape(RefusalError(NO_ACCESS), is_payment=False), status)

    def _broken(self, request: Request, call: Call) -> Response:
        self.log.note(call.operation, call.luck.facts.reference, BROKEN)
        return self._written(request, refusal_shape(RefusalError(BROKEN), is_payment=False), 500)


def refuse_if_forced(call: Call) -> None:
    """Refuse a call that makes no try of its own where a rule says so; everything stays as it was."""
    rule = call.luck.draw("outcome")
    if rule and rule.fault == "decline" and call.operation not in {"Payment", "Repeated", "PayWithToken"}:
        raise RefusalError(rule.detail, rule.text)
