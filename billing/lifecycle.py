"""What every lifecycle table has in common: a dict of moves, and a refusal of all others."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

State = TypeVar("State", bound=StrEnum)


class MoveError(ValueError):
    """A move that the lifecycle table does not list."""


def move(moves: Mapping[State, frozenset[State]], held: State, to: State) -> State:
    """Return the new state, or raise `MoveError`; going to the state already held is no move and is allowed."""
    if to != held and to not in moves[held]:
        raise MoveError(f"{held} cannot become {to}")
    return to
