"""Order documents are read as strictly as the real server reads them: in order, and each value by its pattern.

The content model of each element is a regular expression over the names of its
children, which is what an XSD sequence is. Source: reference section 2.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from lxml import etree

from gateways.sandbox.mpay24_refusals import RefusalError, not_correct
from gateways.sandbox.mpay24_values import CURRENCIES, LANGUAGES, MDXI_BRANDS, MDXI_PAYMENT_TYPES, decimals
from gateways.sandbox.mpay24_wire import XSI_NS, FaultError, children, parse

Check = Callable[[str], bool]


def like(pattern: str, *, collapsed: bool = False) -> Check:
    """Make a check against a pattern; numbers, truths and addresses ignore surrounding space, texts do not."""
    compiled = re.compile(pattern, re.DOTALL)
    return lambda text: bool(compiled.fullmatch(text.strip() if collapsed else text))


def one_of(words: frozenset[str]) -> Check:
    """Make a check against an enumeration."""
    return lambda text: text in words


def up_to(length: int, least: int = 0) -> Check:
    """Make a check of a length."""
    return lambda text: least <= len(text) <= length


def is_ip(text: str) -> bool:
    """Say whether a text has the form of an IPv4 or IPv6 address, as loosely as the schema has it."""
    has_form = re.fullmatch(r"(\d{1,3}\.){3}\d{1,3}|(?=.*:)[0-9a-fA-F:.]{2,39}(%[0-9a-zA-Z]+)?", text, re.ASCII)
    return bool(has_form) and len(text) <= 45


ANY = like(".*")
PRICE = like(r"-?[0-9]{1,9}(\.[0-9]{2})?", collapsed=True)
TRUTH = like("true|false|1|0", collapsed=True)
UINT = like(r"\+?[0-9]{1,10}", collapsed=True)
URL = like(r"(http://|https://)[^\r\n]{5,2040}", collapsed=True)
DATE = like(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(Z|[+-][0-9]{2}:[0-9]{2})?", collapsed=True)
FLOAT = like(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|-?INF|NaN", collapsed=True)
TYPE, BRAND = one_of(MDXI_PAYMENT_TYPES), one_of(MDXI_BRANDS)


@dataclass(frozen=True)
class Leaf:
    """An element that holds a text."""

    text: Check
    attributes: dict[str, Check] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """An element that holds elements, in the order its model allows."""

    model: str
    inside: "dict[str, Leaf | Group]"
    attributes: dict[str, Check] = field(default_factory=dict)
    required: frozenset[str] = frozenset()


def styles(*names: str) -> dict[str, Check]:
    """Allow attributes that may hold anything."""
    return dict.fromkeys(names, ANY)


PRICE_STYLES = styles("Header", "HeaderStyle", "Style")
PAGE_STYLES = styles(
    *"Style HeaderStyle LogoStyle PageHeaderStyle PageCaptionStyle PageStyle InputFieldsStyle DropDownListsStyle "
    "ButtonsStyle ErrorsStyle ErrorsHeaderStyle SuccessTitleStyle ErrorTitleStyle FooterStyle".split()
)
COLUMNS = "Number ProductNr Description Package Quantity ItemPrice Price".split()
CART_STYLES = styles(
    *"Header HeaderStyle Style CaptionStyle".split(), *[f"{c}{end}" for c in COLUMNS for end in ("Header", "Style")]
)
STYLED = Leaf(ANY, styles("Style"))
ITEM = Group(
    "(Number )?(ProductNr )?(Description )?(Package )?(Quantity )?(ItemPrice )?(Price )?",
    {
        **dict.fromkeys("Number ProductNr Description Package".split(), STYLED),
        "Quantity": Leaf(UINT, styles("Style")),
        "ItemPrice": Leaf(PRICE, {**styles("Style"), "Tax": PRICE}),
        "Price": Leaf(PRICE, styles("Style")),
    },
)
CART = Group(
    "(Description )?(Item )*((SubTotal |Discount |ShippingCosts |Tax ))*",
    {
        "Description": Leaf(up_to(255)),
        "Item": ITEM,
        "SubTotal": Leaf(PRICE, PRICE_STYLES),
        "Discount": Leaf(PRICE, PRICE_STYLES),
        "ShippingCosts": Leaf(PRICE, {**PRICE_STYLES, "Tax": PRICE}),
        "Tax": Leaf(PRICE, {**PRICE_STYLES, "Percent": FLOAT}),
    },
    CART_STYLES,
)
ADDRESS_MODEL = "(Name |FirstName LastName )(Street (Street2 )?Zip City (State )?Country )?(Email )?(Phone )?"
ADDRESS_INSIDE: dict[str, Leaf | Group] = {
    "Name": Leaf(up_to(50), {"Gender": one_of(frozenset("MF")), "Birthday": DATE}),
    **dict.fromkeys("FirstName LastName Street Street2 Zip City".split(), Leaf(up_to(50))),
    "State": Leaf(up_to(40)),
    "Country": Leaf(up_to(50), {"Code": like("[A-Z]{2}")}),
    "Email": Leaf(up_to(64)),
    "Phone": Leaf(up_to(20)),
}
ADDRESS = Group(
    ADDRESS_MODEL, ADDRESS_INSIDE, {"Mode": one_of(frozenset(("ReadOnly", "ReadWrite")))}, frozenset(("Mode",))
)
TEMPLATE = Leaf(ANY, {"CSSName": ANY, "Language": one_of(LANGUAGES)})
PAYMENT_TYPE = Group("", {}, {"Type": TYPE, "Brand": BRAND, "SubBrand": like("[0-9]{1,3}")}, frozenset(("Type",)))
PAYMENT_TYPES = Group("(Payment )+", {"Payment": PAYMENT_TYPE}, {"Enable": TRUTH})
ORDER = Group(
    "(ClientIP )?(UserField )?Tid (TemplateSet )?(PaymentTypes )?(PaymentProfiles )?(ShoppingCart )?Price "
    "(Currency )?(Customer )?(BillingAddr )?(ShippingAddr )?(URL )?",
    {
        "ClientIP": Leaf(is_ip),
        "UserField": Leaf(up_to(255)),
        "Tid": Leaf(up_to(32, least=1)),
        "TemplateSet": TEMPLATE,
        "PaymentTypes": PAYMENT_TYPES,
        "PaymentProfiles": Group("(ProfileID )+", {"ProfileID": Leaf(up_to(12))}, {"Enable": TRUTH}),
        "ShoppingCart": CART,
        "Price": Leaf(PRICE, PRICE_STYLES),
        "Currency": Leaf(like("[A-Z]{3}"), styles("Display")),
        "Customer": Leaf(up_to(50), {"Id": up_to(32), "UseProfile": TRUTH}),
        "BillingAddr": ADDRESS,
        "ShippingAddr": ADDRESS,
        "URL": Group(
            "(Success )?(Error )?(Confirmation )?(Cancel )?",
            dict.fromkeys("Success Error Confirmation Cancel".split(), Leaf(URL)),
        ),
    },
    PAGE_STYLES,
)
PROFILE = Group(
    "(ClientIP )?(TemplateSet )?(PaymentTypes )?CustomerID (BillingAddr )?(URL )?",
    {
        "ClientIP": Leaf(is_ip),
        "TemplateSet": TEMPLATE,
        "PaymentTypes": PAYMENT_TYPES,
        "CustomerID": Leaf(up_to(32), {"ProfileID": up_to(12)}),
        "BillingAddr": Group(ADDRESS_MODEL, ADDRESS_INSIDE),
        "URL": Group("(Success )?(Cancel )?", dict.fromkeys(("Success", "Cancel"), Leaf(URL))),
    },
    PAGE_STYLES,
)


def is_valid(element: etree._Element, spec: Leaf | Group) -> bool:
    """Say whether an element is what its schema wants."""
    if not has_valid_attributes(element, spec):
        return False
    if isinstance(spec, Leaf):
        return not children(element) and spec.text(element.text or "")
    inside = children(element)
    names = "".join(f"{child.tag} " for child in inside)
    loose = [element.text, *(child.tail for child in inside)]
    if any((text or "").strip() for text in loose) or not re.fullmatch(spec.model, names):
        return False
    return all(is_valid(child, spec.inside[str(child.tag)]) for child in inside)


def has_valid_attributes(element: etree._Element, spec: Leaf | Group) -> bool:
    """Say whether the attributes are allowed and complete; those that point to a schema always are."""
    given = {str(name): str(value) for name, value in element.attrib.items() if XSI_NS not in str(name)}
    if isinstance(spec, Group) and spec.required - given.keys():
        return False
    return all(name in spec.attributes and spec.attributes[name](value) for name, value in given.items())


def parse_document(text: str, root: str, spec: Group) -> etree._Element:
    """Parse and check an order document; its XML declaration names its encoding, UTF-8 without one."""
    declared = re.match(r"""\s*<\?xml[^>]*encoding=["']([A-Za-z0-9._-]+)["']""", text)
    try:
        document = parse(text.encode(declared[1] if declared else "utf-8"))
    except (FaultError, LookupError, UnicodeError) as problem:
        raise RefusalError("INVALID_MDXI") from problem
    if document.tag != root or not is_valid(document, spec):
        raise RefusalError("INVALID_MDXI")
    return document


def text_of(document: etree._Element, path: str) -> str:
    """Return the text at a path, empty when absent."""
    return (document.findtext(path) or "").strip()


def attribute_of(document: etree._Element, path: str, name: str) -> str:
    """Return an attribute at a path, empty when absent."""
    found = document.find(path)
    return "" if found is None else str(found.get(name, ""))


def is_true(text: str) -> bool:
    """Read a truth that was checked before."""
    return text.strip() in {"true", "1"}


def payment_filter(document: etree._Element) -> dict[str, object]:
    """Return which payment types the page may offer: pairs of type and brand, allowed or blocked."""
    found = document.find("PaymentTypes")
    if found is None:
        return {"enable": False, "types": []}
    pairs = [[str(child.get("Type")), str(child.get("Brand", ""))] for child in children(found)]
    return {"enable": is_true(found.get("Enable", "true")), "types": pairs}


def minor_units(price: str, currency: str) -> int:
    """Turn decimal major units into whole minor ones, or refuse what is no amount to pay."""
    amount = Decimal(price).scaleb(decimals(currency))
    if amount != int(amount) or amount <= 0:
        raise RefusalError("INVALID_PRICE")
    return int(amount)


def read_order(text: str) -> dict[str, object]:
    """Read the order of a SelectPayment, or refuse it."""
    document = parse_document(text, "Order", ORDER)
    currency = text_of(document, "Currency") or "EUR"
    if currency not in CURRENCIES:
        raise not_correct("currency")
    return {
        "tid": document.findtext("Tid") or "",
        "amount": minor_units(text_of(document, "Price"), currency),
        "currency": currency,
        "user_field": document.findtext("UserField") or "",
        "description": document.findtext("ShoppingCart/Description") or "",
        "language": attribute_of(document, "TemplateSet", "Language"),
        "filter": payment_filter(document),
        "customer_id": attribute_of(document, "Customer", "Id"),
        "customer_name": document.findtext("Customer") or "",
        "use_profile": is_true(attribute_of(document, "Customer", "UseProfile")),
        "email": text_of(document, "BillingAddr/Email"),
        "success": text_of(document, "URL/Success"),
        "error": text_of(document, "URL/Error"),
        "confirmation": text_of(document, "URL/Confirmation"),
        "cancel": text_of(document, "URL/Cancel"),
    }


def read_profile_order(text: str) -> dict[str, object]:
    """Read the document of a CreateProfile, or refuse it."""
    document = parse_document(text, "Profile", PROFILE)
    return {
        "customer_id": document.findtext("CustomerID") or "",
        "profile_id": attribute_of(document, "CustomerID", "ProfileID"),
        "language": attribute_of(document, "TemplateSet", "Language"),
        "filter": payment_filter(document),
        "success": text_of(document, "URL/Success"),
        "cancel": text_of(document, "URL/Cancel"),
    }
