"""PAYONE's simulator as the contract suite sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs

import httpx

from billing.gateway import CardForm, ProfileReference, RawMessage, ReturnUrls
from tests.contract.account import Account
from tests.contract.harness import RETURNS, Form, Harness, Means, Present
from tests.gateways_sandbox.payone_wire import CHALLENGED, DECLINED


def card(number: str) -> Means:
    return Means(
        typed={"number": number, "expiry": "12/35", "cvc": "123", "action": "pay"},
        stored={"card": number, "expiry": "1235", "holder": "Jenny Doe"},
    )


SECURED: Final = card(CHALLENGED)


async def _store(account: Account, means: Means) -> ProfileReference:
    profile = ProfileReference(account.name("tok"))
    account.sandbox.store({"token": profile.reference, **means.stored})
    return profile


async def _secured(account: Account) -> Present:
    return await account.card_in_form(SECURED)


async def _type_card(browser: httpx.AsyncClient, form: CardForm, typed: Form, keep: bool) -> None:
    """Type a card into the frame, and submit it as the script in our page does."""
    fields = {"number": typed["number"], "expiry": typed["expiry"], "cvc": typed["cvc"], "holder": "Jenny Doe"}
    kept = {} if keep else {"store_permanently": "false"}
    assert (await browser.post(form.url, data={**fields, **kept})).json()["success"]


def _key_of(row: Mapping[str, Any]) -> str:
    """Return our key, which stands in our own words: a page is opened without one in its header."""
    [key] = parse_qs(str(row["merchant_parameters"]))["key"]
    return key


def _signed_by_another(message: RawMessage) -> RawMessage:
    return replace(message, headers={**message.headers, "x-gcs-signature": "A" * 43 + "="})


PAYONE: Final = Harness(
    name="payone",
    good=card("4330264936344675"),
    declined=card(DECLINED),
    expired=card("4321450000000027"),
    secured=SECURED,
    store=_store,
    with_redirect=_secured,
    reserving={"automatic_capture": "no"},
    type_card=_type_card,
    key_of=_key_of,
    calls={
        "charge": "CreatePayment",
        "open_checkout": "CreateHostedCheckout",
        "reverse": "CancelPayment",
        "refund": "RefundPayment",
    },
    wrong={"api_secret": "not-the-secret"},
    nobody=ProfileReference("tok-nobody"),
    nothing="9999999999_0",
    forgeries={"unsigned": lambda message: replace(message, headers={}), "signed by another": _signed_by_another},
    simulating={"settle_delay_s": 0.05},
    faults_absent=frozenset({"fault"}),
    returns=ReturnUrls(RETURNS.success, RETURNS.success, RETURNS.success),
    page_reserves=True,
    keeps_reference=False,
)
