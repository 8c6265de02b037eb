from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from billing.gateway import ConfigurationError
from billing.models import GatewayAccount, Merchant, Plan, Price, TestClock
from billing.money import Money
from billing.periods import Interval, Unit
from billing.pricing import Terms
from billing.services.founding import AccountFacts, PlanFacts, PriceFacts, SetupError, found, give_clock
from tests.billing.services.support import START, World, approve, facts, refuse, wait_for


async def test_founding_twice_changes_nothing_and_doubles_nothing(world: World) -> None:
    assert await found(world.ctx, facts()) == world.merchant_id

    for table in (Merchant, GatewayAccount, Plan):
        assert len(await world.rows(table)) == 1
    assert len(await world.rows(Price)) == 3


async def test_empty_texts_are_left_as_they_are(world: World) -> None:
    await found(world.ctx, facts(help_url="https://help.example", name="Nordlicht AG"))
    await found(world.ctx, facts(name="Nordlicht SE"))

    merchant = (await world.rows(Merchant))[0]
    assert (merchant["name"], merchant["help_url"]) == ("Nordlicht SE", "https://help.example")


async def test_a_price_that_was_sold_is_not_changed(world: World) -> None:
    dearer = Terms(Money(9900, "EUR"), Interval(Unit.MONTH), 2000)
    plan = PlanFacts("team", "Team", (PriceFacts("monthly", "Team, monthly", dearer),))

    with pytest.raises(SetupError, match="team/monthly was sold with another amount_minor"):
        await found(world.ctx, facts(plans=(plan,), name="Changed"))

    assert (await world.rows(Merchant))[0]["name"] == "Nordlicht"
    assert [row["amount_minor"] for row in await world.rows(Price)] == [2500, 25000, 2500]


async def test_credentials_are_sealed_and_a_gateway_is_not_exchanged(world: World) -> None:
    assert "sesame" not in (await world.rows(GatewayAccount))[0]["sealed_credentials"]

    with pytest.raises(SetupError, match="'bank' is at bank, not at other"):
        await found(world.ctx, facts(accounts=(AccountFacts("bank", "other", {}),)))


async def test_a_stopped_account_opens_only_when_the_gateway_takes_the_credentials(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = refuse
    await world.run()
    world.bank.broken = "still the wrong password"

    with pytest.raises(SetupError, match="gateway account 'bank': still the wrong password"):
        await found(world.ctx, facts())
    assert await world.states(GatewayAccount) == ["stopped"]
    world.bank.broken = ""
    await found(world.ctx, facts())

    assert await world.states(GatewayAccount) == ["open"]
    assert await world.tasks() == []


async def test_credentials_that_cannot_work_are_one_clear_line(world: World) -> None:
    def broken(*_: object) -> object:
        raise ConfigurationError("mpay24 setting user is not there")

    world.ctx.gateways.open = broken  # type: ignore[assignment]
    with pytest.raises(SetupError, match="gateway account 'bank': mpay24 setting user is not there"):
        await found(world.ctx, facts())


async def test_an_account_whose_exchanges_outlast_a_claim_is_refused_before_any_night(world: World) -> None:
    world = world.with_context(lease_s=30)

    with pytest.raises(
        SetupError, match=r"gateway account 'bank': timeout_s cannot be 30: .* the 30 s of TURNUS_LEASE_S"
    ):
        await found(world.ctx, facts(name="Changed"))

    assert (await world.rows(Merchant))[0]["name"] == "Nordlicht"


async def test_new_credentials_break_no_charge_that_is_in_flight(world: World) -> None:
    """Bringing the merchant up to date seals the credentials anew, and so opens the gateway again."""
    closed: list[str] = []

    class Branch:
        def __getattr__(self, name: str) -> object:
            return getattr(world.bank, name)

        async def close(self) -> None:
            closed.append("closed")

    world.ctx.gateways.open = lambda *_: Branch()  # type: ignore[assignment]
    await world.subscribe(2)
    gate = asyncio.Event()
    world.bank.default = wait_for(gate, approve)
    night = asyncio.create_task(world.run())
    await world.until(lambda: len(world.bank.sent) == 2)
    await found(world.ctx, facts())
    closed.clear()
    async with world.store.read() as session:
        await world.ctx.gateways.of(session, [1])

    assert closed == []
    gate.set()
    await night
    assert set(world.bank.sales().values()) == {1}
    await world.ctx.gateways.close()
    assert closed == ["closed"] * 2


async def test_a_setup_that_says_nothing_of_it_leaves_a_live_merchant_live(world: World) -> None:
    for said, is_live in ((None, False), (True, True), (None, True)):
        await found(world.ctx, replace(facts(), live=said))
        assert (await world.rows(Merchant))[0]["live"] is is_live


async def test_a_merchant_with_a_test_clock_cannot_be_set_up_as_live(world: World) -> None:
    await give_clock(world.ctx, "nordlicht", TestClock(name="test", now_at=START))

    with pytest.raises(SetupError, match="nordlicht has a test clock, which no live merchant can have"):
        await found(world.ctx, replace(facts(), live=True))

    assert (await world.rows(Merchant))[0]["live"] is False


async def test_a_live_merchants_time_cannot_be_moved(world: World) -> None:
    await found(world.ctx, replace(facts(), live=True))

    with pytest.raises(SetupError, match="is live or not there"):
        await give_clock(world.ctx, "nordlicht", TestClock(name="test", now_at=START))


async def test_a_setup_that_is_to_be_checked_changes_nothing_where_the_gateway_refuses(world: World) -> None:
    world.bank.broken = "the password is wrong"
    with pytest.raises(SetupError, match="gateway account 'bank': the password is wrong"):
        await found(world.ctx, facts(name="Renamed"), connect=True)
    assert (await world.rows(Merchant))[0]["name"] == "Nordlicht"

    world.bank.broken = ""
    await found(world.ctx, facts(name="Renamed"), connect=True)
    assert (await world.rows(Merchant))[0]["name"] == "Renamed"


async def test_no_new_merchant_is_called_like_a_page_of_the_console_and_an_old_one_can_still_be_changed(
    world: World,
) -> None:
    barred = replace(world.ctx, doors={"account", "nordlicht"})
    with pytest.raises(SetupError, match="no merchant can be called 'account': pages of the console"):
        await found(barred, facts(reference="account", number_prefix="AC"))
    assert [row["reference"] for row in await world.rows(Merchant)] == ["nordlicht"]
    assert await found(barred, facts(name="Nordlicht, the old one")) == world.merchant_id
