"""Requests are signed as the official clients sign them (reference sections 2 and 3)."""

import gzip
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateways.sandbox.payone_signing import acceptable_texts, mac, read_date, text_to_sign
from tests.gateways_sandbox.payone_wire import Payone, http_date, order, signed

SECRET = "zR9kq3Vw7uXn1mT5yB8cD2eF4gH6jK0pLsQaWxNvMrU="
DATE = "Fri, 06 Jun 2025 13:39:43 GMT"
META = ("X-GCS-ServerMetaInfo", "eyJpbnRlZ3JhdG9yIjoiRXhhbXBsZSBHbWJIIn0=")
KEY = ("X-GCS-Idempotence-Key", "order-4711-attempt-1")
FOLDED = ("X-GCS-Test", "  aap\r\n   noot \n\tmies ")
TOKEN = "/v2/MyPSPID/tokens/0ecbae93-2d5d-4d5c-9d7e-6f6b1f0f5a10"
PRODUCTS = "/v2/MyPSPID/products?countryCode=DE&currencyCode=EUR&isRecurring=true"
JSON = "application/json"
EVENT = (
    b'{"apiVersion":"v1","created":"2025-06-06T15:41:02.1234567+02:00","id":"6f1b7c1e-3c0a-4d55-9a44-2f5a3f0f9a01",'
    b'"merchantId":"MyPSPID","payment":{"id":"4454999290_0","paymentOutput":{"amountOfMoney":{"amount":1999,'
    b'"currencyCode":"EUR"},"references":{"merchantReference":"order-4711"}},"status":"CAPTURED","statusOutput":'
    b'{"isAuthorized":false,"isCancellable":false,"isRefundable":true,"statusCategory":"COMPLETED","statusCode":9}},'
    b'"type":"payment.captured"}'
)


@pytest.mark.parametrize(
    ("method", "kind", "headers", "target", "signature"),
    [
        ("GET", "", [], "/v2/MyPSPID/payments/4454999290_0/details", "eJXiZggvpmFGdd5/YNenFSjFLxNmmCxKjsHfLGDG1Sk="),
        ("POST", JSON, [META, KEY], "/v2/MyPSPID/payments", "awRJTIRYIK4IMTC+877XHrPUFeO0I8NJK25RYmYZVBw="),
        ("DELETE", "", [], TOKEN, "nlziTalRlkc6nfvxFAr1HcUqYKYikd83vmf3GOHYhX0="),
        ("DELETE", JSON, [], TOKEN, "SCTgEgc7rQidJ1CNbvzHq3iFsM2ZUjSe3VHKR+F55LU="),
        ("GET", "", [META], PRODUCTS, "pEK/VqeMQPjGCmLSp8Pe/vHAsoAb0Unm9SI2RoZnlTM="),
        ("POST", JSON, [FOLDED], "/v2/MyPSPID/payments", "Sw60DVMi1fU37AufgJzIUPMDwzk5qvzdnqpHnZlL9a4="),
    ],
)
def test_the_worked_vectors_come_out(
    method: str, kind: str, headers: list[tuple[str, str]], target: str, signature: str
) -> None:
    assert mac(SECRET, text_to_sign(method, kind, DATE, headers, target).encode()) == signature


def test_the_vector_of_another_official_client_comes_out() -> None:
    text = text_to_sign("GET", "", "Fri, 06 Jun 2014 13:39:43 GMT", [], "/v2/1/tokens/2")
    assert mac("6Kj5HT0MQKC6D8eb7W3lTg71kVKVDSt1", text.encode()) == "vCos01y77soPNJOW6kDCm4Bu5b2darAZ09PP7Wa+jRA="


def test_the_webhook_vectors_come_out() -> None:
    secret = "wHs-2f9d61c07be84a55"
    assert len(EVENT) == 453
    assert mac(secret, EVENT) == "iiT1LpF6xRQwPxbhbr9ZVyzckjHtbK+JQWTtLX9B6OI="
    assert mac(secret, b"") == "NdD3/gnwUL6f18A07qFfaY7Q1wBDGOPZOkpx2JHPZoI="
    assert mac(secret, EVENT + b"\n") != mac(secret, EVENT) != mac(secret, EVENT.replace(b"1999", b"2999"))


def test_a_get_may_be_signed_without_the_content_type_it_sends_and_decoded() -> None:
    texts = acceptable_texts("GET", [("content-type", JSON), ("date", DATE)], "/v2/a%20b")
    assert len(texts) == 4
    assert f"GET\n\n{DATE}\n/v2/a b\n" in texts
    assert f"GET\n{JSON}\n{DATE}\n/v2/a%20b\n" in texts
    assert len(set(acceptable_texts("POST", [("content-type", JSON), ("date", DATE)], "/v2/a"))) == 1


@pytest.mark.parametrize("date", ["", "06 Jun 2025", "Fri, 6 Jun 2025 13:39:43 GMT", f"{DATE}+1", "Xxx, 99 Foo"])
def test_only_the_one_form_of_date_is_read(date: str) -> None:
    assert read_date(date) is None
    assert read_date(DATE) is not None


def test_the_connection_can_be_tested(payone: Payone) -> None:
    said = payone.get("services/testconnection")
    assert (said.status, said.json) == (200, {"result": "OK"})


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("GET", "services/testconnection", {"content_type": JSON, "signed_type": ""}),
        ("GET", "services/testconnection", {"content_type": JSON}),
        ("GET", "services/testconnection", {"more": dict([META])}),
        ("GET", "services/testconnection?a=%C3%BC&b=1", {}),
        ("POST", "hostedtokenizations", {"body": {}, "content_type": "application/json; charset=utf-8"}),
        ("POST", "hostedtokenizations", {"content_type": ""}),
        ("POST", "hostedtokenizations", {"more": dict([META, KEY])}),
        ("GET", "services/testconnection", {"offset_s": -240}),
    ],
)
def test_what_official_clients_send_is_accepted(payone: Payone, method: str, path: str, wanted: dict[str, Any]) -> None:
    assert payone.call(method, path, **wanted).status == 200


def test_a_target_signed_decoded_is_accepted(payone: Payone) -> None:
    target = f"/v2/{payone.merchant}/services/testconnection?a=x%2Fy"
    said = payone.get("services/testconnection?a=x%2Fy", signed_target=target.replace("%2F", "/"))
    assert said.status == 200


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"drop": ["Authorization"]}, "MISSING_OR_INVALID_AUTHORIZATION"),
        ({"more": {"Authorization": "Basic abc"}}, "MISSING_OR_INVALID_AUTHORIZATION"),
        ({"secret": "wrong"}, "ACCESS_TO_MERCHANT_NOT_ALLOWED"),
        ({"key_id": "OTHER"}, "ACCESS_TO_MERCHANT_NOT_ALLOWED"),
        ({"merchant": "SomebodyElse"}, "ACCESS_TO_MERCHANT_NOT_ALLOWED"),
        ({"drop": ["Date"]}, "ACCESS_TO_MERCHANT_NOT_ALLOWED"),
        ({"offset_s": -900}, "ACCESS_TO_MERCHANT_NOT_ALLOWED"),
        ({"offset_s": 900}, "ACCESS_TO_MERCHANT_NOT_ALLOWED"),
        ({"date": "2025-06-06T13:39:43Z"}, "ACCESS_TO_MERCHANT_NOT_ALLOWED"),
        ({"content_type": JSON, "signed_type": "text/plain"}, "ACCESS_TO_MERCHANT_NOT_ALLOWED"),
        ({"signed_target": "/v2/other"}, "ACCESS_TO_MERCHANT_NOT_ALLOWED"),
    ],
)
def test_whoever_does_not_sign_as_the_account_is_refused(payone: Payone, wanted: dict[str, Any], error: str) -> None:
    said = payone.get("services/testconnection", **wanted)
    assert said.error[:2] == (403, error)
    assert said.json["errors"][0]["httpStatusCode"] == 403
    assert said.json["errors"][0]["category"] == "DIRECT_PLATFORM_ERROR"
    assert said.code == ("9002" if error.startswith("MISSING") else "9007")
    assert len(said.json["errorId"]) == 45


def test_a_header_of_theirs_that_is_not_signed_is_refused(payone: Payone) -> None:
    target = f"/v2/{payone.merchant}/hostedtokenizations"
    headers = payone.headers("POST", target, {}) | {"X-GCS-Idempotence-Key": "k"}
    assert payone.http.post(f"{payone.base}{target}", content=b"{}", headers=headers).status_code == 403


def test_an_account_can_be_switched_off(payone: Payone) -> None:
    payone.settings(api_enabled=False)
    assert payone.get("services/testconnection").status == 403


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "nothing/here"), ("POST", "services/testconnection"), ("GET", "")]
)
def test_a_path_that_does_not_exist_is_an_empty_404(payone: Payone, method: str, path: str) -> None:
    said = payone.call(method, path)
    assert (said.status, said.text) == (404, "")


def test_chunked_and_compressed_bodies_are_read(payone: Payone) -> None:
    target = f"/v2/{payone.merchant}/hostedcheckouts"
    body = json.dumps({"order": order()}).encode()

    def pieces() -> Any:
        yield body[:10]
        yield body[10:]

    said = payone.http.post(f"{payone.base}{target}", content=pieces(), headers=payone.headers("POST", target, {}))
    assert said.status_code == 200
    more = {"Content-Encoding": "gzip"}
    assert payone.post("hostedcheckouts", gzip.compress(body), more=more).status == 200
    assert payone.post("hostedcheckouts", b"no gzip", more=more).error[:2] == (400, "SCHEMA_VALIDATION_FAILED")


def test_a_folded_header_is_signed_unfolded(payone: Payone) -> None:
    target, date = f"/v2/{payone.merchant}/hostedtokenizations", http_date()
    text = f"POST\n{JSON}\n{date}\nx-gcs-test:aap noot  mies\n{target}\n"
    mark = signed(payone.credentials["api_secret"], text)
    head = (
        f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nDate: {date}\r\nContent-Length: 2\r\n"
        f"Authorization: GCS v1HMAC:{payone.credentials['api_key_id']}:{mark}\r\nConnection: close\r\n"
        "X-GCS-Test:   aap\r\n   noot \r\n\tmies \r\n\r\n{}"
    )
    address = urlsplit(payone.base)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), 10) as line:
        line.sendall(head.encode())
        assert line.recv(12) == b"HTTP/1.1 200"
