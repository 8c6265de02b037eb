from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from billing.gateway import Address, CheckoutOrder, MisuseError, Order, OrderLine, ProfileReference
from billing.money import Money
from gateways.mdxi import LENGTH_MAX, Look, plain, price, write
from tests.gateways.samples import AMOUNT, CHECKOUT, ORDER, PAYER, Wire, gateway, soap

SCHEMAS = Path(__file__).parents[2].parent / "shared" / "protocols" / "mpay24-upstream"
LOOK = Look("", "MODERN", "DE", ("CC", "ELV", "PAYPAL"))


def validate(document: str, name: str = "MDXI.xsd") -> None:
    if not SCHEMAS.exists():
        pytest.skip("the provider's schema is not beside this project")
    etree.XMLSchema(etree.parse(SCHEMAS / name)).assertValid(etree.fromstring(document))


def names(document: str) -> list[str]:
    return [str(child.tag) for child in etree.fromstring(document)]


@pytest.mark.parametrize("schema", ["MDXI.xsd", "MDXI-2019.xsd"])
@pytest.mark.parametrize(
    "order",
    [
        CHECKOUT,
        replace(CHECKOUT, store=None),
        replace(CHECKOUT, amount=Money(2500, "JPY")),
        replace(CHECKOUT, amount=Money(99_999_999_999, "EUR")),
        replace(CHECKOUT, payer=replace(PAYER, name="", ip="", language="xx", address=Address())),
        replace(CHECKOUT, payer=replace(PAYER, address=Address("only a street"), email="x" * 65)),
        replace(CHECKOUT, order=Order("", "")),
    ],
)
def test_every_order_is_written_as_the_providers_schema_has_it(order: CheckoutOrder, schema: str) -> None:
    validate(write(order, LOOK), schema)


def test_an_address_of_the_newer_kind_is_written_as_the_newer_schema_has_it() -> None:
    validate(write(replace(CHECKOUT, payer=replace(PAYER, ip="2001:db8::1")), LOOK))


def test_the_children_stand_in_the_order_the_schema_wants() -> None:
    assert (
        names(write(CHECKOUT, LOOK))
        == (
            "ClientIP UserField Tid TemplateSet PaymentTypes ShoppingCart Price Currency Customer BillingAddr URL"
        ).split()
    )


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Money(2500, "EUR"), "25.00"),
        (Money(5, "EUR"), "0.05"),
        (Money(-500, "EUR"), "-5.00"),
        (Money(2500, "JPY"), "2500"),
        (Money(99_999_999_999, "EUR"), "999999999.99"),
    ],
)
def test_an_amount_has_two_decimals_or_none(amount: Money, text: str) -> None:
    assert price(amount) == text


@pytest.mark.parametrize("amount", [Money(2500, "KWD"), Money(2500, "CLF"), Money(100_000_000_000, "EUR")])
def test_an_amount_the_schema_cannot_write_is_not_sent(amount: Money) -> None:
    with pytest.raises(MisuseError):
        price(amount)


def test_a_profile_is_only_stored_where_one_is_wanted() -> None:
    having = etree.fromstring(write(CHECKOUT, LOOK)).find("Customer")
    without = etree.fromstring(write(replace(CHECKOUT, store=None), LOOK)).find("Customer")
    assert having is not None
    assert dict(having.attrib.items()) == {"Id": "985467_45486", "UseProfile": "true"}
    assert without is not None
    assert dict(without.attrib.items()) == {}


def test_a_cart_that_does_not_add_up_is_replaced_by_one_line_that_does() -> None:
    odd = replace(ORDER, lines=(OrderLine("A", 1, Money(1, "EUR"), Money(0, "EUR")),))
    cart = etree.fromstring(write(replace(CHECKOUT, order=odd), LOOK)).findall("ShoppingCart/Item")
    assert [(item.findtext("Description"), item.findtext("Price")) for item in cart] == [("Abo & Zugaben", "25.00")]


def test_a_long_cart_is_shortened_and_then_left_out_but_the_order_stays() -> None:
    def order(lines: int) -> CheckoutOrder:
        each = tuple(OrderLine("x" * 255, 1, Money(1, "EUR"), Money(0, "EUR")) for _ in range(lines))
        return replace(CHECKOUT, amount=Money(lines, "EUR"), order=replace(ORDER, lines=each))

    shortened, without = write(order(30), LOOK), write(order(300), LOOK)
    assert len(shortened) <= LENGTH_MAX
    assert len(without) <= LENGTH_MAX
    assert (shortened.count("<Item>"), without.count("<Item>")) == (30, 1)


def test_an_order_too_long_for_the_gateway_is_not_sent() -> None:
    returns = replace(CHECKOUT.returns, success="https://x.example/" + "&" * 1900)
    with pytest.raises(MisuseError, match="8192"):
        write(replace(CHECKOUT, returns=returns), LOOK)


@pytest.mark.parametrize(
    "url", ["", "ftp://x.example/", "https://x", "https://x.example/" + "y" * 2040, "https://x y.example/"]
)
def test_an_address_the_schema_refuses_is_not_sent(url: str) -> None:
    with pytest.raises(MisuseError):
        write(replace(CHECKOUT, notify_url=url), LOOK)


def test_a_profile_reference_is_never_shortened() -> None:
    with pytest.raises(MisuseError):
        write(replace(CHECKOUT, store=ProfileReference("x" * 33)), LOOK)


@settings(deadline=None)
@given(st.text(), st.text(), st.text(), st.text())
def test_any_text_survives_being_written_or_is_cleaned_the_same_way(name: str, about: str, line: str, ref: str) -> None:
    order = Order(ref, about, (OrderLine(line, 1, AMOUNT, AMOUNT),))
    document = etree.fromstring(write(replace(CHECKOUT, payer=replace(PAYER, name=name), order=order), LOOK))
    assert (document.findtext("Customer") or "") == plain(name, 50)
    assert (document.findtext("UserField") or "") == plain(ref, 255)
    assert (document.findtext("ShoppingCart/Description") or "") == plain(about, 255)
    assert (document.findtext("ShoppingCart/Item/Description") or "") == plain(line, 255)


@settings(deadline=None)
@given(st.text(), st.text())
async def test_the_document_is_escaped_exactly_once_into_the_envelope(name: str, about: str) -> None:
    wire = Wire(soap("SelectPayment", "<status>ERROR</status><returnCode>INVALID_MDXI</returnCode>"))
    order = replace(CHECKOUT, payer=replace(PAYER, name=name), order=replace(ORDER, description=about))
    await gateway(wire).open_checkout(order)
    sent = etree.fromstring(wire.requests[0].content)
    [mdxi] = sent.iter("mdxi")
    assert len(mdxi) == 0
    assert mdxi.text == write(order, LOOK)
