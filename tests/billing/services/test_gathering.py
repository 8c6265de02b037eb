"""Groups are small while there is little to do, and larger where doing one takes long."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from billing.services import gathering
from billing.services.gathering import Group, in_groups

PATIENT = Group(wait_s=0.02, size_max=250, wait_s_max=0.5)


@pytest.mark.parametrize(("took_s", "wait_s"), [(0.0, 0.02), (0.3, 0.3), (9.0, 0.5)])
def test_the_next_group_is_waited_for_as_long_as_the_last_one_took(took_s: float, wait_s: float) -> None:
    assert PATIENT.after(took_s) == wait_s


def test_no_group_waits_longer_where_nothing_is_said() -> None:
    assert Group(wait_s=0.02, size_max=250).after(9) == 0.02


async def done_when_put(of_whom_is_waited_for: int, wait_s_max: float) -> list[list[int]]:
    """Put three things, and wait after each of the first ones until it is done."""
    done: list[list[int]] = []
    did = asyncio.Event()

    async def do(group: list[int]) -> None:
        done.append(group)
        did.set()

    async with in_groups(do, Group(wait_s=0, size_max=250, wait_s_max=wait_s_max)) as groups:
        for each in range(3):
            did.clear()
            groups.put(each)
            if each < of_whom_is_waited_for:
                await did.wait()
    return done


async def test_a_machine_with_little_to_do_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "monotonic", count().__next__)
    assert await done_when_put(3, wait_s_max=0) == [[0], [1], [2]]


async def test_what_comes_while_a_slow_group_is_waited_for_is_done_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "monotonic", count(step=60).__next__)
    assert await done_when_put(1, wait_s_max=60) == [[0], [1, 2]]


async def test_whoever_brings_more_than_a_group_waits_until_it_is_being_done() -> None:
    may_go_on = asyncio.Event()

    async def do(_: list[int]) -> None:
        await may_go_on.wait()

    async with in_groups(do, Group(wait_s=0, size_max=2)) as groups:
        for each in range(5):
            groups.put(each)
        bringing = asyncio.create_task(groups.caught_up())
        await asyncio.sleep(0)
        assert not bringing.done()
        may_go_on.set()
        await bringing


async def test_what_goes_into_one_group_is_waited_for_by_nobody() -> None:
    may_go_on = asyncio.Event()

    async def do(_: list[int]) -> None:
        await may_go_on.wait()

    async with in_groups(do, Group(wait_s=0, size_max=2)) as groups:
        for each in range(2):
            groups.put(each)
        await groups.caught_up()
        may_go_on.set()
