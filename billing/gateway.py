"""The port: what a payment gateway is asked, and the few things it may answer.

A decline is a value. The exceptions are for our own mistakes and for forgeries:

    GatewayError
    ├── MisuseError         we asked for something that must not be sent, such as a raw card number
    │   └── UnsupportedError    the gateway has no such verb; its abilities said so
    ├── ConfigurationError  credentials or settings that cannot work, found by `check` or when opening
    └── ForgeryError        a notification that does not prove where it comes from
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Final, Protocol

from billing.money import Money
from billing.pace import Pace


class GatewayError(Exception):
    """Something that is not an answer of the gateway."""


class MisuseError(GatewayError):
    """We asked for something that must not be sent."""


class UnsupportedError(MisuseError):
    """The gateway has no such verb, as its abilities say."""


class ConfigurationError(GatewayError):
    """Credentials or settings that cannot work; the message names the setting, and `setting` is its name alone."""

    def __init__(self, message: str, setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting


class ForgeryError(GatewayError):
    """A notification that does not prove where it comes from."""


# --- what is asked ----------------------------------------------------------


class OperationKind(StrEnum):
    """What can follow a payment."""

    CAPTURE = "capture"
    REVERSAL = "reversal"
    REFUND = "refund"
    CREDIT = "credit"
    CHARGEBACK = "chargeback"
    RETURNED_DEBIT = "returned_debit"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the payer lives or sits; `country` is ISO 3166 alpha-2."""

    street: str = ""
    zip: str = ""
    city: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays, as far as a gateway may know it."""

    reference: str
    name: str
    email: str = ""
    language: str = "en"
    address: Address = field(default_factory=Address)
    ip: str = ""


@dataclass(frozen=True, slots=True)
class Mandate:
    """The customer's consent that a merchant-initiated charge cites.

    `reference` and `signed_on` are a direct debit's; `first_transaction` and
    `scheme_reference` name the customer-initiated payment that made the profile.
    """

    reference: str = ""
    signed_on: date | None = None
    first_transaction: str = ""
    scheme_reference: str = ""


@dataclass(frozen=True, slots=True)
class ProfileReference:
    """A stored credential as its gateway knows it; `slot` tells several of one payer apart where the wire has that."""

    reference: str = field(repr=False)
    slot: str = ""
    mandate: Mandate = field(default_factory=Mandate)


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One line of what is paid for; `total` is the gross amount of the whole line."""

    text: str
    quantity: int
    total: Money
    tax: Money
    tax_rate_bp: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What is paid for; `reference` stays the same over every try to pay it."""

    reference: str
    description: str
    lines: tuple[OrderLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Charge:
    """A merchant-initiated charge of a stored profile.

    `key` is our reference for this attempt, at most 30 characters of `A-Z a-z 0-9 -`.
    `notify_url` is where the gateway reports; it proves the key to us when it comes back.
    """

    key: str
    amount: Money
    payer: Payer
    profile: ProfileReference
    order: Order
    notify_url: str


@dataclass(frozen=True, slots=True)
class ReturnUrls:
    """Where the customer's browser comes back to; what it brings is never the result."""

    success: str
    error: str
    cancel: str


@dataclass(frozen=True, slots=True)
class PresentCharge:
    """A charge while the customer is there, of something the gateway's own fields or a form collected.

    `method` names the way to pay in the gateway's abilities, `fields` what that way needs (documented
    by the adapter). `store` asks for a profile to be made or renewed under the payer's reference.
    `reserve_only` asks for an authorisation that will be reversed.
    """

    key: str
    amount: Money
    payer: Payer
    order: Order
    method: str
    fields: Mapping[str, str] = field(repr=False)
    returns: ReturnUrls
    notify_url: str
    store: ProfileReference | None = None
    reserve_only: bool = False


@dataclass(frozen=True, slots=True)
class CheckoutOrder:
    """A hosted page to be opened for a customer.

    `ways` are those the page may offer, the one the customer chose first. `inputs` holds what the
    customer was asked for, by the names of `Abilities.inputs`. With `store` set, paying also makes or
    renews that profile. `reserve_only` asks for an authorisation that will be reversed, where the
    wire can ask for that.
    """

    key: str
    amount: Money
    payer: Payer
    order: Order
    returns: ReturnUrls
    notify_url: str
    ways: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    store: ProfileReference | None = None
    reserve_only: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """The question what became of an attempt, or of an operation on it.

    `asked` counts the questions already spent, for gateways that ration them.
    `page` is set where a hosted page may still be open: nobody may have come to it yet, and where it outlives
    a decline, a failed try on it is not the end.
    `settled_before` counts operations of the same kind and amount on the payment that are known to be
    done, `settled_minor` sums up all of the same kind: on a wire where they carry no reference, only
    what goes beyond these can be the one asked about.
    """

    key: str
    amount: Money
    gateway_id: str = ""
    asked: int = 0
    page: bool = False
    operation: OperationKind | None = None
    operation_key: str = ""
    settled_before: int = 0
    settled_minor: int = 0


@dataclass(frozen=True, slots=True)
class Booked:
    """A payment the gateway has booked; `amount` is what it was for, `given_back_minor` what went back before."""

    key: str
    gateway_id: str
    amount: Money
    given_back_minor: int = 0


@dataclass(frozen=True, slots=True)
class Payout:
    """Money sent to a payer outside any payment of theirs."""

    key: str
    amount: Money
    payer: Payer
    profile: ProfileReference
    notify_url: str


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A notification exactly as it came, with at least the headers that the gateway's abilities name.

    `proven_key` is the attempt's key where the address it came to carries our own
    unguessable proof of it, else empty. `received_at` is when it came by the machine's
    clock, where it is read again later; without it, it came just now.
    """

    method: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    proven_key: str = ""
    received_at: datetime | None = None


# --- what is answered -------------------------------------------------------


class DeclineClass(StrEnum):
    """What a decline means for the next step."""

    RETRY_LATER = "retry_later"
    NEEDS_CUSTOMER = "needs_customer"
    NEEDS_NEW_PROFILE = "needs_new_profile"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class ProfileNews:
    """A profile was made or renewed; empty fields are not known and change nothing."""

    reference: str = field(repr=False)
    slot: str = ""
    kind: str = ""
    brand: str = ""
    last4: str = ""
    expires_on: date | None = None
    mandate: Mandate | None = None


@dataclass(frozen=True, slots=True)
class Approved:
    """The gateway said so. Not `captured` means reserved: a capture or a reversal is owed.

    `undone` names what has since taken the money back, where asking late finds that out.
    """

    gateway_id: str
    amount: Money
    captured: bool = True
    profile: ProfileNews | None = None
    profile_failed: bool = False
    undone: OperationKind | None = None


@dataclass(frozen=True, slots=True)
class Declined:
    """The gateway said no, about the customer's means. `code` is the gateway's own word."""

    code: str
    decline: DeclineClass
    text: str = ""
    gateway_id: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The gateway rejected us, not the customer: the account stops and nobody is mailed."""

    code: str
    reason: str
    gateway_id: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """Booked but not final, or the customer must act at `redirect`; `until_s` is how long that may take.

    With `posted` the customer's browser posts these fields to the address; without, it just opens it.
    """

    gateway_id: str = ""
    redirect: str = ""
    until_s: int | None = None
    evidence: str = ""
    posted: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotSent:
    """The connection was provably never made, or the gateway, asked after its safe delay, knows nothing.

    `lasting` means that trying again would end the same, since what we asked for must not be sent.
    """

    reason: str
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Everything else. `reason` is for people; nothing new may be sent until it is settled."""

    reason: str
    gateway_id: str = ""


Outcome = Approved | Declined | Refused | Pending | NotSent | Unknown


@dataclass(frozen=True, slots=True)
class Checkout:
    """A hosted page that is open; `life_s` is how long a customer can pay on it.

    With `posted` the customer's browser posts these fields to the address; without, it just opens it.
    """

    url: str
    life_s: int
    gateway_id: str = ""
    posted: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CardForm:
    """The gateway's own card fields, to be framed in our page, so that no card data touches us.

    `driver` names our script that works the frame with the gateway's (`script_url`, with its integrity
    value where there is one). Once submitted, `id` is what a `PresentCharge` is paid with: its method
    is `card` and its fields are `card_form` and what the script found out about the browser (`BROWSER_FIELDS`).
    """

    id: str
    url: str
    script_url: str
    driver: str
    integrity: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification that was read and believed.

    `identity` is equal for two copies of the same news. Without an `outcome` it is only
    a hint to go and ask. `operation` is set where it is about what followed the payment.
    """

    identity: str
    key: str
    gateway_id: str = ""
    outcome: Outcome | None = None
    operation: OperationKind | None = None


# --- the gateway ------------------------------------------------------------

BROWSER_FIELDS: Final = (
    "accept_header",
    "user_agent",
    "browser_language",
    "timezone_offset_minutes",
    "color_depth",
    "java_enabled",
    "screen_height",
    "screen_width",
)
"""What 3-D Secure wants to know of the customer's browser, in JavaScript's words; `java_enabled` is yes or no."""


class AfterNothing(StrEnum):
    """What may go out after the gateway, asked past its safe delay, knew nothing."""

    NEW_KEY = "new_key"
    SAME_KEY = "same_key"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Asking:
    """How doubts are resolved on this wire.

    `delays_s` are the waits before each question, counted from the one before; `budget`
    is the most questions one transaction may be asked without its gateway id; before
    `settle_s` has passed since sending, "nothing there" is not believed.

    Not `by_key` means that nobody can be asked by our key: then the same request under the same key is
    the question. That, and what goes out after "nothing there" under `AfterNothing.SAME_KEY`, is safe
    for `repeat_s` after sending; None is for ever.
    """

    delays_s: tuple[int, ...]
    settle_s: int
    budget: int | None
    after_nothing: AfterNothing
    by_key: bool = True
    repeat_s: int | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """Something the customer must tell before a hosted page can be opened for a way to pay.

    `pattern` is a regular expression for the whole of it. Pages have words for each `name`.
    """

    way: str
    name: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a gateway can do; the engine, the console and the pay page follow it.

    `storing` are the ways that make a profile which can be charged later, all of them where it is None. `inputs`
    is what a way asks of the customer, and `least_minor` the smallest amount of each way that has one. `card_form`
    is the origin of the script and the frame with which the way `card` can be paid in the gateway's own fields on
    our page, such as `https://pay.example`; empty where it has none. Where hosted pages do not outlive a decline
    (`page_outlives_decline`), it is the end of the page, and the next visit opens a fresh one under a new key.
    `proof_headers` are those of a notification, in lower case, without which it cannot be verified again.
    """

    title: str
    charge: bool
    charge_present: bool
    hosted_page: bool
    renews_profile: bool
    capture: bool
    reverse: bool
    refund: bool
    partial_refund: bool
    pay_out: bool
    forget: bool
    ways: tuple[str, ...]
    asking: Asking
    timeout_s: float
    notification_is_truth: bool
    currencies: frozenset[str] | None = None
    least_minor: Mapping[str, int] = field(default_factory=dict)
    in_flight_max: int = 250
    storing: frozenset[str] | None = None
    card_form: str = ""
    inputs: tuple[Input, ...] = ()
    page_outlives_decline: bool = True
    proof_headers: frozenset[str] = frozenset()

    @property
    def asks_every_time(self) -> bool:
        """Whether customers confirm each payment on a page, so that nothing can be charged while they are away."""
        return self.hosted_page and not self.charge

    def takes(self, amount: Money, way: str) -> bool:
        """Answer whether so much, in this currency, can be paid here in this way."""
        fits = self.currencies is None or amount.currency in self.currencies
        return fits and amount.minor >= self.least_minor.get(way, 1)

    def stores(self, way: str) -> bool:
        """Answer whether paying in this way makes a profile that can be charged later."""
        return self.renews_profile and (self.storing is None or way in self.storing)


class Gateway(Protocol):
    """One merchant's account at one payment gateway.

    Every verb that returns an `Outcome` sends at most one request and never raises for what the
    gateway or the network did; `MisuseError` is raised before anything is sent. Whoever has much to ask waits
    for the `pace`, which hears from every verb how busy the gateway is.
    """

    abilities: Abilities
    pace: Pace

    async def charge(self, charge: Charge) -> Outcome:
        """Charge a stored profile while the customer is away."""
        ...

    async def charge_present(self, charge: PresentCharge) -> Outcome:
        """Charge while the customer is there; may answer `Pending` with a redirect."""
        ...

    async def open_checkout(self, order: CheckoutOrder) -> Checkout | Declined | Refused | NotSent | Unknown:
        """Open a hosted page; nothing is charged until the customer acts on it."""
        ...

    async def open_card_form(self, payer: Payer) -> CardForm | Declined | Refused | NotSent | Unknown:
        """Open the gateway's own card fields for a frame in our page; no money has anything to do with it yet."""
        ...

    async def find(self, question: Question) -> Outcome:
        """Say what became of an attempt or an operation; `NotSent` means the gateway knows nothing."""
        ...

    async def capture(self, booked: Booked, amount: Money, key: str) -> Outcome:
        """Turn a reservation, or a part of it, into money."""
        ...

    async def reverse(self, booked: Booked, key: str) -> Outcome:
        """Let a reservation go; `Declined` with class `never` where it was captured already."""
        ...

    async def refund(self, booked: Booked, amount: Money, key: str) -> Outcome:
        """Give back captured money, or a part of it."""
        ...

    async def pay_out(self, payout: Payout) -> Outcome:
        """Send money to a payer where no payment can be refunded."""
        ...

    async def forget(self, profile: ProfileReference) -> Outcome:
        """Delete a stored profile at the gateway; only when no attempt on it is open."""
        ...

    async def check(self) -> None:
        """Return if the credentials work, else raise `ConfigurationError` with one clear sentence."""
        ...

    def read_notification(self, message: RawMessage) -> Notice:
        """Read a notification without any I/O, or raise `ForgeryError`."""
        ...

    def acknowledge(self, accepted: bool) -> str:
        """Return the body this gateway wants as the answer to a notification."""
        ...

    def answer_challenge(self, message: RawMessage) -> str | None:
        """Return what the gateway's check of our address wants to read, or None where it is no such check."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """Something that is said of an account when it is set up; without a default it must be given.

    A secret is never shown again. With `choices` it is one of them.
    """

    name: str
    label: str
    hint: str = ""
    default: str | None = None
    is_secret: bool = False
    is_address: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GatewayKind:
    """A gateway that accounts can be at: its name for people, and what is to be said of an account."""

    title: str
    settings: tuple[Setting, ...]


class OpenGateway(Protocol):
    """Opens a gateway by name for one account's credentials; raises `ConfigurationError`."""

    def __call__(self, name: str, credentials: Mapping[str, str]) -> Gateway:
        """Return the gateway, ready to use."""
        ...


class UnusableGateway:
    """Stands in for an account whose credentials cannot work: every verb is refused, and nothing is sent."""

    def __init__(self, reason: str) -> None:
        self._refused = Refused("CONFIGURATION", reason)
        self.pace = Pace()
        self.abilities = Abilities(
            title="unusable",
            charge=False,
            charge_present=False,
            hosted_page=False,
            renews_profile=False,
            capture=False,
            reverse=False,
            refund=False,
            partial_refund=False,
            pay_out=False,
            forget=False,
            ways=(),
            asking=Asking(delays_s=(3600,), settle_s=0, budget=None, after_nothing=AfterNothing.PERSON),
            timeout_s=0,
            notification_is_truth=False,
        )

    async def _refuse(self, *_: object) -> Refused:
        return self._refused

    charge = charge_present = open_checkout = open_card_form = find = capture = reverse = refund = pay_out = forget = (
        _refuse
    )

    async def check(self) -> None:
        """Raise what is wrong with the credentials."""
        raise ConfigurationError(self._refused.reason)

    def read_notification(self, message: RawMessage) -> Notice:
        """Refuse to believe anything: without credentials nothing can be verified."""
        raise ForgeryError(f"{message.method} to an account that cannot verify it: {self._refused.reason}")

    def acknowledge(self, accepted: bool) -> str:
        """Return a plain word."""
        return "OK" if accepted else "ERROR"

    def answer_challenge(self, message: RawMessage) -> str | None:  # noqa: ARG002 - nothing is read here
        """Answer none."""
        return None

    async def close(self) -> None:
        """Do nothing: nothing was opened."""
