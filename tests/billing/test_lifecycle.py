from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from billing.lifecycle import MoveError, move
from tests.billing.lifecycles import DOCUMENT, TABLES, document

STATES = [(title, held) for title, moves in TABLES.items() for held in moves]
PAIRS = [(title, held, to) for title, held in STATES for to in TABLES[title]]


@pytest.mark.parametrize(("title", "held", "to"), PAIRS)
def test_a_move_is_allowed_just_where_the_table_lists_it(title: str, held: Any, to: Any) -> None:
    moves = TABLES[title]
    if held == to or to in moves[held]:
        assert move(moves, held, to) == to
    else:
        with pytest.raises(MoveError, match=f"^{held} cannot become {to}$"):
            move(moves, held, to)


@pytest.mark.parametrize(("title", "held"), STATES)
def test_the_state_already_held_is_no_move(title: str, held: Any) -> None:
    assert held not in TABLES[title][held]
    assert move(TABLES[title], held, held) == held


@pytest.mark.parametrize("title", TABLES)
def test_a_table_speaks_of_every_state_there_is(title: str) -> None:
    moves = TABLES[title]
    states: type[StrEnum] = type(next(iter(moves)))

    assert set(moves) == set(states)
    assert set().union(*moves.values()) <= set(states)


@pytest.mark.parametrize(("title", "final"), [("Subscription", "ended"), ("Invoice", "void"), ("Attempt", "approved")])
def test_nothing_leaves_a_final_state(title: str, final: str) -> None:
    assert {str(held) for held, allowed in TABLES[title].items() if not allowed} == {final}


def test_the_documents_diagrams_are_those_of_the_tables() -> None:
    assert DOCUMENT.read_text() == document(), "run `make docs`"
