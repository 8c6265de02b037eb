"""PaymentZ's simulator as the contract suite sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import httpx

from billing.gateway import Checkout, Declined, Mandate, ProfileReference, RawMessage, ReturnUrls
from tests.contract.account import Account
from tests.contract.harness import RETURNS, Form, Harness, Means, Present
from tests.contract.sandbox import arrive, landed, submit
from tests.gateways.samples import BROWSER
from tests.gateways_sandbox.paymentz_wire import CHALLENGED, DECLINED, GOOD


def _card(number: str, expiry: str = "12/2035") -> Means:
    return Means(
        typed={"number": number, "expiry": "12/35", "cvc": "123", "holder": "Jenny Doe", "action": "pay"},
        stored={"card": number, "expiry": expiry},
    )


SECURED: Final = _card(CHALLENGED)


def _stored(account: Account, means: Means) -> dict[str, Any]:
    [told] = account.sandbox.store({"reference": account.name("INITIAL"), **means.stored})["profiles"]
    found: dict[str, Any] = told
    return found


async def _store(account: Account, means: Means) -> ProfileReference:
    return ProfileReference(_stored(account, means)["paymentId"])


async def _store_token(account: Account, means: Means) -> ProfileReference:
    stored = _stored(account, means)
    return ProfileReference(stored["registrationId"], mandate=Mandate(first_transaction=stored["paymentId"]))


async def _secured(account: Account) -> Present:
    return Present("card", {"token": _stored(account, SECURED)["registrationId"], **BROWSER})


async def _pay(browser: httpx.AsyncClient, page: Checkout, typed: Mapping[str, str]) -> str:
    """Pay on the page, which leads on to the bank or back to the card by redirects of its own."""
    sent = await submit(browser, await arrive(browser, page.url, page.posted), typed)
    shown = await browser.get(sent.url.join(sent.headers["location"])) if sent.is_redirect else sent
    return landed(await submit(browser, shown, BANK["confirm"]) if 'value="approve"' in shown.text else shown)


BANK: Final[Mapping[str, Form]] = {"confirm": {"outcome": "approve"}, "refuse": {"outcome": "decline"}}


def _changed(**values: str) -> Any:
    def change(message: RawMessage) -> RawMessage:
        return replace(message, body=json.dumps({**json.loads(message.body), **values}).encode())

    return change


PAYMENTZ: Final = Harness(
    name="paymentz",
    good=_card(GOOD),
    declined=_card(DECLINED),
    expired=_card(GOOD, "01/2020"),
    secured=SECURED,
    store=_store,
    with_redirect=_secured,
    pay=_pay,
    bank_answers=BANK,
    calls={"charge": "Repeated", "reverse": "Reversal", "refund": "Refund"},
    wrong={"secret_key": "not-the-secret"},
    nobody=ProfileReference("999999999"),
    nothing="999999999",
    forgeries={
        "unsigned": _changed(checksum=""),
        "signed by another": _changed(checksum="0" * 32),
        "about another amount": _changed(amount="1.00"),
    },
    simulating={"callback_on_sync": True},
    faults_absent=frozenset({"fault"}),
    returns=ReturnUrls(RETURNS.success, RETURNS.success, RETURNS.success),
    tells_tries=False,
    refunds_once=True,
    keeps_reference=False,
    given_up=(Declined,),
)

PAYMENTZ_TOKEN: Final = replace(
    PAYMENTZ,
    label="paymentz-token",
    settings={"repeat_via": "token"},
    store=_store_token,
    calls={**PAYMENTZ.calls, "charge": "PayWithToken"},
    nobody=ProfileReference("A" * 32),
    page_reserves=True,
)
