"""The lists a merchant reads."""

import pytest

from tests.gateways_sandbox.wire import Sandbox


def test_reservations_are_listed_until_they_are_cleared(sandbox: Sandbox) -> None:
    numbers = [sandbox.reserve(tid) for tid in ("b", "c", "a")]
    sandbox.card("sold", "4012")
    said = sandbox.call("ListNotCleared", "<begin>0</begin><size>10</size>")
    assert said.code == "OK OK"
    details = said.body.findall("transactionDetails")
    assert [int(d.findtext("mpayTID") or 0) for d in details] == numbers
    assert [child.tag for child in details[0]] == (
        "mpayTID tStatus stateID tid orderDescription pType brand amount currency bifStatus".split()
    )
    assert said.text("all") == "3"


def test_a_list_is_cut_and_sorted_as_asked(sandbox: Sandbox) -> None:
    for tid in ("b", "c", "a"):
        sandbox.reserve(tid)
    said = sandbox.call(
        "ListNotCleared", "<begin>1</begin><size>1</size><sortField>TID</sortField><sortType>DESC</sortType>"
    )
    assert [d.findtext("tid") for d in said.body.findall("transactionDetails")] == ["b"]
    assert said.text("all") == "3"
    sandbox.settings(list_max_size=2)
    assert len(sandbox.call("ListNotCleared", "<size>1000</size>").body.findall("transactionDetails")) == 2


def test_a_list_that_cannot_be_made_still_counts_nothing(sandbox: Sandbox) -> None:
    said = sandbox.send("<etp:ListProfiles/>")
    assert said.code == "ERROR MERCHANTID_NOT_ENTERED"
    assert said.names() == ["status", "returnCode", "all"]


def test_payment_methods_carry_their_number_as_an_attribute(sandbox: Sandbox) -> None:
    said = sandbox.call("ListPaymentMethods", "<pType>CC</pType>")
    methods = {m.findtext("brand"): m.get("id") for m in said.body.findall("paymentMethod")}
    assert methods["VISA"] == "5"
    assert methods["MASTERCARD"] == "4"
    assert [child.tag for child in said.body.findall("paymentMethod")[0]] == ["pType", "brand", "description"]
    everything = sandbox.call("ListPaymentMethods", "")
    kinds = {m.findtext("pType") for m in everything.body.findall("paymentMethod")}
    assert {"CC", "ELV", "SOFORT"} <= kinds
    assert not {"TOKEN", "PROFILE"} & kinds


def test_profiles_are_listed_masked_with_the_month_they_expire(sandbox: Sandbox) -> None:
    sandbox.profiles(
        {"customer_id": "b", "kind": "CC", "brand": "VISA", "identifier": "4444333322221111", "expiry": "4105"},
        {"customer_id": "a", "kind": "ELV", "iban": "AT771400000123456789"},
        {"customer_id": "c", "kind": "PAYPAL"},
    )
    said = sandbox.call("ListProfiles", "<begin>0</begin><size>10</size>")
    profiles = said.body.findall("profile")
    assert [p.findtext("customerID") for p in profiles] == ["a", "b", "c"]
    assert said.text("all") == "3"
    payment = profiles[1].find("payment")
    assert payment is not None
    assert [child.tag for child in payment] == ["pMethodID", "profileID", "updated", "identifier", "expires"]
    assert (payment.findtext("pMethodID"), payment.findtext("profileID")) == ("5", "")
    assert (payment.findtext("identifier"), payment.findtext("expires")) == ("************1111", "2041-05-01")
    assert profiles[0].findtext("payment/identifier") == "****************6789"
    assert "4444333322221111" not in said.raw


@pytest.mark.parametrize(("day", "found"), [("2041-04-30", 0), ("2041-05-01", 1), ("1999-01-01", 0), ("2150-01-01", 1)])
def test_profiles_that_expire_by_a_day_are_found(sandbox: Sandbox, day: str, found: int) -> None:
    sandbox.profiles({"customer_id": "b", "kind": "CC", "expiry": "4105"}, {"customer_id": "c", "kind": "PAYPAL"})
    said = sandbox.call("ListProfiles", f"<expiredBy>{day}</expiredBy>")
    assert said.text("all") == str(found)


def test_a_deleted_profile_is_gone(sandbox: Sandbox) -> None:
    sandbox.profiles({"customer_id": "b", "kind": "PAYPAL"})
    assert sandbox.call("DeleteProfile", "<customerID>b</customerID>").code == "OK OK"
    said = sandbox.call("DeleteProfile", "<customerID>b</customerID>")
    assert said.code == "ERROR PROFILE_NOT_FOUND"
    assert said.names() == ["status", "returnCode"]
    assert sandbox.charge("x", "b").code == "ERROR PROFILE_NOT_FOUND"
