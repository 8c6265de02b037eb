"""SOAP envelopes are read as the real server reads them, and written in the order of its schema.

Tolerant where it is: any child order, unknown children, any prefix, unknown
``xsi:type`` names (taken as the base type), MDXI escaped or literal, ``xsi:nil``
as absent. Strict where it is: a value that is not of its type is a fault before
anything is processed. Source: reference section 1.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from xml.sax.saxutils import escape

from lxml import etree

from gateways.sandbox.mpay24_values import PAYMENT_TYPES, SORT_FIELDS

ENVELOPE_NS = "http://schemas.xmlsoap.org/soap/envelope/"
XSI_NS = "http://www.w3.org/2001/XMLSchema-instance"
ETP_NS = "https://www.mpay24.com/soap/etp/1.5/ETP.wsdl"
BODY_BYTES_MAX = 1_000_000

ENVELOPE_START = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    f'<SOAP-ENV:Envelope xmlns:SOAP-ENV="{ENVELOPE_NS}" xmlns:xsi="{XSI_NS}" '
    f'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:etp="{ETP_NS}"><SOAP-ENV:Body>'
)
ENVELOPE_END = "</SOAP-ENV:Body></SOAP-ENV:Envelope>\n"

ORDER_TAIL = "customerID:str customerName:str order:Order"
PAYMENT = "amount:uint currency:str timeout:uint manualClearing:bool useProfile:bool profileID:str"
BROWSER_TAIL = "successURL:str errorURL:str confirmationURL:str language:str"

# One line per message and complex type of the reference: child and type; `*` marks a repeated one.
TABLE = f"""
SelectPayment         merchantID:uint mdxi:mdxi
CreatePaymentToken    merchantID:uint pType:ptype templateSet:str style:str customerID:str profileID:str domain:str
                      language:str
CreateApplePayToken   merchantID:uint amount:uint currency:str order:Order domain:str language:str
CreateGooglePayToken  merchantID:uint amount:uint currency:str order:Order language:str
CreateCustomer        merchantID:uint tid:str pType:ptype paymentData:PaymentData {ORDER_TAIL}
                      billingAddress:Address {BROWSER_TAIL}
AcceptPayment         merchantID:uint tid:str pType:ptype payment:Payment {ORDER_TAIL} {BROWSER_TAIL}
ManualCallback        merchantID:uint mpayTID:ulong paymentCallback:Callback order:Order
ManualClear           merchantID:uint clearingDetails:ClearingDetails*
ManualReverse         merchantID:uint mpayTID:ulong
ManualCredit          merchantID:uint mpayTID:ulong stateID:ulong amount:uint
AcceptWithdraw        merchantID:uint tid:str pType:ptype withdraw:Withdraw {ORDER_TAIL} confirmationURL:str
                      language:str
TransactionStatus     merchantID:uint mpayTID:ulong tid:str
TransactionConfirmation merchantID:uint mpayTID:ulong
TransactionHistory    merchantID:uint mpayTID:ulong
ListNotCleared        merchantID:uint begin:uint size:uint sortField:sortfield sortType:sorttype listInProgress:bool
ListPaymentMethods    merchantID:uint pType:ptype
CreateProfile         merchantID:uint mdxi:mdxi
ListProfiles          merchantID:uint customerID:str expiredBy:date begin:uint size:uint
DeleteProfile         merchantID:uint customerID:str profileID:str
Payment               {PAYMENT}
PaymentTOKEN          {PAYMENT} token:str
PaymentCC             {PAYMENT} brand:str identifier:str expiry:uint cvc:str auth3DS:bool
PaymentCB             {PAYMENT} identifier:str expiry:uint cvc:str
PaymentMAESTRO        {PAYMENT} identifier:str expiry:uint
PaymentEPS            {PAYMENT} brand:str bankID:uint bic:str
PaymentPB             {PAYMENT} identifier:str payDays:uint reserveDays:uint
PaymentELV            {PAYMENT} brand:str iban:str bic:str mandateID:str dateOfSignature:date
PaymentGIROPAY        {PAYMENT} iban:str bic:str
PaymentPAYPAL         {PAYMENT} commit:bool custom:str
PaymentBILLPAY        {PAYMENT} brand:str
PaymentKLARNA         {PAYMENT} brand:str personalNumber:str pClass:uint
PaymentPSC            {PAYMENT} brand:str
PaymentPOSTFINANCE    {PAYMENT} brand:str
PaymentELVSECURE      {PAYMENT} brand:str mandateID:str dateOfSignature:date
PaymentIDEAL          {PAYMENT} bank:str
ProfilePaymentCC      {PAYMENT} cvc:str auth3DS:bool
ProfilePaymentPB      {PAYMENT} payDays:uint reserveDays:uint
ProfilePaymentELV     {PAYMENT} mandateID:str dateOfSignature:date
PaymentData           validate:bool profileID:str
PaymentDataTOKEN      validate:bool profileID:str token:str auth3DS:bool
PaymentDataCC         validate:bool profileID:str brand:str identifier:str expiry:uint cvc:str auth3DS:bool
PaymentDataELV        validate:bool profileID:str brand:str iban:str bic:str mandateID:str dateOfSignature:date
Withdraw              amount:uint currency:str
WithdrawCC            amount:uint currency:str brand:str identifier:str expiry:uint
WithdrawMAESTRO       amount:uint currency:str identifier:str expiry:uint
WithdrawELV           amount:uint currency:str brand:str iban:str bic:str
Callback              amount:uint
CallbackPAYPAL        amount:uint cancel:bool
Order                 clientIP:str description:str userField:str shoppingCart:ShoppingCart
                      industrySpecific:IndustrySpecific billing:Address shipping:Address
ShoppingCart          item:Item* discount:int shippingCosts:int shippingTax:int tax:int
Item                  number:str productNr:str description:str package:str quantity:uint tax:int amount:int
IndustrySpecific
AirlineTicket         iataCode:str ticketID:str
Address               mode:addressmode name:str gender:gender birthday:date street:str street2:str zip:str city:str
                      state:str countryCode:str email:str phone:str
ClearingDetails       mpayTID:ulong amount:uint order:Order
"""


class FaultError(Exception):
    """The request is refused before processing; the message is the faultstring."""


def mismatch(element: str) -> FaultError:
    """Word a type violation as the real server does (PHP fixture of a wrong pType)."""
    return FaultError(f"Validation constraint violation: data type mismatch in element '{element}'")


@dataclass(frozen=True, slots=True)
class Field:
    """One child of a type: how it is called, what it holds, whether it repeats."""

    name: str
    kind: str
    repeated: bool


def read_table(text: str) -> dict[str, dict[str, Field]]:
    """Read the table of types."""
    types = {}
    # A line that begins with a space continues the one before.
    for line in re.sub(r"\n +", " ", text.strip()).splitlines():
        name, *children = line.split()
        pairs = [[*child.rstrip("*").split(":"), "*" if child.endswith("*") else ""] for child in children]
        types[name] = {child: Field(child, kind, bool(star)) for child, kind, star in pairs}
    return types


TYPES = read_table(TABLE)
OPERATIONS = frozenset(name for name in TYPES if "merchantID" in TYPES[name])
PAYMENT_DATA = frozenset(name for name in TYPES if name.startswith("PaymentData"))
DERIVED = {
    "Payment": frozenset(name for name in TYPES if name.startswith(("Payment", "ProfilePayment"))) - PAYMENT_DATA,
    "PaymentData": PAYMENT_DATA,
    "Withdraw": frozenset(name for name in TYPES if name.startswith("Withdraw")),
    "Callback": frozenset(name for name in TYPES if name.startswith("Callback")),
    "IndustrySpecific": frozenset(("AirlineTicket",)),
}


@dataclass(slots=True)
class Record:
    """A decoded message or part: its type and the children that were there."""

    kind: str
    values: dict[str, Any] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return a text, empty when absent."""
        return str(self.values.get(name, ""))

    def number(self, name: str) -> int | None:
        """Return a number, None when absent."""
        value = self.values.get(name)
        return value if isinstance(value, int) else None

    def flag(self, name: str) -> bool | None:
        """Return a truth, None when absent."""
        value = self.values.get(name)
        return value if isinstance(value, bool) else None

    def part(self, name: str) -> "Record":
        """Return a part, an empty one when absent."""
        value = self.values.get(name)
        return value if isinstance(value, Record) else Record("")

    def parts(self, name: str) -> "list[Record]":
        """Return repeated parts."""
        return list(self.values.get(name, []))

    def has(self, name: str) -> bool:
        """Say whether a child was there."""
        return name in self.values


def whole(low: int, high: int) -> Callable[[str], int]:
    """Make a reader of whole numbers between two bounds."""

    def read(text: str) -> int:
        word = text.strip()
        if not re.fullmatch(r"[+-]?[0-9]{1,20}", word) or not low <= int(word) <= high:
            raise ValueError(word)
        return int(word)

    return read


def one_of(words: frozenset[str]) -> Callable[[str], str]:
    """Make a reader of an enumeration."""

    def read(text: str) -> str:
        if text.strip() not in words:
            raise ValueError(text)
        return text.strip()

    return read


def truth(text: str) -> bool:
    """Read an xsd:boolean."""
    return {"true": True, "1": True, "false": False, "0": False}[text.strip()]


def day(text: str) -> str:
    """Read an xsd:date, which may carry a time zone; the bare day is kept."""
    found = re.fullmatch(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(Z|[+-][0-9]{2}:[0-9]{2})?", text.strip())
    if not found:
        raise ValueError(text)
    date.fromisoformat(found[1])
    return found[1]


READERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "uint": whole(0, 2**32 - 1),
    "ulong": whole(0, 2**64 - 1),
    "int": whole(-(2**31), 2**31 - 1),
    "bool": truth,
    "date": day,
    "ptype": one_of(PAYMENT_TYPES),
    "sortfield": one_of(SORT_FIELDS),
    "sorttype": one_of(frozenset(("ASC", "DESC"))),
    "addressmode": one_of(frozenset(("READONLY", "READWRITE"))),
    "gender": one_of(frozenset(("MALE", "FEMALE"))),
}


def local_name(element: etree._Element) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def children(element: etree._Element) -> list[etree._Element]:
    """Return the child elements; comments and instructions are not looked at."""
    return list(element.iterchildren("*"))


def parse(body: bytes) -> etree._Element:
    """Parse a request without ever opening a file, an address or an entity."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as problem:
        raise FaultError("Well-formedness violation") from problem
    if root.getroottree().docinfo.internalDTD is not None:
        raise FaultError("DTD is not allowed in a SOAP message")
    return root


def open_envelope(body: bytes) -> etree._Element:
    """Return the first child of the body of a SOAP 1.1 envelope, which names the operation."""
    root = parse(body)
    if root.tag != f"{{{ENVELOPE_NS}}}Envelope":
        raise FaultError("Invalid SOAP message or SOAP version mismatch")
    content = [child for part in children(root) if part.tag == f"{{{ENVELOPE_NS}}}Body" for child in children(part)]
    if not content:
        raise FaultError("Method not implemented: the message has no body")
    return content[0]


def read_request(body: bytes) -> tuple[str, Record]:
    """Return the operation and its decoded message, or raise FaultError."""
    element = open_envelope(body)
    operation = local_name(element)
    if operation not in OPERATIONS:
        raise FaultError(f"Method '{operation}' not implemented: method name or namespace not recognized")
    return operation, decode(element, operation)


def decode(element: etree._Element, kind: str) -> Record:
    """Decode a message or part; what is unknown is skipped, and of a child sent twice the first counts."""
    record = Record(kind)
    for child in children(element):
        wanted = TYPES[kind].get(local_name(child))
        if wanted is None or child.get(f"{{{XSI_NS}}}nil") in {"true", "1"}:
            continue
        if wanted.repeated:
            record.values.setdefault(wanted.name, []).append(decode_child(child, wanted))
        elif wanted.name not in record.values:
            record.values[wanted.name] = decode_child(child, wanted)
    return record


def decode_child(child: etree._Element, wanted: Field) -> Any:
    """Decode one child by what it is meant to hold."""
    if wanted.kind in TYPES:
        return decode(child, actual_type(child, wanted.kind))
    if wanted.kind == "mdxi":
        return mdxi_text(child)
    if children(child):
        raise mismatch(wanted.name)
    try:
        return READERS[wanted.kind](child.text or "")
    except (ValueError, KeyError) as problem:
        raise mismatch(wanted.name) from problem


def actual_type(element: etree._Element, base: str) -> str:
    """Resolve xsi:type as a QName; a name that is not derived from the base counts as the base."""
    prefix, colon, name = element.get(f"{{{XSI_NS}}}type", "").strip().rpartition(":")
    namespace = element.nsmap.get(prefix if colon else None)
    return name if namespace == ETP_NS and name in DERIVED.get(base, ()) else base


def mdxi_text(element: etree._Element) -> str:
    """Return an order document sent as escaped text or as literal XML."""
    nested = children(element)
    if not nested:
        return (element.text or "").strip()
    return etree.tostring(nested[0], encoding="unicode", with_tail=False)


# ---- answers

Node = tuple[str, "str | list[Node]"]


@dataclass(slots=True)
class Answer:
    """What an operation answers: its two leading words and what follows them, in schema order."""

    return_code: str
    rest: list[Node] = field(default_factory=list)
    is_ok: bool = True

    def nodes(self) -> list[Node]:
        """Return every child of the response, in schema order."""
        return [("status", "OK" if self.is_ok else "ERROR"), ("returnCode", self.return_code), *self.rest]


def node(name: str, value: object) -> list[Node]:
    """Make an optional child: none at all for a value that is None."""
    return [] if value is None else [(name, str(value))]


def write_node(name: str, value: "str | list[Node]") -> str:
    """Write one element; an attribute may follow its name after a space."""
    content = escape(value) if isinstance(value, str) else "".join(write_node(*inner) for inner in value)
    return f"<{name}>{content}</{name.partition(' ')[0]}>"


def reordered(nodes: list[Node]) -> list[Node]:
    """Turn the order of all children around, deeply."""
    return [(name, value if isinstance(value, str) else reordered(value)) for name, value in reversed(nodes)]


def with_strangers(nodes: list[Node]) -> list[Node]:
    """Insert elements no schema knows: at the beginning, between and at the end."""
    strange: list[Node] = [("newInVersion", "1"), ("detail", [("status", "STRANGE"), ("mpayTID", "1")])]
    return [strange[0], *nodes[:2], strange[1], *nodes[2:], ("newAtTheEnd", "")]


def write_answer(operation: str, nodes: list[Node]) -> str:
    """Write the envelope of an answer."""
    return ENVELOPE_START + write_node(f"etp:{operation}Response", nodes) + ENVELOPE_END


def write_fault(code: str, text: str) -> str:
    """Write the envelope of a fault."""
    inner: list[Node] = [("faultcode", f"SOAP-ENV:{code}"), ("faultstring", text)]
    return ENVELOPE_START + write_node("SOAP-ENV:Fault", inner) + ENVELOPE_END
