"""The simulated Computop Paygate: encrypted key-value endpoints, hosted pages, and its part of the controls.

An auditor finds the merchant's own key for a try as ``reference`` in the
ledger: it is the TransID of the payment. ``gateway_id`` is its PayID. Rows of
what followed have the reference of their payment; every row tells besides the
XID, TransID, RefNr and ReqId of its own step.

Choices where the reference leaves one, beside those of its section 15:

* a request that is rejected as a whole makes no payment: its answer has a PayID
  of zeros, nobody is notified, and its ReqId stays free;
* of the sender everything is checked first (merchant, MAC), then the contents;
  a known parameter given twice is 4017 and its number;
* a text without pairs in it is not decryptable: that is what another password
  makes of it;
* whether a ReqId was answered is looked up when a call arrives, so that of two
  in flight both are processed;
* a payment of nobody's method (an unknown PayID) is answered by module 020;
* a card's payment is told once, after the last try on its page.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateways.sandbox.computop_calls import Call, Calls, answer
from gateways.sandbox.computop_cards import new_scheme_reference, read_test_card
from gateways.sandbox.computop_crypto import NOT_DECRYPTABLE, read_pairs, seal, unseal
from gateways.sandbox.computop_fields import by_name, can_return, check
from gateways.sandbox.computop_json import read_card
from gateways.sandbox.computop_moves import Moves
from gateways.sandbox.computop_pages import Pages
from gateways.sandbox.computop_store import Card, Consent, Step, Store
from gateways.sandbox.computop_till import DEAF_ACCOUNT, DEAF_TRIES, Pairs, Till, new_id
from gateways.sandbox.computop_values import (
    BOOKING,
    ENCRYPTION_PASSWORD,
    ENDPOINTS,
    FORMS,
    HMAC_PASSWORD,
    KNOB_CHOICES,
    KNOBS,
    MERCHANT_ID,
    NO_PAYMENT,
    PAGE_OPERATION,
    RefusalError,
    described,
)
from gateways.sandbox.control import ExchangeLog
from gateways.sandbox.faults import MATCH_KEYS, Facts, Faults, Luck, Words, wait
from gateways.sandbox.knobs import NOTE as SETTINGS
from gateways.sandbox.knobs import Knobs
from gateways.sandbox.ledger import Booking, Ledger
from gateways.sandbox.push import FAILED, TAKEN, Letter, Patience, Push, Sender, UnansweredError
from gateways.sandbox.server import complain, cut
from gateways.sandbox.throttle import turned_away

DUE_CHECK_S = 0.1
BODY_BYTES_MAX = 400_000
FORM_TYPE = "application/x-www-form-urlencoded; charset=iso-8859-1"
GARBAGE = b"<html><body>\x00\xff upstream sent something odd"
ENVELOPE = {"merchantid": "0003", "len": "0008", "data": "0007"}


def judge(status: int, _text: str) -> str:
    """Word how a merchant took a notification: anything from 200 to 299 is taken."""
    return TAKEN if 200 <= status < 300 else FAILED


async def read_envelope(request: Request) -> Pairs:
    """Read the clear fields of a call by their names in small letters; others than those known are ignored."""
    sent = await request.body() if request.method == "POST" else request.scope["query_string"]
    with contextlib.suppress(ValueError):
        pairs = parse_qsl(sent[:BODY_BYTES_MAX].decode("latin-1"), max_num_fields=50, encoding="latin-1")
        return {name.lower(): value for name, value in pairs}
    return {}


def amount_in(given: Pairs) -> int | None:
    """Return the amount of a request that has not been checked."""
    text = given.get("amount", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


class Computop:
    """One simulated Paygate with one merchant's account."""

    name = "computop"
    profile_key, moves_path = "card", "payments"

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder, self.name)
        self.knobs = Knobs(self.ledger, KNOBS, KNOB_CHOICES)
        operations = frozenset((*ENDPOINTS.values(), PAGE_OPERATION, "Move", "Provider"))
        self.faults = Faults(self.ledger, Words(operations, (*MATCH_KEYS, "merchant_reference"), frozenset(("fault",))))
        self.log = ExchangeLog()
        self._store = Store(self.ledger)
        self._sender = Sender(self.ledger, self._patience, judge, self._write)
        self._till = Till(self._store, self.ledger, self._sender, self.knobs, self.faults)
        self._calls, self._pages, self._moves = Calls(self._till), Pages(self._till), Moves(self._till)
        self._clockwork: asyncio.Task[None] | None = None

    # ---- what every simulator offers

    def routes(self) -> list[Route]:
        """Return the addresses of the wire and of the hosted pages."""
        return [*self._pages.routes(), Route("/{endpoint}", self.endpoint, methods=["GET", "POST"])]

    def credentials(self, base_url: str) -> dict[str, str]:
        """Return the address, the account and its two passwords."""
        return {
            "endpoint": base_url,
            "merchant_id": MERCHANT_ID,
            "encryption_password": ENCRYPTION_PASSWORD,
            "hmac_password": HMAC_PASSWORD,
            "cipher": self.knobs.text("cipher"),
        }

    def use_base_url(self, base_url: str) -> None:
        """Make the addresses of hosted pages begin with this."""
        self._pages.base_url = base_url

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
            if self._till.pass_time():
                self._sender.dispatch()
            await asyncio.sleep(DUE_CHECK_S)

    def reset(self) -> None:
        """Forget everything but the settings."""
        self._sender.drop_all()
        with self.ledger.together():
            self.ledger.empty(SETTINGS)
        self.faults.replace([])
        self.log.clear()

    def store_profiles(self, sent: list[Any]) -> list[dict[str, object]]:
        """Put test cards on file, all or none, and return by which references each is charged."""
        cards = [(read_test_card(number, entry), entry) for number, entry in enumerate(sent, 1)]
        with self.ledger.together():
            return [self._put_on_file(card, entry.get("scheme_reference", "")) for card, entry in cards]

    def _put_on_file(self, card: Card, reference: str) -> dict[str, object]:
        consent = Consent(reference or new_scheme_reference(), card.pcnr)
        self._store.cards.remove("WHERE pcnr = ?", card.pcnr)
        self._store.cards.add(card)
        self._store.consents.remove("WHERE scheme_reference = ?", consent.scheme_reference)
        self._store.consents.add(consent)
        return self._shown_card(card, consent.scheme_reference)

    def _shown_card(self, card: Card, reference: str) -> dict[str, object]:
        shown: dict[str, object] = {"PCNr": card.pcnr, "schemeReferenceID": reference, "masked": card.masked}
        return shown | {"expiryDate": card.expiry, "brand": card.brand, "cardholderName": card.holder}

    def shown_profiles(self, wanted: str) -> list[dict[str, object]]:
        """Return a card on file by its PCNr, once for each reference it may be charged by."""
        card = self._store.cards.get(wanted)
        consents = self._store.consents.all("WHERE pcnr = ?", wanted)
        return [self._shown_card(card, consent.scheme_reference) for consent in consents] if card else []

    def shown_bookings(self, rows: list[Booking]) -> list[dict[str, object]]:
        """Give rows of the ledger with the words of their own steps."""
        steps = {step.id: step for step in self._store.steps.all("WHERE id BETWEEN ? AND ?", rows[0].id, rows[-1].id)}
        return [row.shown() | self._own_words(steps[row.id]) for row in rows]

    def _own_words(self, step: Step) -> dict[str, object]:
        return {"xid": step.xid, "trans_id": step.trans_id, "ref_nr": step.ref_nr, "req_id": step.req_id}

    def move(self, gateway_id: str, state: str) -> dict[str, object]:
        """Bring a payment to where it gets without the merchant: settled, declined, expired, refunded, charged_back."""
        payment = self._store.payment(gateway_id)
        if payment is None:
            raise LookupError(gateway_id)
        with self.ledger.together():
            self._moves.move(payment, state)
        self._sender.dispatch()
        return {"gateway_id": gateway_id, "state": payment.state}

    def shown_log(self) -> dict[str, object]:
        """Return the last exchanges and what became of the last notifications."""
        pushes = self._sender.pushes.all("ORDER BY id DESC LIMIT 1000")
        notices = [
            {"gateway_id": push.gateway_id, "status": push.status, "attempts": push.attempts}
            for push in reversed(pushes)
        ]
        return {"exchanges": self.log.shown(), "notifications": notices}

    # ---- notifications

    def _patience(self) -> Patience:
        """Return the schedule of section 7: repeat n comes n³ minutes after the try before it."""
        minute_s = self.knobs.seconds("notify_minute_s")
        tries_max = self.knobs.count("notify_repeats_max") + 1
        return Patience(self.knobs.seconds("notify_timeout_s"), tries_max, lambda tries: tries**3 * minute_s)

    def _write(self, push: Push) -> Letter:
        """Write one try of a notification; every try is the same, byte for byte."""
        payment, notice = self._store.payment(push.gateway_id), self._store.notices.get(push.subject)
        account = payment.sent.get("accountid", "") if payment else ""
        if account.endswith(DEAF_ACCOUNT) and push.attempts < DEAF_TRIES:
            raise UnansweredError("this account's shop is deaf at first")
        return Letter("POST", {"Content-Type": FORM_TYPE}, notice.body.encode("ascii") if notice else b"")

    # ---- the wire

    async def endpoint(self, request: Request) -> Response:
        """Answer one call of the merchant's server or of a browser."""
        operation = ENDPOINTS.get(request.path_params["endpoint"].lower())
        envelope = await read_envelope(request)
        if operation is None:
            return Response(status_code=404)
        try:
            pairs = self._opened(envelope)
        except RefusalError as refusal:
            self.log.note(operation, "", refusal.code)
            return in_clear(refusal.code)
        return await self._with_misfortune(request, operation, pairs)

    def _opened(self, envelope: Pairs) -> list[tuple[str, str]]:
        for name, detail in ENVELOPE.items():
            if not envelope.get(name):
                raise RefusalError(f"4010{detail}")
        if envelope["merchantid"] != MERCHANT_ID:
            raise RefusalError("40160003")
        return read_pairs(unseal(self._till.account(), envelope["len"], envelope["data"]))

    async def _with_misfortune(self, request: Request, operation: str, pairs: list[tuple[str, str]]) -> Response:
        given = by_name(pairs)
        before = self._till.kept(given.get("reqid", ""))
        luck = Luck(self.faults, self._facts(operation, given))
        line, call = luck.fault("line"), Call(operation, given, luck)
        await wait(luck, "delay")
        if line == "drop_before_booking":
            await cut(request)
        if early := early_misfortune(line) or turned_away(luck):
            return early
        said = self._answered(call, pairs, before)
        await wait(luck, "answer_delay")
        if line == "drop_after_booking":
            await cut(request)
        if line == "garbage":
            return Response(GARBAGE, media_type="text/html")
        return said if isinstance(said, Response) else self._written(said, luck)

    def _answered(self, call: Call, pairs: list[tuple[str, str]], before: Pairs | None) -> Pairs | Response:
        """Process a call as one booking: when this returns, it is on disk and its notifications are on their way."""
        try:
            check(self._till.account(), call.operation, pairs, self.knobs)
            with self.ledger.together():
                said = self._done(call, before)
        except RefusalError as refusal:
            self._sender.forget_queued()
            said = self._rejected(call, refusal.code)
            self.log.note(call.operation, call.luck.facts.reference, refusal.code)
            return said
        self._sender.dispatch()
        self.log.note(call.operation, call.luck.facts.reference, said["Code"] if isinstance(said, dict) else "sent on")
        return said

    def _done(self, call: Call, before: Pairs | None) -> Pairs | Response:
        if call.operation in FORMS:
            return self._pages.open(call) if before is None else self._pages.again(call, before)
        return self._calls.operations[call.operation](call) if before is None else before

    def _rejected(self, call: Call, code: str) -> Pairs | Response:
        if can_return(call.given, call.operation):
            return self._pages.rejected(call.operation, call.given, code)
        if call.operation in FORMS:
            return in_clear(code)
        return answer({"payid": NO_PAYMENT} | call.given, new_id(), "FAILED", code)

    def _written(self, pairs: Pairs, luck: Luck) -> Response:
        """Encrypt an answer, strangely where a rule says so."""
        shown = [*pairs.items(), *(STRANGERS.items() if luck.fault("extra") else ())]
        if luck.fault("order"):
            shown = [(name.swapcase(), value) for name, value in reversed(shown)]
        length, data = seal(self._till.account(), dict(shown))
        return Response(f"Len={length}&Data={data}", media_type="text/html")

    def _facts(self, operation: str, given: Pairs) -> Facts:
        """Gather what rules can match; of a call about a payment, from the payment."""
        facts = Facts(operation, books=operation in BOOKING)
        payment = self._store.payment(given.get("payid", ""))
        facts.reference = payment.trans_id if payment else given.get("transid", "")
        facts.merchant_reference = payment.ref_nr if payment else given.get("refnr", "")
        facts.profile = self._till.profile(payment) if payment else profile_in(given)
        facts.amount_minor, facts.currency = amount_in(given), given.get("currency", "")
        return facts


# Parameters that nobody knows yet, of which new ones may come at any time.
STRANGERS = {"FutureField": "a=b=c", "future_note": "+/=="}


def profile_in(given: Pairs) -> str:
    """Return the card or the account of a request that has not been checked."""
    with contextlib.suppress(RefusalError):
        return str(read_card(given.get("card", ""))["number"])
    return given.get("accountid", "")


def early_misfortune(line: str) -> Response | None:
    """Return what is answered where a fault strikes before anything is processed."""
    if line == "unauthorized":
        return in_clear(NOT_DECRYPTABLE)
    return Response(status_code=500) if line in {"http_500", "drop_before_booking"} else None


def in_clear(code: str) -> Response:
    """Answer somebody with whom no password is shared."""
    return Response(f"Status=FAILED&Code={code}&Description={described(code)}", media_type="text/html")
