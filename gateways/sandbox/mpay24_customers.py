"""Stored customers, tokens, and the lists a merchant reads."""

from datetime import date
from typing import Any

from gateways.sandbox.faults import Luck
from gateways.sandbox.mpay24_desk import Desk
from gateways.sandbox.mpay24_followups import TSTATUS, wire_time
from gateways.sandbox.mpay24_instruments import (
    account_of,
    asks_shopper,
    card,
    card_of,
    need,
    verdict,
)
from gateways.sandbox.mpay24_mdxi import read_profile_order
from gateways.sandbox.mpay24_payments import check_kind
from gateways.sandbox.mpay24_refusals import RefusalError
from gateways.sandbox.mpay24_store import Instrument, Profile, Transaction
from gateways.sandbox.mpay24_till import packed
from gateways.sandbox.mpay24_values import METHOD_IDS, PAYMENT_TYPES, brands_of, language_code
from gateways.sandbox.mpay24_wire import Answer, Node, Record, node

TOKEN_TYPES = frozenset(("CC", "MAESTRO"))
# The card that stands behind the tokens of wallets, which no page asks for.
WALLET_CARD = ("4444333322221111", 9905)
SORT_COLUMNS = {
    "MPAYTID": "mpay_tid",
    "PTYPE": "p_type",
    "BRAND": "brand",
    "CURRENCY": "currency",
    "TID": "tid",
    "ORDERDESC": "description",
    "ORDERNUMBER": "tid",
    "CURRDATE": "created_at",
    "CURRTIME": "created_at",
}


class Customers:
    """Operations about customers, tokens and lists."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # ---- profiles

    def create_customer(self, record: Record, luck: Luck) -> Answer:
        """Store an instrument without a charge; with validate or auth3DS the shopper may have to confirm it."""
        desk, data = self._desk, record.part("paymentData")
        need(record, "pType", "paymentData", "customerID")
        desk.check_lengths(record)
        desk.check_urls(record)
        check_kind(data, record.text("pType"), "PaymentData")
        instrument = self._instrument(record, data)
        desk.check_profile_room(record.text("customerID"), data.text("profileID"))
        forced = desk.forced(luck)
        wants_3ds = bool(data.flag("validate") or data.flag("auth3DS"))
        if not wants_3ds and forced is None:
            name = record.text("customerName")
            status = desk.till.store_profile(record.text("customerID"), name, instrument, data.text("profileID"))
            return Answer(f"PROFILE_{status}")
        transaction = self._transaction(record, data, instrument)
        desk.till.open(transaction)
        said = forced or verdict(instrument)
        if said.word == "decline":
            return desk.settle(transaction, said, luck)
        if asks_shopper(instrument, wants_3ds=wants_3ds):
            return desk.redirected(transaction, "secure", luck)
        desk.till.validate(transaction, luck)
        return Answer(desk.success_code(transaction), node("mpayTID", transaction.mpay_tid))

    def _instrument(self, record: Record, data: Record) -> Instrument:
        payment_type = record.text("pType")
        if payment_type == "TOKEN":
            need(data, "token")
            return self._desk.take_token(data.text("token"))
        if payment_type == "ELV":
            return account_of(data)
        if payment_type != "CC":
            raise RefusalError("PROFILE_NOT_SUPPORTED")
        return card_of(data)

    def _transaction(self, record: Record, data: Record, instrument: Instrument) -> Transaction:
        return Transaction(
            tid=record.text("tid"),
            p_type=instrument.p_type,
            brand=instrument.brand,
            operation="CreateCustomer",
            customer_id=record.text("customerID"),
            customer_name=record.text("customerName"),
            language=self._desk.language(record),
            confirmation_url=record.text("confirmationURL"),
            success_url=record.text("successURL"),
            error_url=record.text("errorURL"),
            to_store=packed(instrument),
            profile_id=data.text("profileID"),
        )

    def create_profile(self, record: Record, _luck: Luck) -> Answer:
        """Open a page on which the shopper stores an instrument without paying."""
        need(record, "mdxi")
        self._desk.check_lengths(record)
        order = read_profile_order(record.text("mdxi"))
        language = language_code(str(order["language"]), self._desk.knobs.text("default_language"))
        page = self._desk.open_page("profile", order, language)
        return Answer("REDIRECT", node("location", self._desk.location(page)))

    def delete_profile(self, record: Record, _luck: Luck) -> Answer:
        """Forget one profile of a customer, or all of them."""
        need(record, "customerID")
        clause, values = "WHERE customer_id = ?", [record.text("customerID")]
        if record.text("profileID"):
            clause, values = f"{clause} AND profile_id = ?", [*values, record.text("profileID")]
        if not self._desk.store.profiles.remove(clause, *values):
            raise RefusalError("PROFILE_NOT_FOUND")
        return Answer("OK")

    def list_profiles(self, record: Record, _luck: Luck) -> Answer:
        """List customers with their profiles, ordered by customer id; `all` counts customers that match."""
        clause, values = "WHERE 1 = 1", []
        if record.text("customerID"):
            clause, values = "WHERE customer_id = ?", [record.text("customerID")]
        found: dict[str, list[Profile]] = {}
        if record.text("expiredBy"):
            # A profile has expired by a day if the month it is good for began before or on it.
            clause, values = f"{clause} AND expiry <> '' AND expiry <= ?", [*values, yymm(record.text("expiredBy"))]
        for profile in self._desk.store.profiles.all(f"{clause} ORDER BY customer_id, id", *values):
            found.setdefault(profile.customer_id, []).append(profile)
        chosen = self._slice(record, list(found.values()))
        return Answer("OK", [("profile", customer_nodes(profiles)) for profiles in chosen] + node("all", len(found)))

    def _slice(self, record: Record, rows: list[Any]) -> list[Any]:
        begin, size = self._window(record)
        return rows[begin : begin + size]

    def _window(self, record: Record) -> tuple[int, int]:
        knobs, asked = self._desk.knobs, record.number("size")
        size = knobs.count("list_default_size") if asked is None else asked
        return record.number("begin") or 0, min(size, knobs.count("list_max_size"))

    # ---- other lists

    def list_not_cleared(self, record: Record, _luck: Luck) -> Answer:
        """List what is reserved and not yet taken; clearing takes no time here, so none is ever in progress."""
        begin, size = self._window(record)
        column = SORT_COLUMNS[record.text("sortField") or self._desk.knobs.text("list_default_sort")]
        direction = record.text("sortType") or "ASC"
        order = f"ORDER BY {column} {direction}, mpay_tid LIMIT ? OFFSET ?"
        transactions = self._desk.store.transactions
        rows = transactions.all(f"WHERE state = 'RESERVED' {order}", size, begin)
        count = transactions.count("WHERE state = 'RESERVED'")
        return Answer("OK", [("transactionDetails", detail_nodes(row)) for row in rows] + node("all", count))

    def list_payment_methods(self, record: Record, _luck: Luck) -> Answer:
        """List the payment types and brands the account has; each carries its id as an attribute."""
        wanted = record.text("pType")
        active = [kind for kind in sorted(self._desk.knobs.words("active_payment_types")) if is_method(kind)]
        pairs = [(kind, brand) for kind in active if wanted in {"", kind} for brand in brands_of(kind)]
        nodes: list[Node] = []
        for kind, brand in pairs:
            inner = node("pType", kind) + node("brand", brand) + node("description", f"{kind} {brand}")
            nodes.append((f'paymentMethod id="{METHOD_IDS.get((kind, brand), 0)}"', inner))
        return Answer("OK", nodes + node("all", len(pairs)))

    # ---- tokens

    def create_payment_token(self, record: Record, _luck: Luck) -> Answer:
        """Make a token and the page on which the shopper fills it."""
        need(record, "pType")
        self._desk.check_lengths(record)
        if record.text("pType") not in TOKEN_TYPES:
            raise RefusalError("OPERATION_NOT_SUPPORTED")
        token = self._desk.new_token(None)
        order: dict[str, object] = {"token": token.token, "p_type": record.text("pType")}
        page = self._desk.open_page("token", order, self._desk.language(record))
        rest = node("token", token.token) + node("apiKey", page.id) + node("location", self._desk.location(page))
        return Answer("REDIRECT", rest)

    def create_wallet_token(self, record: Record, _luck: Luck) -> Answer:
        """Make the token of a wallet, which stands for a card at once."""
        self._desk.check_lengths(record)
        self._desk.check_money(record)
        token = self._desk.new_token(card(*WALLET_CARD))
        return Answer("OK", node("token", token.token) + node("apiKey", token.token[::-1]))


def is_method(payment_type: str) -> bool:
    """Say whether a type is a method of payment, rather than a way to name one."""
    return payment_type in PAYMENT_TYPES - {"TOKEN", "PROFILE"}


def yymm(day: str) -> str:
    """Return the year and month of a day as a card writes them."""
    if not "2000" <= day[:4] <= "2099":
        return "0000" if day < "2000" else "9912"
    return day[2:4] + day[5:7]


def customer_nodes(profiles: list[Profile]) -> list[Node]:
    """Write one customer of a list of profiles."""
    updated = max(profile.updated for profile in profiles)
    payments: list[Node] = [("payment", profile_nodes(profile)) for profile in profiles]
    return [("customerID", profiles[0].customer_id), ("updated", wire_time(updated)), *payments]


def profile_nodes(profile: Profile) -> list[Node]:
    """Write one stored instrument."""
    return [
        *node("pMethodID", METHOD_IDS.get((profile.kind, profile.brand))),
        ("profileID", profile.profile_id),
        ("updated", wire_time(profile.updated)),
        ("identifier", profile.identifier),
        *node("expires", expires_on(profile.expiry)),
    ]


def expires_on(expiry: str) -> str | None:
    """Write the expiry of a card as a day; only month and year count."""
    return date(2000 + int(expiry[:2]), int(expiry[2:]), 1).isoformat() if expiry else None


def detail_nodes(transaction: Transaction) -> list[Node]:
    """Write one transaction that is not cleared."""
    return [
        ("mpayTID", str(transaction.mpay_tid)),
        ("tStatus", TSTATUS[transaction.state]),
        ("stateID", str(transaction.last_state_id)),
        ("tid", transaction.tid),
        ("orderDescription", transaction.description),
        ("pType", transaction.p_type),
        ("brand", transaction.brand),
        ("amount", str(transaction.amount)),
        ("currency", transaction.currency),
        ("bifStatus", ""),
    ]
