from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from billing.services.founding import SetupError
from jobs import bench_charging
from jobs.bench import Wanted, bench
from jobs.bench_meters import Figure, shown
from jobs.bench_world import database, populate, refuse_others_data, settings_for
from jobs.sandbox_process import sandbox
from jobs.wiring import open_context
from tests.billing.web.console.routes import routes


def wanted(*parts: str) -> Wanted:
    return Wanted(10, 5, 5, 20, 5, 5, None, parts)


async def test_a_small_night_is_measured_from_invoice_to_mail(capfd: pytest.CaptureFixture[str]) -> None:
    figures = {figure.name: figure for figure in await bench(wanted("night"), lambda _: None)}

    night = figures["10 invoiced, charged, settled"]
    assert (night.more["unknown"], night.more["bookings/charge"]) == (0, 1)
    assert figures["5 mails by SMTP"].value > 0
    assert figures["nothing due"].met
    assert figures["all rules"].more == {"breaches": 0}
    assert capfd.readouterr().out == ""


async def test_every_page_of_the_console_and_every_list_of_the_api_is_looked_at() -> None:
    """One that was answered by anything but 200 would have raised."""
    figures = await bench(wanted("console"), lambda _: None)

    pages = {route.path for route in routes() if route.verb == "GET"}
    lists = {f"/api/v1/{noun}" for noun in ("customers", "subscriptions", "invoices", "attempts", "events", "tasks")}
    assert pages | lists <= {figure.name for figure in figures}
    assert {figure.part for figure in figures} == {"console"}


async def test_the_bare_loop_sends_the_charges_themselves_where_the_adapter_must_first_be_let_in(
    tmp_path: Path,
) -> None:
    async with sandbox(tmp_path) as gateways:
        gateway = gateways["paymentz"]
        figures = await bench_charging.measure(None, tmp_path, "paymentz", gateway, bench_charging.Load(4, 4, 20))
        booked = await gateway.bookings()

    assert [figure.more["bookings/charge"] for figure in figures] == [1, 1]
    assert [row["state"] for row in booked] == ["booked"] * 8  # four by the loop, and four by the engine


async def test_what_is_not_there_is_not_measured() -> None:
    with pytest.raises(SetupError, match="nothing called 'day'"):
        await bench(wanted("day"), lambda _: None)


async def test_a_database_with_a_merchant_is_refused(tmp_path: Path) -> None:
    async with database(None, tmp_path) as url:
        await refuse_others_data(url)
        async with open_context(settings_for(url)) as ctx:
            await populate(ctx, {}, [])
        with pytest.raises(SetupError, match="has a merchant already"):
            await refuse_others_data(url)


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("p", "n", 50, "/s", 100, "ideal", 0.8, of_ratio=True), False),
        (Figure("p", "n", 80, "/s", 100, "ideal", 0.8, of_ratio=True), True),
        (Figure("p", "n", 200, "MiB", target=300, at_most=True), True),
        (Figure("p", "n", 3000, "/s", 100, "raw", 3000), True),
        (Figure("p", "n", 1, "s"), None),
    ],
)
def test_a_target_is_reached_or_not(figure: Figure, met: bool | None) -> None:
    assert figure.met is met
    assert figure.as_json()["met"] is met


def test_details_are_for_programs() -> None:
    with Console(width=200) as console, console.capture() as text:
        console.print(shown([Figure("doctor", "all", 1, "s"), Figure("doctor", "one", 1, "s", is_detail=True)]))
    assert "all" in text.get()
    assert "one" not in text.get()
