"""Computop's simulator as the contract suite sees it: PAYBACK PAY alone, and with cards that are stored."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qs

from billing.gateway import Declined, Mandate, ProfileReference, RawMessage, ReturnUrls
from gateways.sandbox.computop_values import ENCRYPTION_PASSWORD
from tests.contract.account import Account
from tests.contract.harness import RETURNS, Harness, Means
from tests.gateways_sandbox.computop_wire import ASKS_BANK, DECLINED, EXPIRED, VISA, decrypted, encrypted


def _payer(number: str) -> Means:
    """Return a PAYBACK account; what becomes of a sale depends on the number's last two digits."""
    return Means(typed={"action": "confirm"}, inputs={"payback_number": number}, way="payback_pay")


def _card(number: str) -> Means:
    return Means(
        typed={"number": number, "expiry": "12/35", "cvc": "123", "holder": "Jenny Doe", "action": "pay"},
        stored={"number": number, "expiry": "203512", "holder": "Jenny Doe"},
    )


async def _store(account: Account, means: Means) -> ProfileReference:
    [told] = account.sandbox.store(means.stored)["profiles"]
    card = {"number": told["PCNr"], **{name: told[name] for name in ("expiryDate", "brand", "cardholderName")}}
    return ProfileReference(json.dumps(card), mandate=Mandate(scheme_reference=told["schemeReferenceID"]))


def _told_otherwise(message: RawMessage) -> RawMessage:
    """Seal a result again with another status, under the MAC it had."""
    [length], [data] = parse_qs(message.body.decode()).values()
    text = decrypted(ENCRYPTION_PASSWORD, data)[: int(length)].decode("latin-1").replace("Status=OK", "Status=XX")
    return replace(message, body=f"Len={length}&Data={encrypted(ENCRYPTION_PASSWORD, text)}".encode())


def _in_clear(message: RawMessage) -> RawMessage:
    [length], [data] = parse_qs(message.body.decode()).values()
    return replace(message, body=decrypted(ENCRYPTION_PASSWORD, data)[: int(length)])


COMPUTOP: Final = Harness(
    name="computop",
    good=_payer("2087654399"),
    declined=_payer("2087654301"),
    calls={"refund": "Credit"},
    wrong={"encryption_password": "not-the-password"},
    nothing="f" * 32,
    forgeries={"in clear": _in_clear, "with another status under its MAC": _told_otherwise},
    faults_absent=frozenset({"fault"}),
    returns=ReturnUrls(RETURNS.success, RETURNS.error, RETURNS.error),
    one_try=True,
    given_up=(Declined,),
)

COMPUTOP_CARDS: Final = replace(
    COMPUTOP,
    label="computop-cards",
    settings={"card_on_file": "yes"},
    good=_card(VISA),
    declined=_card(DECLINED),
    expired=_card(EXPIRED),
    secured=_card(ASKS_BANK),
    store=_store,
    calls={"charge": "Direct", "reverse": "Reverse", "refund": "Credit"},
    nobody=ProfileReference(
        json.dumps({"number": "0" * 16, "expiryDate": "203512", "brand": "VISA"}),
        mandate=Mandate(scheme_reference="1"),
    ),
    simulating={"card_tries_max": 1},
    tells_charges=False,
    page_reserves=True,
    keeps_reference=False,
)
