from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.gateway import MisuseError
from gateways.computop_wire import Envelope, UnreadableError, decrypt, encrypt, mac, read, write
from tests.gateways.computop_samples import HMAC_PASSWORD, PASSWORD, PAY_ID, sealed

ENVELOPE = Envelope("DEMO_SHOP", "blowfish", PASSWORD, HMAC_PASSWORD, lambda text: text)
V1 = "MerchantID=DEMO_SHOP&TransID=INV-1001-1&Amount=1990&Currency=EUR"
V1_DATA = (
    "D63BBBBD08366DC0B752B87D485EF2A0A6CF2B66A7B4D454EE7CD68B9F480A8C"
    "15710096F96E429FC5C1345F36ED27A1A15BC1090DE427E9506DDBD0D4393F01"
)
V2 = f"mid=DEMO_SHOP&PayID={PAY_ID}&TransID=INV-1001-1&Status=OK&Code=00000000"
V2_DATA = (
    "5352A79E6B4CC25DAA9F1F3438C57A0FFF2544083F9F6202718294C11455CB0E76B34D24E7BE298BBF8116C35B1288EC"
    "F266F090D6D29B67EE7CD68B9F480A8C15710096F96E429FB195AF342BE04E22601AFB31384FDF41"
)
FILLS = {"00": "3668EC3F0DE9DA0E", "20": "43E2DFFA27767E9C"}
AES_PASSWORD = b"0123456789abcdefABCDEF0123456789"
V3_DATA = (
    "000102030405060708090a0b0c0d0e0f-39a5cac5b8017254bfb17ea7c48dff24ff1730a8ab42bafd7caeefd900261593"
    "cf40053deda5be540717fbf22b8f61f392c33c70d931fe7aca4ff709fcee335b7a50b2d0e7d371bfe16ae3f66e06a281"
)
CREDIT = {"PayID": PAY_ID, "TransID": "CRN-1001-1", "Amount": "500", "Currency": "EUR"}
CREDIT_DATA = (
    "D63BBBBD08366DC0B752B87D485EF2A007A2C4CB2D2801BA433365727229058EBBAFAFD92FE57E458B0556B371403C88"
    "6BB452BFC6FD301BC5C2F7658564B66FE7FC38760CC43CDAF5CF05F5E72EDDF29B21F62CD21DFE6CF0150C506D3FAD40"
    "170ED7D4D5DDDCC485E13207CF5CF2FA0E6299E2F9C200FDED8C8DC7D7C7C3B702DA34840394C99C97AACDFD6D2A0703"
    "6EB183768C488CD8C9330630391D455266D98369CA719771796AF958381523D4"
)


def test_a_text_of_whole_blocks_is_not_filled() -> None:
    assert encrypt("blowfish", PASSWORD, V1) == (64, V1_DATA)


def test_a_text_that_ends_within_a_block_is_filled_with_zeros_of_which_its_length_says_nothing() -> None:
    assert encrypt("blowfish", PASSWORD, V2) == (95, V2_DATA + FILLS["00"])


@pytest.mark.parametrize("fill", FILLS)
def test_whatever_fills_the_last_block_is_cut_off(fill: str) -> None:
    assert decrypt(PASSWORD, "95", V2_DATA + FILLS[fill]) == V2
    assert decrypt(PASSWORD, "95", (V2_DATA + FILLS[fill]).lower()) == V2


def test_aes_agrees_with_the_worked_example_both_ways() -> None:
    assert encrypt("aes", AES_PASSWORD, V1, bytes(range(16))) == (64, V3_DATA)
    assert decrypt(AES_PASSWORD, "64", V3_DATA.upper()) == V1


def test_two_messages_in_aes_never_begin_alike() -> None:
    assert encrypt("aes", AES_PASSWORD, V1)[1][:32] != encrypt("aes", AES_PASSWORD, V1)[1][:32]


def test_a_credit_is_sealed_as_in_the_worked_exchange() -> None:
    assert ENVELOPE.seal(CREDIT) == {"MerchantID": "DEMO_SHOP", "Len": "171", "Data": CREDIT_DATA}


MACS = {
    "*INV-1001-1*DEMO_SHOP*1990*EUR": "5D478801F261AE771392D5DD8916E14A01FAFC6DFE20BB1E7FED1D3AD12BDA07",
    f"{PAY_ID}*CRN-1001-1*DEMO_SHOP*500*EUR": "85371DEE5F113D41FCEA0209A46B386789247720185B69F84DA919E4B3A22858",
    f"{PAY_ID}*INV-1001-1*DEMO_SHOP**": "5AC99AA58041C9DE97F86016FA09DB3F1617A4223EF393CEEF0D67EFB008AEB5",
    f"{PAY_ID}*INV-1001-1*DEMO_SHOP*OK*00000000": "47E9FE1A4FA1C8B353372967FECFAC8606ABB2866A0B1A9B5C16510A52D0FC0D",
}


@pytest.mark.parametrize("message", MACS)
def test_macs_agree_with_the_worked_examples(message: str) -> None:
    assert mac(HMAC_PASSWORD, *message.split("*")) == MACS[message]


def test_a_mac_agrees_with_the_one_computop_published() -> None:
    told = mac(b"mySecret", "", "TID-4453732122167114558", "yourMerchantId", "1234", "EUR")
    assert told == "38CED807E293FC634A6C36FFAEA7BD2687038D40615781918AEF2DE7BB9A9903"


def test_a_request_is_signed_over_the_fields_it_has_and_empty_ones_for_the_rest() -> None:
    payment = {"TransID": "INV-1001-1", "Amount": "1990", "Currency": "EUR"}
    assert ENVELOPE.sign(payment).startswith("5D478801")
    assert ENVELOPE.sign(CREDIT).startswith("85371DEE")
    assert ENVELOPE.sign({"PayID": PAY_ID, "TransID": "INV-1001-1"}).startswith("5AC99AA5")


@pytest.mark.parametrize("spell", [str.upper, str.lower, lambda text: text + "  "])
def test_a_mac_is_believed_in_either_letter_case(spell: object) -> None:
    assert callable(spell)
    told = spell(mac(HMAC_PASSWORD, PAY_ID, "INV-1001-1", "DEMO_SHOP", "OK", "00000000"))
    assert ENVELOPE.proves(ENVELOPE.unseal(sealed(f"{V2}&MAC={told}").decode()))
    assert not ENVELOPE.proves(ENVELOPE.unseal(sealed(f"{V2}&MAC=\xdf{told}").decode()))


def test_a_value_ends_at_an_ampersand_and_not_at_an_equals_sign() -> None:
    reply = read("Card=e30+/w==&MID=x&new&empty=")
    assert (reply.text("card"), reply.text("mid"), reply.text("New"), reply.text("nothing")) == (
        "e30+/w==",
        "x",
        "",
        "",
    )


def test_a_deciding_value_may_be_repeated_but_not_contradicted() -> None:
    assert read("refnr=1&RefNr=2&code=0&Code=0").text("refnr") == "1"
    with pytest.raises(UnreadableError, match="code"):
        read("code=0&Code=1")


@pytest.mark.parametrize("value", ["a&b", "a\nb", "a\rb", "a\0b", "a\u20acb"])
def test_a_value_that_would_break_the_message_is_never_written(value: str) -> None:
    with pytest.raises(MisuseError):
        write({"UserData": value})


def test_an_empty_value_is_left_out() -> None:
    assert write({"a": "1", "b": "", "c": "Müller+="}) == "a=1&c=Müller+="


@pytest.mark.parametrize(
    ("length", "data"),
    [
        ("65", V1_DATA),
        ("-1", V1_DATA),
        ("", V1_DATA),
        ("\u0664", V1_DATA),
        ("99999999", V1_DATA),
        ("1", V1_DATA[:-1]),
        ("1", V1_DATA[:-2]),
        ("1", V1_DATA[:-1] + "G"),
        ("1", V1_DATA[:-2] + " 1"),
        ("64", V3_DATA),
        ("1", V3_DATA[2:]),
        ("1", "-"),
    ],
)
def test_a_message_that_does_not_fit_its_length_or_its_cipher_cannot_be_read(length: str, data: str) -> None:
    with pytest.raises(UnreadableError):
        decrypt(b"nine byte", length, data)


def test_a_message_about_another_merchant_cannot_be_read() -> None:
    with pytest.raises(UnreadableError, match="another merchant"):
        ENVELOPE.unseal("mid=OTHER&Code=00000000", clear=True)
    with pytest.raises(UnreadableError, match="nothing encrypted"):
        ENVELOPE.unseal("mid=DEMO_SHOP&Code=00000000")


def test_an_envelope_shown_to_people_shows_no_password() -> None:
    assert all(secret.decode() not in repr(replace(ENVELOPE)) for secret in (PASSWORD, HMAC_PASSWORD))


@given(st.text(st.characters(max_codepoint=255)), st.sampled_from([("blowfish", PASSWORD), ("aes", AES_PASSWORD)]))
def test_what_is_encrypted_is_read_again(text: str, cipher: tuple[str, bytes]) -> None:
    length, data = encrypt(*cipher, text)
    assert decrypt(cipher[1], str(length), data) == text
