"""Answers, callbacks and browser returns are written here, all values as texts (reference sections 5, 6 and 9)."""

from datetime import UTC, datetime, timedelta, timezone

from gateways.sandbox.paymentz_fields import Body, Fields, RefusalError, amount_text
from gateways.sandbox.paymentz_signing import checksum
from gateways.sandbox.paymentz_store import Payment, Registration
from gateways.sandbox.paymentz_values import DESCRIPTIONS, FOUND, MEMBER_ID, PARTNER_ID, SECRET_KEY, SHORT

# The zone in which the published samples were written; no answer names it.
SERVER_ZONE = timezone(timedelta(hours=5, minutes=30))


def timestamp(moment: float | None = None) -> str:
    """Write an instant, by default the present one, as the server's wall clock shows it."""
    found = datetime.now(UTC) if moment is None else datetime.fromtimestamp(moment, UTC)
    return found.astimezone(SERVER_ZONE).strftime("%Y-%m-%d %H:%M:%S")


def result(code: str, description: str = "") -> Body:
    """Write a result."""
    return {"code": code, "description": description or DESCRIPTIONS[code]}


def short_status(payment: Payment, after_refund: str) -> str:
    """Return the short status; while the bank asks the customer it is 3D."""
    if payment.is_challenged:
        return "3D"
    return SHORT[payment.status] or after_refund


def signature(payment: Payment, status: str) -> str:
    """Sign a callback or browser return; the key comes last."""
    return checksum(payment.id, payment.reference, amount_text(payment.cents), status, SECRET_KEY)


def card_shape(payment: Payment) -> Body:
    """Write the masked card."""
    card = payment.kept_card()
    return {
        "bin": card.bin,
        "last4Digits": card.last4,
        "holder": card.holder,
        "expiryMonth": card.month,
        "expiryYear": card.year,
    }


def money_shape(payment: Payment) -> Body:
    """Write the amount, and the one shown to the customer."""
    return {
        "amount": amount_text(payment.cents),
        "currency": payment.currency,
        "tmpl_amount": payment.tmpl_amount or amount_text(payment.cents),
        "tmpl_currency": payment.tmpl_currency or payment.currency,
    }


def registration_of(payment: Payment) -> Body:
    """Write the token of the registered card, once there is one."""
    return {"registrationId": payment.registration} if payment.registration else {}


def answer_shape(payment: Payment, after_refund: str) -> Body:
    """Write the synchronous answer to a payment, which has no long status (D-62, D-70, D-72)."""
    return {
        "paymentId": payment.id,
        "paymentBrand": payment.brand,
        "paymentType": payment.type,
        "paymentMode": payment.mode,
        **money_shape(payment),
        "descriptor": payment.descriptor,
        "result": result(payment.code, payment.description),
        "card": card_shape(payment),
        "timestamp": timestamp(),
        "transactionStatus": short_status(payment, after_refund),
        "merchantTransactionId": payment.reference,
        "remark": payment.description,
        **registration_of(payment),
    }


def known_shape(payment: Payment, after_refund: str) -> Body:
    """Write what inquiries and callbacks both tell of a payment."""
    person = payment.person()
    return {
        "paymentId": payment.id,
        "status": payment.status,
        "transactionStatus": short_status(payment, after_refund),
        "paymentBrand": payment.brand,
        "paymentMode": payment.mode,
        "firstName": person.get("customer.givenName", ""),
        "lastName": person.get("customer.surname", ""),
        **money_shape(payment),
        "descriptor": payment.descriptor,
        "merchantTransactionId": payment.reference,
        "remark": payment.description,
        "timestamp": timestamp(),
        "eci": payment.eci,
        **registration_of(payment),
    }


def inquiry_shape(payment: Payment, after_refund: str) -> Body:
    """Write a record that was found, whatever became of the payment."""
    told = {"result": result(FOUND), "card": card_shape(payment)}
    told["customer"] = {"email": payment.person().get("customer.email", "")}
    recurring = {"recurringType": payment.recurring} if payment.recurring else {}
    return known_shape(payment, after_refund) | told | recurring


def callback_shape(payment: Payment, after_refund: str, *, signs_long: bool) -> Body:
    """Write a callback, signed with the short status, or the long one where it is set so (D-82)."""
    person, card = payment.person(), card_shape(payment)
    card["lastFourDigits"] = card["last4Digits"]
    del card["holder"]
    status = payment.status if signs_long else short_status(payment, after_refund)
    return known_shape(payment, after_refund) | {
        "checksum": signature(payment, status),
        "result": result(payment.code, payment.description),
        "customer": {"email": person.get("customer.email", ""), "id": person.get("customer.customerId", "")},
        "card": card,
        "bankReferenceId": payment.bank_reference,
        "terminalId": payment.terminal,
    }


def return_fields(payment: Payment, after_refund: str, resource_path: str) -> Fields:
    """Write the form with which the browser goes back to the merchant; `status` is the short one here."""
    person, card = payment.person(), payment.kept_card()
    status = short_status(payment, after_refund)
    registered = {"token": payment.registration, "registrationId": payment.registration} if payment.registration else {}
    return {
        "paymentId": payment.id,
        "trackingid": payment.id,
        "merchantTransactionId": payment.reference,
        "desc": payment.reference,
        **money_shape(payment),
        "status": status,
        "checksum": signature(payment, status),
        "descriptor": payment.descriptor,
        "resultCode": payment.code,
        "resultDescription": payment.description,
        "cardBin": card.bin,
        "cardLast4Digits": card.last4,
        "firstName": person.get("customer.givenName", ""),
        "lastName": person.get("customer.surname", ""),
        "custEmail": person.get("customer.email", ""),
        "paymentMode": payment.mode,
        "paymentBrand": payment.brand,
        "timestamp": timestamp(),
        "eci": payment.eci,
        **registered,
        "resourcePath": resource_path,
    }


def operation_shape(payment: Payment, after_refund: str) -> Body:
    """Write the answer to a refund or reversal: about the original payment (D-54)."""
    return {
        "paymentId": payment.id,
        "status": payment.status,
        "transactionStatus": short_status(payment, after_refund),
        "currency": payment.currency,
        "merchantTransactionId": payment.reference,
        "result": result(payment.code, payment.description),
        "timestamp": timestamp(),
    }


def payout_shape(payment: Payment, after_refund: str) -> Body:
    """Write the answer to a payout, which is under way."""
    shown = ("paymentBrand", "paymentMode", "amount", "remark")
    whole = known_shape(payment, after_refund)
    return operation_shape(payment, after_refund) | {name: whole[name] for name in shown}


def listed_shape(payment: Payment, after_refund: str, paid_out: int) -> Body:
    """Write a payment as the transaction list shows it."""
    person, at = payment.person(), timestamp(payment.created_at)
    names = ("customer.givenName", "customer.surname", "customer.phone", "customer.email", "customer.telnocc")
    places = ("shipping.country", "shipping.city", "shipping.street1")
    customer = {name.partition(".")[2]: person.get(name, "") for name in (*names, *places)}
    customer["street"] = customer.pop("street1")
    charged_back = payment.captured if payment.status == "chargeback" else 0
    return {
        "amount": amount_text(payment.cents),
        "currency": payment.currency,
        "systemPaymentId": payment.id,
        "merchantTransactionId": payment.reference,
        "transactionStatus": short_status(payment, after_refund),
        "captureamount": amount_text(payment.captured),
        "refundamount": amount_text(payment.refunded),
        "chargebackamount": amount_text(charged_back),
        "payoutamount": amount_text(paid_out),
        "date": at,
        "transactionDate": at,
        "remark": payment.description,
        "customer": customer,
        "card": card_shape(payment),
        "transactionReceiptImg": "",
        "bankReferenceId": payment.bank_reference,
        "terminalid": payment.terminal,
    }


def registrations_shape(found: list[Registration], customer_id: str) -> Body:
    """Write the list of registered cards."""
    cards = [registered_shape(entry) for entry in found]
    head = {"partnerId": PARTNER_ID, "memberId": MEMBER_ID, "customerId": customer_id}
    return {**head, "cards": cards, "bankaccounts": [], "result": result(FOUND), "timestamp": timestamp()}


def registered_shape(entry: Registration) -> Body:
    """Write one registered card."""
    shown = card_shape(Payment(card=entry.card))
    del shown["holder"]
    status = "active" if entry.is_active else "deleted"
    return {"registrationId": entry.id, "registrationStatus": status, "cardType": entry.brand, **shown}


def refusal_shape(refusal: RefusalError, *, is_payment: bool) -> Body:
    """Write a refusal; one of a payment names the id of an existing one or a dash (D-42, D-101)."""
    body = {"result": result(refusal.code, refusal.description), "timestamp": timestamp()}
    if is_payment:
        return {"paymentId": refusal.payment_id or "-", "transactionStatus": "N", **body}
    return {"paymentId": refusal.payment_id, **body} if refusal.payment_id else body


def reordered(body: Body) -> Body:
    """Turn the order of the keys around."""
    return dict(reversed(body.items()))


def with_strangers(body: Body) -> Body:
    """Add keys nobody knows, as each release of a platform does."""
    return {"sandboxExtra": {"nested": ["1"]}, **body, "zSandboxExtra": "new"}
