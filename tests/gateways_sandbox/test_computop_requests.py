"""What is refused, with which code, and where the browser is sent with it (reference sections 4, 5 and 9.3)."""

from typing import Any

import pytest

from tests.gateways_sandbox.computop_wire import ARTICLE, FIRST, LATER, SHOP, Computop, packed, way_back

ZEROS = "0" * 32
NBSP = packed('{"items": [{"rate":\u00a019, "amount": 318}]}'.encode())
LONG_URL = f"{SHOP}/{'x' * 257}"


def refused(computop: Computop, **changes: Any) -> str:
    """Return the code with which the browser is sent away."""
    said = computop.returned(computop.browse("PaybackPay", computop.sale(**changes)))
    assert said["Status"] == "FAILED"
    assert said.body == f"{SHOP}/failed"
    assert computop.ledger() == []
    return said.code


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("MerchantID", None, "40100003"),
        ("MerchantID", "ANOTHER", "40160003"),
        ("MAC", None, "40100F01"),
        ("MAC", "0" * 64, "40120F01"),
        ("TransID", None, "40100002"),
        ("TransID", "", "40100002"),
        ("TransID", "x" * 65, "40140002"),
        ("TransID", "a\x00b", "40110002"),
        ("RefNr", "x" * 31, "40140032"),
        ("ReqId", "x" * 33, "40140004"),
        ("Amount", None, "40100005"),
        ("Amount", "19.90", "40110005"),
        ("Amount", "-1", "40110005"),
        ("Amount", "99", "40110005"),
        ("Amount", "0", "40110005"),
        ("Amount", "12345678901", "40140005"),
        ("Currency", "eur", "40110006"),
        ("Currency", "EURO", "40140006"),
        ("Currency", "CHF", "40160006"),
        ("Language", "d", "40110F09"),
        ("URLSuccess", f"{SHOP}/ok?order=1", "40110020"),
        ("URLSuccess", f"{SHOP}:8443/ok", "40110020"),
        ("URLSuccess", "http://shop.example/ok", "40110020"),
        ("URLSuccess", "http://127.0.0.1:8000/ok?", "40110020"),
        ("URLSuccess", LONG_URL, "40140020"),
        ("URLNotify", None, "40100022"),
        ("URLNotify", f"{SHOP}/notify#there", "40110022"),
        ("Response", "encode", "40160010"),
        ("UserData", "x" * 1025, "40140013"),
        ("Plain", "x" * 51, "40140F0C"),
        ("Custom", "x" * 1025, "40140F0D"),
        ("OrderDesc", "x" * 769, "40140011"),
        ("AccountId", "123456789", "40110F04"),
        ("AccountId", "12345678901", "40140F04"),
        ("IsBound", None, "40100F06"),
        ("IsBound", "True", "40160F06"),
        ("IsBound", "true", "40100F05"),
        ("CustomerID", "a-b", "40110F05"),
        ("CustomerGroup", "OTHER", "40160F07"),
        ("sdCountryCode", None, "40100F08"),
        ("sdZIP", "x" * 21, "40140F0E"),
        ("VatList", None, "40100F02"),
        ("VatList", "no base64", "40110F02"),
        ("VatList", packed([]), "40110F02"),
        ("VatList", packed({}), "40110F02"),
        ("VatList", packed({"vatItems": []}), "40110F02"),
        ("VatList", packed({"vatItems": [{"rate": 19, "amount": 1990}]}), "40110F02"),
        ("VatList", packed({"vatItems": [{"rate": "19", "amount": 0}]}), "40110F02"),
        ("VatList", packed({"vatItems": [{"rate": "19", "amount": "1990"}]}), "40110F02"),
        ("VatList", packed({"vatItems": [{"rate": "19", "amount": 1989}]}), "40160F02"),
        ("VatList", packed({"items": [{"rate": "19", "amount": 318}]}), "40110F02"),
        ("VatList", packed({"items": [{"rate": 19, "amount": 1990}]}), "40160F02"),
        ("VatList", NBSP, "40110F02"),
        ("ArticleList", packed({"items": []}), "40110F03"),
        ("ArticleList", packed({"items": [1]}), "40110F03"),
        ("ArticleList", packed({"items": [ARTICLE | {"type": "GIFT"}]}), "40110F03"),
        ("ArticleList", packed({"items": [ARTICLE | {"quantity": "1"}]}), "40110F03"),
        ("ArticleList", packed({"items": [ARTICLE | {"description": "x" * 31}]}), "40110F03"),
    ],
)
def test_an_error_in_any_parameter_rejects_a_sale_as_a_whole(
    computop: Computop, name: str, value: str | None, code: str
) -> None:
    assert refused(computop, **{name: value}) == code


@pytest.mark.parametrize("missing", [name for name in ARTICLE if name != "description"])
def test_an_article_without_one_of_its_members_is_refused(computop: Computop, missing: str) -> None:
    article = {name: value for name, value in ARTICLE.items() if name != missing}
    assert refused(computop, ArticleList=packed({"items": [article]})) == "40110F03"


@pytest.mark.parametrize(
    ("vat", "title"),
    [
        ({"vatItems": [{"rate": "19", "amount": 1500}, {"rate": "7", "amount": 490}]}, "description"),
        ({"items": [{"rate": 19, "amount": 318}]}, "name"),
        ({"items": [{"rate": 19.0, "amount": 318}]}, "description"),
    ],
)
def test_both_dialects_of_a_basket_are_taken(computop: Computop, vat: Any, title: str) -> None:
    article = {**ARTICLE, title: ARTICLE["description"]}
    assert computop.wallet(VatList=packed(vat), Articlelist=packed({"items": [article]}), ArticleList=None)


def test_sums_are_not_checked_where_the_account_is_lenient(computop: Computop) -> None:
    computop.settings(strict_sums=False)
    assert computop.wallet(VatList=packed({"vatItems": [{"rate": "19", "amount": 1}]}))


def test_small_amounts_are_taken_by_agreement(computop: Computop) -> None:
    computop.settings(small_amounts=True)
    assert computop.wallet(Amount="1")
    assert refused(computop, Amount="0") == "40110005"


def test_a_bound_account_names_its_customer(computop: Computop) -> None:
    assert computop.wallet(IsBound="true", CustomerID="P4YB4CK")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/back", "http://localhost/", "http://[::1]:9/x", f"{SHOP}:443/", SHOP]
)
def test_a_loopback_address_may_stand_for_the_shop(computop: Computop, url: str) -> None:
    assert computop.wallet(URLSuccess=url, URLFailure=url, URLNotify=url)


@pytest.mark.parametrize("url", [None, "javascript:alert(1)", f"{SHOP}/x?y", LONG_URL])
def test_a_browser_that_cannot_be_sent_back_is_told_in_clear(computop: Computop, url: str | None) -> None:
    said = computop.read(computop.browse("PaybackPay", computop.sale(URLFailure=url)))
    assert (said.is_clear, said["Status"], said.code[4:]) == (True, "FAILED", "0021")


def test_a_known_parameter_given_twice_is_refused(computop: Computop) -> None:
    text = computop.text(computop.sale())
    for more, code in (("&Amount=1", "40170005"), ("&Plain=a&PLAIN=b", "40170F0C")):
        page = computop.http.post(f"{computop.base}/PaybackPay.aspx", data=computop.envelope(text + more))
        assert computop.returned(page).code == code
    assert (
        computop.http.post(f"{computop.base}/PaybackPay.aspx", data=computop.envelope(text + "&New=1&new=2"))
        .headers["location"]
        .startswith(computop.base)
    )


def test_a_rejected_request_makes_no_payment(computop: Computop) -> None:
    said = computop.returned(computop.browse("PaybackPay", computop.sale(Amount="x", RefNr="R-1")))
    assert (said["PayID"], said["RefNr"], said["TransID"]) == (ZEROS, "R-1", "INV-1")
    assert computop.call("inquire24", TransID="INV-1").code == "20200061"
    assert computop.tries() == []


def test_names_of_endpoints_and_parameters_are_read_in_any_case(computop: Computop) -> None:
    pairs = {name.upper(): value for name, value in computop.sale().items()}
    for endpoint in ("paybackpay", "PAYBACKPAY", "PaybackPay"):
        assert computop.browse(endpoint, pairs).headers["location"].startswith(computop.base)
    envelope = computop.envelope(computop.text({"transid": "INV-1"}))
    said = computop.post("Inquire24.ASPX", {name.lower(): value for name, value in envelope.items()})
    assert said["LastStatus"] == "AUTHORIZE_REQUEST"


def test_a_call_by_get_is_a_call(computop: Computop) -> None:
    envelope = computop.envelope(computop.text(computop.sale()))
    said = computop.http.get(f"{computop.base}/PaybackPay.aspx", params=envelope | {"Template": "x", "Language": "de"})
    assert said.headers["location"].startswith(computop.base)
    question = computop.envelope(computop.text({"TransID": "INV-1"}))
    assert computop.read(computop.http.get(f"{computop.base}/inquire24.aspx", params=question)).code == "00000000"


def test_what_is_not_offered_is_not_found(computop: Computop) -> None:
    for path in ("paynow.aspx", "PaybackPay", "sandbox-page/0"):
        assert computop.http.post(f"{computop.base}/{path}").status_code == 404


def test_a_trailing_ampersand_is_tolerated(computop: Computop) -> None:
    assert computop.post("inquire24.aspx", computop.envelope(computop.text({"TransID": "x"}) + "&")).code == "20200061"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("MsgVer", None, "40100F12"),
        ("MsgVer", "1.0", "40160F12"),
        ("RefNr", "Ü", "40110032"),
        ("Capture", "LATER", "40160009"),
        ("card", None, "40100F0F"),
        ("card", packed({}), "40110F0F"),
        ("card", packed({"number": "", "expiryDate": "203112"}), "40110F0F"),
        ("schemeReferenceID", None, "40100F11"),
        ("schemeReferenceID", "of another card", "40160F11"),
        ("credentialOnFile", None, "40100F10"),
        ("credentialOnFile", packed(FIRST), "40160F10"),
        ("credentialOnFile", packed({"initialPayment": False}), "40110F10"),
        ("credentialOnFile", packed({"type": {"unscheduled": "CIT"}, "initialPayment": False}), "40160F10"),
        ("credentialOnFile", packed({"type": {"unscheduled": "OTHER"}, "initialPayment": False}), "40160F10"),
        ("credentialOnFile", packed({"type": {"sometimes": "MIT"}, "initialPayment": False}), "40160F10"),
        ("credentialOnFile", packed({"type": {"recurring": {}}, "initialPayment": False}), "40110F10"),
        ("credentialOnFile", packed(LATER | {"useCase": "ucof"}), "40160F10"),
        ("credentialOnFile", packed(LATER | {"useCase": ["fixed"]}), "40160F10"),
        ("credentialOnFile", packed(LATER | {"initialPayment": "false"}), "40110F10"),
        (
            "credentialOnFile",
            packed({"type": {"recurring": {"recurringFrequency": 30}}, "initialPayment": False}),
            "40110F10",
        ),
        (
            "credentialOnFile",
            packed(
                {
                    "type": {"recurring": {"recurringFrequency": 30, "recurringExpiryDate": "31.12.2031"}},
                    "initialPayment": False,
                }
            ),
            "40110F10",
        ),
    ],
)
def test_an_error_in_any_parameter_rejects_a_charge_as_a_whole(
    computop: Computop, name: str, value: str | None, code: str
) -> None:
    said = computop.charge(computop.on_file(), **{name: value})
    assert (said["Status"], said.code, said["PayID"], said.is_clear) == ("FAILED", code, ZEROS, False)
    assert computop.ledger() == []


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("number", "4111", "40110015"),
        ("number", None, "40100015"),
        ("number", 4111111111111111, "40110015"),
        ("expiryDate", "1231", "40110017"),
        ("expiryDate", "203113", "40110017"),
        ("brand", "Visa", "40110018"),
        ("cardholderName", "E", "40110F0F"),
        ("securityCode", "12", "40110019"),
    ],
)
def test_an_error_in_a_card_is_blamed_on_its_member(computop: Computop, name: str, value: object, code: str) -> None:
    card = {"number": "0" * 16, "expiryDate": "203112", "brand": "VISA", "cardholderName": "Erika"} | {name: value}
    shape = {key: member for key, member in card.items() if member is not None}
    assert computop.charge(computop.on_file(), card=packed(shape)).code == code


def test_without_the_wish_for_encryption_the_result_comes_in_clear(computop: Computop) -> None:
    page = computop.wallet(Response=None, Plain="p", Custom="a=1|b=2|word")
    said = computop.press(page, "confirm")
    _, words = way_back(said)
    assert "Data" not in words
    assert computop.returned(said)["Status"] == "OK"
    assert said.headers["location"].endswith("&Plain=p&a=1&b=2&word")
