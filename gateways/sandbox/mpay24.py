"""The simulated mPAY24: SOAP at one address, hosted pages below another, and its part of the controls.

Choices where the reference leaves one:

* the body's merchantID must be that of the login, else ``MERCHANTID_NOT_CORRECT``;
* a withdrawn payment type (MASTERPASS) is no value of the enumeration any more,
  so it gets the fault that any unknown ``pType`` gets;
* a stored card that has expired is declined with EXTERNAL_ERROR and the text of
  the test data;
* TransactionStatus tells STATUS as the push does, and as PRICE what was cleared,
  or the amount where nothing was;
* a reversed reservation is ``RESERVED_REVERSAL`` in the history, which has no
  other word for it;
* a payment whose shopper never came back fails when its page expires.
"""

import asyncio
import contextlib
import hmac
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gateways.sandbox.control import ExchangeLog, IllegalMoveError
from gateways.sandbox.faults import Facts, Faults, Luck, Words, wait
from gateways.sandbox.knobs import NOTE as SETTINGS
from gateways.sandbox.knobs import Knobs
from gateways.sandbox.ledger import Booking, Ledger
from gateways.sandbox.mpay24_customers import Customers
from gateways.sandbox.mpay24_desk import Desk
from gateways.sandbox.mpay24_followups import Followups, failed_transaction
from gateways.sandbox.mpay24_mdxi import read_order
from gateways.sandbox.mpay24_pages import OPERATION as PAGE_OPERATION
from gateways.sandbox.mpay24_pages import Pages, offered
from gateways.sandbox.mpay24_payments import Payments
from gateways.sandbox.mpay24_profiles import read_profiles
from gateways.sandbox.mpay24_refusals import RefusalError, not_correct, not_entered
from gateways.sandbox.mpay24_store import Store
from gateways.sandbox.mpay24_till import Till, may_move
from gateways.sandbox.mpay24_values import (
    ENDPOINT_PATH,
    KNOB_CHOICES,
    KNOBS,
    LOGIN_WORD,
    MERCHANT_ID,
    PAGE_PATH,
    language_code,
)
from gateways.sandbox.mpay24_wire import (
    BODY_BYTES_MAX,
    OPERATIONS,
    Answer,
    FaultError,
    Record,
    node,
    read_request,
    reordered,
    with_strangers,
    write_answer,
    write_fault,
)
from gateways.sandbox.push import FAILED, REJECTED, TAKEN, Patience, Sender
from gateways.sandbox.server import complain, cut
from gateways.sandbox.throttle import turned_away

UNAUTHORIZED = """<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">
<html><head>
<title>401 Unauthorized</title>
</head><body>
<h1>Unauthorized</h1>
<p>This server could not verify that you are authorized to access the document requested.</p>
</body></html>
"""
SERVER_ERROR = "<html><head><title>500 Internal Server Error</title></head><body>Internal Server Error</body></html>\n"
GARBAGE = b"\x00\xffnot an answer \xfe <soap"
BOOKING_OPERATIONS = frozenset(
    "AcceptPayment AcceptWithdraw CreateCustomer ManualCallback ManualClear ManualReverse ManualCredit".split()
)
STD_TAIL = frozenset(
    "SelectPayment CreatePaymentToken CreateApplePayToken CreateGooglePayToken CreateCustomer AcceptPayment "
    "ManualCallback AcceptWithdraw CreateProfile".split()
)
COUNTED = frozenset(("ListNotCleared", "ListPaymentMethods", "ListProfiles"))
WITH_TRANSACTION = frozenset(("ManualReverse", "ManualCredit"))
DUE_CHECK_S = 0.1

Operation = Callable[[Record, Luck], Answer]


def judge(status: int, text: str) -> str:
    """Word how a merchant took a notification: only HTTP 200 counts as an answer, and only OK at its start as taken."""
    if status != 200:
        return FAILED
    return TAKEN if text.lstrip().startswith("OK") else REJECTED


def is_login(header: str) -> bool:
    """Say whether an Authorization header carries the account's name and password."""
    scheme, _, encoded = header.partition(" ")
    try:
        given = b64decode(encoded.strip(), validate=True)
    except ValueError:
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(given, f"u{MERCHANT_ID}:{LOGIN_WORD}".encode())


class Mpay24:
    """One simulated mPAY24 with one merchant's account."""

    name = "mpay24"
    profile_key, moves_path = "customer_id", "transactions"

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder, self.name)
        self.knobs = Knobs(self.ledger, KNOBS, KNOB_CHOICES)
        self.faults = Faults(self.ledger, Words(OPERATIONS | {PAGE_OPERATION, "Move", "Provider"}))
        self.log = ExchangeLog()
        self._store = Store(self.ledger)
        self._sender = Sender(self.ledger, self._patience, judge)
        till = Till(self._store, self.ledger, self._sender, self.knobs, self.faults)
        self._desk = Desk(self._store, till, self._sender, self.knobs)
        self._pages = Pages(self._desk, self.ledger)
        self._operations = self._list_operations()
        self._clockwork: asyncio.Task[None] | None = None

    def _list_operations(self) -> dict[str, Operation]:
        payments, followups, customers = Payments(self._desk), Followups(self._desk), Customers(self._desk)
        return {
            "SelectPayment": self._select_payment,
            "CreatePaymentToken": customers.create_payment_token,
            "CreateApplePayToken": customers.create_wallet_token,
            "CreateGooglePayToken": customers.create_wallet_token,
            "CreateCustomer": customers.create_customer,
            "AcceptPayment": payments.accept_payment,
            "ManualCallback": payments.manual_callback,
            "ManualClear": followups.manual_clear,
            "ManualReverse": followups.manual_reverse,
            "ManualCredit": followups.manual_credit,
            "AcceptWithdraw": payments.accept_withdraw,
            "TransactionStatus": followups.transaction_status,
            "TransactionConfirmation": followups.transaction_confirmation,
            "TransactionHistory": followups.transaction_history,
            "ListNotCleared": customers.list_not_cleared,
            "ListPaymentMethods": customers.list_payment_methods,
            "CreateProfile": customers.create_profile,
            "ListProfiles": customers.list_profiles,
            "DeleteProfile": customers.delete_profile,
        }

    def _patience(self) -> Patience:
        timeout_s, retry_delay_s = self.knobs.seconds("push_timeout_s"), self.knobs.seconds("push_retry_delay_s")
        return Patience(timeout_s, self.knobs.count("push_max_attempts"), lambda _tries: retry_delay_s)

    # ---- what every simulator offers

    def routes(self) -> list[Route]:
        """Return the addresses of the wire and of the hosted pages."""
        return [
            Route(ENDPOINT_PATH, self.endpoint, methods=["POST"]),
            Route(f"{PAGE_PATH}{{page}}", self._pages.serve, methods=["GET", "POST"]),
        ]

    def credentials(self, base_url: str) -> dict[str, str]:
        """Return the endpoint and the login."""
        return {"endpoint": base_url + ENDPOINT_PATH, "merchant_id": MERCHANT_ID, "password": LOGIN_WORD}

    def use_base_url(self, base_url: str) -> None:
        """Make the addresses of hosted pages begin with this."""
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
            for transaction in self._desk.till.due():
                with self.ledger.together():
                    self._desk.till.enter_due(transaction)
                self._sender.dispatch()
            await asyncio.sleep(DUE_CHECK_S)

    def reset(self) -> None:
        """Forget everything but the settings."""
        self._sender.drop_all()
        with self.ledger.together():
            self.ledger.empty(SETTINGS)
        self.faults.replace([])
        self.log.clear()

    def store_profiles(self, sent: list[Any]) -> int:
        """Store test profiles, all or none; one replaces what its customer had."""
        profiles = read_profiles(sent)
        with self.ledger.together():
            for profile in profiles:
                self._store.profiles.remove("WHERE customer_id = ?", profile.customer_id)
            self._store.profiles.add_all(profiles)
        return len(profiles)

    def shown_profiles(self, customer_id: str) -> list[dict[str, object]]:
        """Return a customer's profiles; what is kept of a card or account is masked already."""
        return [
            {
                "customer_id": profile.customer_id,
                "profile_id": profile.profile_id,
                "kind": profile.kind,
                "brand": profile.brand,
                "identifier": profile.identifier,
                "expiry": profile.expiry,
                "name": profile.name,
                "updated": profile.updated,
            }
            for profile in self._store.profiles_of(customer_id)
        ]

    def shown_bookings(self, rows: list[Booking]) -> list[dict[str, object]]:
        """Give rows of the ledger; there is nothing to add."""
        return [row.shown() for row in rows]

    def move(self, gateway_id: str, state: str) -> dict[str, object]:
        """Move a transaction as the provider would months later, and tell the merchant."""
        transaction = self._store.transactions.get(int(gateway_id) if gateway_id.isdecimal() else 0)
        if transaction is None:
            raise LookupError(gateway_id)
        if not may_move(transaction, state) or state in {"REDIRECTED", "VALIDATED"}:
            raise IllegalMoveError(f"transaction {gateway_id} is {transaction.state} and cannot become {state}")
        amounts = {"CREDITED": transaction.cleared - transaction.credited}
        with self.ledger.together():
            luck = self._desk.till.luck("Move", transaction)
            self._desk.till.enter(transaction, state, amounts.get(state, transaction.amount), luck)
        self._sender.dispatch()
        return {"gateway_id": gateway_id, "state": transaction.state}

    def shown_log(self) -> dict[str, object]:
        """Return the last exchanges and how often each transaction was asked about, marked where over budget."""
        budget = self.knobs.count("status_call_budget")
        asked = self._store.transactions.all("WHERE status_calls > 0 ORDER BY mpay_tid DESC LIMIT 1000")
        over = self._store.transactions.all("WHERE status_calls > ? ORDER BY mpay_tid LIMIT 1000", budget)
        warnings = [
            {
                "gateway_id": str(t.mpay_tid),
                "reference": t.tid,
                "status_calls": t.status_calls,
                "status_over_budget": "warn",
            }
            for t in over
        ]
        calls = {str(t.mpay_tid): t.status_calls for t in asked}
        return {"exchanges": self.log.shown(), "status_calls": calls, "over_budget": warnings}

    # ---- the wire

    async def endpoint(self, request: Request) -> Response:
        """Answer one SOAP call."""
        body = await request.body()
        if not is_login(request.headers.get("authorization", "")):
            return HTMLResponse(UNAUTHORIZED, 401, {"WWW-Authenticate": 'Basic realm="etpproxy"'})
        try:
            if len(body) > BODY_BYTES_MAX:
                raise FaultError("Message too large")
            operation, record = read_request(body)
        except FaultError as fault:
            self.log.note("-", "", "fault")
            return xml(write_fault("Client", str(fault)), 500)
        luck = Luck(self.faults, self._facts(operation, record))
        return await self._with_misfortune(request, operation, record, luck)

    async def _with_misfortune(self, request: Request, operation: str, record: Record, luck: Luck) -> Response:
        early = self._early_misfortune(luck)
        await wait(luck, "delay")
        if early:
            return early
        line = luck.fault("line")
        if line == "drop_before_booking":
            await cut(request)
            return Response(status_code=500)
        nodes = self._book(operation, record, luck)
        await wait(luck, "answer_delay")
        if line == "drop_after_booking":
            await cut(request)
            return Response(status_code=500)
        if line == "garbage":
            return Response(GARBAGE, media_type="text/xml")
        return self._written(operation, nodes, luck)

    def _early_misfortune(self, luck: Luck) -> Response | None:
        """Return the answer of a fault that strikes before anything is processed."""
        line = luck.fault("line")
        if line == "unauthorized":
            return HTMLResponse(UNAUTHORIZED, 401, {"WWW-Authenticate": 'Basic realm="etpproxy"'})
        if line == "http_500":
            return HTMLResponse(SERVER_ERROR, 500)
        if line == "fault":
            return xml(write_fault("Client", "Validation constraint violation: injected by a rule"), 500)
        return turned_away(luck)

    def _book(self, operation: str, record: Record, luck: Luck) -> list[Any]:
        """Process a call as one booking: when this returns, it is on disk and its notifications are on their way."""
        try:
            with self.ledger.together():
                answer = self._answer(operation, record, luck)
        except BaseException:
            self._sender.forget_queued()
            raise
        self._sender.dispatch()
        self.log.note(operation, luck.facts.reference, answer.return_code)
        return answer.nodes()

    def _answer(self, operation: str, record: Record, luck: Luck) -> Answer:
        try:
            self._check_merchant(record)
            if operation not in BOOKING_OPERATIONS:
                self._desk.refuse_if_forced(luck)
            return self._operations[operation](record, luck)
        except RefusalError as refusal:
            return refused(operation, record, refusal)

    def _check_merchant(self, record: Record) -> None:
        merchant_id = record.number("merchantID")
        if merchant_id is None:
            raise not_entered("merchantID")
        if str(merchant_id) != MERCHANT_ID:
            raise not_correct("merchantID")

    def _written(self, operation: str, nodes: list[Any], luck: Luck) -> Response:
        if luck.fault("order"):
            nodes = reordered(nodes)
        if luck.fault("extra"):
            nodes = with_strangers(nodes)
        return xml(write_answer(operation, nodes))

    def _facts(self, operation: str, record: Record) -> Facts:
        """Gather what rules can match; of a call about a transaction, from the transaction."""
        money = record.part("payment") if record.has("payment") else record.part("withdraw")
        facts = Facts(operation, record.text("tid"), record.text("customerID"), books=operation in BOOKING_OPERATIONS)
        facts.amount_minor, facts.currency = money.number("amount"), money.text("currency")
        details = record.parts("clearingDetails")
        mpay_tid = (details[0] if details else record).number("mpayTID")
        known = self._store.transactions.get(mpay_tid) if mpay_tid is not None else None
        if known:
            facts.reference, facts.profile = known.tid, known.customer_id
            facts.amount_minor, facts.currency = known.amount, known.currency
        if operation == "SelectPayment":
            self._add_order_facts(facts, record)
        return facts

    def _add_order_facts(self, facts: Facts, record: Record) -> None:
        with contextlib.suppress(RefusalError):
            order = read_order(record.text("mdxi"))
            facts.reference, facts.profile = str(order["tid"]), str(order["customer_id"])
            facts.amount_minor, facts.currency = int(str(order["amount"])), str(order["currency"])

    def _select_payment(self, record: Record, _luck: Luck) -> Answer:
        """Open a payment page; no transaction comes into being, so no mpayTID is told."""
        if not record.text("mdxi"):
            raise not_entered("mdxi")
        self._desk.check_lengths(record)
        order = read_order(record.text("mdxi"))
        if not offered(order, self.knobs.words("active_payment_types")):
            raise RefusalError("PAYMENT_METHOD_NOT_ACTIVE")
        language = language_code(str(order["language"]), self.knobs.text("default_language"))
        page = self._desk.open_page("order", order, language)
        return Answer("REDIRECT", node("location", self._desk.location(page)))


def refused(operation: str, record: Record, refusal: RefusalError) -> Answer:
    """Word a refusal with every element that the operation's answer must have, even empty."""
    rest = node("errNo", refusal.err_no) + node("errText", refusal.err_text) if operation in STD_TAIL else []
    if operation == "SelectPayment":
        rest += node("location", "")
    if operation in WITH_TRANSACTION:
        rest += failed_transaction(record)
    if operation in COUNTED:
        rest += node("all", 0)
    return Answer(refusal.code, rest, is_ok=False)


def xml(text: str, status: int = 200) -> Response:
    """Answer with XML."""
    return Response(text, status, media_type="text/xml")
