"""Clearing, reversing, crediting, and what the provider does by itself later (reference section 1.4)."""

import pytest

from tests.gateways_sandbox.wire import MONEY, Said, Sandbox


def clear(sandbox: Sandbox, mpay_tid: int, amount: str = "") -> Said:
    detail = f"<clearingDetails><mpayTID>{mpay_tid}</mpayTID>{amount}</clearingDetails>"
    return sandbox.call("ManualClear", detail)


def credit(sandbox: Sandbox, mpay_tid: int, more: str = "") -> Said:
    return sandbox.call("ManualCredit", f"<mpayTID>{mpay_tid}</mpayTID>{more}")


def reverse(sandbox: Sandbox, mpay_tid: int) -> Said:
    return sandbox.call("ManualReverse", f"<mpayTID>{mpay_tid}</mpayTID>")


def sold(sandbox: Sandbox, tid: str) -> int:
    return sandbox.card(tid, "4012").mpay_tid


def test_a_reservation_is_cleared_once_in_whole_or_in_part(sandbox: Sandbox) -> None:
    mpay_tid = sandbox.reserve("a")
    assert clear(sandbox, mpay_tid, "<amount>2501</amount>").code == "ERROR CLEARING_LIMIT_EXCEEDED"
    assert clear(sandbox, mpay_tid, "<amount>0</amount>").code == "ERROR INVALID_AMOUNT"
    said = clear(sandbox, mpay_tid, "<amount>2000</amount>")
    assert said.code == "OK OK"
    assert [child.tag for child in said.body[2]] == ["mpayTID", "tStatus", "stateID", "tid"]
    assert said.text("transaction/tStatus") == "BILLED"
    assert clear(sandbox, mpay_tid).code == "ERROR TRANSACTION_ALREADY_CLEARED"
    assert sandbox.ledger("a") == [("authorisation", 2500, "captured"), ("capture", 2000, "booked")]


def test_each_clearing_of_a_list_succeeds_or_fails_by_itself(sandbox: Sandbox) -> None:
    good = sandbox.reserve("a")
    details = "".join(f"<clearingDetails><mpayTID>{n}</mpayTID></clearingDetails>" for n in (good, 5))
    said = sandbox.call("ManualClear", details)
    assert said.code == "ERROR NOT_FOUND"
    assert [t.findtext("tStatus") for t in said.body.findall("transaction")] == ["BILLED", "FAILED"]


def test_a_reversal_is_whole_and_final(sandbox: Sandbox) -> None:
    mpay_tid = sandbox.reserve("a")
    assert reverse(sandbox, mpay_tid).text("transaction/tStatus") == "REVERSED"
    assert reverse(sandbox, mpay_tid).code == "ERROR ALREADY_PROCESSED"
    assert clear(sandbox, mpay_tid).code == "ERROR ALREADY_PROCESSED"
    assert credit(sandbox, mpay_tid).code == "ERROR ALREADY_PROCESSED"
    assert sandbox.ledger("a") == [("authorisation", 2500, "reversed"), ("reversal", 2500, "reversed")]
    assert sandbox.state("a") == "REVERSED"


def test_what_is_cleared_cannot_be_reversed(sandbox: Sandbox) -> None:
    said = reverse(sandbox, sold(sandbox, "a"))
    assert said.code == "ERROR ALREADY_PROCESSED"
    assert (said.text("transaction/tStatus"), said.text("transaction/tid")) == ("FAILED", "")


def test_credits_add_up_to_what_was_cleared_and_no_further(sandbox: Sandbox) -> None:
    mpay_tid = sold(sandbox, "a")
    assert credit(sandbox, mpay_tid, "<amount>2501</amount>").code == "ERROR CREDIT_LIMIT_EXCEEDED"
    assert sandbox.state("a") == "BILLED"
    assert credit(sandbox, mpay_tid, "<amount>0</amount>").code == "ERROR INVALID_AMOUNT"
    assert credit(sandbox, mpay_tid, "<amount>1000</amount>").code == "OK OK"
    assert credit(sandbox, mpay_tid, "<amount>1501</amount>").code == "ERROR CREDIT_LIMIT_EXCEEDED"
    assert credit(sandbox, mpay_tid).code == "OK OK"
    assert credit(sandbox, mpay_tid).code == "ERROR CREDIT_LIMIT_EXCEEDED"
    assert sandbox.ledger("a") == [
        ("sale", 2500, "booked"),
        ("refund", 1000, "booked"),
        ("refund", 1500, "booked"),
    ]


def test_a_credit_may_name_the_clearing_it_acts_on(sandbox: Sandbox) -> None:
    mpay_tid = sold(sandbox, "a")
    history = sandbox.call("TransactionHistory", f"<mpayTID>{mpay_tid}</mpayTID>").body
    (billed,) = [e.findtext("stateID") for e in history.findall("historyEntry") if e.findtext("txState") == "BILLED"]
    assert credit(sandbox, mpay_tid, "<stateID>1</stateID>").code == "ERROR STATEID_NOT_CORRECT"
    assert credit(sandbox, mpay_tid, f"<stateID>{billed}</stateID>").code == "OK OK"


def test_an_unknown_number_is_answered_with_a_failed_transaction(sandbox: Sandbox) -> None:
    for said in (credit(sandbox, 102030), reverse(sandbox, 102030), credit(sandbox, 2**64 - 1)):
        assert said.code == "ERROR NOT_FOUND"
        assert said.names() == ["status", "returnCode", "transaction"]
        assert (said.text("transaction/tStatus"), said.text("transaction/tid")) == ("FAILED", "")


def test_sofort_knows_no_credit_and_direct_debit_no_reversal(sandbox: Sandbox) -> None:
    said = sandbox.call("AcceptPayment", f"<tid>s</tid><pType>SOFORT</pType><payment>{MONEY}</payment>")
    sandbox.submit(said.location, action="confirm")
    assert credit(sandbox, said.mpay_tid).code == "ERROR OPERATION_NOT_SUPPORTED"
    debit = sandbox.debit("e", "HOBEX-AT", "AT771400000123456789")
    assert reverse(sandbox, debit.mpay_tid).code == "ERROR OPERATION_NOT_SUPPORTED"
    assert credit(sandbox, debit.mpay_tid, "<amount>1</amount>").code == "ERROR OPERATION_NOT_SUPPORTED"


def test_the_history_links_each_step_to_the_one_before(sandbox: Sandbox) -> None:
    mpay_tid = sold(sandbox, "a")
    credit(sandbox, mpay_tid, "<amount>700</amount>")
    entries = sandbox.call("TransactionHistory", f"<mpayTID>{mpay_tid}</mpayTID>").body.findall("historyEntry")
    steps = [(entry.findtext("txState"), entry.findtext("amount")) for entry in entries]
    assert steps == [("INIT", "2500"), ("RESERVED", "2500"), ("BILLED", "2500"), ("CREDITED", "700")]
    numbers = [entry.findtext("stateID") for entry in entries]
    assert [entry.findtext("parentStateID") for entry in entries] == [None, *numbers[:-1]]
    assert all((entry.findtext("timeStamp") or "").endswith("Z") for entry in entries)
    assert all(entry.findtext("profileStatus") == "IGNORED" for entry in entries)


def test_a_failed_try_tells_its_error_in_the_history(sandbox: Sandbox) -> None:
    mpay_tid = sandbox.card("a", "4002").mpay_tid
    last = sandbox.call("TransactionHistory", f"<mpayTID>{mpay_tid}</mpayTID>").body[-1]
    assert last.findtext("txState") == "ERROR"
    assert (last.findtext("errNo"), last.findtext("errText")) == ("100", "Karte abgelaufen (card expired).")


# ---- what the provider does later


def test_a_chargeback_takes_back_what_is_left(sandbox: Sandbox) -> None:
    mpay_tid = sandbox.reserve("a")
    clear(sandbox, mpay_tid, "<amount>2000</amount>")
    assert sandbox.move(mpay_tid, "BILLED_REVERSAL").status_code == 200
    assert sandbox.state("a") == "BILLED_REVERSAL"
    assert sandbox.ledger("a")[-1] == ("chargeback", 2000, "booked")


@pytest.mark.parametrize(("state", "row"), [("BILLED", "booked"), ("ERROR", "declined"), ("RESERVED", "reserved")])
def test_a_suspended_payment_waits_until_it_is_moved(sandbox: Sandbox, state: str, row: str) -> None:
    sandbox.faults({"match": {"reference": "s"}, "fault": "suspend"})
    mpay_tid = sandbox.card("s", "4012").mpay_tid
    assert sandbox.state("s") == "SUSPENDED"
    assert sandbox.ledger("s") == [("sale", 2500, "pending")]
    sandbox.move(mpay_tid, state)
    assert sandbox.state("s") == state
    assert sandbox.ledger("s") == [("authorisation" if state == "RESERVED" else "sale", 2500, row)]


@pytest.mark.parametrize("state", ["RESERVED", "ERROR", "WITHDRAWN", "CREDITED_REVERSAL", "NONSENSE", "REDIRECTED"])
def test_an_illegal_move_changes_nothing(sandbox: Sandbox, state: str) -> None:
    mpay_tid = sold(sandbox, "a")
    answer = sandbox.move(mpay_tid, state)
    assert answer.status_code == 409
    assert answer.json()["error"] == f"transaction {mpay_tid} is BILLED and cannot become {state}"
    assert sandbox.ledger("a") == [("sale", 2500, "booked")]


def test_paypal_may_jump_from_any_state_and_the_ledger_still_adds_up(sandbox: Sandbox) -> None:
    sandbox.profiles({"customer_id": "p", "kind": "PAYPAL"})
    mpay_tid = sandbox.charge("j", "p").mpay_tid
    for state in ("ERROR", "BILLED", "SUSPENDED", "BILLED", "REVERSED"):
        assert sandbox.move(mpay_tid, state).status_code == 200
    rows = sandbox.ledger("j")
    taken = sum(amount for kind, amount, state in rows if kind in {"sale", "capture"} and state == "booked")
    given = sum(amount for kind, amount, state in rows if kind in {"refund", "chargeback"} and state == "booked")
    assert (taken, given) == (7500, 7500)


def test_a_credit_that_comes_back_is_no_longer_given(sandbox: Sandbox) -> None:
    mpay_tid = sold(sandbox, "a")
    credit(sandbox, mpay_tid)
    assert sandbox.move(mpay_tid, "CREDITED_REVERSAL").status_code == 200
    assert sandbox.ledger("a") == [("sale", 2500, "booked"), ("refund", 2500, "reversed")]


def test_there_is_no_moving_what_is_not_there(sandbox: Sandbox) -> None:
    assert sandbox.move(1, "BILLED").status_code == 404
    mpay_tid = sold(sandbox, "a")
    url = f"{sandbox.base}/_sandbox/transactions/{mpay_tid}/move"
    assert sandbox.http.post(url, json={"to": "BILLED"}).status_code == 400
    assert sandbox.http.post(url, content=b"{").status_code == 400


def test_status_calls_are_counted_and_the_fourth_is_marked(sandbox: Sandbox) -> None:
    first, second = sold(sandbox, "a"), sold(sandbox, "b")
    for _ in range(3):
        assert sandbox.state("a") == "BILLED"
    log = sandbox.control("log")
    assert log["status_calls"] == {str(first): 3}
    assert log["over_budget"] == []
    assert sandbox.call("TransactionStatus", f"<mpayTID>{first}</mpayTID><tid>b</tid>").parameters()["TID"] == "a"
    log = sandbox.control("log")
    assert log["over_budget"] == [
        {"gateway_id": str(first), "reference": "a", "status_calls": 4, "status_over_budget": "warn"}
    ]
    assert str(second) not in log["status_calls"]
    assert log["exchanges"][-1]["operation"] == "TransactionStatus"


def test_the_status_tells_the_names_of_the_push(sandbox: Sandbox) -> None:
    sold(sandbox, "a")
    names = list(sandbox.call("TransactionStatus", "<tid>a</tid>").parameters())
    assert (
        names
        == (
            "OPERATION TID STATUS PRICE CURRENCY P_TYPE BRAND MPAYTID USER_FIELD ORDERDESC CUSTOMER CUSTOMER_EMAIL "
            "LANGUAGE CUSTOMER_ID PROFILE_ID PROFILE_STATUS FILTER_STATUS APPR_CODE"
        ).split()
    )


@pytest.mark.parametrize(("inner", "code"), [("<tid>no</tid>", "NOT_FOUND"), ("", "TID_NOT_ENTERED")])
def test_a_status_of_nothing_is_an_error(sandbox: Sandbox, inner: str, code: str) -> None:
    said = sandbox.call("TransactionStatus", inner)
    assert said.code == f"ERROR {code}"
    assert said.names() == ["status", "returnCode"]
