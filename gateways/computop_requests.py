"""The fields of every request, checked so that what Computop would refuse is never sent.

No order text is sent in plain fields: `OrderDesc` beginning with `Test:` would turn even a live payment into a
simulated one that nobody pays ("Simulation mode").
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from billing.gateway import Booked, Charge, CheckoutOrder, Input, MisuseError
from billing.money import Money
from gateways import computop_cards as cards
from gateways.computop_basket import article_list, articles_of, vat_list
from gateways.computop_settings import Settings
from gateways.computop_wire import Envelope
from gateways.settings import is_loopback

Fields = dict[str, str]

CURRENCY: Final = "EUR"
AMOUNT_MAX: Final = 9_999_999_999
URL_MAX: Final = 256

NUMBER: Final = Input("payback_pay", "payback_number", "[0-9]{10}")
MEMBERSHIP: Final = Input("payback_pay", "payback_membership", "[A-Za-z0-9]{1,64}")
"""The membership id exists only for customers whose account is bound, and has to come with the order then."""

_KEY: Final = re.compile("[A-Za-z0-9-]{1,30}")
_PAY_ID: Final = re.compile("[0-9A-Za-z]{1,32}")
_COUNTRY: Final = re.compile("[A-Z]{2}")


def inputs(settings: Settings) -> tuple[Input, ...]:
    """Return what the customer must be asked for."""
    return (NUMBER, MEMBERSHIP) if settings.is_bound else (NUMBER,)


# --- pages --------------------------------------------------------------------------------------------


def sale(order: CheckoutOrder, settings: Settings) -> Fields:
    """Return a sale by PAYBACK PAY, which takes the money in one step and stores nothing."""
    if order.store is not None or order.reserve_only:
        raise MisuseError("PAYBACK PAY only sells: it stores nothing and reserves nothing")
    if order.amount.minor < settings.least_minor:
        raise MisuseError(f"PAYBACK PAY takes no less than {settings.least_minor} cent")
    if not _COUNTRY.fullmatch(order.payer.address.country):
        raise MisuseError("PAYBACK PAY needs the payer's country")
    given = {each.name: _given(order, each) for each in inputs(settings)}
    articles = articles_of(order.order, order.amount)
    return {
        **_payment(order.key, order.amount),
        "Language": _language(order, settings),
        **_addresses(order, settings),
        "VatList": vat_list(articles, settings.dialect),
        "ArticleList": article_list(articles, settings.dialect),
        "DeviceID": settings.device_id,
        "AccountId": given[NUMBER.name],
        "CustomerID": given.get(MEMBERSHIP.name, ""),
        "IsBound": "true" if settings.is_bound else "false",
        "CustomerGroup": settings.customer_group,
        "sdCountryCode": order.payer.address.country,
    }


def card_page(order: CheckoutOrder, settings: Settings, envelope: Envelope) -> Fields:
    """Return a payment on the card form; what is to be stored is announced and carries our pledge of the amount."""
    storing = {
        "credentialOnFile": cards.credential_on_file(settings, initial=True),
        "UserData": cards.pledge(envelope, order.key, order.amount),
    }
    return {
        **_payment(order.key, order.amount),
        "MsgVer": "2.0",
        "Capture": "MANUAL" if order.reserve_only else "AUTO",
        "Language": _language(order, settings),
        **_addresses(order, settings),
        **(storing if order.store is not None else {}),
    }


def _given(order: CheckoutOrder, wanted: Input) -> str:
    value = order.inputs.get(wanted.name, "")
    if not re.fullmatch(wanted.pattern, value):
        raise MisuseError(f"PAYBACK PAY needs the customer's {wanted.name}, and what is there is missing or malformed")
    return value


def _language(order: CheckoutOrder, settings: Settings) -> str:
    spoken = order.payer.language[:2].lower()
    return spoken if spoken in ("de", "en", "fr") else settings.language


def _addresses(order: CheckoutOrder, settings: Settings) -> Fields:
    given = {"URLSuccess": order.returns.success, "URLFailure": order.returns.error, "URLNotify": order.notify_url}
    for name, url in given.items():
        _check_address(name, url, settings)
    return {**given, "Response": "encrypt"}


def _check_address(name: str, url: str, settings: Settings) -> None:
    """Raise for an address Computop does not take; it is not shown, since ours carry proofs."""
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "https" and parts.port in (None, 443)
    except ValueError:
        raise MisuseError(f"{name} is no address") from None
    here = settings.is_local and parts.scheme in ("http", "https") and is_loopback(parts.hostname or "")
    if not parts.hostname or not (secure or here):
        raise MisuseError(f"{name} must be https on port 443")
    if len(url) > URL_MAX or "?" in url or "#" in url:
        raise MisuseError(f"{name} must have no query and at most {URL_MAX} characters")


# --- server to server ---------------------------------------------------------------------------------


def direct(charge: Charge, settings: Settings) -> Fields:
    """Return a charge of a stored card by the merchant, citing the first payment by its scheme's reference."""
    scheme_reference = charge.profile.mandate.scheme_reference
    if not scheme_reference:
        raise MisuseError("a card cannot be charged without the scheme reference of its first payment")
    return {
        **_payment(charge.key, charge.amount),
        "MsgVer": "2.0",
        "Capture": "AUTO",
        "card": cards.stored_card(charge.profile, charge.payer.name),
        "credentialOnFile": cards.credential_on_file(settings, initial=False),
        "schemeReferenceID": scheme_reference,
    }


def follow(booked: Booked, amount: Money, key: str) -> Fields:
    """Return a capture, a reversal or a credit; it has a key of its own and names the payment by its PayID."""
    if amount.currency != booked.amount.currency or amount > booked.amount:
        raise MisuseError(f"{amount.major} {amount.currency} is more than {booked.key} was for")
    return {"PayID": pay_id(booked.gateway_id), "TransID": _key(key), **_money(amount), "ReqId": key}


def credit(booked: Booked, amount: Money, key: str) -> Fields:
    """Return a credit of no more than what is left of the payment; Computop would refuse a higher sum."""
    fields, left = follow(booked, amount, key), booked.amount.minor - booked.given_back_minor
    if amount.minor > left:
        raise MisuseError(
            f"of {booked.key} only {Money(left, amount.currency).major} {amount.currency} is left to give back"
        )
    return fields


def inquiry(key: str, gateway_id: str = "") -> Fields:
    """Return a question: by the PayID where it is known, and always with our key."""
    return {"PayID": pay_id(gateway_id) if gateway_id else "", "TransID": _key(key)}


def pay_id(text: str) -> str:
    """Return Computop's number of a payment, or raise `MisuseError` for what is none."""
    if not _PAY_ID.fullmatch(text):
        raise MisuseError(f"{text!r} is no PayID of Computop's")
    return text


# --- what they share ----------------------------------------------------------------------------------


def _payment(key: str, amount: Money) -> Fields:
    return {"TransID": _key(key), "RefNr": key, **_money(amount), "ReqId": key}


def _money(amount: Money) -> Fields:
    if amount.currency != CURRENCY or not 0 < amount.minor <= AMOUNT_MAX:
        raise MisuseError(
            f"{amount.major} {amount.currency} cannot be paid at Computop: it takes {CURRENCY} above zero"
        )
    return {"Amount": str(amount.minor), "Currency": amount.currency}


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise MisuseError(f"the key {text!r} is not 1 to 30 letters, digits and hyphens")
    return text
