from __future__ import annotations

import gc

import pytest

from jobs.memory import LOOKED_AT, little_collecting


def test_what_is_there_when_work_begins_is_passed_over_until_it_ends() -> None:
    before = gc.get_threshold()
    with little_collecting():
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == LOOKED_AT
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before


def test_work_that_fails_leaves_the_collector_as_it_was() -> None:
    before = gc.get_threshold()
    with pytest.raises(RuntimeError), little_collecting():
        raise RuntimeError("broken off")
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)
