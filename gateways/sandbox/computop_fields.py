"""A request with an error in any parameter is rejected as a whole, by the codes of section 9.3."""

import hmac
import re
from dataclasses import dataclass

from gateways.sandbox.computop_crypto import Account
from gateways.sandbox.computop_json import check_basket, check_credential, read_card
from gateways.sandbox.computop_values import FORMS, RefusalError
from gateways.sandbox.knobs import Knobs

ANY = r"[\x20-\x7e\xa0-\xff]+"
ASCII = r"[\x20-\x7e]+"
DIGITS = r"[0-9]+"
LETTERS = r"[A-Za-z]+"
ALPHANUMERIC = r"[0-9A-Za-z]+"
# HTTPS on its own port, or a loopback address in the clear on any, for this is a simulator; never with a query.
PATH = r"(?:/[\x21\x22\x24-\x3e\x40-\x7e]*)?"
ADDRESS = (
    rf"https://[A-Za-z0-9.-]+(?::443)?{PATH}"
    rf"|http://(?:localhost|127(?:\.[0-9]{{1,3}}){{3}}|\[::1\])(?::[0-9]{{1,5}})?{PATH}"
)


@dataclass(slots=True, frozen=True)
class Field:
    """A parameter: its number within codes, its form, and the values it may have if not any."""

    name: str
    detail: str
    pattern: str
    length_max: int
    allowed: frozenset[str] = frozenset()

    def check(self, value: str) -> None:
        """Refuse a value that is too long, of another form or not among those allowed."""
        if len(value) > self.length_max:
            raise RefusalError(f"4014{self.detail}")
        if not re.fullmatch(self.pattern, value):
            raise RefusalError(f"4011{self.detail}")
        if self.allowed and value not in self.allowed:
            raise RefusalError(f"4016{self.detail}")


def one_of(words: str) -> frozenset[str]:
    """Return the words that a parameter may be."""
    return frozenset(words.split())


# Details from 0F01 to 0F0B are the stand-ins of the reference; those after are this simulator's own.
FIELDS = {
    field.name.lower(): field
    for field in (
        Field("MerchantID", "0003", ANY, 30),
        Field("PayID", "0001", r"[0-9A-Za-z]{32}", 32),
        Field("TransID", "0002", ANY, 64),
        Field("RefNr", "0032", ASCII, 30),
        Field("ReqId", "0004", ANY, 32),
        Field("Amount", "0005", DIGITS, 10),
        Field("Currency", "0006", r"[A-Z]{3}", 3),
        Field("MAC", "0F01", r"[0-9A-Fa-f]{64}", 64),
        Field("Capture", "0009", LETTERS, 6, one_of("AUTO MANUAL")),
        Field("Response", "0010", LETTERS, 7, one_of("encrypt")),
        Field("OrderDesc", "0011", ANY, 768),
        Field("UserData", "0013", ANY, 1024),
        Field("URLSuccess", "0020", ADDRESS, 256),
        Field("URLFailure", "0021", ADDRESS, 256),
        Field("URLNotify", "0022", ADDRESS, 256),
        Field("AccountId", "0F04", r"[0-9]{10}", 10),
        Field("CustomerID", "0F05", ALPHANUMERIC, 64),
        Field("IsBound", "0F06", LETTERS, 5, one_of("true false")),
        Field("CustomerGroup", "0F07", LETTERS, 7, one_of("KNOWN UNKNOWN")),
        Field("sdCountryCode", "0F08", r"[0-9A-Za-z]{2}", 2),
        Field("Language", "0F09", r"[A-Za-z]{2}", 2),
        Field("DeviceID", "0F0A", ANY, 50),
        Field("PointAmount", "0F0B", DIGITS, 10),
        Field("Plain", "0F0C", ANY, 50),
        Field("Custom", "0F0D", ANY, 1024),
        *(
            Field(f"sd{name}", "0F0E", ANY, 50)
            for name in "AdditionalInfo Company FirstName LastName Street City".split()
        ),
        Field("sdStreetNr", "0F0E", ANY, 10),
        Field("sdZIP", "0F0E", ANY, 20),
        Field("MsgVer", "0F12", r"[0-9.]+", 3, one_of("2.0")),
        Field("schemeReferenceID", "0F11", ANY, 64),
        # JSON is looked at where it is needed; these details say that there is none.
        Field("VatList", "0F02", ANY, 50_000),
        Field("ArticleList", "0F03", ANY, 50_000),
        Field("card", "0F0F", ANY, 5_000),
        Field("credentialOnFile", "0F10", ANY, 5_000),
    )
}
MONEY = ["TransID", "Amount", "Currency"]
BROWSER = [*MONEY, "URLSuccess", "URLFailure", "URLNotify"]
FOLLOW_UP = ["PayID", *MONEY]
MANDATORY = {
    "PaybackPay": [*BROWSER, *"VatList ArticleList AccountId IsBound CustomerGroup sdCountryCode".split()],
    "PaySSL": ["MsgVer", *BROWSER],
    "Direct": ["MsgVer", *MONEY, *"card credentialOnFile schemeReferenceID".split()],
    "Credit": FOLLOW_UP,
    "Capture": FOLLOW_UP,
    "Reverse": FOLLOW_UP,
    "Inquire": ["PayID", "TransID"],
    "Inquire24": ["TransID"],
}
WITHOUT_MAC = frozenset(("Inquire", "Inquire24"))
WALLET_MINIMUM = 100


def by_name(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return parameters by their names in small letters, without the empty ones; the first of a name counts."""
    return {name.lower(): value for name, value in reversed(pairs) if value}


def check(account: Account, operation: str, pairs: list[tuple[str, str]], knobs: Knobs) -> None:
    """Refuse a request with anything wrong in it, the sender before the contents."""
    given = by_name(pairs)
    check_sender(account, operation, given)
    check_repeats(pairs)
    for name in MANDATORY[operation]:
        if name.lower() not in given:
            raise RefusalError(f"4010{FIELDS[name.lower()].detail}")
    for name, value in given.items():
        if name in FIELDS:
            FIELDS[name].check(value)
    if "amount" in given and not int(given["amount"]):
        raise RefusalError("40110005")
    check_own(operation, given, knobs)


def check_sender(account: Account, operation: str, given: dict[str, str]) -> None:
    """Refuse what another merchant wrote, or somebody without the HMAC password."""
    if "merchantid" not in given:
        raise RefusalError("40100003")
    if given["merchantid"] != account.merchant_id:
        raise RefusalError("40160003")
    if "mac" not in given:
        if operation in WITHOUT_MAC:
            return
        raise RefusalError("40100F01")
    FIELDS["mac"].check(given["mac"])
    signed = [given.get(name, "") for name in ("payid", "transid", "merchantid", "amount", "currency")]
    if not hmac.compare_digest(account.mac(*signed), given["mac"].upper()):
        raise RefusalError("40120F01")


def check_repeats(pairs: list[tuple[str, str]]) -> None:
    """Refuse a known parameter that stands in a request twice."""
    seen: set[str] = set()
    for name in (name.lower() for name, _ in pairs):
        if name in seen and name in FIELDS:
            raise RefusalError(f"4017{FIELDS[name].detail}")
        seen.add(name)


def check_own(operation: str, given: dict[str, str], knobs: Knobs) -> None:
    """Refuse what a method does not take."""
    if operation == "PaybackPay":
        check_wallet(given, knobs)
    elif operation == "PaySSL" and "credentialonfile" in given:
        check_credential(given["credentialonfile"], is_first=True)
    elif operation == "Direct":
        read_card(given["card"])
        check_credential(given["credentialonfile"], is_first=False)


def check_wallet(given: dict[str, str], knobs: Knobs) -> None:
    """Refuse what PAYBACK PAY does not take (reference sections 5 and 13)."""
    if given["currency"] != "EUR":
        raise RefusalError("40160006")
    if int(given["amount"]) < WALLET_MINIMUM and not knobs.flag("small_amounts"):
        raise RefusalError("40110005")
    if given["isbound"] == "true" and "customerid" not in given:
        raise RefusalError("40100F05")
    check_basket(given["vatlist"], given["articlelist"], int(given["amount"]), is_strict=knobs.flag("strict_sums"))


def can_return(given: dict[str, str], operation: str) -> bool:
    """Say whether a browser can be sent back with the news that its request was rejected."""
    url = given.get("urlfailure", "")
    return operation in FORMS and len(url) <= FIELDS["urlfailure"].length_max and bool(re.fullmatch(ADDRESS, url))
