from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateways_sandbox.wire import ENVELOPE, Sandbox

LOOSE = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = st.sampled_from(
    "merchantID tid pType payment amount currency customerID order mdxi mpayTID begin size expiredBy".split()
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="<&"), max_size=20) | st.sampled_from(
    ["90001", "PROFILE", "CC", "18446744073709551615", "0", "2025-02-31", "true"]
)
OPERATIONS = st.sampled_from(
    "AcceptPayment SelectPayment TransactionStatus ManualClear ListProfiles ManualCredit".split()
)


@LOOSE
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_a_client_fault(sandbox: Sandbox, body: bytes) -> None:
    said = sandbox.post(body)
    assert said.http == 500
    assert said.fault[0] == "SOAP-ENV:Client"


@LOOSE
@given(st.binary(max_size=60))
def test_arbitrary_logins_are_unauthorized(sandbox: Sandbox, login: bytes) -> None:
    header = b"Basic x" + bytes(byte for byte in login if 33 <= byte < 127)
    assert sandbox.post(b"<a/>", auth=None, headers={b"Authorization": header}).http == 401


@LOOSE
@given(OPERATIONS, st.lists(st.tuples(WORDS, TEXTS), max_size=6))
def test_arbitrary_children_are_answered_or_refused_and_never_booked(
    sandbox: Sandbox, operation: str, pairs: list[tuple[str, str]]
) -> None:
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in pairs)
    said = sandbox.post(ENVELOPE.format(f"<etp:{operation}>{inner}</etp:{operation}>").encode())
    assert said.http == 200 or said.fault[0] == "SOAP-ENV:Client"
    assert sandbox.ledger() == []


@LOOSE
@given(st.binary(max_size=200))
def test_arbitrary_forms_never_break_a_page(sandbox: Sandbox, body: bytes) -> None:
    page = sandbox.page("<Order><Tid>f</Tid><Price>1</Price></Order>")
    assert sandbox.http.post(page, content=b"action=pay&" + body).status_code in {200, 303}


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
KEYS = st.sampled_from(["match", "fault", "times", "ms", "x"])
RULES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=8)


@LOOSE
@given(RULES.filter(lambda rules: rules != []))
def test_arbitrary_rules_and_profiles_are_refused_with_a_sentence(sandbox: Sandbox, sent: object) -> None:
    for path in ("faults", "profiles"):
        answer = sandbox.http.post(f"{sandbox.base}/_sandbox/{path}", json=sent)
        assert (answer.status_code, bool(answer.json()["error"])) == (400, True)
