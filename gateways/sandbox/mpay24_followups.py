"""What a merchant does to a payment afterwards: clear it, give it up, give it back, read its state and its history."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from gateways.sandbox.faults import Luck
from gateways.sandbox.mpay24_desk import Desk
from gateways.sandbox.mpay24_instruments import need
from gateways.sandbox.mpay24_refusals import RefusalError, not_correct, not_entered
from gateways.sandbox.mpay24_store import Entry, Transaction
from gateways.sandbox.mpay24_values import NO_CREDIT_TYPES, RESERVING_TYPES
from gateways.sandbox.mpay24_wire import Answer, Node, Record, node

# TStatus has no word for most states; a list of what is not cleared shows only RESERVED ones.
TSTATUS = {
    "RESERVED": "RESERVED",
    "BILLED": "BILLED",
    "REVERSED": "REVERSED",
    "RESERVED_REVERSAL": "REVERSED",
    "CREDITED": "CREDITED",
}
VIENNA = ZoneInfo("Europe/Vienna")
HOBEX_LAST_HOUR = 23
# How a push was received, as TransactionConfirmation words it, is how the sender keeps it: PENDING OK ERROR FAILURE.


def transaction_nodes(mpay_tid: int, state: str, tid: str, state_id: int | None = None) -> list[Node]:
    """Write a transaction of an answer: FAILED, with an empty tid, where there is none."""
    inner = node("mpayTID", mpay_tid) + node("tStatus", TSTATUS.get(state, "FAILED"))
    return [("transaction", inner + node("stateID", state_id) + node("tid", tid))]


def failed_transaction(record: Record) -> list[Node]:
    """Write the mandatory transaction of a refused ManualReverse or ManualCredit (ETP tests)."""
    return transaction_nodes(record.number("mpayTID") or 0, "FAILED", "")


def done(transaction: Transaction) -> Answer:
    """Word the answer to an operation that changed a transaction."""
    state_id = transaction.last_state_id
    return Answer("OK", transaction_nodes(transaction.mpay_tid, transaction.state, transaction.tid, state_id))


class Followups:
    """Operations on a transaction that exists."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # ---- clear, reverse, credit

    def manual_clear(self, record: Record, luck: Luck) -> Answer:
        """Take reserved money; each transaction of the list succeeds or fails by itself."""
        details = record.parts("clearingDetails")
        if not details:
            raise not_entered("clearingDetails")
        answer = Answer("OK")
        for detail in details:
            try:
                self._desk.refuse_if_forced(luck)
                answer.rest += self._clear(detail, luck)
            except RefusalError as refusal:
                answer.rest += failed_transaction(detail)
                answer.return_code, answer.is_ok = refusal.code, False
        return answer

    def _clear(self, detail: Record, luck: Luck) -> list[Node]:
        transaction = self._desk.find(detail.number("mpayTID"))
        if transaction.p_type not in RESERVING_TYPES:
            raise RefusalError("OPERATION_NOT_SUPPORTED")
        if transaction.state in {"BILLED", "CREDITED"}:
            raise RefusalError("TRANSACTION_ALREADY_CLEARED")
        if transaction.state != "RESERVED":
            raise RefusalError("ALREADY_PROCESSED")
        amount = detail.number("amount")
        if amount == 0:
            raise RefusalError("INVALID_AMOUNT")
        if (amount or 0) > transaction.amount:
            raise RefusalError("CLEARING_LIMIT_EXCEEDED")
        self._desk.till.enter(transaction, "BILLED", amount or transaction.amount, luck)
        return done(transaction).rest

    def manual_reverse(self, record: Record, luck: Luck) -> Answer:
        """Give a reservation up, whole and for good."""
        transaction = self._desk.find(record.number("mpayTID"))
        if transaction.p_type not in RESERVING_TYPES:
            raise RefusalError("OPERATION_NOT_SUPPORTED")
        if transaction.state != "RESERVED":
            raise RefusalError("ALREADY_PROCESSED")
        self._desk.refuse_if_forced(luck)
        self._desk.till.enter(transaction, "REVERSED", transaction.amount, luck)
        return done(transaction)

    def manual_credit(self, record: Record, luck: Luck) -> Answer:
        """Give taken money back: a part, or without an amount all that is left."""
        transaction = self._desk.find(record.number("mpayTID"))
        left = self._creditable(transaction)
        amount = left if record.number("amount") is None else record.number("amount") or 0
        if amount == 0:
            raise RefusalError("INVALID_AMOUNT")
        if amount > left:
            raise RefusalError("CREDIT_LIMIT_EXCEEDED")
        self._check_hobex(transaction, amount)
        self._check_state_id(transaction, record.number("stateID"))
        self._desk.refuse_if_forced(luck)
        self._desk.till.enter(transaction, "CREDITED", amount, luck)
        return done(transaction)

    def _creditable(self, transaction: Transaction) -> int:
        if transaction.p_type in NO_CREDIT_TYPES:
            raise RefusalError("OPERATION_NOT_SUPPORTED")
        left = transaction.cleared - transaction.credited
        if transaction.state not in {"BILLED", "CREDITED"}:
            raise RefusalError("ALREADY_PROCESSED")
        if not left:
            raise RefusalError("CREDIT_LIMIT_EXCEEDED")
        return left

    def _check_hobex(self, transaction: Transaction, amount: int) -> None:
        """Refuse what HOBEX direct debit cannot: a partial credit, or one after 23:00 of the same day in Vienna."""
        if not transaction.brand.startswith("HOBEX"):
            return
        now = datetime.now(VIENNA)
        made_on = datetime.fromisoformat(transaction.created_at).astimezone(VIENNA).date()
        is_late = now.date() != made_on or now.hour >= HOBEX_LAST_HOUR
        if is_late or amount != transaction.amount:
            raise RefusalError("OPERATION_NOT_SUPPORTED")

    def _check_state_id(self, transaction: Transaction, state_id: int | None) -> None:
        billed = [entry.state_id for entry in self._desk.store.history(transaction.mpay_tid) if entry.state == "BILLED"]
        if state_id is not None and state_id not in billed:
            raise not_correct("stateID")

    # ---- questions

    def transaction_status(self, record: Record, _luck: Luck) -> Answer:
        """Tell the state of a transaction, by mpayTID if both keys are sent; by tid only the latest is found."""
        transaction = self._asked(record)
        transaction.status_calls += 1
        self._desk.store.transactions.save(transaction)
        price = transaction.cleared or transaction.amount
        pairs = self._desk.till.parameters(transaction, transaction.state, price)
        return Answer("OK", [("parameter", [("name", name), ("value", value)]) for name, value in pairs])

    def _asked(self, record: Record) -> Transaction:
        if record.has("mpayTID"):
            return self._desk.find(record.number("mpayTID"))
        need(record, "tid")
        found = self._desk.store.latest(record.text("tid"))
        if found is None:
            raise RefusalError("NOT_FOUND")
        return found

    def transaction_history(self, record: Record, _luck: Luck) -> Answer:
        """Tell every step of a transaction, oldest first."""
        transaction = self._desk.find(record.number("mpayTID"))
        entries = self._desk.store.history(transaction.mpay_tid)
        return Answer("OK", [("historyEntry", entry_nodes(entry)) for entry in entries])

    def transaction_confirmation(self, record: Record, _luck: Luck) -> Answer:
        """Tell which notifications were sent and how the merchant answered."""
        transaction = self._desk.find(record.number("mpayTID"))
        pushes = self._desk.sender.pushes.all("WHERE gateway_id = ? ORDER BY id", str(transaction.mpay_tid))
        return Answer(
            "OK",
            [
                (
                    "confirmation",
                    node("status", push.status)
                    + node("confirmed", push.subject)
                    + node("timeStamp", wire_time(push.at))
                    + node("url", push.url)
                    + node("result", push.result),
                )
                for push in pushes
            ],
        )


def entry_nodes(entry: Entry) -> list[Node]:
    """Write one step of a history."""
    return [
        *node("stateID", entry.state_id),
        *node("parentStateID", entry.parent_id or None),
        *node("txState", entry.state),
        *node("amount", entry.amount),
        *node("timeStamp", wire_time(entry.at)),
        *node("approvalCode", entry.appr_code or None),
        *node("errNo", entry.err_no or None),
        *node("errText", entry.err_text or None),
        *node("profileStatus", entry.profile_status),
    ]


def wire_time(at: str) -> str:
    """Write an instant as recorded answers do: UTC with Z and whole seconds."""
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
