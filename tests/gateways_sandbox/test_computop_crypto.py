"""Envelopes and MACs (reference sections 2 and 3); the vectors are the reference's own."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.gateways_sandbox.computop_wire import Computop, aes_encrypted, blowfish, decrypted, encrypted, mac, split

PASSWORD, HMAC = "k3Y-8rTq!mZ0wPx2", "hm4c-DemoSecret-0001"
PLAIN = "MerchantID=DEMO_SHOP&TransID=INV-1001-1&Amount=1990&Currency=EUR"
DATA = (
    "D63BBBBD08366DC0B752B87D485EF2A0A6CF2B66A7B4D454EE7CD68B9F480A8C"
    "15710096F96E429FC5C1345F36ED27A1A15BC1090DE427E9506DDBD0D4393F01"
)
PAY_ID = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
ANSWER = f"mid=DEMO_SHOP&PayID={PAY_ID}&TransID=INV-1001-1&Status=OK&Code=00000000"
ANSWER_START = (
    "5352A79E6B4CC25DAA9F1F3438C57A0FFF2544083F9F6202718294C11455CB0E76B34D24E7BE298BBF8116C35B1288EC"
    "F266F090D6D29B67EE7CD68B9F480A8C15710096F96E429FB195AF342BE04E22601AFB31384FDF41"
)
CREDIT = (
    "D63BBBBD08366DC0B752B87D485EF2A007A2C4CB2D2801BA433365727229058EBBAFAFD92FE57E458B0556B371403C886BB452BFC6FD301BC5"
    "C2F7658564B66FE7FC38760CC43CDAF5CF05F5E72EDDF29B21F62CD21DFE6CF0150C506D3FAD40170ED7D4D5DDDCC485E13207CF5CF2FA0E62"
    "99E2F9C200FDED8C8DC7D7C7C3B702DA34840394C99C97AACDFD6D2A07036EB183768C488CD8C9330630391D455266D98369CA719771796AF9"
    "58381523D4"
)
AES_PASSWORD = "0123456789abcdefABCDEF0123456789"
AES_DATA = (
    "000102030405060708090a0b0c0d0e0f-39a5cac5b8017254bfb17ea7c48dff24ff1730a8ab42bafd7caeefd900261593"
    "cf40053deda5be540717fbf22b8f61f392c33c70d931fe7aca4ff709fcee335b7a50b2d0e7d371bfe16ae3f66e06a281"
)
QUESTION = {"PayID": PAY_ID, "TransID": "INV-1"}


def test_this_suite_encrypts_as_the_worked_examples_do() -> None:
    assert encrypted(PASSWORD, PLAIN) == DATA
    assert encrypted(PASSWORD, ANSWER) == f"{ANSWER_START}3668EC3F0DE9DA0E"
    assert encrypted(PASSWORD, ANSWER, b" ") == f"{ANSWER_START}43E2DFFA27767E9C"
    assert aes_encrypted(AES_PASSWORD, PLAIN, bytes(range(16))) == AES_DATA


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("*INV-1001-1*DEMO_SHOP*1990*EUR", "5D478801F261AE771392D5DD8916E14A01FAFC6DFE20BB1E7FED1D3AD12BDA07"),
        (f"{PAY_ID}*CRN-1001-1*DEMO_SHOP*500*EUR", "85371DEE5F113D41FCEA0209A46B386789247720185B69F84DA919E4B3A22858"),
        (f"{PAY_ID}*INV-1001-1*DEMO_SHOP**", "5AC99AA58041C9DE97F86016FA09DB3F1617A4223EF393CEEF0D67EFB008AEB5"),
        (
            f"{PAY_ID}*INV-1001-1*DEMO_SHOP*OK*00000000",
            "47E9FE1A4FA1C8B353372967FECFAC8606ABB2866A0B1A9B5C16510A52D0FC0D",
        ),
    ],
)
def test_this_suite_authenticates_as_the_worked_examples_do(message: str, expected: str) -> None:
    assert mac(HMAC, message) == expected


def test_this_suite_authenticates_as_the_published_example_does() -> None:
    expected = "38CED807E293FC634A6C36FFAEA7BD2687038D40615781918AEF2DE7BB9A9903"
    assert mac("mySecret", "*TID-4453732122167114558*yourMerchantId*1234*EUR") == expected


def question(computop: Computop, **changes: Any) -> str:
    return computop.text(QUESTION | changes)


def sent(computop: Computop, text: str, plain: bytes) -> dict[str, str]:
    worker = blowfish(computop.password).encryptor()
    return computop.envelope(text) | {"Data": (worker.update(plain) + worker.finalize()).hex()}


FILLS: dict[str, Callable[[int], bytes]] = {
    "zero bytes": lambda missing: bytes(missing),
    "spaces": lambda missing: b" " * missing,
    "the letter x": lambda missing: b"x" * missing,
    "PKCS#5": lambda missing: bytes([missing or 8]) * (missing or 8),
    "one block too many": lambda missing: bytes(missing + 8),
}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("length", range(8))
def test_what_fills_the_last_block_does_not_matter(computop: Computop, fill: str, length: int) -> None:
    text = question(computop, Extra="x" * length)
    said = computop.post("inquire.aspx", sent(computop, text, text.encode() + FILLS[fill](-len(text) % 8)))
    assert (said.is_clear, said.code) == (False, "20200061")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Len": "0x20"}, "40010008"),
        ({"Len": "-1"}, "40010008"),
        ({"Len": "99999"}, "40010008"),
        ({"Len": "8"}, "40010008"),
        ({"Len": ""}, "40100008"),
        ({"Data": ""}, "40100007"),
        ({"Data": "ABC"}, "40010007"),
        ({"Data": "no digits"}, "40010007"),
        ({"Data": "AB CD EF 01 23 45"}, "40010007"),
        ({"Data": "00" * 7}, "40010007"),
        ({"Data": "00" * 96}, "40010007"),
        ({"Data": AES_DATA}, "40010007"),
        ({"MerchantID": ""}, "40100003"),
        ({"MerchantID": "ANOTHER_SHOP"}, "40160003"),
    ],
)
def test_an_envelope_that_cannot_be_opened_is_answered_in_clear(
    computop: Computop, change: dict[str, str], code: str
) -> None:
    text = question(computop, Extra="x" * 20)
    said = computop.post("inquire.aspx", computop.envelope(text[:96]) | change)
    assert (said.is_clear, said["Status"], said.code) == (True, "FAILED", code)


def test_two_blocks_too_many_are_an_impossible_length(computop: Computop) -> None:
    text = question(computop)
    said = computop.post("inquire.aspx", sent(computop, text, text.encode() + bytes(16 + -len(text) % 8)))
    assert (said.is_clear, said.code) == (True, "40010008")


def test_another_password_makes_data_that_cannot_be_decrypted(computop: Computop) -> None:
    text = question(computop)
    said = computop.post("inquire.aspx", computop.envelope(text) | {"Data": encrypted("another-password", text)})
    assert (said.is_clear, said.code) == (True, "40010007")


def test_digits_are_read_in_either_case_and_written_in_capitals(computop: Computop) -> None:
    envelope = computop.envelope(question(computop))
    said = computop.post("inquire.aspx", envelope | {"Data": envelope["Data"].lower()})
    assert said.code == "20200061"
    data = said.body.partition("&Data=")[2]
    assert data
    assert data == data.upper()


@pytest.mark.parametrize(("setting", "fill"), [("space", b" "), ("zero", b"\0")])
def test_answers_are_filled_up_as_set_and_never_by_a_whole_block(computop: Computop, setting: str, fill: bytes) -> None:
    computop.settings(answer_fill=setting)
    for number in range(8):
        said = computop.call("inquire24", TransID="x" * (number + 1))
        length, _, data = said.body.removeprefix("Len=").partition("&Data=")
        plain = decrypted(computop.password, data)
        assert plain[int(length) :] == fill * (-int(length) % 8)


def test_a_switched_account_speaks_aes_and_nothing_else(computop: Computop) -> None:
    computop.settings(cipher="aes")
    text = question(computop)
    envelope = computop.envelope(text)
    said = computop.post("inquire.aspx", envelope | {"Data": aes_encrypted(computop.password, text, b"v" * 16)})
    assert said.code == "20200061"
    assert "-" in said.body
    assert computop.post("inquire.aspx", envelope).code == "40010007"
    for wrong in ("00-00", "-", f"{'00' * 16}-", f"{'00' * 16}-{'00' * 16}", f"{'00' * 16}-{'00' * 15}"):
        assert computop.post("inquire.aspx", envelope | {"Data": wrong}).code == "40010007"


def test_a_mac_counts_in_either_case(computop: Computop) -> None:
    right = computop.mac(QUESTION | {"MerchantID": computop.merchant})
    assert computop.call("inquire", **QUESTION, MAC=right.lower()).code == "20200061"
    assert computop.call("inquire", **QUESTION, MAC=right[::-1]).code == "40120F01"
    assert computop.call("inquire", **QUESTION, MAC="x").code == "40110F01"
    assert computop.call("inquire", **QUESTION, MAC=None).code == "20200061"


def test_a_credit_without_a_mac_is_refused(computop: Computop) -> None:
    assert computop.follow("credit", PAY_ID, MAC=None).code == "40100F01"


def test_values_are_read_raw_whatever_they_look_like(computop: Computop) -> None:
    said = computop.call("inquire24", TransID="a+b%20c=d=ü")
    assert said["TransID"] == "a+b%20c=d=ü"


def test_the_worked_credit_decrypts_to_its_plain_text() -> None:
    found = split(decrypted(PASSWORD, CREDIT)[:171].decode())
    assert found["mac"] == mac(HMAC, f"{PAY_ID}*CRN-1001-1*DEMO_SHOP*500*EUR")
    assert (found["amount"], found["payid"]) == ("500", PAY_ID)
