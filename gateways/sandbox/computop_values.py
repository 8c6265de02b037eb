"""The simulated Computop account: its credentials, settings, words and codes (reference sections 9 and 13)."""

from gateways.sandbox.knobs import Value

MERCHANT_ID = "SANDBOX_SHOP"
# Sixteen bytes each, so that it is a key for Blowfish as well as for AES-128.
ENCRYPTION_PASSWORD = "sandbox-enc-pass"  # noqa: S105 - visibly fake
HMAC_PASSWORD = "sandbox-hmac-pass"  # noqa: S105 - visibly fake

# What an endpoint does, by its name in small letters: names are not case sensitive.
ENDPOINTS = {
    "paybackpay.aspx": "PaybackPay",
    "payssl.aspx": "PaySSL",
    "direct.aspx": "Direct",
    "credit.aspx": "Credit",
    "capture.aspx": "Capture",
    "reverse.aspx": "Reverse",
    "inquire.aspx": "Inquire",
    "inquire24.aspx": "Inquire24",
}
BOOKING = frozenset(("Direct", "Credit", "Capture", "Reverse"))
FORMS = frozenset(("PaybackPay", "PaySSL"))
PAGE_OPERATION = "PaymentPage"
PAGE_PATH = "/sandbox-page/"

WALLET, CARD = "wallet", "card"
# The module of a method within a code. That of PaybackPay is not published: a client must not compare it.
MODULES = {WALLET: "3F0", CARD: "100"}
INTERNAL, SECURE = "020", "206"
SUCCESS = "00000000"
# In the place of a PayID where a request was rejected as a whole, so that there is no payment.
NO_PAYMENT = "0" * 32

SERVICE_FLAWS = {
    "001": "cryptography",
    "010": "parameter missing",
    "011": "format error",
    "012": "not valid",
    "014": "too long",
    "016": "value not allowed",
    "017": "given twice",
}
REASONS = {
    "0051": "timeout",
    "0053": "cancelled by the customer",
    "0061": "PayID not found",
    "0062": "another action is in the way",
    "0069": "nothing captured or authorised to act on",
    "0072": "already captured",
    "0074": "capture above authorisation",
    "0081": "action not supported by the method",
    "0100": "declined by the issuer",
    "0110": "card expired",
    "0130": "pseudo card number not valid",
    "0200": "3-D Secure authentication failed",
    "0313": "available amount exceeded",
    "0600": "credit on unknown payment",
    "0601": "credit refused",
}

# What may be set while it runs. Units: `_s` seconds; a notify minute is as long as it says, so that a test can have
# the whole schedule of repeats in milliseconds.
KNOBS: dict[str, Value] = {
    "cipher": "blowfish",
    "answer_fill": "space",
    "sale_status": "OK",
    "strict_sums": True,
    "small_amounts": False,
    "refuse_duplicates": False,
    "credit_waits_for_notification": True,
    "page_life_s": 900.0,
    "notify_minute_s": 60.0,
    "notify_repeats_max": 8,
    "notify_timeout_s": 30.0,
    "req_id_memory_s": 365 * 86400.0,
    "card_tries_max": 3,
    "card_number": "pcnr",
    "check_scheme_reference": True,
}
KNOB_CHOICES = {
    "cipher": frozenset(("blowfish", "aes")),
    "answer_fill": frozenset(("space", "zero")),
    "sale_status": frozenset(("OK", "AUTHORIZED")),
    "card_number": frozenset(("pcnr", "masked")),
}


class RefusalError(Exception):
    """A request is rejected as a whole; the code says why, and nothing was booked."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def described(code: str) -> str:
    """Put a code into words; nobody may decide by them."""
    if code == SUCCESS:
        return "success"
    if code[0] == "6":
        return "the result follows"
    return SERVICE_FLAWS.get(code[1:4]) or REASONS.get(code[4:], "declined")
