"""What the contract suite must be told about one gateway's simulator; the tests themselves name no gateway.

A gateway joins by one module with a `Harness`, named in `tests/contract/conftest.py`. What it cannot do its abilities
say, how its wire differs the fields below; a test that needs what neither has is skipped. Where the gateway charges
stored profiles, `store` makes one, at the simulator or by paying with `Account.renewed`; where it does not, the tests
that need a payment pay on the page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx

from billing.gateway import CardForm, Checkout, NotSent, Outcome, ProfileReference, RawMessage, ReturnUrls
from tests.contract.sandbox import give_up, pay

if TYPE_CHECKING:
    from tests.contract.account import Account

Form = Mapping[str, str]

RETURNS: Final = ReturnUrls("https://shop.example/ok", "https://shop.example/error", "https://shop.example/back")


@dataclass(frozen=True)
class Means:
    """A means of payment: what its customer types on the page, how the simulator stores it, what must be told before.

    `way` is the word the gateway's abilities have for it.
    """

    typed: Form
    stored: Form = field(default_factory=dict)
    inputs: Form = field(default_factory=dict)
    way: str = "card"


@dataclass(frozen=True)
class Present:
    """A method for a customer who is there, with its fields."""

    method: str
    fields: Form


def key_of(row: Mapping[str, Any]) -> str:
    """Return our key as most simulators show it in their ledger."""
    return str(row["reference"])


@dataclass(frozen=True)
class Harness:
    """One gateway's words for what the suite does; what has a default here is the same on most wires.

    `calls` are the simulator's names of the requests behind `charge`, `open_checkout`, `reverse` and `refund`, as far
    as there are such requests; `faults_absent` those it does not know. `wrong` are settings the gateway does not
    believe, `nobody` and `nothing` a profile and a payment it does not know. Each of `forgeries` damages a
    notification so that it must be refused.

    Without `tells_charges` only what happens on a page is notified of; without `tells_tries` a failed try is not while
    the page stays open. `bank_answers` is what a customer submits who confirms or refuses the bank's question.

    `returns` is where the browser comes back to after success, after failure and after giving up, as far as the wire
    tells these apart. With `one_try` a declined try closes the page. With `refunds_once` nothing can follow a refund
    of a part. Without `keeps_reference` a profile that was stored or renewed has a reference the gateway chose.
    `given_up` is what may be found of a page whose customer gave up.

    With the settings `reserving` every charge only reserves; without them a reservation is made on the page. A small
    payment that renews a profile there is only a reservation if `page_reserves`, else it is given back as money.
    `label` tells two harnesses of one gateway apart.
    """

    name: str
    good: Means
    declined: Means
    calls: Form
    wrong: Form
    nothing: str
    forgeries: Mapping[str, Callable[[RawMessage], RawMessage]]
    nobody: ProfileReference | None = None
    store: Callable[[Account, Means], Awaitable[ProfileReference]] | None = None
    expired: Means | None = None
    secured: Means | None = None
    booked_later: Callable[[Account], Awaitable[Present]] | None = None
    with_redirect: Callable[[Account], Awaitable[Present]] | None = None
    reserving: Form | None = None
    pay: Callable[[httpx.AsyncClient, Checkout, Form], Awaitable[str]] = pay
    give_up: Callable[[httpx.AsyncClient, Checkout], Awaitable[str]] = give_up
    type_card: Callable[[httpx.AsyncClient, CardForm, Form, bool], Awaitable[None]] | None = None
    key_of: Callable[[Mapping[str, Any]], str] = key_of
    bank_answers: Mapping[str, Form] = field(
        default_factory=lambda: {"confirm": {"action": "confirm"}, "refuse": {"action": "refuse"}}
    )
    label: str = ""
    endpoint: str = "endpoint"
    settings: Form = field(default_factory=dict)
    simulating: Mapping[str, Any] = field(default_factory=dict)
    faults_absent: frozenset[str] = frozenset()
    returns: ReturnUrls = RETURNS
    page_reserves: bool = False
    tells_charges: bool = True
    tells_tries: bool = True
    one_try: bool = False
    refunds_once: bool = False
    keeps_reference: bool = True
    given_up: tuple[type[Outcome], ...] = (NotSent,)
