"""A merchant's system that listens, and a story in which everything happens that it can be told of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from billing.events import EventType
from billing.gateway import DeclineClass
from billing.models import Attempt, Event, Invoice
from billing.services import changing, closing
from billing.services.changing import When
from billing.services.forgetting import forget
from billing.services.listening import Wanted, find_endpoint, listen, try_out
from billing.services.refunding import give_back
from billing.services.starting import NewSubscription, start
from billing.services.telling import NewEvent, tell
from billing.webhooks import Heard
from tests.billing.services.support import World, by_link, decline

URL = "https://shop.example/hooks"


@dataclass
class Listener:
    """An endpoint that answers what it is told to, and keeps all it hears; else it says 200."""

    answers: dict[str, list[Any]] = field(default_factory=dict)
    heard: list[tuple[str, Mapping[str, str], str]] = field(default_factory=list)

    async def send(self, url: str, headers: Mapping[str, str], body: str) -> Heard:
        """Hear an event, and answer."""
        self.heard.append((url, headers, body))
        answer = self.answers[url].pop(0) if self.answers.get(url) else Heard(200, "ok")
        if callable(answer):
            answer = await answer()
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Heard)
        return answer

    @property
    def ids(self) -> list[str]:
        """What it heard, by name, in order."""
        return [headers["webhook-id"] for _, headers, _ in self.heard]


async def subscribed(world: World, *types: EventType, url: str = URL) -> tuple[int, str]:
    """Let somebody listen, and return the endpoint's id and secret."""
    async with world.store.write() as session:
        return await listen(world.ctx, session, world.merchant_id, Wanted(url, types))


async def told(world: World) -> list[tuple[str, str]]:
    """Return what was to be told, by type and subject, in order."""
    return [(row["type"], row["subject"]) for row in await world.rows(Event)]


async def play(world: World) -> None:
    """Let everything happen that can be told of, to customers K1 to K5."""
    await _first_night(world)
    await _money_back(world)
    await _people(world)
    await _last_days(world)


async def _first_night(world: World) -> None:
    """K1 is charged, K2's card is gone until a visit renews it, K3 pays by link, and K4's trial ends."""
    await world.change_merchant(brakes={"declined_percent": 0})
    world.bank.on("P2", decline(DeclineClass.NEEDS_NEW_PROFILE))
    await world.subscribe(2)
    await world.subscribe(1, **by_link(3))
    await world.subscribe(1, price="team/trial")
    await world.run()
    await pay_by_link(world, 2)
    await pay_by_link(world, 3, profile="P3")
    world.next_day(14)
    await world.run()


async def pay_by_link(world: World, invoice_id: int, profile: str = "") -> None:
    """Let a customer pay an invoice on the bank's page."""
    await world.pay(await world.link_to(invoice_id))
    await world.hear(world.bank.customer_pays(list(world.bank.pages)[-1], profile=profile))


async def _money_back(world: World) -> None:
    """A part of K2's payment goes back; the bank takes K1's and K4's back."""
    taken, given, _, returned = world.bank.bookings
    await world.hear(world.bank.push(taken.key, "chargeback", taken.gateway_id))
    await world.hear(world.bank.push(returned.key, "returned_debit", returned.gateway_id))
    [attempt] = await world.rows(Attempt, key=given.key)
    await give_back(world.ctx, f"att_{attempt['id']}", "10.00", "two days without service")


async def _people(world: World) -> None:
    """People take back and book invoices, and do with K1's subscription all that can be done."""
    async with world.store.write() as session:
        await closing.void(session, await closing.locked_bill(world.ctx, session, world.merchant_id, 1))
        bill = await closing.locked_bill(world.ctx, session, world.merchant_id, 4)
        await closing.pay_by_hand(session, bill, bill.money("total_minor"), bill.moment.today, "statement 4", "Eva")
    wanted = NewSubscription(reference="S5", customer="K1", price="team/monthly")
    async with world.store.write() as session:
        await start(world.ctx, session, world.merchant_id, wanted)
    await world.run()
    for verb in (_more, changing.pause, changing.resume, _cancel, changing.undo_cancellation, _cancel):
        async with world.store.write() as session:
            await verb(session, await changing.locked(world.ctx, session, world.merchant_id, "S5"))
    async with world.store.write() as session:
        await forget(world.ctx, session, world.merchant_id, 1)


async def _more(session: Any, held: changing.Held) -> None:
    await changing.change_quantity(session, held, 3)


async def _cancel(session: Any, held: changing.Held) -> None:
    await changing.cancel(session, held, When.PERIOD_END)


async def _last_days(world: World) -> None:
    """S5 ends, an invoice is given up for lost, and the endpoint is tried out."""
    world.next_day(40)
    await world.run()
    [*_, last] = await world.rows(Invoice, state="open")
    await world.change(Invoice, last["id"], state="uncollectible")
    lost = (world.merchant_id, EventType.INVOICE_UNCOLLECTIBLE, "inv", last["id"], world.clock.now())
    async with world.store.write() as session:
        await tell(world.ctx, session, [NewEvent(*lost)])
        await try_out(world.ctx, session, await find_endpoint(session, world.merchant_id, 1))
