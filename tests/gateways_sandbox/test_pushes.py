"""Confirmation pushes (reference section 3)."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.gateways_sandbox.conftest import Receiver
from tests.gateways_sandbox.wire import Sandbox, eventually

NAMES = (
    "OPERATION TID STATUS PRICE CURRENCY P_TYPE BRAND MPAYTID USER_FIELD ORDERDESC CUSTOMER CUSTOMER_EMAIL LANGUAGE "
    "CUSTOMER_ID PROFILE_ID PROFILE_STATUS FILTER_STATUS APPR_CODE"
).split()


@pytest.fixture
def customer(sandbox: Sandbox) -> Sandbox:
    sandbox.profiles(
        {"customer_id": "c-1", "kind": "CC", "expiry": "4012"}, {"customer_id": "bad", "kind": "CC", "expiry": "4001"}
    )
    return sandbox


def confirmations(sandbox: Sandbox, mpay_tid: int) -> list[tuple[str | None, ...]]:
    said = sandbox.call("TransactionConfirmation", f"<mpayTID>{mpay_tid}</mpayTID>")
    return [tuple(c.findtext(n) for n in ("status", "confirmed", "result")) for c in said.body.findall("confirmation")]


def test_a_charge_is_told_as_reserved_and_then_as_billed(customer: Sandbox, receiver: Receiver) -> None:
    order = "<order><description>3.Feb</description><userField>u-1</userField></order>"
    name = "<customerName>Jörg Doe</customerName>"
    said = customer.charge("t 1", "c-1", f"{receiver.element}{order}{name}")
    assert receiver.wait_for(2) == ["RESERVED", "BILLED"]
    assert receiver.paths[1] == (
        f"/push?secret=s3&OPERATION=CONFIRMATION&TID=t+1&STATUS=BILLED&PRICE=2500&CURRENCY=EUR&P_TYPE=CC&BRAND=VISA"
        f"&MPAYTID={said.mpay_tid}&USER_FIELD=u%2D1&ORDERDESC=3%2EFeb&CUSTOMER=J%C3%B6rg+Doe&CUSTOMER_EMAIL="
        f"&LANGUAGE=EN&CUSTOMER_ID=c%2D1&PROFILE_ID=&PROFILE_STATUS=USED&FILTER_STATUS=OK&APPR_CODE=%2Dtest%2D"
    )
    names = [pair.partition("=")[0] for pair in urlsplit(receiver.paths[0]).query.split("&")]
    assert names == ["secret", *NAMES]


def test_a_declined_charge_is_told_with_its_real_type(customer: Sandbox, receiver: Receiver) -> None:
    customer.charge("t", "bad", receiver.element)
    assert receiver.wait_for(1) == ["ERROR"]
    found = receiver.parameters()[0]
    assert [found[n] for n in ("P_TYPE", "BRAND", "PROFILE_STATUS", "APPR_CODE")] == ["CC", "VISA", "ERROR", ""]


def test_every_later_change_is_told_with_its_own_amount(customer: Sandbox, receiver: Receiver) -> None:
    mpay_tid = customer.charge("t", "c-1", receiver.element).mpay_tid
    customer.call("ManualCredit", f"<mpayTID>{mpay_tid}</mpayTID><amount>700</amount>")
    customer.move(mpay_tid, "CREDITED_REVERSAL")
    receiver.wait_for(4)
    told = [(found["STATUS"], found["PRICE"]) for found in receiver.parameters()]
    assert sorted(told) == sorted(
        [("RESERVED", "2500"), ("BILLED", "2500"), ("CREDITED", "700"), ("CREDITED_REVERSAL", "2500")]
    )


def test_the_default_address_is_used_when_a_call_names_none(customer: Sandbox, receiver: Receiver) -> None:
    customer.settings(default_confirmation_url=receiver.url)
    customer.charge("t", "c-1")
    assert receiver.wait_for(2) == ["RESERVED", "BILLED"]


def test_questions_and_refusals_tell_nothing(customer: Sandbox, receiver: Receiver) -> None:
    customer.charge("t", "nobody", receiver.element)
    customer.state("t")
    customer.charge("last", "bad", receiver.element)
    assert receiver.wait_for(1) == ["ERROR"]
    assert receiver.parameters()[0]["TID"] == "last"


@pytest.mark.parametrize(
    ("status", "text", "word"),
    [(200, "OK", "OK"), (200, "OK: done", "OK"), (200, "ERROR: no", "ERROR"), (200, "hello", "ERROR")],
)
def test_the_answer_is_recorded_and_not_asked_for_again(
    customer: Sandbox, receiver: Receiver, status: int, text: str, word: str
) -> None:
    receiver.answers = [(status, text)]
    mpay_tid = customer.charge("t", "bad", receiver.element).mpay_tid
    eventually(lambda: confirmations(customer, mpay_tid) == [(word, "ERROR", text)])
    assert len(receiver.paths) == 1


def test_a_push_nobody_took_is_repeated(customer: Sandbox, receiver: Receiver) -> None:
    customer.settings(push_retry_delay_s=0)
    receiver.answers = [(500, "ERROR"), (302, ""), (200, "OK")]
    mpay_tid = customer.charge("t", "bad", receiver.element).mpay_tid
    eventually(lambda: confirmations(customer, mpay_tid) == [("OK", "ERROR", "OK")])
    assert len(set(receiver.paths)) == 1
    assert len(receiver.paths) == 3


def test_a_push_is_given_up_after_the_last_try(customer: Sandbox, receiver: Receiver) -> None:
    customer.settings(push_retry_delay_s=0, push_max_attempts=2)
    receiver.answers = [(500, "no")] * 5
    mpay_tid = customer.charge("t", "bad", receiver.element).mpay_tid
    eventually(lambda: confirmations(customer, mpay_tid) == [("FAILURE", "ERROR", "no")])
    assert len(receiver.paths) == 2


def test_a_push_whose_answer_is_lost_is_not_repeated_at_once(customer: Sandbox) -> None:
    customer.settings(push_max_attempts=1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        mpay_tid = customer.charge("t", "bad", f"<confirmationURL>{address}</confirmationURL>").mpay_tid
        connection, _ = listener.accept()
        assert connection.recv(65536).startswith(b"GET /?OPERATION=CONFIRMATION")
        connection.close()
        eventually(lambda: confirmations(customer, mpay_tid) == [("FAILURE", "ERROR", "UnansweredError")])
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_push_waits_for_its_next_try_as_pending(customer: Sandbox, receiver: Receiver) -> None:
    receiver.answers = [(500, "no")]
    mpay_tid = customer.charge("t", "bad", receiver.element).mpay_tid
    eventually(lambda: confirmations(customer, mpay_tid) == [("PENDING", "ERROR", "no")])


def test_a_receiver_that_is_not_there_or_says_nothing_is_a_failure(customer: Sandbox) -> None:
    customer.settings(push_max_attempts=1, push_timeout_s=0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        mpay_tid = customer.charge("t", "bad", f"<confirmationURL>{address}</confirmationURL>").mpay_tid
        eventually(lambda: confirmations(customer, mpay_tid) == [("FAILURE", "ERROR", "TimeoutError")])
    refused = customer.charge("t", "bad", f"<confirmationURL>{address}</confirmationURL>").mpay_tid
    eventually(lambda: confirmations(customer, refused)[0][0] == "FAILURE")


@pytest.mark.parametrize("host", ["192.0.2.1", "shop.example", "127.0.0.1.example", "[2001:db8::1]", "8.8.8.8"])
def test_no_push_leaves_the_machine(customer: Sandbox, host: str) -> None:
    mpay_tid = customer.charge("t", "bad", f"<confirmationURL>http://{host}/x</confirmationURL>").mpay_tid
    assert confirmations(customer, mpay_tid) == [("FAILURE", "ERROR", "not a loopback address")]


def test_a_redirect_is_not_followed(customer: Sandbox, receiver: Receiver) -> None:
    customer.settings(push_max_attempts=1)
    receiver.answers = [(301, "OK")]
    mpay_tid = customer.charge("t", "bad", receiver.element).mpay_tid
    eventually(lambda: confirmations(customer, mpay_tid) == [("FAILURE", "ERROR", "OK")])


def test_pushes_owed_at_a_kill_are_sent_after_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    first = Sandbox(tmp_path)
    first.profiles({"customer_id": "c-1", "kind": "CC", "expiry": "4012"})
    first.faults({"fault": "late_notification", "ms": 3000})
    first.charge("t", "c-1", receiver.element)
    first.process.kill()
    first.close()
    assert receiver.paths == []
    second = Sandbox(tmp_path)
    assert sorted(receiver.wait_for(2)) == ["BILLED", "RESERVED"]
    second.close()
