from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.gateway import (
    Approved,
    DeclineClass,
    Declined,
    ForgeryError,
    Mandate,
    Notice,
    ProfileNews,
    RawMessage,
    Refused,
)
from gateways.computop_wire import encrypt
from tests.gateways.computop_samples import (
    AMOUNT,
    CARD,
    CREDENTIALS,
    KEY,
    PAY_ID,
    PROFILE,
    PSEUDO,
    SCHEME,
    XID,
    cards,
    coded,
    gateway,
    notification,
    proven,
    result,
    sealed,
)

IDENTITY = f"{PAY_ID}/{XID}/OK/00000000"
PLEDGE = "1990*EUR*5D478801F261AE771392D5DD8916E14A01FAFC6DFE20BB1E7FED1D3AD12BDA07"


def heard(text: str, proven_key: str = KEY) -> Notice:
    return gateway().read_notification(notification(text, proven_key))


def stored(**changes: Any) -> Notice:
    """Return the news of a card that was to be stored."""
    said = {"card": coded(CARD), "schemeReferenceID": SCHEME, "UserData": PLEDGE, **changes}
    return cards().read_notification(notification(proven(result(**said))))


def test_a_success_is_a_reason_to_ask_since_nothing_proves_its_amount() -> None:
    assert heard(proven(result())) == Notice(IDENTITY, KEY, PAY_ID)
    assert heard(proven(result(status="AUTHORIZED"))).outcome is None


def test_a_failure_is_the_decline_it_is_whichever_address_it_comes_to() -> None:
    text = proven(result("23F00053", "FAILED"))
    declined = Declined("23F00053", DeclineClass.NEEDS_CUSTOMER, "told", PAY_ID)
    expected = Notice(f"{PAY_ID}/{XID}/FAILED/23F00053", KEY, PAY_ID, declined)
    assert heard(text) == expected
    copied = RawMessage("GET", f"{sealed(text).decode()}&way=success", {}, b"", "")
    assert gateway().read_notification(copied) == expected


def test_our_own_mistake_is_told_as_one() -> None:
    assert heard(proven(result("40110F02", "FAILED"))).outcome == Refused("40110F02", "told", PAY_ID)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("23F00051", "FAILED"),
        ("62000001", "PENDING"),
        ("00000000", "FAILED"),
        ("00000000", "PENDING"),
        ("23F00053", "OK"),
        ("01000000", "OK"),
        ("0000000", "OK"),
    ],
)
def test_what_is_neither_a_plain_yes_nor_a_plain_no_is_a_reason_to_ask(code: str, status: str) -> None:
    assert heard(proven(result(code, status))).outcome is None


def test_the_result_comes_by_post_or_with_the_address_and_clear_pairs_beside_it_say_nothing() -> None:
    body = b"Plain=x&Status=FAILED&Code=22000305&" + sealed(proven(result())) + b"&a=1\r\n"
    assert gateway().read_notification(RawMessage("POST", "Code=1", {}, body)) == Notice(IDENTITY, KEY, PAY_ID)
    assert gateway().read_notification(RawMessage("GET", body.decode(), {}, b"Code=1")) == Notice(IDENTITY, KEY, PAY_ID)


def test_the_result_is_read_in_aes_too() -> None:
    length, data = encrypt("aes", CREDENTIALS["encryption_password"].encode(), proven(result()))
    body = f"Len={length}&Data={data}".encode()
    assert gateway(cipher="aes").read_notification(RawMessage("POST", "", {}, body)).key == KEY


@pytest.mark.parametrize(
    "forge",
    [
        lambda text: text.replace("Code=00000000", "Code=00000001"),
        lambda text: text.replace("Status=OK", "Status=AUTHORIZED"),
        lambda text: text.replace(KEY, "INV-1001-2"),
        lambda text: text.replace(PAY_ID, "f" * 32),
        lambda text: text.replace("mid=DEMO_SHOP&", ""),
        lambda text: text.replace("MAC=", "MAX="),
        lambda text: text + "&Code=00000001",
        lambda text: text[:-1],
        lambda _: result(),
        lambda _: proven(result(mid="OTHER")),
        lambda _: proven(result(key="")),
    ],
)
def test_a_result_that_is_not_proven_or_not_ours_is_a_forgery(forge: Callable[[str], str]) -> None:
    with pytest.raises(ForgeryError):
        heard(forge(proven(result())))


def test_a_result_about_another_order_than_its_address_proves_is_a_forgery() -> None:
    assert heard(proven(result()), proven_key="").key == KEY
    with pytest.raises(ForgeryError, match="another order"):
        heard(proven(result()), proven_key="INV-1001-2")


@pytest.mark.parametrize(
    "message",
    [
        RawMessage("PUT", "", {}, sealed(proven(result()))),
        RawMessage("POST", sealed(proven(result())).decode(), {}, b""),
        RawMessage("POST", "", {}, proven(result()).encode()),
        RawMessage("POST", "", {}, sealed(proven(result()))[:-16]),
        RawMessage("POST", "", {}, sealed(proven(result())) + b"&Len=1"),
    ],
)
def test_a_message_that_cannot_be_opened_is_a_forgery(message: RawMessage) -> None:
    with pytest.raises(ForgeryError):
        gateway().read_notification(message)


def test_copies_of_the_same_news_have_one_identity_and_other_news_another() -> None:
    told = [
        heard(proven(result(**more))).identity for more in ({}, {"XID": "1"}, {"status": "AUTHORIZED"}, {"New": "x"})
    ]
    assert len(set(told)) == 3
    assert told[0] == told[3]


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda raw: b"Len=8&Data=" + raw.hex().encode()))
def test_no_bytes_are_believed(content: bytes) -> None:
    for message in (RawMessage("POST", "", {}, content), RawMessage("GET", content.decode("latin-1"), {}, b"")):
        with pytest.raises(ForgeryError):
            gateway().read_notification(message)


def test_a_notification_is_acknowledged_with_a_plain_word_and_no_address_is_checked() -> None:
    assert (gateway().acknowledge(accepted=True), gateway().acknowledge(accepted=False)) == ("OK", "ERROR")
    assert gateway().answer_challenge(RawMessage("GET", "x=1", {}, b"")) is None


# --- cards that were to be stored -------------------------------------------------------------------------

NEWS = ProfileNews(
    PROFILE.reference,
    kind="card",
    brand="MASTERCARD",
    expires_on=date(2030, 2, 28),
    mandate=Mandate(first_transaction=PAY_ID, scheme_reference=SCHEME),
)


def test_a_stored_card_comes_with_the_amount_we_pledged_and_all_a_later_charge_needs() -> None:
    assert stored().outcome == Approved(PAY_ID, AMOUNT, profile=NEWS)
    assert stored(status="AUTHORIZED").outcome == Approved(PAY_ID, AMOUNT, captured=False, profile=NEWS)


def test_the_pseudo_number_may_stand_beside_a_masked_card() -> None:
    masked = {**CARD, "number": "555555******4444"}
    outcome = stored(card=coded(masked), PCNr=PSEUDO).outcome
    assert outcome == Approved(PAY_ID, AMOUNT, profile=replace(NEWS, last4="4444"))


@pytest.mark.parametrize(
    "changes",
    [
        {"card": ""},
        {"card": "\xfc"},
        {"card": "bm9uZQ=="},
        {"card": coded([CARD])},
        {"card": coded({**CARD, "number": "4111111111111111"})},
        {"card": coded({**CARD, "number": 123456789012111})},
        {"card": coded({**CARD, "expiryDate": "203013"})},
        {"schemeReferenceID": ""},
        {"schemeReferenceID": "x" * 65},
        {"PCNr": "4111111111111111"},
    ],
)
def test_a_card_that_could_not_be_charged_again_is_a_payment_whose_profile_failed(changes: dict[str, str]) -> None:
    assert stored(**changes).outcome == Approved(PAY_ID, AMOUNT, profile_failed=True)


@pytest.mark.parametrize(
    "pledge",
    ["", "x", PLEDGE.replace("1990", "9990"), PLEDGE.replace("EUR", "USD"), PLEDGE[:-1] + "0", PLEDGE + "0"],
)
def test_without_our_own_pledge_of_the_amount_a_success_is_only_a_reason_to_ask(pledge: str) -> None:
    assert stored(UserData=pledge) == Notice(IDENTITY, KEY, PAY_ID)


def test_a_pledge_for_another_order_proves_nothing() -> None:
    text = proven(result(key="INV-1001-2", card=coded(CARD), schemeReferenceID=SCHEME, UserData=PLEDGE))
    assert cards().read_notification(notification(text, "")).outcome is None
