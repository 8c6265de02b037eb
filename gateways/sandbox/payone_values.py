"""The facts of the PAYONE reference that the simulator works with: statuses, test cards, codes, limits, settings."""

from dataclasses import dataclass

from gateways.sandbox.knobs import Value

MERCHANT_ID = "TurnusSandbox"
API_KEY_ID = "SANDBOXKEY000001"
API_SECRET = "sandbox-api-secret-not-for-production"  # noqa: S105 - a test account of the simulator
WEBHOOK_KEY_ID = "sandbox-webhook-key-1"
WEBHOOK_SECRET = "sandbox-webhook-secret-not-for-production"  # noqa: S105 - a test account of the simulator

API_PREFIX = "/v2/"
FORM_PATH = "/hostedtokenization/tokenization/form/"
SCRIPT_PATH = "/hostedtokenization/js/client/tokenizer.min.js"
CHALLENGE_PATH = "/v1/redirect/handlerequest/"
CHECKOUT_PATH = "/hostedcheckout/PaymentMethods/Selection/"

BODY_BYTES_MAX = 1_000_000
AMOUNT_MAX = 999_999_999_999
KEY_LENGTH_MAX = 40
FIRST_PAYMENT = 4_700_000_001
CHALLENGE_TIMEOUT = "40001134"
SOFT_DECLINE = "40001139"
EXPIRED_CARD = "30331001"
INSUFFICIENT_FUNDS = "30511001"
PAGE_OPERATION = "PaymentPage"

# Status of a payment or operation by its code: status, category, isAuthorized, isCancellable, isRefundable
# (reference section 10; None is not sent).
Flags = tuple[bool | None, bool | None, bool | None]
NONE: Flags = (None, None, None)
NO: Flags = (False, False, False)
ONLY_NOT_CANCELLABLE: Flags = (None, False, None)
CONNECT = "PENDING_CONNECT_OR_3RD_PARTY"


@dataclass(slots=True, frozen=True)
class Status:
    """One row of the status table."""

    status: str
    category: str
    flags: Flags


STATUSES = {
    0: Status("CREATED", "CREATED", NONE),
    1: Status("CANCELLED", "UNSUCCESSFUL", NO),
    2: Status("REJECTED", "UNSUCCESSFUL", NO),
    4: Status("CAPTURE_REQUESTED", CONNECT, NO),
    46: Status("REDIRECTED", CONNECT, NO),
    5: Status("PENDING_CAPTURE", "PENDING_MERCHANT", (True, True, False)),
    51: Status("AUTHORIZATION_REQUESTED", CONNECT, NO),
    52: Status("AUTHORIZATION_REQUESTED", CONNECT, NO),
    6: Status("CANCELLED", "UNSUCCESSFUL", NO),
    61: Status("CANCELLED", "PENDING_MERCHANT", (True, False, False)),
    62: Status("CANCELLED", "PENDING_MERCHANT", (True, False, False)),
    63: Status("REJECTED", "UNSUCCESSFUL", NONE),
    8: Status("REFUNDED", "REFUNDED", ONLY_NOT_CANCELLABLE),
    81: Status("REFUND_REQUESTED", CONNECT, ONLY_NOT_CANCELLABLE),
    82: Status("REFUND_REQUESTED", CONNECT, ONLY_NOT_CANCELLABLE),
    83: Status("REJECTED", "UNSUCCESSFUL", ONLY_NOT_CANCELLABLE),
    9: Status("CAPTURED", "COMPLETED", (False, False, True)),
    91: Status("CAPTURE_REQUESTED", CONNECT, NONE),
    92: Status("CAPTURE_REQUESTED", CONNECT, NONE),
    93: Status("REJECTED_CAPTURE", "UNSUCCESSFUL", NONE),
}

# What the amount of a capture or refund makes of it in the test environment (reference section 15).
CAPTURE_ENDS = {1309: 93, 1209: 92}
REFUND_ENDS = {1303: 83, 1203: 82}
DECLINED_SALE_AMOUNT = 1302

# Test cards: how 3-D Secure goes, and with which result (reference section 15).
TEST_CARDS = {
    "4330264936344675": ("frictionless", "Y"),
    "5137009801943438": ("frictionless", "Y"),
    "4874970686672022": ("challenge", "Y"),
    "5130257474533310": ("challenge", "Y"),
    "4337328333414325": ("frictionless", "R"),
    "5168645305790452": ("frictionless", "R"),
    "4450213273993630": ("frictionless", "A"),
    "5156400512420624": ("frictionless", "A"),
    "4469362473905800": ("frictionless", "N"),
    "5114974939548499": ("frictionless", "N"),
    "4259701590936889": ("frictionless", "U"),
    "5123301306181325": ("frictionless", "U"),
    "4839645466321180": ("challenge", "A"),
    "5168693992589936": ("challenge", "A"),
    "4450022237973103": ("challenge", "R"),
    "5165683216616048": ("challenge", "R"),
    "5148904639667695": ("challenge", "U"),
    "375418081197346": ("", "Y"),
    "371449635311004": ("", "Y"),
    "4012000033330026": ("", "Y"),
    "4111111111111111": ("", "Y"),
}
# Declined by the issuer: the first is that of the official tests (its check digit is wrong), the others are ours,
# one for each kind of decline that a merchant must tell apart.
DECLINING_CARDS = [
    "4321456998744563:30051001",
    f"4321450000000019:{INSUFFICIENT_FUNDS}",
    f"4321450000000027:{EXPIRED_CARD}",
    "4321450000000035:30431001",
    "4321450000000043:30591001",
    "4321450000000050:30911001",
    f"4321450000000068:{SOFT_DECLINE}",
]
PRODUCTS = (
    (2, "Amex", r"3[47]"),
    (132, "Diners Club", r"30|36|38|39"),
    (125, "JCB", r"35"),
    (1, "Visa", r"4"),
    (3, "Mastercard", r"5[1-5]|2[2-7]"),
    (117, "Maestro", r"50|5[6-9]|6"),
)
KNOWN_PRODUCTS = frozenset((1, 2, 3, 117, 125, 130, 132, 3012, 302, 320, 771, 809, 840))
SEPA_PRODUCT = 771

HARD_DECLINES = frozenset(
    "30041001 30071001 30121001 30141001 30151001 30411001 30431001 30571001 "
    "33000972 33000973 33000975 33000833".split()
)
UPDATE_DECLINES = frozenset((EXPIRED_CARD, "30541001"))

KNOBS: dict[str, Value] = {
    "api_enabled": True,
    "clock_tolerance_s": 300.0,
    "processing_ms": 0,
    "idempotence_memory_s": 86400.0,
    "idempotence_other_body": "replay",
    "replay_current_status": False,
    "id_format": "underscore",
    "settle_delay_s": 2.0,
    "challenge_lifetime_s": 1800.0,
    "session_lifetime_s": 10800.0,
    "temporary_token_lifetime_s": 7200.0,
    "checkout_readable_s": 10800.0,
    "alias_manager": True,
    "session_sri": True,
    "declining_cards": DECLINING_CARDS,
    "mit_without_reference": "accept",
    "reattempt_instructions": False,
    "webhook_key_id": WEBHOOK_KEY_ID,
    "webhook_secret": WEBHOOK_SECRET,
    "webhook_urls": [],
    "webhook_timeout_s": 10.0,
    "webhook_retries_max": 5,
    "webhook_first_retry_s": 600.0,
    "webhook_verification": False,
}
KNOB_CHOICES = {
    "idempotence_other_body": frozenset(("replay", "conflict")),
    "id_format": frozenset(("underscore", "digits")),
    "mit_without_reference": frozenset(("accept", "soft_decline")),
}
# Ten minutes after the first try, then 1, 2, 8 and 24 hours: in parts of the first (reference section 12.3).
RETRY_PROPORTIONS = (1.0, 6.0, 12.0, 48.0, 144.0)
