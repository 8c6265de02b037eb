from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateways_sandbox.payone_wire import Payone

LOOSE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.sampled_from(
    "order amountOfMoney amount currencyCode references merchantReference cardPaymentMethodSpecificInput token card "
    "cardNumber expiryDate threeDSecure redirectionData returnUrl isRecurring hostedTokenizationId feedbacks "
    "webhooksUrls sepaDirectDebitPaymentMethodSpecificInput customer device browserData x".split()
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner), max_leaves=12)
PATHS = st.sampled_from(
    "payments hostedtokenizations hostedcheckouts tokens mandates payments/1/capture payments/4700000001_0/refund "
    "payments/x/subsequent webhooks/validateCredentials webhooks/sendtest".split()
)
KNOWN = {200, 201, 204, 400, 404}


@LOOSE
@given(PATHS, st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_taken_and_never_booked(payone: Payone, path: str, body: bytes) -> None:
    assert payone.post(path, body).status in KNOWN
    assert payone.ledger() == []


@LOOSE
@given(PATHS, st.dictionaries(NAMES, VALUES, max_size=4))
def test_arbitrary_objects_are_refused_or_taken_and_never_booked(payone: Payone, path: str, body: Any) -> None:
    assert payone.post(path, body).status in KNOWN
    assert payone.ledger() == []


@LOOSE
@given(st.binary(max_size=60))
def test_arbitrary_authorizations_are_refused(payone: Payone, word: bytes) -> None:
    shown = bytes(byte for byte in word if 33 <= byte < 127).decode()
    said = payone.get("services/testconnection", more={"Authorization": f"GCS v1HMAC:{shown}"})
    assert said.status == 403


@LOOSE
@given(st.binary(max_size=200))
def test_arbitrary_forms_never_break_a_page(payone: Payone, body: bytes) -> None:
    session = payone.post("hostedtokenizations", {}).json["hostedTokenizationUrl"]
    assert payone.http.post(session, content=body).json()["success"] is False
    order = {"amountOfMoney": {"amount": 1, "currencyCode": "JPY"}}
    page = payone.post("hostedcheckouts", {"order": order}).json["redirectUrl"]
    assert payone.http.post(page, content=b"action=pay&" + body).status_code == 200


@LOOSE
@given(VALUES.filter(lambda sent: sent != []))
def test_arbitrary_rules_and_tokens_are_refused_with_a_sentence(payone: Payone, sent: object) -> None:
    for path in ("faults", "profiles"):
        answer = payone.http.post(f"{payone.base}/_sandbox/{path}", json=sent)
        assert (answer.status_code, bool(answer.json()["error"])) == (400, True)
