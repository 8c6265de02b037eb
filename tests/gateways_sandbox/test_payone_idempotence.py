"""The same key is the same request (reference section 4), whatever happens in between."""

import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateways.sandbox.server import chosen_ports
from tests.gateways_sandbox.payone_wire import CARD, DECLINED, Answer, Payone, order, payment
from tests.gateways_sandbox.wire import Sandbox, eventually

MARK = "x-gcs-idempotence-request-timestamp"


@pytest.fixture
def shop(payone: Payone) -> Payone:
    payone.tokens(
        {"token": "good", "card": CARD, "expiry": "1230"}, {"token": "bad", "card": DECLINED, "expiry": "1230"}
    )
    return payone


@pytest.mark.parametrize(("token", "status"), [("good", 201), ("bad", 402)])
def test_a_finished_request_is_answered_again_with_a_mark(shop: Payone, token: str, status: int) -> None:
    first, second = shop.pay(token, key="k-1"), shop.pay(token, key="k-1")
    assert (first.status, second.status) == (status, status)
    assert first.json == second.json
    assert MARK not in first.headers
    assert abs(int(second.headers[MARK]) / 1000 - time.time()) < 60  # noqa: TID251
    assert len(shop.ledger()) == 1
    assert shop.pay(token, key="k-2").id != first.id


def test_another_body_under_the_same_key_gets_the_first_answer(shop: Payone) -> None:
    first = shop.pay("good", 1000, key="k")
    assert shop.pay("bad", 2000, key="k").id == first.id
    shop.settings(idempotence_other_body="conflict")
    said = shop.pay("bad", 2000, key="k")
    assert (said.status, said.code) == (409, "30001002")
    assert shop.pay("good", 1000, key="k").id == first.id


def test_a_replay_may_tell_how_things_stand_now(shop: Payone) -> None:
    first = shop.pay("good", key="k")
    shop.operate(first.id, "cancel")
    assert shop.pay("good", key="k").status_code == 5
    shop.settings(replay_current_status=True)
    eventually(lambda: shop.pay("good", key="k").status_code == 6)


def test_the_memory_ends(shop: Payone) -> None:
    shop.settings(idempotence_memory_s=0.0)
    assert shop.pay("good", key="k").id != shop.pay("good", key="k").id


def test_a_refused_request_is_not_remembered(shop: Payone) -> None:
    assert shop.pay("good", -1, key="k").status == 400
    assert shop.pay("none", key="k").status == 404
    assert shop.pay("good", key="k").status == 201
    shop.faults({"fault": "http_500", "times": 1, "text": "retriable"})
    broken = shop.pay("good", key="k-2")
    assert (broken.status, broken.json["errors"][0]["retriable"]) == (500, True)
    assert shop.pay("good", key="k-2").status == 201
    assert len(shop.ledger()) == 2


def test_a_key_is_bound_to_its_path(shop: Payone) -> None:
    first = shop.pay("good", key="k")
    capture = shop.operate(first.id, "capture", key="k")
    assert capture.status == 201
    assert MARK not in capture.headers
    assert shop.operate(first.id, "capture", key="k").json == capture.json
    assert shop.operate(first.id, "refund", key="k").status == 201
    assert shop.operate(first.id, "refund", key="k").headers[MARK]
    other = shop.pay("good", key="k-2")
    assert shop.operate(other.id, "cancel", key="k").json == shop.operate(other.id, "cancel", key="k").json
    assert [row[0] for row in shop.ledger()] == ["authorisation", "capture", "refund", "authorisation", "reversal"]


@pytest.mark.parametrize("key", ["x" * 41, "schlüssel"])
def test_a_key_has_at_most_forty_plain_characters(shop: Payone, key: str) -> None:
    target = f"/v2/{shop.merchant}/payments"
    headers = shop.headers("POST", target, {"X-GCS-Idempotence-Key": key})
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    said = shop.http.post(f"{shop.base}{target}", content=b"{}", headers=raw)
    assert (said.status_code, said.json()["errors"][0]["propertyName"]) == (400, "X-GCS-Idempotence-Key")
    assert shop.pay("good", key="x" * 40).status == 201


def test_the_loser_of_two_at_once_is_told_to_wait(shop: Payone, running: Sandbox) -> None:
    shop.faults({"fault": "delay_ms", "ms": 400, "times": 1})
    other = Payone(running)
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(other.pay("good", key="k")))
    thread.start()
    try:
        eventually(lambda: shop.control("faults") == [])
        first = shop.pay("good", key="k").json["errors"][0]
    finally:
        thread.join()
        other.close()
    assert (first["errorCode"], first["code"], first["id"]) == ("1409", "1409", "DUPLICATE_REQUEST_IN_PROGRESS")
    assert (first["message"], first["httpStatusCode"]) == ("DUPLICATE REQUEST IN PROGRESS", 409)
    again = shop.pay("good", key="k")
    assert answers[0].status == again.status == 201
    assert answers[0].id == again.id
    assert len(shop.ledger()) == 1


@pytest.mark.parametrize(("fault", "booked"), [("drop_after_booking", 1), ("drop_before_booking", 0)])
def test_a_lost_answer_is_found_again_by_its_key(shop: Payone, fault: str, booked: int) -> None:
    shop.faults({"fault": fault, "times": 1})
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        shop.pay("good", key="k")
    assert len(shop.ledger("k")) == booked
    said = shop.pay("good", key="k")
    assert said.status == 201
    assert (MARK in said.headers) == bool(booked)
    assert len(shop.ledger("k")) == 1


def test_an_unreadable_answer_is_given_again_readable(shop: Payone) -> None:
    shop.faults({"fault": "garbage", "times": 1})
    said = shop.pay("good", key="k")
    assert said.status == 201
    with pytest.raises(ValueError, match="Expecting value"):
        _ = said.json
    assert shop.pay("good", key="k").status_code == 5


@pytest.mark.parametrize(
    ("rule", "check"),
    [
        ({"fault": "unauthorized"}, lambda said: said.error[:2] == (403, "ACCESS_TO_MERCHANT_NOT_ALLOWED")),
        ({"fault": "decline:30511001"}, lambda said: (said.status, said.code) == (402, "30511001")),
        ({"fault": "decline:INVALID"}, lambda said: (said.status, said.code) == (400, "INVALID")),
        ({"fault": "extra_elements"}, lambda said: said.json["payment"]["zSandboxExtra"] == "new"),
        ({"fault": "reorder_answer"}, lambda said: next(iter(said.json)) == "payment"),
        ({"fault": "delay_answer_ms:50"}, lambda said: said.status == 201),
    ],
)
def test_misfortunes_come_once_and_where_they_are_meant(
    shop: Payone, rule: dict[str, Any], check: Callable[[Answer], bool]
) -> None:
    shop.faults(
        {**rule, "times": 1, "match": {"merchant_reference": "order-1", "amount_minor": 1999, "profile": "good"}}
    )
    assert shop.pay("good", 2000).status == 201
    assert check(shop.pay("good"))
    assert shop.pay("good").status == 201


def test_rules_speak_of_this_wire(payone: Payone) -> None:
    assert payone.faults({"fault": "fault"}).json() == {"error": "rule 1 has the unknown fault 'fault'"}
    assert payone.faults({"fault": "garbage", "match": {"operation": "AcceptPayment"}}).status_code == 400
    named = {"fault": "decline:50001127", "match": {"operation": "RefundPayment"}}
    assert payone.faults(named).status_code == 200
    payment_id = payone.reserve(authorizationMode="SALE")
    assert payone.operate(payment_id, "refund").code == "50001127"
    assert payone.ledger() == [("sale", 1999, "booked")]


def test_what_the_merchant_calls_a_try_falls_back(shop: Payone) -> None:
    shop.pay("good")
    both = order()
    both["references"]["merchantParameters"] = "attempt=7"
    shop.post("payments", payment(token="good", more={"order": both}))
    shop.post("payments", payment(token="good", more={"order": both}), "key-9")
    assert [row["reference"] for row in shop.rows()] == ["order-1", "attempt=7", "key-9"]
    assert [row["merchant_parameters"] for row in shop.rows()] == ["", "attempt=7", "attempt=7"]


def test_nothing_is_lost_by_a_kill(tmp_path: Path) -> None:
    first = Sandbox(tmp_path)
    shop = Payone(first)
    shop.tokens({"token": "good", "card": CARD, "expiry": "1230"})
    said = shop.pay("good", key="k")
    shop.operate(said.id, "capture")
    checkout = shop.post("hostedcheckouts", {"order": order()}).json["redirectUrl"]
    rows = shop.rows()
    first.process.send_signal(signal.SIGKILL)
    shop.close()
    first.close()

    second = Sandbox(tmp_path)
    again = Payone(second)
    assert again.base == shop.base
    assert again.rows()[0]["at"] == rows[0]["at"]
    assert again.pay("good", key="k").json == said.json
    assert again.http.get(checkout).status_code == 200
    eventually(lambda: again.code_of(said.id) == 9)
    assert again.ledger("k") == [("authorisation", 1999, "captured"), ("capture", 1999, "booked")]
    again.close()
    assert second.close() == 0


def test_a_folder_that_knows_no_payone_gets_it_on_the_next_free_port(tmp_path: Path) -> None:
    with socket.socket() as first:
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
        (tmp_path / "sandbox.json").write_text(f'{{"ports": {{"mpay24": {port}}}}}')
        chosen = chosen_ports(tmp_path, ["mpay24", "payone"], None)
    assert chosen["mpay24"] == port
    assert port < chosen["payone"] <= port + 100
    assert chosen_ports(tmp_path / "new", ["mpay24", "payone"], None) == {"mpay24": 0, "payone": 0}
