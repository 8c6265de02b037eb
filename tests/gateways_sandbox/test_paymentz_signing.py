"""Tokens, checksums and the shapes in which requests and answers come."""

import base64
import json
import time
from typing import Any

import pytest
from lxml import etree

from tests.gateways_sandbox.paymentz_wire import REST, PaymentZ, md5

# The reference's own vectors: member 11344, key SIMKEY-0123456789abcdef.
OWN = ("11344", "SIMKEY-0123456789abcdef")


@pytest.mark.parametrize(
    ("values", "digest"),
    [
        ((*OWN, "ORDER-1001", "50.00"), "6eedb61c8e8fc66b7ff4cc0cbf2f753d"),
        ((*OWN, "Bestellung-Ä1", "50.00"), "76ba861dd39f751345aeebbf3e700020"),
        ((*OWN, "54279", "50.00"), "1e70c12c1c4426a38d5c86ba79812ebc"),
        ((*OWN, "54279"), "e03b693ea153be2bd0f7ccea0e0da138"),
        ((*OWN, "ORDER-1001"), "866c68dcb77b238de0eca9c0b77f182a"),
        (OWN, "d5757784365907f8557d8131be07fa3e"),
        ((*OWN, "4000000000000051"), "decbe10f3b48908ae8f1a875ffee3b5e"),
        ((*OWN, "RG-ABC123", "50.00"), "945e39ab03b0a57a1c8b7dff4f8cef2a"),
        ((*OWN, "RG-ABC123"), "cde6d1066c4702109f797a7e333d9740"),
        (("11344", "PO-1", "50.00", OWN[1]), "1d078495c16ccca48334cd73544b32ae"),
        (("54279", "ORDER-1001", "50.00", "Y", OWN[1]), "af76c47771713868e5298b354d0b3e82"),
        (("54279", "ORDER-1001", "50.00", "N", OWN[1]), "be7234cbf575cd11621077b39caac23d"),
        ((*OWN, "54279", "9.99"), "2e3d68e97193c23cc2cf6513bdef07fe"),
        ((*OWN, "SUB-2", "9.99"), "d4fcde8c77b59dfc16d81f9cee639562"),
    ],
)
def test_the_checksums_of_these_tests_are_those_of_the_reference(values: tuple[str, ...], digest: str) -> None:
    assert md5(*values) == digest


def claims_of(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_a_token_is_a_web_token_that_lasts_an_hour(paymentz: PaymentZ) -> None:
    said = paymentz.post("authToken", paymentz.login(), authtoken="")
    assert (said.status, said.code, said.json["memberId"]) == (200, "200", paymentz.member)
    claims = claims_of(said.json["AuthToken"])
    assert (claims["sub"], claims["role"], claims["iss"]) == (paymentz.credentials["username"], "merchant", "PZ")
    assert 3590 < claims["exp"] - time.time() <= 3600  # noqa: TID251


@pytest.mark.parametrize("name", ["authentication.partnerId", "merchant.username", "authentication.sKey"])
def test_a_wrong_login_gets_no_token(paymentz: PaymentZ, name: str) -> None:
    said = paymentz.post("authToken", paymentz.login(**{name: "wrong"}))
    assert (said.status, said.code, "AuthToken" in said.json) == (200, "401", False)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30.", "\u00e9.\u00e9.\u00e9"])
def test_nothing_is_done_without_a_token_of_ours(paymentz: PaymentZ, token: str) -> None:
    headers = {b"authtoken": token.encode("latin-1")}
    said = paymentz.http.post(f"{paymentz.base}{REST}payments", data=paymentz.purchase_fields("t-1"), headers=headers)
    assert (said.status_code, said.json()["result"]["code"]) == (401, "401")
    assert paymentz.ledger() == []


def test_a_forged_expiry_is_refused(paymentz: PaymentZ) -> None:
    head, _, signature = paymentz.token.split(".")
    forged = json.dumps(claims_of(paymentz.token) | {"exp": 9999999999}).encode()
    token = f"{head}.{base64.urlsafe_b64encode(forged).rstrip(b'=').decode()}.{signature}"
    assert paymentz.post("payments", paymentz.purchase_fields("t-1"), authtoken=token).status == 401


def test_a_token_expires_by_itself(paymentz: PaymentZ) -> None:
    paymentz.settings(token_ttl_s=0.0)
    paymentz.log_in()
    assert paymentz.purchase("t-1").status == 401


def test_all_tokens_can_be_expired_at_once_and_a_new_one_works(paymentz: PaymentZ) -> None:
    assert paymentz.purchase("t-1").code == "00001"
    assert paymentz.http.post(f"{paymentz.base}/_sandbox/expire-tokens").status_code == 200
    assert paymentz.purchase("t-2").status == 401
    paymentz.log_in()
    assert paymentz.purchase("t-2").code == "00001"


@pytest.mark.parametrize(("mode", "status", "kind"), [("json200", 200, "json"), ("html200", 200, "html")])
def test_a_refused_token_may_be_answered_in_other_ways(paymentz: PaymentZ, mode: str, status: int, kind: str) -> None:
    paymentz.settings(auth_failure_mode=mode)
    said = paymentz.post("payments", paymentz.purchase_fields("t-1"), authtoken="x")
    assert said.status == status
    assert kind in said.headers["content-type"]


@pytest.mark.parametrize("path", ["regenerateToken", "/fraudServices/REST/v1/regenerateToken"])
def test_a_token_just_over_can_be_renewed_and_one_long_over_cannot(paymentz: PaymentZ, path: str) -> None:
    paymentz.settings(token_ttl_s=0.0)
    paymentz.log_in()
    fields = {"authentication.partnerId": paymentz.credentials["partner_id"], "authToken": paymentz.token}
    paymentz.settings(token_ttl_s=3600.0)
    assert paymentz.post(path, fields, authtoken="").json["AuthToken"]
    paymentz.settings(regenerate_grace_s=0.0)
    assert paymentz.post(path, fields, authtoken="").code == "401"


def test_a_token_of_a_member_cannot_act_for_another(paymentz: PaymentZ) -> None:
    other = {"authentication.memberId": "1"}
    assert paymentz.purchase("t-1", **other).status == 401
    paymentz.settings(bind_token_to_member=False)
    assert paymentz.purchase("t-1", **other).code == "20002"


def test_every_operation_refuses_a_wrong_checksum_and_changes_nothing(paymentz: PaymentZ) -> None:
    held, taken = paymentz.reserve("t-1"), paymentz.purchase("t-2", createRegistration="true", recurringType="INITIAL")
    before, token, wrong = paymentz.ledger(), taken.json["registrationId"], {"authentication.checksum": "0" * 32}
    dates = {"pagination.fromdate": "01/01/2026", "pagination.todate": "01/01/2099"}
    answers = [
        paymentz.purchase("t-3", **wrong),
        paymentz.repeat(taken.id, "t-3", **wrong),
        paymentz.capture(held, **wrong),
        paymentz.refund(taken.id, **wrong),
        paymentz.reverse(held, **wrong),
        paymentz.ask_by_reference("t-1", **wrong),
        paymentz.post("paywithtoken/" + token, paymentz.token_fields(token) | wrong),
        paymentz.post("paywithtoken/" + token, paymentz.signed({"paymentType": "DL"}, token) | wrong),
        paymentz.post("payout", paymentz.payout_fields("t-3", paymentId=taken.id) | wrong),
        paymentz.post("getTransactionList", paymentz.signed(dates) | wrong),
        paymentz.post("getCardsAndAccounts", paymentz.signed({}) | wrong),
        paymentz.post("registrations", paymentz.purchase_fields("t-3", **wrong)),
    ]
    assert [said.code for said in answers] == ["20002"] * len(answers)
    assert paymentz.ledger() == before
    assert paymentz.purchase("t-3").code == "00001"


def test_a_checksum_may_be_written_in_capitals(paymentz: PaymentZ) -> None:
    fields = paymentz.purchase_fields("t-1")
    fields["authentication.checksum"] = fields["authentication.checksum"].upper()
    assert paymentz.post("payments", fields).code == "00001"


def test_a_key_in_the_last_place_is_refused(paymentz: PaymentZ) -> None:
    wrong = md5(paymentz.member, "t-1", "50.00", paymentz.key)
    assert paymentz.purchase("t-1", **{"authentication.checksum": wrong}).code == "20002"


def nested(fields: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in fields.items():
        head, dot, rest = name.partition(".")
        if dot:
            found.setdefault(head, {})[rest] = value
        else:
            found[head] = value
    return found


@pytest.mark.parametrize("shape", ["flat", "nested", "mixed", "number"])
def test_json_is_read_in_every_shape(paymentz: PaymentZ, shape: str) -> None:
    fields: dict[str, Any] = dict(paymentz.purchase_fields("Bestellung-Ä1"))
    if shape == "number":
        fields |= {"amount": 50, "unknown": [1, {"x": None}]}
    if shape in {"nested", "mixed"}:
        fields = nested(fields)
    if shape == "mixed":
        fields["customer.customerId"] = "c-1"
    said = paymentz.send("payments", json.dumps(fields).encode(), "application/json; charset=utf-8")
    assert (said.code, said.json["amount"]) == ("00001", "50.00")
    assert said.json["merchantTransactionId"] == "Bestellung-Ä1"


def test_of_a_field_sent_twice_the_last_counts(paymentz: PaymentZ) -> None:
    body = "amount=1.00&" + str(
        paymentz.http.build_request("POST", "/", data=paymentz.purchase_fields("t-1")).content, "ascii"
    )
    assert paymentz.send("payments", body.encode()).json["amount"] == "50.00"


def test_xml_is_written_where_it_alone_is_accepted(paymentz: PaymentZ) -> None:
    said = paymentz.post("payments", paymentz.purchase_fields("a<b&\x01"), Accept="application/xml")
    root = etree.fromstring(said.text.encode())
    assert (root.tag, root.findtext("result/code"), root.findtext("amount")) == ("response", "00001", "50.00")
    assert root.findtext("merchantTransactionId") == "a<b&\ufffd"
    both = paymentz.post("inquiry", {}, Accept="application/json, application/xml")
    assert both.headers["content-type"] == "application/json"


def test_a_get_tells_the_status_to_whoever_has_a_token(paymentz: PaymentZ) -> None:
    payment_id = paymentz.purchase("t-1").id
    url = f"{paymentz.base}{REST}payments/{payment_id}"
    assert paymentz.http.get(url).status_code == 401
    found = paymentz.http.get(url, headers={"AuthToken": paymentz.token}).json()
    assert (found["status"], found["result"]["code"]) == ("capturesuccess", "00026")
    paymentz.settings(allow_get_status=False)
    assert paymentz.http.get(url, headers={"AuthToken": paymentz.token}).status_code == 404


def test_an_unknown_path_is_not_found(paymentz: PaymentZ) -> None:
    assert paymentz.post("refunds", {}).status == 404
    assert paymentz.post("payout/1", {}).status == 404
    paymentz.settings(enable_path_aliases=False)
    assert paymentz.post("refund/1", {}).status == 404
