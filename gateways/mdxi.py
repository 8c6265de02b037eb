"""The order document MDXI 3.0, which opens mPAY24's hosted page.

Its children stand in a strict order and its amounts are decimal, unlike everything else on this wire
(docs.mpay24.com/docs/mdxi-xml, schema at www.mpay24.com/schemas/MDXI/v3.0/MDXI.xsd).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Final

from lxml import etree

from billing.gateway import CheckoutOrder, MisuseError, OrderLine, Payer
from billing.money import Money, exponent

LENGTH_MAX: Final = 8192
_PRICE: Final = re.compile(r"-?[0-9]{1,9}(\.[0-9]{2})?")
_URL: Final = re.compile(r"https?://\S{5,2040}")
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SHORT: Final = 40


@dataclass(frozen=True, slots=True)
class Look:
    """How the hosted page looks, which language it speaks and which payment types it offers."""

    template_set: str
    css_name: str
    language: str
    types: tuple[str, ...]


def write(order: CheckoutOrder, look: Look) -> str:
    """Return the document; raise `MisuseError` where the order cannot be said in it.

    If it grows over the limit, first the texts of the cart are shortened, then the cart is
    left out: neither changes what is paid.
    """
    whole = _document(order, look, order.order.lines)
    if len(whole) > LENGTH_MAX:
        whole = _document(order, look, tuple(replace(line, text=line.text[:_SHORT]) for line in order.order.lines))
    if len(whole) > LENGTH_MAX:
        whole = _document(order, look, ())
    if len(whole) > LENGTH_MAX:
        raise MisuseError(f"the order document has {len(whole)} characters, mPAY24 takes {LENGTH_MAX}")
    return whole


def _document(order: CheckoutOrder, look: Look, lines: tuple[OrderLine, ...]) -> str:
    root = etree.Element("Order")
    _add(root, "ClientIP", client_ip(order.payer.ip))
    _add(root, "UserField", plain(order.order.reference, 255))
    _add(root, "Tid", order.key)
    _template(root, look)
    _types(root, look.types)
    _cart(root, order, lines)
    _add(root, "Price", price(order.amount))
    _add(root, "Currency", order.amount.currency)
    _customer(root, order)
    _billing(root, order.payer)
    _urls(root, order)
    return etree.tostring(root, encoding="unicode")


def _template(root: etree._Element, look: Look) -> None:
    template = etree.SubElement(root, "TemplateSet")
    template.text = plain(look.template_set) or None
    for name, value in (("CSSName", look.css_name), ("Language", look.language)):
        if value:
            template.set(name, plain(value))


def _types(root: etree._Element, types: tuple[str, ...]) -> None:
    parent = etree.SubElement(root, "PaymentTypes", Enable="true")
    for name in types:
        etree.SubElement(parent, "Payment", Type=name)


def _cart(root: etree._Element, order: CheckoutOrder, lines: tuple[OrderLine, ...]) -> None:
    """Write the cart only if it adds up: mPAY24 discards one that differs from the price."""
    if not lines or any(line.total.currency != order.amount.currency for line in lines):
        lines = (OrderLine(order.order.description, 1, order.amount, order.amount * 0),)
    if sum(line.total.minor for line in lines) != order.amount.minor:
        lines = (OrderLine(order.order.description, 1, order.amount, order.amount * 0),)
    cart = etree.SubElement(root, "ShoppingCart")
    _add(cart, "Description", plain(order.order.description, 255))
    for number, line in enumerate(lines, start=1):
        item = etree.SubElement(cart, "Item")
        _add(item, "Number", str(number))
        _add(item, "Description", plain(line.text, 255))
        _add(item, "Quantity", str(line.quantity))
        _add(item, "Price", price(line.total))


def _customer(root: etree._Element, order: CheckoutOrder) -> None:
    """Write the customer; with an id and `UseProfile`, paying stores or renews the profile under that id."""
    customer = _add(root, "Customer", plain(order.payer.name, 50))
    if order.store is None:
        return
    customer = etree.SubElement(root, "Customer") if customer is None else customer
    customer.set("Id", identifier("profile", order.store.reference))
    customer.set("UseProfile", "true")


def _billing(root: etree._Element, payer: Payer) -> None:
    name = plain(payer.name, 50)
    if not name:
        return
    billing = etree.SubElement(root, "BillingAddr", Mode="ReadOnly")
    _add(billing, "Name", name)
    _street(billing, payer)
    _add(billing, "Email", plain(payer.email) if len(payer.email) <= 64 else "")


def _street(billing: etree._Element, payer: Payer) -> None:
    """Write the address as the one block it is in the schema: all of it or nothing."""
    address = payer.address
    parts = {"Street": address.street, "Zip": address.zip, "City": address.city}
    if not all(plain(part) for part in parts.values()) or not re.fullmatch("[A-Z]{2}", address.country):
        return
    for name, text in parts.items():
        _add(billing, name, plain(text, 50))
    etree.SubElement(billing, "Country", Code=address.country).text = address.country


def _urls(root: etree._Element, order: CheckoutOrder) -> None:
    parent = etree.SubElement(root, "URL")
    for name, url in (
        ("Success", order.returns.success),
        ("Error", order.returns.error),
        ("Confirmation", order.notify_url),
        ("Cancel", order.returns.cancel),
    ):
        _add(parent, name, web_address(name, url))


def _add(parent: etree._Element, name: str, text: str) -> etree._Element | None:
    """Add a child with a text; an empty one is left out."""
    if not text:
        return None
    child = etree.SubElement(parent, name)
    child.text = text
    return child


def price(amount: Money) -> str:
    """Write an amount in major units with two decimals or none, the only shapes the schema has."""
    if exponent(amount.currency) not in (0, 2):
        raise MisuseError(f"mPAY24's hosted page has no way to write {amount.currency}: it knows two decimals or none")
    text = str(amount.major)
    if not _PRICE.fullmatch(text):
        raise MisuseError(f"{text} {amount.currency} is too much for mPAY24's hosted page")
    return text


def client_ip(text: str) -> str:
    """Return the address in a shape both schemas take, or nothing."""
    try:
        return ipaddress.ip_address(text).compressed.partition("%")[0]
    except ValueError:
        return ""


def identifier(name: str, text: str) -> str:
    """Return a reference unchanged, or raise `MisuseError`: shortened it would be another one."""
    if not 1 <= len(text) <= 32 or _NOT_XML.search(text):
        raise MisuseError(f"{name} {text!r} must have 1 to 32 characters for mPAY24")
    return text


def web_address(name: str, url: str) -> str:
    """Return the address, or raise `MisuseError` where the schema would refuse it."""
    if not _URL.fullmatch(url) or _NOT_XML.search(url):
        raise MisuseError(
            f"the {name} address is not one mPAY24 takes: it starts with http and has at most 2048 characters"
        )
    return url


def plain(text: str, length_max: int | None = None) -> str:
    """Return a text for people without what XML cannot carry, on one line, cut to length."""
    return " ".join(_NOT_XML.sub("", text).split())[:length_max].rstrip()
