"""The simulated PAYONE: signed JSON below ``/v2/``, hosted pages beside it, and its part of the controls.

An auditor finds the merchant's own key for a try as ``reference`` in the
ledger: it is the ``X-GCS-Idempotence-Key`` of the call that made the payment
(for a hosted checkout, of the call that opened it); where none was sent, the
order's ``merchantParameters``, and failing these its ``merchantReference``.
Every row tells all three besides. A row of a capture, cancel or refund has the
``reference`` of its payment, and its own call's key as ``idempotence_key``.

Choices where the reference leaves one, beside those of its section 16:

* the answer to a key is kept together with the booking, so that neither a lost
  answer nor a killed process can part them; a 409 lasts until the first answer
  has left;
* card numbers in the clear (CreatePayment, CreateToken) are taken of test
  cards alone; in the hosted forms any number with a right check digit will do;
* an issuer's decline comes after authentication, so a card that is declined
  and challenged is challenged first;
* a submission of the card form that its server refuses ends the session;
* a soft-declining card is accepted once its token has been through a challenge;
* a direct debit is 91, and 9 after the settling delay.
"""

import asyncio
import contextlib
import hmac
import json
import time
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateways.sandbox.control import ExchangeLog, IllegalMoveError
from gateways.sandbox.faults import MATCH_KEYS, Facts, Faults, Luck, Words, wait
from gateways.sandbox.knobs import NOTE as SETTINGS
from gateways.sandbox.knobs import Knobs
from gateways.sandbox.ledger import Booking, Ledger
from gateways.sandbox.payone_bodies import CREDENTIALS, SEND_TEST
from gateways.sandbox.payone_checkouts import Checkouts
from gateways.sandbox.payone_desk import Answer, Call, Desk
from gateways.sandbox.payone_fields import dig
from gateways.sandbox.payone_followups import Followups
from gateways.sandbox.payone_mandates import Mandates
from gateways.sandbox.payone_pages import Pages
from gateways.sandbox.payone_payments import Payments
from gateways.sandbox.payone_refusals import (
    RefusalError,
    broken,
    in_progress,
    invalid_value,
    no_access,
    other_body,
    unauthorised,
    unreadable,
)
from gateways.sandbox.payone_shapes import payment_shape, reordered, token_shape, with_strangers
from gateways.sandbox.payone_signing import AUTHORIZATION, Headers, acceptable_texts, is_signed, mac, read_date
from gateways.sandbox.payone_store import KeptAnswer, Operation, Payment, Store, split_id
from gateways.sandbox.payone_till import Till, code_named
from gateways.sandbox.payone_tokenization import Tokenization, read_tokens
from gateways.sandbox.payone_values import (
    API_KEY_ID,
    API_PREFIX,
    API_SECRET,
    BODY_BYTES_MAX,
    KEY_LENGTH_MAX,
    KNOB_CHOICES,
    KNOBS,
    MERCHANT_ID,
    PAGE_OPERATION,
    RETRY_PROPORTIONS,
)
from gateways.sandbox.push import FAILED, TAKEN, Letter, Patience, Push, Sender, is_loopback
from gateways.sandbox.server import complain, cut
from gateways.sandbox.throttle import turned_away

DUE_CHECK_S = 0.1
GARBAGE = b"<html><body>\x00\xff upstream sent something odd"
# Method and path below the merchant, and the operation they are; a word in braces stands for any one segment.
PATHS = {
    ("GET", "services/testconnection"): "TestConnection",
    ("POST", "hostedtokenizations"): "CreateHostedTokenization",
    ("GET", "hostedtokenizations/{session_id}"): "GetHostedTokenization",
    ("POST", "tokens"): "CreateToken",
    ("GET", "tokens/{token_id}"): "GetToken",
    ("DELETE", "tokens/{token_id}"): "DeleteToken",
    ("POST", "payments"): "CreatePayment",
    ("GET", "payments/{payment_id}"): "GetPayment",
    ("GET", "payments/{payment_id}/details"): "GetPaymentDetails",
    ("POST", "payments/{payment_id}/capture"): "CapturePayment",
    ("POST", "payments/{payment_id}/cancel"): "CancelPayment",
    ("POST", "payments/{payment_id}/refund"): "RefundPayment",
    ("POST", "payments/{payment_id}/complete"): "CompletePayment",
    ("POST", "payments/{payment_id}/subsequent"): "SubsequentPayment",
    ("GET", "payments/{payment_id}/captures"): "GetCaptures",
    ("GET", "payments/{payment_id}/refunds"): "GetRefunds",
    ("POST", "hostedcheckouts"): "CreateHostedCheckout",
    ("GET", "hostedcheckouts/{checkout_id}"): "GetHostedCheckout",
    ("POST", "mandates"): "CreateMandate",
    ("GET", "mandates/{reference}"): "GetMandate",
    ("POST", "mandates/{reference}/block"): "BlockMandate",
    ("POST", "mandates/{reference}/unblock"): "UnblockMandate",
    ("POST", "mandates/{reference}/revoke"): "RevokeMandate",
    ("POST", "webhooks/validateCredentials"): "ValidateCredentials",
    ("POST", "webhooks/sendtest"): "SendTest",
}
OPERATIONS = frozenset(PATHS.values())
BOOKING = frozenset("CreatePayment SubsequentPayment CapturePayment CancelPayment RefundPayment".split())
IDEMPOTENT = BOOKING | {"CompletePayment"}
MAKING = frozenset("CreatePayment SubsequentPayment CreateHostedCheckout".split())
REPLAYED_STATUSES = frozenset((200, 201, 402))

Handler = Callable[[Call], Answer]


def judge(status: int, _text: str) -> str:
    """Word how a merchant took an event: anything from 200 to 299 is taken."""
    return TAKEN if 200 <= status < 300 else FAILED


def match_path(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """Return the operation of a method and path below the merchant, and the ids in the path."""
    segments = path.split("/")
    for (known_method, pattern), operation in PATHS.items():
        words = pattern.split("/")
        if known_method != method or len(words) != len(segments):
            continue
        pairs = list(zip(words, segments, strict=True))
        if all(word == segment or (word.startswith("{") and segment) for word, segment in pairs):
            return operation, {word[1:-1]: segment for word, segment in pairs if word.startswith("{")}
    return None


def header_list(request: Request) -> Headers:
    """Return the headers as they came, in UTF-8 where they are."""
    return [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in request.headers.raw]


def target_of(request: Request) -> str:
    """Return the path and query as they came, percent signs included."""
    path = request.scope.get("raw_path", b"").decode("utf-8", "replace")
    query = request.scope.get("query_string", b"").decode("utf-8", "replace")
    return f"{path}?{query}" if query else path


def read_body(request: Request, body: bytes) -> Any:
    """Read a request's JSON object, or None where there is no body."""
    if request.headers.get("content-encoding", "").lower() == "gzip":
        body = unzipped(body)
    if len(body) > BODY_BYTES_MAX:
        raise unreadable()
    if not body.strip():
        return None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise unreadable() from problem
    if not isinstance(found, dict):
        raise unreadable()
    return found


def unzipped(body: bytes) -> bytes:
    """Undo gzip, as far as the limit of a body goes."""
    try:
        return zlib.decompressobj(wbits=31).decompress(body, BODY_BYTES_MAX + 1)
    except zlib.error as problem:
        raise unreadable() from problem


class Payone:
    """One simulated PAYONE with one merchant's account."""

    name = "payone"
    profile_key, moves_path = "token", "payments"

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder, self.name)
        self.knobs = Knobs(self.ledger, KNOBS, KNOB_CHOICES)
        words = Words(
            OPERATIONS | {PAGE_OPERATION, "Move", "Provider"},
            (*MATCH_KEYS, "merchant_reference"),
            frozenset(("fault",)),
        )
        self.faults = Faults(self.ledger, words)
        self.log = ExchangeLog()
        self._store = Store(self.ledger)
        self._sender = Sender(self.ledger, self._patience, judge, self._write)
        till = Till(self._store, self.ledger, self._sender, self.knobs, self.faults)
        self._desk = Desk(self._store, till, self._sender, self.knobs)
        self._tokenization = Tokenization(self._desk)
        self._pages = Pages(self._desk, self.ledger, self._tokenization)
        self._operations = self._list_operations()
        # The scopes of idempotent requests that have not been answered yet.
        self._running: set[str] = set()
        self._clockwork: asyncio.Task[None] | None = None

    def _list_operations(self) -> dict[str, Handler]:
        mandates, followups, checkouts = Mandates(self._desk), Followups(self._desk), Checkouts(self._desk)
        payments, tokens = Payments(self._desk, mandates), self._tokenization
        return {
            "TestConnection": lambda _call: Answer(200, {"result": "OK"}),
            "CreateHostedTokenization": tokens.create,
            "GetHostedTokenization": tokens.get,
            "CreateToken": tokens.create_token,
            "GetToken": tokens.get_token,
            "DeleteToken": tokens.delete_token,
            "CreatePayment": payments.create,
            "SubsequentPayment": payments.subsequent,
            "GetPayment": followups.get,
            "GetPaymentDetails": followups.details,
            "CapturePayment": followups.capture,
            "CancelPayment": followups.cancel,
            "RefundPayment": followups.refund,
            "CompletePayment": followups.complete,
            "GetCaptures": followups.captures,
            "GetRefunds": followups.refunds,
            "CreateHostedCheckout": checkouts.create,
            "GetHostedCheckout": checkouts.get,
            "CreateMandate": mandates.create,
            "GetMandate": mandates.get,
            "BlockMandate": mandates.block,
            "UnblockMandate": mandates.unblock,
            "RevokeMandate": mandates.revoke,
            "ValidateCredentials": self._validate_credentials,
            "SendTest": self._send_test,
        }

    # ---- what every simulator offers

    def routes(self) -> list[Route]:
        """Return the addresses of the wire and of the hosted pages."""
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return [
            Route(f"{API_PREFIX}{{merchant}}/{{rest:path}}", self.endpoint, methods=methods),
            *self._pages.routes(),
        ]

    def credentials(self, base_url: str) -> dict[str, str]:
        """Return the host's address, the account, and the keys of the API and of webhooks."""
        return {
            "endpoint": base_url,
            "merchant_id": MERCHANT_ID,
            "api_key_id": API_KEY_ID,
            "api_secret": API_SECRET,
            "webhook_key_id": self.knobs.text("webhook_key_id"),
            "webhook_secret": self.knobs.text("webhook_secret"),
        }

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
            if self._desk.till.pass_time():
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
        """Store test tokens, all or none; one replaces another of its id."""
        tokens = read_tokens(sent, self.knobs.words("declining_cards"))
        with self.ledger.together():
            for token in tokens:
                self._store.tokens.remove("WHERE id = ?", token.id)
            self._store.tokens.add_all(tokens)
        return len(tokens)

    def shown_profiles(self, wanted: str) -> list[dict[str, object]]:
        """Return a token with its masked card, if there is one of this id."""
        found = self._store.tokens.get(wanted)
        if found is None:
            return []
        return [{**token_shape(found), "first_transaction": found.first_transaction, "is_used": found.is_used}]

    def shown_bookings(self, rows: list[Booking]) -> list[dict[str, object]]:
        """Give rows of the ledger with the merchant's own words for their payments."""
        ids = [split_id(row.gateway_id) for row in rows]
        numbers = json.dumps(sorted({number for number, _ in ids}))
        clause = "WHERE number IN (SELECT value FROM json_each(?))"
        payments = {payment.number: payment for payment in self._store.payments.all(clause, numbers)}
        entries = {(entry.number, entry.operation): entry for entry in self._store.operations.all(clause, numbers)}
        return [
            row.shown() | own_words(payments[number], entries.get((number, operation)))
            for row, (number, operation) in zip(rows, ids, strict=True)
        ]

    def move(self, gateway_id: str, state: str) -> dict[str, object]:
        """Bring a payment, or the last open operation of one, to a status code as the provider would, later."""
        found, code = self._store.find(gateway_id), code_named(state)
        if found is None:
            raise LookupError(gateway_id)
        payment, operation = found
        with self.ledger.together():
            moved = code is not None and self._moved(payment, operation, code)
        self._sender.dispatch()
        after = self._store.payments.get(payment.number) or payment
        if not moved:
            raise IllegalMoveError(f"payment {gateway_id} is {after.code} and cannot become {state}")
        return {"gateway_id": payment.id(), "state": str(after.code)}

    def _moved(self, payment: Payment, operation: int, code: int) -> bool:
        till = self._desk.till
        luck = till.luck("Move", payment)
        entry = till.open_operation(payment, operation, code)
        if entry:
            till.finish(entry, code, luck)
            return True
        if operation or not till.may_go(payment, code):
            return False
        till.go(payment, code, luck)
        return True

    def shown_log(self) -> dict[str, object]:
        """Return the last exchanges and what became of the last events."""
        pushes = self._sender.pushes.all("ORDER BY id DESC LIMIT 1000")
        events = [
            {"gateway_id": push.gateway_id, "event": push.subject, "status": push.status, "attempts": push.attempts}
            for push in reversed(pushes)
        ]
        return {"exchanges": self.log.shown(), "events": events}

    # ---- webhooks

    def _patience(self) -> Patience:
        first_s, retries = self.knobs.seconds("webhook_first_retry_s"), self.knobs.count("webhook_retries_max")

        def delay_s(tries: int) -> float:
            return first_s * RETRY_PROPORTIONS[min(tries, len(RETRY_PROPORTIONS)) - 1]

        return Patience(self.knobs.seconds("webhook_timeout_s"), retries + 1, delay_s)

    def _write(self, push: Push) -> Letter:
        """Write one try of an event, signed with the key in force now (reference section 12)."""
        event = self._store.events.get(push.subject)
        body = event.body.encode() if event else b""
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "X-GCS-KeyId": self.knobs.text("webhook_key_id"),
            "X-GCS-Signature": mac(self.knobs.text("webhook_secret"), body),
            "retry-count": str(push.attempts),
        }
        return Letter("POST", headers, body, self._verification(push))

    def _verification(self, push: Push) -> tuple[str, str] | None:
        if not self.knobs.flag("webhook_verification"):
            return None
        return "X-GCS-Webhooks-Endpoint-Verification", push.subject

    def _validate_credentials(self, call: Call) -> Answer:
        """Say whether the merchant knows the secret; what is sent is the hash of nothing (reference section 12.3)."""
        sent = call.read(CREDENTIALS)
        knows_key = sent["key"] == self.knobs.text("webhook_key_id")
        expected = mac(self.knobs.text("webhook_secret"), b"")
        is_valid = hmac.compare_digest(sent["secret"].encode(), expected.encode()) and knows_key
        return Answer(200, {"result": "Valid" if is_valid else "Invalid"})

    def _send_test(self, call: Call) -> Answer:
        """Send a test event to an address, or to those of the account."""
        sent = call.read(SEND_TEST)
        urls = [sent["url"]] if "url" in sent else self.knobs.words("webhook_urls")
        if not all(is_loopback(url) for url in urls):
            raise invalid_value("url")
        shown = payment_shape(Payment(number=9999, code=0, first_code=0)) | {"id": "9999_9"}
        event = self._desk.till.new_event("payment.test", {"payment": shown})
        for url in urls:
            self._sender.queue("9999_9", event.id, url)
        return Answer(204, None)

    # ---- the wire

    async def endpoint(self, request: Request) -> Response:
        """Answer one call of the merchant's server."""
        raw = await request.body()
        found = match_path(request.method, request.path_params["rest"])
        if found is None:
            return Response(status_code=404)
        operation, path = found
        try:
            self._check_access(request)
            key = idempotence_key(request)
            body = read_body(request, raw)
        except RefusalError as refusal:
            self.log.note(operation, "", refusal.flaw.id)
            return refused(refusal)
        luck = Luck(self.faults, self._facts(operation, path, body, key))
        call = Call(operation, path, body, key, luck)
        if operation not in IDEMPOTENT or not key:
            return await self._with_misfortune(request, call, None)
        scope = f"{request.method} {target_of(request)} {key}"
        return await self._once(request, call, Kept(scope, sha256(raw).hexdigest()))

    def _check_access(self, request: Request) -> None:
        """Refuse whoever does not sign as the account (reference sections 2.1 to 2.5)."""
        given = AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if given is None:
            raise unauthorised()
        headers = header_list(request)
        date = read_date(request.headers.get("date", ""))
        is_fresh = date is not None and abs(date.timestamp() - time.time()) <= self.knobs.seconds("clock_tolerance_s")
        texts = acceptable_texts(request.method, headers, target_of(request))
        is_ours = given[1] == API_KEY_ID and request.path_params["merchant"] == MERCHANT_ID
        if not (is_ours and is_fresh and self.knobs.flag("api_enabled") and is_signed(API_SECRET, given[2], texts)):
            raise no_access()

    async def _once(self, request: Request, call: Call, kept: "Kept") -> Response:
        """Do an idempotent call, or give again what it was answered with (reference section 4)."""
        if kept.scope in self._running:
            self.log.note(call.operation, call.luck.facts.reference, "1409")
            return refused(in_progress())
        before = self._store.answers.get(kept.scope)
        if before and before.expires_at > time.time():
            return self._again(call, before, kept)
        self._running.add(kept.scope)
        try:
            return await self._with_misfortune(request, call, kept)
        finally:
            self._running.discard(kept.scope)

    def _again(self, call: Call, before: KeptAnswer, kept: "Kept") -> Response:
        if before.sent != kept.digest and self.knobs.text("idempotence_other_body") == "conflict":
            return refused(other_body())
        body = json.loads(before.body)
        payment = self._store.payments.get(before.number)
        if payment and "payment" in body and self.knobs.flag("replay_current_status"):
            body["payment"] = payment_shape(payment)
        self.log.note(call.operation, call.luck.facts.reference, f"{before.status} again")
        return JSONResponse(body, before.status, {"X-GCS-Idempotence-Request-Timestamp": str(before.at_ms)})

    async def _with_misfortune(self, request: Request, call: Call, kept: "Kept | None") -> Response:
        line, luck = call.luck.fault("line"), call.luck
        await wait(luck, "delay")
        if self.knobs.count("processing_ms"):
            await asyncio.sleep(self.knobs.count("processing_ms") / 1000)
        if line == "drop_before_booking":
            await cut(request)
            return Response(status_code=500)
        if busy := turned_away(luck):
            return busy
        if early := early_misfortune(luck):
            return refused(early)
        answer = self._book(call, kept)
        await wait(luck, "answer_delay")
        if line == "drop_after_booking":
            await cut(request)
            return Response(status_code=500)
        if line == "garbage":
            return Response(GARBAGE, answer.status, media_type="application/json")
        return written(answer, luck)

    def _book(self, call: Call, kept: "Kept | None") -> Answer:
        """Process a call as one booking: when this returns, it is on disk and its events are on their way."""
        try:
            with self.ledger.together():
                answer = self._operations[call.operation](call)
                if call.operation not in BOOKING:
                    self._desk.refuse_if_forced(call.luck)
                if kept and answer.status in REPLAYED_STATUSES:
                    self._keep(kept, answer)
        except RefusalError as refusal:
            self._sender.forget_queued()
            self.log.note(call.operation, call.luck.facts.reference, refusal.flaw.id)
            return Answer(refusal.flaw.status, refusal.body())
        except BaseException:
            self._sender.forget_queued()
            raise
        self._sender.dispatch()
        self.log.note(call.operation, call.luck.facts.reference, str(answer.status))
        return answer

    def _keep(self, kept: "Kept", answer: Answer) -> None:
        now, memory_s = time.time(), self.knobs.seconds("idempotence_memory_s")
        body = json.dumps(answer.body)
        self._store.answers.remove("WHERE scope = ?", kept.scope)
        row = KeptAnswer(kept.scope, int(now * 1000), answer.status, body, kept.digest, answer.number, now + memory_s)
        self._store.answers.add(row)

    def _facts(self, operation: str, path: dict[str, str], body: Any, key: str) -> Facts:
        """Gather what rules can match; of a call about a payment, from the payment."""
        facts = Facts(operation, books=operation in BOOKING)
        found = self._store.find(path["payment_id"]) if "payment_id" in path else None
        if found and operation not in MAKING:
            payment = found[0]
            facts.reference, facts.merchant_reference = payment.reference, payment.merchant_reference
            facts.profile, facts.amount_minor, facts.currency = payment.token, payment.amount, payment.currency
        elif operation in MAKING:
            fill_facts(facts, body, key)
        return facts


def own_words(payment: Payment, entry: Operation | None) -> dict[str, object]:
    """Return what a merchant can match a payment, or an operation on it, by."""
    return {
        "merchant_reference": payment.merchant_reference,
        "merchant_parameters": payment.merchant_parameters,
        "idempotence_key": entry.idempotence_key if entry else payment.idempotence_key,
    }


class Kept:
    """Under what an answer is kept, and what was sent for it."""

    def __init__(self, scope: str, digest: str) -> None:
        self.scope = scope
        self.digest = digest


def fill_facts(facts: Facts, body: Any, key: str) -> None:
    """Gather what rules can match from a body that has not been checked."""
    references, money = dig(body, "order", "references"), dig(body, "order", "amountOfMoney")
    order = str(dig(references, "merchantReference") or "")
    facts.reference = key or str(dig(references, "merchantParameters") or "") or order
    facts.merchant_reference = order
    facts.profile = str(dig(body, "cardPaymentMethodSpecificInput", "token") or "")
    amount = str(dig(money, "amount"))
    facts.amount_minor = int(amount) if amount.isdecimal() and len(amount) < 19 else None
    facts.currency = str(dig(money, "currencyCode") or "")


def idempotence_key(request: Request) -> str:
    """Return the key of a POST: at most forty ASCII characters (reference section 4)."""
    key = request.headers.get("x-gcs-idempotence-key", "").strip() if request.method == "POST" else ""
    if len(key) > KEY_LENGTH_MAX or not key.isascii():
        raise invalid_value("X-GCS-Idempotence-Key")
    return key


def early_misfortune(luck: Luck) -> RefusalError | None:
    """Return the refusal of a fault that strikes before anything is processed."""
    line, rule = luck.fault("line"), luck.draw("line")
    if line == "unauthorized":
        return no_access()
    if line == "http_500":
        return broken(retriable=bool(rule and rule.text == "retriable"))
    return None


def written(answer: Answer, luck: Luck) -> Response:
    """Write an answer, strangely where a rule says so."""
    if answer.body is None:
        return Response(status_code=answer.status)
    body: Any = answer.body
    if luck.fault("order"):
        body = reordered(body)
    if luck.fault("extra"):
        body = with_strangers(body)
    return JSONResponse(body, answer.status)


def refused(refusal: RefusalError) -> Response:
    """Write a refusal."""
    return JSONResponse(refusal.body(), refusal.flaw.status)
