from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.gateway import MisuseError, Order, OrderLine
from billing.money import Money
from gateways.computop_basket import Article, article_list, articles_of, vat_list
from tests.gateways.computop_samples import decoded


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def line(total: int, tax: int = 0, rate_bp: int = 1900, quantity: int = 1, text: str = "Abo") -> OrderLine:
    return OrderLine(text, quantity, eur(total), eur(tax), rate_bp)


def articles(*lines: OrderLine) -> tuple[Article, ...]:
    return articles_of(Order("INV-1", "Abo", lines), eur(sum(each.total.minor for each in lines)))


def amounts(found: tuple[Article, ...]) -> list[tuple[int, int]]:
    return [(each.quantity * each.unit_minor, each.tax_minor) for each in found]


def test_lines_that_are_sold_stay_as_they_are() -> None:
    assert articles(line(5000, 327, 700, text="Buch"), line(500, 80)) == (
        Article("Buch", 1, 5000, 327, 700),
        Article("Abo", 1, 500, 80, 1900),
    )


def test_a_discount_is_spread_in_proportion_over_what_is_sold_at_its_rate() -> None:
    found = articles(line(3000, 479), line(1000, 160), line(-800, -128), line(5000, 327, 700))
    assert amounts(found) == [(2400, 384), (800, 127), (5000, 327)]


def test_the_cents_that_spreading_leaves_go_to_the_first_lines() -> None:
    assert amounts(articles(line(100, 16), line(100, 16), line(100, 16), line(-100, -16))) == [
        (67, 11),
        (67, 11),
        (66, 10),
    ]


def test_a_line_that_becomes_zero_is_left_out() -> None:
    assert amounts(articles(line(1), line(1000), line(-900))) == [(1, 0), (100, 0)]
    assert amounts(articles(line(1), line(9999), line(-9999), line(100, 0, 0))) == [(1, 0), (100, 0)]
    assert amounts(articles(line(0), line(100, 16))) == [(100, 16)]


def test_a_rate_at_which_all_is_taken_off_is_left_out() -> None:
    assert amounts(articles(line(500, 80), line(-500, -80), line(5000, 327, 700))) == [(5000, 327)]


@pytest.mark.parametrize(
    "lines",
    [
        (line(5000, 327, 700), line(-500, -80)),
        (line(5000, 327, 700), line(500, 80), line(-500, -79)),
        (line(1000, 1001),),
        (line(1000, -1),),
        (line(-1000, -160),),
        (),
    ],
)
def test_what_cannot_add_up_by_rate_is_never_sent(lines: tuple[OrderLine, ...]) -> None:
    with pytest.raises(MisuseError):
        articles_of(Order("INV-1", "Abo", lines), eur(sum(each.total.minor for each in lines)))


def test_lines_of_another_sum_or_currency_are_never_sent() -> None:
    order = Order("INV-1", "Abo", (line(1000, 160),))
    with pytest.raises(MisuseError, match="add up"):
        articles_of(order, eur(1001))
    with pytest.raises(MisuseError, match="EUR"):
        articles_of(replace(order, lines=(replace(line(1000), tax=Money(0, "CHF")),)), eur(1000))


def test_pieces_that_do_not_divide_the_total_are_one_piece_that_names_their_number() -> None:
    assert articles(line(1000, 160, quantity=4)) == (Article("Abo", 4, 250, 160, 1900),)
    assert articles(line(1000, 160, quantity=3)) == (Article("3 x Abo", 1, 1000, 160, 1900),)
    assert articles(line(1000, 160, quantity=0)) == (Article("0 x Abo", 1, 1000, 160, 1900),)


def test_a_title_is_cut_and_loses_what_cannot_be_printed() -> None:
    [found] = articles(line(1000, 160, quantity=3, text="Zeile\n\0" + "Köln\u20ac" * 9))
    assert (found.title, len(found.title)) == ("3 x Zeile " + "Köln\u20ac" * 4, 30)


FOUND = (Article("Buch", 2, 2500, 327, 700), Article("", 1, 500, 80, 1900), Article("Rest", 1, 200, 10, 550))


def test_articles_travel_with_the_title_the_dialect_calls_them_by() -> None:
    first = {
        "itemReference": "1",
        "id": "1",
        "description": "Buch",
        "quantity": 2,
        "amount": 2500,
        "vatAmount": 327,
        "vatPercent": 7,
        "type": "GOODS",
    }
    assert decoded(article_list(FOUND, "v11"))["items"][0] == first
    found = decoded(article_list(FOUND, "current"))["items"]
    assert [each["name"] for each in found] == ["Buch", "2", "Rest"]
    assert [each["vatPercent"] for each in found] == [7, 19, 5.5]
    assert "description" not in found[0]


def test_version_11_sums_up_gross_and_the_current_one_taxes() -> None:
    assert decoded(vat_list(FOUND, "v11")) == {
        "vatItems": [{"rate": "7", "amount": 5000}, {"rate": "19", "amount": 500}, {"rate": "5.5", "amount": 200}]
    }
    assert decoded(vat_list(FOUND, "current")) == {
        "items": [{"rate": 7, "amount": 327}, {"rate": 19, "amount": 80}, {"rate": 5.5, "amount": 10}]
    }


def test_a_rate_without_tax_is_no_item_of_the_current_list() -> None:
    untaxed = (Article("Abo", 1, 1000, 0, 0),)
    assert decoded(vat_list(untaxed, "current")) == {"items": []}
    assert decoded(vat_list(untaxed, "v11")) == {"vatItems": [{"rate": "0", "amount": 1000}]}


@st.composite
def orders(draw: st.DrawFn) -> list[OrderLine]:
    totals = draw(
        st.lists(st.tuples(st.integers(-3000, 9000), st.sampled_from([0, 700, 1900])), min_size=1, max_size=8)
    )
    pieces = draw(st.lists(st.integers(0, 5), min_size=len(totals), max_size=len(totals)))
    return [
        line(total, eur(total).portion(rate, 10000 + rate).minor, rate, quantity)
        for (total, rate), quantity in zip(totals, pieces, strict=True)
    ]


@given(orders())
def test_articles_are_above_zero_and_add_up_by_rate_to_the_cent(lines: list[OrderLine]) -> None:
    by_rate: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for each in lines:
        by_rate[each.tax_rate_bp][0] += each.total.minor
        by_rate[each.tax_rate_bp][1] += each.tax.minor
    try:
        found = articles(*lines)
    except MisuseError:
        assert any(not 0 <= tax <= total for total, tax in by_rate.values())
        return
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for article in found:
        assert article.unit_minor > 0
        assert article.quantity > 0
        assert 0 <= article.tax_minor <= article.quantity * article.unit_minor
        sums[article.rate_bp][0] += article.quantity * article.unit_minor
        sums[article.rate_bp][1] += article.tax_minor
    assert sums == {rate: both for rate, both in by_rate.items() if both != [0, 0]}
