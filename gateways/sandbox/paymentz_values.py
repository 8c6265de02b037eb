"""The facts of the PaymentZ reference that the simulator works with: statuses, result codes, triggers, settings."""

from gateways.sandbox.knobs import Value

MEMBER_ID = "99344"
PARTNER_ID = "99"
USERNAME = "sandbox-merchant"
SECRET_KEY = "sandbox-secret-key-not-for-production"  # noqa: S105 - a test account of the simulator
TERMINAL_ID = "9901"
TO_TYPE = "sandbox-totype"

REST = "/transactionServices/REST/v1/"
REGENERATE_PATH = "/fraudServices/REST/v1/regenerateToken"
CHECKOUT_PATH = "/transaction/Checkout"
PAGE_PATH = "/transaction/pay/"
CHALLENGE_PATH = "/transaction/acs/"

PAGE, MOVE, PROVIDER = "PaymentPage", "Move", "Provider"
FIRST_PAYMENT = 5_400_001
CARD_MODES = frozenset(("CC", "DC"))
BRANDS = frozenset("VISA MC AMEX JCB MAESTRO DINER DISC CUP RUPAY".split())
BRAND_ALIASES = {"MASTERCARD": "MC", "MASTER CARD": "MC"}
# Amounts carry two decimals on this wire whatever the currency; the ledger counts in the currency's own minor units.
WHOLE_CURRENCIES = frozenset("CLP ISK JPY KRW PYG UGX VND XAF XOF XPF".split())

# Short status by long status (reference section 10); None is the setting `short_status_after_refund`.
SHORT: dict[str, str | None] = {
    "begun": "P",
    "authstarted": "P",
    "authsuccessful": "Y",
    "authfailed": "N",
    "authcancelled": "C",
    "cancelled": "C",
    "capturesuccess": "Y",
    "settled": "Y",
    "markedforreversal": "P",
    "reversed": None,
    "chargeback": None,
    "payoutstarted": "P",
    "payoutsuccessful": "Y",
    "payoutfailed": "N",
}
# Where a payment can be brought without its merchant asking (reference section 10, D-93).
MOVES = {
    "begun": frozenset(("cancelled",)),
    "authstarted": frozenset(("authsuccessful", "capturesuccess", "authfailed", "cancelled")),
    "authsuccessful": frozenset(("capturesuccess", "authcancelled")),
    "capturesuccess": frozenset(("settled", "markedforreversal", "reversed")),
    "settled": frozenset(("markedforreversal", "reversed", "chargeback")),
    "markedforreversal": frozenset(("reversed",)),
    "payoutstarted": frozenset(("payoutsuccessful", "payoutfailed")),
}
# What comes next by itself, and the setting that says after how many seconds.
NEXT = {
    "begun": ("cancelled", "page_lifetime_s"),
    "authsuccessful": ("authcancelled", "preauth_ttl_s"),
    "capturesuccess": ("settled", "settle_after_s"),
    "markedforreversal": ("reversed", "refund_delay_s"),
}

# Result codes and their descriptions (reference section 11; those of D-83 are the simulator's own).
OK, CAPTURED, REFUNDED, CANCELLED, FOUND = "00001", "00004", "00005", "00006", "00026"
PENDING, FAILED, MALFORMED, BAD_CHECKSUM, NOT_FOUND = "00002", "10001", "20001", "20002", "20003"
NOT_ALLOWED, TOO_LARGE, DUPLICATE, NOT_USABLE, NO_ACCESS, BROKEN = "20004", "20005", "20006", "20008", "401", "500"
DESCRIPTIONS = {
    "200": "Token generated successfully",
    OK: "Transaction succeeded",
    PENDING: "Transaction pending",
    CAPTURED: "Transaction captured successfully",
    REFUNDED: "Transaction refunded successfully",
    CANCELLED: "Transaction cancelled successfully",
    FOUND: "Your record found successfully",
    FAILED: "Transaction declined",
    MALFORMED: "Missing or malformed field",
    BAD_CHECKSUM: "Checksum mismatch",
    NOT_FOUND: "Record not found",
    NOT_ALLOWED: "Operation not allowed in this state",
    TOO_LARGE: "Amount too large",
    DUPLICATE: "Duplicate merchantTransactionId",
    NOT_USABLE: "Recurring, terminal or registration not usable",
    NO_ACCESS: "Authentication failed",
    BROKEN: "Internal error",
}

# Triggers (D-110), by card: whether it asks for 3-D Secure, and what then comes of it; and by the amount's last digits.
TEST_CARDS = {
    "4000000000000002": (True, ""),
    "4000000000000101": (False, "decline"),
    "4000000000000200": (False, "pending"),
    "4000000000000309": (True, "decline"),
    "4000000000000408": (False, "lost"),
    "5101080000000108": (False, "broken"),
}
AMOUNT_TRIGGERS = {5: "decline", 6: "lost", 7: "pending", 8: "pending_decline", 9: "html"}

KNOBS: dict[str, Value] = {
    "token_ttl_s": 3600.0,
    "regenerate_grace_s": 3600.0,
    "auth_failure_mode": "json401",
    "bind_token_to_member": True,
    "reject_http_status": 200,
    "xml_root": "response",
    "allow_get_status": True,
    "enable_path_aliases": True,
    "processing_ms": 0,
    # Each is ID:CURRENCY:BRAND:recurring or ID:CURRENCY:BRAND:once, with * for any.
    "terminals": [f"{TERMINAL_ID}:*:*:recurring"],
    "mid_inquiry_checksum": "either",
    "repeat_route": "path",
    "repeat_checksum_subject": "parent",
    "repeat_parent_states": ["capturesuccess", "settled", "authsuccessful", "markedforreversal", "reversed"],
    "repeat_same_currency": True,
    "allow_child_as_parent": False,
    "hosted_initial": True,
    "dedupe_tokens": True,
    "token_requires_cvv": False,
    "duplicate_policy": "reject_with_id",
    "refund_requires_settled": False,
    "refund_async": False,
    "limit_payout_to_parent": True,
    "list_page_size": 10,
    "acs_auto": "none",
    "page_tries_max": 3,
    "page_lifetime_s": 1800.0,
    "pending_delay_s": 2.0,
    "refund_delay_s": 2.0,
    "payout_delay_s": 2.0,
    "settle_after_s": 86400.0,
    "preauth_ttl_s": 604800.0,
    "short_status_after_refund": "C",
    "callback_status_form": "short",
    "callback_on_sync": False,
    "callback_retry_delays": ["30", "120", "600"],
    "callback_timeout_s": 10.0,
}
KNOB_CHOICES = {
    "auth_failure_mode": frozenset(("json401", "json200", "html200")),
    "mid_inquiry_checksum": frozenset(("three", "four", "either")),
    "repeat_route": frozenset(("path", "body", "either")),
    "repeat_checksum_subject": frozenset(("parent", "own", "either")),
    "repeat_parent_states": frozenset(SHORT),
    "duplicate_policy": frozenset(("reject_with_id", "reject_dash", "replay")),
    "acs_auto": frozenset(("none", "approve", "decline")),
    "short_status_after_refund": frozenset(("C", "Y", "N")),
    "callback_status_form": frozenset(("short", "long")),
}
