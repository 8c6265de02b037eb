"""PAYBACK PAY: the confirmation page, the notification and the way back (reference sections 4, 5, 7 and 13)."""

import re
import threading
from typing import Any

import pytest

from tests.gateways_sandbox.computop_wire import ARTICLE, SHOP, Computop, packed, way_back
from tests.gateways_sandbox.conftest import Hook
from tests.gateways_sandbox.wire import eventually, headline


def test_the_page_shows_the_amount_the_lines_and_two_buttons(computop: Computop) -> None:
    articles = [ARTICLE | {"quantity": 2, "amount": 1000}, ARTICLE | {"description": "<b>Gift</b>", "amount": -10}]
    page = computop.http.get(computop.wallet(Language="de", RefNr="R-7", ArticleList=packed({"items": articles})))
    assert headline(page) == "PAYBACK PAY"
    assert '<html lang="de">' in page.text
    cells = re.findall("<td>(.*?)</td>", page.text)
    assert cells == ["2 &times; Monthly plan", "20,00 EUR", "1 &times; &lt;b&gt;Gift&lt;/b&gt;", "-0,10 EUR"]
    assert '<p class="amount">19,90 EUR</p>' in page.text
    assert re.findall('name="action" value="([a-z]+)"', page.text) == ["confirm", "decline"]
    assert "<script" not in page.text
    assert computop.ledger() == []


def test_a_confirmed_sale_is_booked_told_and_sent_back(computop: Computop, hook: Hook) -> None:
    page = computop.wallet(RefNr="R-1", UserData="u=ü", Plain="p 1", Custom="a=1|b=2", URLNotify=hook.url, ReqId="q-1")
    back = computop.press(page, "confirm")
    assert back.status_code == 302
    url, clear = way_back(back)
    assert (url, clear["Plain"], clear["a"], clear["b"]) == (f"{SHOP}/ok", "p 1", "1", "2")
    said = computop.returned(back)
    assert (said["Status"], said.code, said["TransID"], said["RefNr"]) == ("OK", "00000000", "INV-1", "R-1")
    assert (said["UserData"], said["Plain"], said["Custom"]) == ("u=ü", "p 1", "a=1|b=2")
    assert said["TransactionID"]
    assert re.fullmatch("[0-9a-f]{32}", said["PayID"])
    assert re.fullmatch("[0-9a-f]{32}", said["XID"])
    headers, body = hook.got[0]
    assert headers["content-type"] == "application/x-www-form-urlencoded; charset=iso-8859-1"
    assert "referer" not in headers
    assert body.decode().endswith("&Plain=p%201&a=1&b=2")
    assert computop.notified(body) == said.pairs
    (row,) = computop.rows()
    assert (row["reference"], row["gateway_id"], row["kind"], row["state"]) == (
        "INV-1",
        said["PayID"],
        "sale",
        "booked",
    )
    assert (row["xid"], row["ref_nr"], row["req_id"], row["profile"]) == (said["XID"], "R-1", "q-1", "1234567890")


def test_a_sale_may_end_authorized_with_the_money_taken_all_the_same(computop: Computop) -> None:
    computop.settings(sale_status="AUTHORIZED")
    said = computop.pay()
    assert (said["Status"], said.code) == ("AUTHORIZED", "00000000")
    assert computop.standing(said["PayID"]) == ("AUTHORIZED", "1990", "1990", "0")


@pytest.mark.parametrize(
    ("account", "order", "action", "code"),
    [
        ("1234567890", "", "decline", "23F00053"),
        ("1234567800", "", "confirm", "23F00053"),
        ("1234567801", "", "confirm", "23F00100"),
        ("1234567890", "Test:0305", "confirm", "23F00305"),
        ("1234567890", "Test:0200", "confirm", "23F00200"),
        ("1234567890", "Test: 0313 and more", "confirm", "23F00313"),
        ("1234567801", "Test:0000 Order 7", "confirm", "00000000"),
        ("1234567802", "Test:0000", "confirm", "00000000"),
        ("1234567890", "A Test:0305", "confirm", "00000000"),
        ("1234567890", "Test:014A", "confirm", "00000000"),
    ],
)
def test_account_and_description_choose_the_outcome(
    computop: Computop, account: str, order: str, action: str, code: str
) -> None:
    page = computop.wallet(AccountId=account, OrderDesc=order or None)
    said = computop.returned(computop.press(page, action))
    is_good = code == "00000000"
    assert (said.code, said["Status"]) == (code, "OK" if is_good else "FAILED")
    assert said.body == (f"{SHOP}/ok" if is_good else f"{SHOP}/failed")
    assert computop.ledger("INV-1") == [("sale", 1990, "booked" if is_good else "declined")]


def test_who_never_confirms_runs_out_of_time(computop: Computop, hook: Hook) -> None:
    computop.settings(page_life_s=0.3)
    page = computop.wallet(AccountId="1234567802", URLNotify=hook.url)
    waiting = computop.press(page, "confirm")
    assert "Waiting for the confirmation" in waiting.text
    assert computop.call("inquire24", TransID="INV-1")["LastStatus"] == "AUTHORIZE_REQUEST"
    eventually(lambda: hook.got)
    told = computop.notified(hook.got[0][1])
    assert (told["status"], told["code"]) == ("FAILED", "23F00051")
    said = computop.returned(computop.http.get(page))
    assert (said.body, said.code) == (f"{SHOP}/failed", "23F00051")
    assert computop.ledger() == [("sale", 1990, "declined")]


def test_a_finished_page_sends_back_again_and_does_nothing_else(computop: Computop, hook: Hook) -> None:
    page = computop.wallet(URLNotify=hook.url)
    first = computop.returned(computop.press(page, "confirm"))
    assert computop.returned(computop.press(page, "decline")).pairs == first.pairs
    assert computop.returned(computop.http.get(page)).pairs == first.pairs
    assert (len(hook.got), computop.ledger()) == (1, [("sale", 1990, "booked")])


def test_an_unknown_button_changes_nothing(computop: Computop) -> None:
    page = computop.wallet()
    assert headline(computop.press(page, "steal")) == "PAYBACK PAY"
    assert computop.ledger() == []


# ---- notifications


def test_the_merchant_hears_before_the_browser_goes_back(computop: Computop, hook: Hook) -> None:
    gate = threading.Event()
    hook.before_answer = gate.wait
    page = computop.wallet(URLNotify=hook.url)
    came_back: list[Any] = []
    browser = threading.Thread(target=lambda: came_back.append(computop.press(page, "confirm")))
    browser.start()
    eventually(lambda: hook.got)
    assert came_back == []
    gate.set()
    browser.join()
    assert came_back[0].status_code == 302


def test_an_unreachable_merchant_does_not_hold_the_browser(computop: Computop, hook: Hook) -> None:
    hook.answers = [500]
    page = computop.wallet(URLNotify=hook.url)
    assert computop.press(page, "confirm").status_code == 302
    assert computop.tries() == [("PENDING", 1)]


def test_repeats_come_after_the_cube_of_their_number_in_minutes(computop: Computop, hook: Hook) -> None:
    minute_s = 0.004
    computop.settings(notify_minute_s=minute_s)
    hook.answers = [500, 404, 302, 500, 503, 400, 500, 500, 500]
    computop.press(computop.wallet(URLNotify=hook.url), "confirm")
    eventually(lambda: computop.tries() == [("FAILURE", 9)])
    assert len({body for _, body in hook.got}) == 1
    waits = [later - earlier for earlier, later in zip(hook.at, hook.at[1:], strict=False)]
    assert len(waits) == 8
    for number, waited in enumerate(waits, 1):
        assert number**3 * minute_s <= waited < number**3 * minute_s + 10


def test_the_default_schedule_is_in_minutes_with_eight_repeats(computop: Computop) -> None:
    settings = computop.control("settings")
    assert (settings["notify_minute_s"], settings["notify_repeats_max"], settings["notify_timeout_s"]) == (60, 8, 30)


def test_a_merchant_that_answers_late_enough_is_asked_again(computop: Computop, hook: Hook) -> None:
    computop.settings(notify_timeout_s=0.1, notify_minute_s=0.01)
    gate = threading.Event()
    hook.before_answer = gate.wait
    computop.press(computop.wallet(URLNotify=hook.url), "confirm")
    eventually(lambda: len(hook.got) > 1)
    computop.settings(notify_timeout_s=60)
    gate.set()
    eventually(lambda: computop.tries()[0][0] == "OK")


def test_one_account_is_deaf_to_the_first_two_tries(computop: Computop, hook: Hook) -> None:
    computop.settings(notify_minute_s=0.001)
    said = computop.returned(computop.press(computop.wallet(URLNotify=hook.url, AccountId="1234567803"), "confirm"))
    assert said.code == "00000000"
    eventually(lambda: computop.tries() == [("OK", 3)])
    assert len(hook.got) == 1


@pytest.mark.parametrize(
    ("fault", "tries"), [("no_notification", []), ("duplicate_notification", [("OK", 1), ("OK", 1)])]
)
def test_a_notification_comes_never_or_twice(
    computop: Computop, hook: Hook, fault: str, tries: list[tuple[str, int]]
) -> None:
    computop.faults({"fault": fault, "match": {"reference": "INV-1"}})
    computop.press(computop.wallet(URLNotify=hook.url), "confirm")
    assert computop.tries() == tries
    assert [body for _, body in hook.got] == [body for _, body in hook.got[:1]] * len(tries)


def test_a_late_notification_comes_after_the_browser(computop: Computop, hook: Hook) -> None:
    computop.faults({"fault": "late_notification", "ms": 3000})
    computop.press(computop.wallet(URLNotify=hook.url), "confirm")
    assert hook.got == []
    eventually(lambda: hook.got)


def test_an_address_elsewhere_is_never_called(computop: Computop) -> None:
    computop.pay()
    assert computop.tries() == [("FAILURE", 0)]


def test_a_rule_declines_or_suspends_a_confirmation(computop: Computop) -> None:
    computop.faults({"fault": "decline:0313", "times": 1}, {"fault": "suspend", "match": {"operation": "PaymentPage"}})
    assert computop.pay().code == "23F00313"
    page = computop.wallet(TransID="INV-2")
    assert "Waiting" in computop.press(page, "confirm").text
    computop.faults()
    assert computop.returned(computop.press(page, "confirm")).code == "00000000"
