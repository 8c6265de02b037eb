from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.payone_signing import authorization, data_to_sign, http_date, is_signed, signature

KEY_ID, SECRET = "A1B2C3D4E5F60718", "zR9kq3Vw7uXn1mT5yB8cD2eF4gH6jK0pLsQaWxNvMrU="
DATE = "Fri, 06 Jun 2025 13:39:43 GMT"
META = {"X-GCS-ServerMetaInfo": "eyJpbnRlZ3JhdG9yIjoiRXhhbXBsZSBHbWJIIn0="}
JSON = {"Content-Type": "application/json"}
TOKEN = "/v2/MyPSPID/tokens/0ecbae93-2d5d-4d5c-9d7e-6f6b1f0f5a10"

VECTORS = {
    "V1": ("GET", "/v2/MyPSPID/payments/4454999290_0/details", {}, "eJXiZggvpmFGdd5/YNenFSjFLxNmmCxKjsHfLGDG1Sk="),
    "V2": (
        "POST",
        "/v2/MyPSPID/payments",
        {**META, **JSON, "X-GCS-Idempotence-Key": "order-4711-attempt-1"},
        "awRJTIRYIK4IMTC+877XHrPUFeO0I8NJK25RYmYZVBw=",
    ),
    "V3": ("DELETE", TOKEN, {}, "nlziTalRlkc6nfvxFAr1HcUqYKYikd83vmf3GOHYhX0="),
    "V3b": ("DELETE", TOKEN, JSON, "SCTgEgc7rQidJ1CNbvzHq3iFsM2ZUjSe3VHKR+F55LU="),
    "V4": (
        "GET",
        "/v2/MyPSPID/products?countryCode=DE&currencyCode=EUR&isRecurring=true",
        META,
        "pEK/VqeMQPjGCmLSp8Pe/vHAsoAb0Unm9SI2RoZnlTM=",
    ),
    "V5": (
        "POST",
        "/v2/MyPSPID/payments",
        {**JSON, "X-GCS-Test": "  aap\r\n   noot \n\tmies "},
        None,
    ),
}

W1 = (
    b'{"apiVersion":"v1","created":"2025-06-06T15:41:02.1234567+02:00","id":"6f1b7c1e-3c0a-4d55-9a44-2f5a3f0f9a01",'
    b'"merchantId":"MyPSPID","payment":{"id":"4454999290_0","paymentOutput":{"amountOfMoney":{"amount":1999,'
    b'"currencyCode":"EUR"},"references":{"merchantReference":"order-4711"}},"status":"CAPTURED","statusOutput":'
    b'{"isAuthorized":false,"isCancellable":false,"isRefundable":true,"statusCategory":"COMPLETED","statusCode":9}},'
    b'"type":"payment.captured"}'
)
W1_SECRET, W1_SIGNATURE = "wHs-2f9d61c07be84a55", "iiT1LpF6xRQwPxbhbr9ZVyzckjHtbK+JQWTtLX9B6OI="


@pytest.mark.parametrize("name", [name for name, vector in VECTORS.items() if vector[3]])
def test_a_worked_example_is_signed_as_the_official_client_signs_it(name: str) -> None:
    method, target, headers, expected = VECTORS[name]
    header = authorization(KEY_ID, SECRET, method, target, {**headers, "Date": DATE})
    assert header == f"GCS v1HMAC:{KEY_ID}:{expected}"


def test_a_folded_header_is_signed_unfolded_and_keeps_its_inner_spaces() -> None:
    method, target, headers, _ = VECTORS["V5"]
    text = data_to_sign(method, target, {**headers, "Date": DATE})
    assert text == f"POST\napplication/json\n{DATE}\nx-gcs-test:aap noot  mies\n{target}\n"
    assert signature(SECRET, text.encode()) == "Sw60DVMi1fU37AufgJzIUPMDwzk5qvzdnqpHnZlL9a4="


def test_the_example_the_provider_publishes_itself_comes_out_the_same() -> None:
    text = data_to_sign("GET", "/v2/1/tokens/2", {"Date": "Fri, 06 Jun 2014 13:39:43 GMT"})
    expected = "vCos01y77soPNJOW6kDCm4Bu5b2darAZ09PP7Wa+jRA="
    assert signature("6Kj5HT0MQKC6D8eb7W3lTg71kVKVDSt1", text.encode()) == expected


def test_an_event_is_signed_over_its_raw_bytes() -> None:
    digest = "0837a1cdbca318ee993d952aacba9729ff5c54652c9146fce8250128092c0380"
    assert (len(W1), hashlib.sha256(W1).hexdigest()) == (453, digest)
    assert is_signed(W1_SECRET, W1, W1_SIGNATURE)
    assert not is_signed(W1_SECRET, W1 + b"\n", W1_SIGNATURE)
    assert not is_signed(W1_SECRET, W1.replace(b"1999", b"2999"), W1_SIGNATURE)


def test_a_secret_is_proven_by_signing_nothing() -> None:
    assert signature(W1_SECRET, b"") == "NdD3/gnwUL6f18A07qFfaY7Q1wBDGOPZOkpx2JHPZoI="


def test_a_date_is_written_in_english_and_gmt_with_two_digits() -> None:
    vienna = timezone(timedelta(hours=2))
    assert http_date(datetime(2014, 6, 6, 15, 39, 43, tzinfo=vienna)) == "Fri, 06 Jun 2014 13:39:43 GMT"


names = st.from_regex(r"X-GCS-[A-Za-z]{1,8}", fullmatch=True)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
headers = st.dictionaries(names, values, max_size=4).filter(
    lambda drawn: len({name.lower() for name in drawn}) == len(drawn)
)


@given(headers)
def test_the_order_and_case_of_headers_do_not_matter(drawn: dict[str, str]) -> None:
    drawn["Date"] = DATE
    backwards = {name.upper(): f" {value} " for name, value in reversed(drawn.items())}
    assert data_to_sign("POST", "/v2/M/payments", drawn) == data_to_sign("post", "/v2/M/payments", backwards)


@given(headers)
def test_what_is_signed_has_one_line_for_each_part(drawn: dict[str, str]) -> None:
    lines = data_to_sign("GET", "/v2/M/x", {**drawn, "Date": DATE, "Accept": "*/*"}).split("\n")
    assert len(lines) == 3 + len(drawn) + 2
    assert lines[3:-2] == sorted(lines[3:-2], key=lambda line: line.partition(":")[0])
    assert lines[-2:] == ["/v2/M/x", ""]


@given(st.text(min_size=1), st.binary(max_size=64), st.binary(max_size=64))
def test_a_signature_fits_its_own_data_only(secret: str, data: bytes, other: bytes) -> None:
    secret = secret.encode(errors="ignore").decode() or "s"
    claimed = signature(secret, data)
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=", claimed)
    assert is_signed(secret, data, claimed)
    assert is_signed(secret, other, claimed) == (data == other)
    assert not is_signed(f"{secret}x", data, claimed)


@given(st.text())
def test_no_claimed_signature_breaks_the_comparison(claimed: str) -> None:
    assert not is_signed("secret", b"data", claimed)


@given(st.integers(0, 4_000_000_000))
def test_a_date_always_has_the_same_shape(second: int) -> None:
    assert re.fullmatch(
        r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT",
        http_date(datetime.fromtimestamp(second, UTC)),
    )
