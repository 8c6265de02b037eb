"""No table has a place for card data."""

from __future__ import annotations

import re

from billing.models import metadata

_OF_A_CARD = re.compile(
    r"(^|_)(pan|cvc|cvv|cvn|csc|cid|pin|track\d?|magstripe|card_?number|number_of_card|security_code)(_|$)"
)


def test_no_column_is_made_for_a_card() -> None:
    columns = [f"{table.name}.{column.name}" for table in metadata.sorted_tables for column in table.c]
    assert len(columns) > 200
    assert [name for name in columns if _OF_A_CARD.search(name.partition(".")[2])] == []
