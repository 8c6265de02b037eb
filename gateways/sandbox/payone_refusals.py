"""What the simulated PAYONE answers when it will not do something (reference section 11)."""

import secrets
import uuid
from dataclasses import dataclass

PLATFORM = "PAYMENT_PLATFORM_ERROR"
DIRECT = "DIRECT_PLATFORM_ERROR"
NOT_ALLOWED = "ACTION_NOT_ALLOWED_ON_TRANSACTION"
# The reference gives no number for a body that cannot be read; this is the one for an unacceptable value.
UNREADABLE_CODE = "50001111"


@dataclass(slots=True, frozen=True)
class Flaw:
    """One entry of a list of errors."""

    error_code: str
    id: str
    status: int
    code: str = ""
    message: str = ""
    property_name: str = ""
    category: str = PLATFORM
    retriable: bool = False

    def shown(self) -> dict[str, object]:
        """Give the entry as it is sent."""
        shown: dict[str, object] = {
            "errorCode": self.error_code,
            "category": self.category,
            "code": self.code or self.error_code,
            "httpStatusCode": self.status,
            "id": self.id,
            "message": self.message,
            "retriable": self.retriable,
        }
        return shown | ({"propertyName": self.property_name} if self.property_name else {})


class RefusalError(Exception):
    """A request is refused and nothing was changed."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.id)
        self.flaw = flaw

    def body(self) -> dict[str, object]:
        """Give the whole answer."""
        return error_body(self.flaw.status, [self.flaw])


def error_body(status: int, flaws: list[Flaw]) -> dict[str, object]:
    """Word an error answer; its id is a UUID and eight hexadecimal digits."""
    error_id = f"{uuid.uuid4()}-{secrets.token_hex(4)}"
    return {"errorId": error_id, "errors": [flaw.shown() for flaw in flaws], "status": status}


def unauthorised() -> RefusalError:
    """Refuse a request that does not say who it is."""
    return RefusalError(Flaw("9002", "MISSING_OR_INVALID_AUTHORIZATION", 403, category=DIRECT))


def no_access() -> RefusalError:
    """Refuse a request whose key, signature, time or account is wrong."""
    return RefusalError(Flaw("9007", "ACCESS_TO_MERCHANT_NOT_ALLOWED", 403, category=DIRECT))


def unreadable() -> RefusalError:
    """Refuse a body that is no JSON object."""
    return RefusalError(Flaw(UNREADABLE_CODE, "SCHEMA_VALIDATION_FAILED", 400, category=DIRECT))


def wrong_type(path: str) -> RefusalError:
    """Refuse a field of a type that cannot be read as the right one."""
    return RefusalError(Flaw(UNREADABLE_CODE, "INVALID_DATA", 400, property_name=path, category=DIRECT))


def missing(path: str) -> RefusalError:
    """Refuse a request without a field it must have."""
    return RefusalError(Flaw("20000000", "PARAMETER_NOT_FOUND_IN_REQUEST", 400, property_name=path))


def invalid_value(path: str) -> RefusalError:
    """Refuse a field whose value cannot be accepted."""
    return RefusalError(Flaw("50001111", "INVALID_VALUE", 400, code="1008", property_name=path))


def not_allowed(error_code: str = "50001127") -> RefusalError:
    """Refuse an operation that the payment's state or what is left of it does not allow."""
    return RefusalError(Flaw(error_code, NOT_ALLOWED, 400, message=NOT_ALLOWED))


def wrong_product(name: str) -> RefusalError:
    """Refuse a payment product that does not fit the card, or does not exist."""
    path = "cardPaymentMethodSpecificInput.paymentProductId"
    return RefusalError(Flaw("50001111", name, 400, code="1008", property_name=path))


def unknown_payment() -> RefusalError:
    """Refuse the id of a payment that does not exist."""
    return RefusalError(Flaw("50001130", "UNKNOWN_PAYMENT_ID", 404, code="1002", property_name="paymentId"))


def unknown(kind: str, path: str) -> RefusalError:
    """Refuse the id of something else that does not exist; its numbers are not published."""
    return RefusalError(Flaw("50001130", f"UNKNOWN_{kind}_ID", 404, code="1002", property_name=path))


def in_progress() -> RefusalError:
    """Refuse a request whose twin with the same key is still running."""
    text = "DUPLICATE REQUEST IN PROGRESS"
    return RefusalError(Flaw("1409", "DUPLICATE_REQUEST_IN_PROGRESS", 409, message=text, category=DIRECT))


def other_body() -> RefusalError:
    """Refuse a key that came with another body before; only where the account is set to notice."""
    return RefusalError(Flaw("30001002", "IDEMPOTENCE_CONFLICT", 409, category=DIRECT))


def broken(*, retriable: bool = False) -> RefusalError:
    """Fail as the platform itself does."""
    return RefusalError(Flaw("50001000", "INTERNAL_SERVER_ERROR", 500, category=DIRECT, retriable=retriable))


def decline_flaws(error_code: str) -> list[Flaw]:
    """Say why a payment was declined; a failed authentication says it twice (reference section 11.3)."""
    if error_code == "40001134":
        first = Flaw(error_code, "AUTHENTICATION_FAILURE", 403, code="9999")
        return [first, Flaw("50001111", "Error coming from a third party", 403, code="9999")]
    return [Flaw(error_code, "Error coming from a third party", 402, code="9999")]
