import base64
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateways_sandbox.computop_wire import ARTICLE, Computop, packed

LOOSE = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ENDPOINTS = st.sampled_from(
    [f"{name}.aspx" for name in "PaybackPay payssl direct credit capture reverse inquire inquire24".split()]
)
# Everything a charge or a sale may carry, and a little more.
NAMES = (
    "TransID Amount Currency RefNr ReqId PayID Capture Response OrderDesc UserData Plain Custom URLSuccess URLFailure "
    "URLNotify VatList ArticleList AccountId IsBound CustomerID CustomerGroup sdCountryCode Language MsgVer card "
    "credentialOnFile schemeReferenceID X"
).split()
TEXTS = st.text(st.characters(max_codepoint=255, exclude_characters="&"), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from([*ARTICLE, "items", "vatItems", "rate", "type", "recurring", "number", "useCase", "brand"])
SHAPES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner), max_leaves=10)
JSONS = SHAPES.map(lambda shape: base64.b64encode(json.dumps(shape).encode()).decode())


def sent(computop: Computop, endpoint: str, text: str) -> int:
    return computop.http.post(f"{computop.base}/{endpoint}", data=computop.envelope(text)).status_code


@LOOSE
@given(ENDPOINTS, st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(computop: Computop, endpoint: str, body: bytes) -> None:
    assert b"FAILED" in computop.http.post(f"{computop.base}/{endpoint}", content=body).content
    assert computop.http.get(f"{computop.base}/{endpoint}?{body.hex()}").status_code == 200
    assert computop.rows() == []


@LOOSE
@given(ENDPOINTS, st.text(max_size=20), st.text(max_size=40))
def test_arbitrary_envelopes_are_refused(computop: Computop, endpoint: str, length: str, data: str) -> None:
    envelope = {"MerchantID": computop.merchant, "Len": length, "Data": data}
    content = computop.http.post(f"{computop.base}/{endpoint}", data=envelope).text
    assert content.startswith("Status=FAILED&Code=40")


@LOOSE
@given(ENDPOINTS, TEXTS)
def test_arbitrary_plain_texts_are_refused(computop: Computop, endpoint: str, text: str) -> None:
    assert sent(computop, endpoint, text) == 200
    assert computop.rows() == []


@LOOSE
@given(ENDPOINTS, st.dictionaries(st.sampled_from(NAMES), TEXTS | JSONS, max_size=8))
def test_arbitrary_parameters_with_a_right_mac_book_nothing(
    computop: Computop, endpoint: str, pairs: dict[str, str]
) -> None:
    assert sent(computop, endpoint, computop.text(pairs)) in {200, 302}
    assert computop.rows() == []


@LOOSE
@given(st.sampled_from(["card", "credentialOnFile"]), JSONS)
def test_a_charge_with_arbitrary_objects_is_rejected(computop: Computop, name: str, value: str) -> None:
    assert computop.charge(computop.on_file(), **{name: value}).code[0] == "4"
    assert computop.rows() == []


@LOOSE
@given(st.sampled_from(["recurringFrequency", "recurringStartDate", "recurringExpiryDate"]), SHAPES)
def test_a_plan_with_arbitrary_members_never_breaks_a_charge(computop: Computop, name: str, value: Any) -> None:
    plan = {"recurringFrequency": 30, "recurringExpiryDate": "2031-12-31"} | {name: value}
    why = packed({"type": {"recurring": plan}, "initialPayment": False})
    assert computop.charge(computop.on_file(), credentialOnFile=why).code in {"00000000", "40110F10"}


@LOOSE
@given(st.sampled_from(["VatList", "ArticleList"]), JSONS | TEXTS)
def test_a_sale_with_an_arbitrary_basket_opens_no_page(computop: Computop, name: str, value: str) -> None:
    said = computop.returned(computop.browse("PaybackPay", computop.sale(**{name: value})))
    assert said.code in {f"{kind}{detail}" for kind in ("4010", "4011", "4016") for detail in ("0F02", "0F03")}


@LOOSE
@given(st.binary(max_size=200))
def test_arbitrary_forms_never_break_a_page(computop: Computop, body: bytes) -> None:
    for page, action in ((computop.wallet(), b"x"), (computop.form(), b"pay")):
        said = computop.http.post(page, content=b"action=" + action + b"&" + body)
        assert said.status_code == 200
    assert computop.rows() == []


@LOOSE
@given(SHAPES.filter(lambda shape: shape != []))
def test_arbitrary_rules_and_cards_are_refused_with_a_sentence(computop: Computop, shape: object) -> None:
    for path in ("faults", "profiles"):
        said = computop.http.post(f"{computop.base}/_sandbox/{path}", content=json.dumps(shape))
        assert (said.status_code, bool(said.json()["error"])) == (400, True)
