"""The words and numbers of the mPAY24 wire, as its reference lists them; nothing here decides."""

from gateways.sandbox.knobs import Value

MERCHANT_ID = "90001"
LOGIN_WORD = "sandbox-password-no-secret"
ENDPOINT_PATH = "/app/bin/etpproxy_v15"
PAGE_PATH = "/app/bin/checkout/payment/"
FIRST_MPAY_TID = 3_300_001
FIRST_STATE_ID = 7_100_001

PAYMENT_TYPES = frozenset(
    "CC CB MAESTRO EPS PB PSC CASH-TICKET ELV QUICK GIROPAY PAYPAL MPASS BILLPAY INVOICE HP SAFETYPAY KLARNA SOFORT "
    "PAYOLUTION POSTFINANCE ELVSECURE IDEAL ALIPAY WECHATPAY PREPAYMENT TWINT OPENBANKING TOKEN PROFILE".split()
)
# MDXI 3.0 of 2023 names other types than the WSDL does.
MDXI_PAYMENT_TYPES = frozenset(
    "CC CB MAESTRO EPS MIA PB PSC CASH-TICKET ELV QUICK GIROPAY PAYPAL MPASS BILLPAY INVOICE HP SAFETYPAY "
    "KLARNA SOFORT PAYOLUTION POSTFINANCE ELVSECURE IDEAL ALIPAY WECHATPAY PREPAYMENT APPLEPAY GOOGLEPAY".split()
)
MDXI_BRANDS = frozenset(
    "AMEX DINERS MASTERCARD VISA JCB UNIONPAY BANK-BGLD BAWAG BA ERSTE RZB HYPO VOLKSBANK ARZ ONE T-MOBILE ORANGE EPS "
    "ATOS HOBEX-AT HOBEX-DE HOBEX-NL BILLPAY INVOICE HP INTERNATIONAL PAYOLUTION PAYSAFECASH CARD EFINANCE".split()
)
LANGUAGES = frozenset("EN DE BG FR HU NL ES IT CS HR SK SL SR RO RU PL PT TR ZH JA DA FI SV NO UK EL".split())
SORT_FIELDS = frozenset("MPAYTID PTYPE BRAND CURRENCY TID ORDERDESC ORDERNUMBER CURRDATE CURRTIME".split())

# Brands that may be named for a type; a type that is not listed has none, and its own name stands for the brand.
BRANDS = {
    "CC": "AMEX DINERS JCB MASTERCARD VISA UNIONPAY".split(),
    "ELV": "HOBEX-AT HOBEX-DE HOBEX-NL B4P ATOS BILLPAY HEIDELPAY ELV".split(),
    "EPS": "EPS INTERNATIONAL".split(),
    "PSC": "PSC PAYSAFECASH".split(),
    "POSTFINANCE": "CARD EFINANCE".split(),
    "PAYOLUTION": ["INVOICE"],
    "KLARNA": "HP INVOICE".split(),
    "BILLPAY": "HP INVOICE".split(),
    "ELVSECURE": ["ELVSECURE", "B4P"],
}
MANDATE_BRANDS = frozenset("HOBEX-AT HOBEX-DE HOBEX-NL B4P HEIDELPAY".split())

METHOD_IDS = {
    ("CC", "AMEX"): 1,
    ("CC", "DINERS"): 2,
    ("CC", "JCB"): 3,
    ("CC", "MASTERCARD"): 4,
    ("CC", "VISA"): 5,
    ("CB", "CB"): 9,
    ("MAESTRO", "MAESTRO"): 10,
    ("EPS", "EPS"): 20,
    ("PB", "PB"): 43,
    ("GIROPAY", "GIROPAY"): 50,
    ("ELV", "ATOS"): 60,
    ("ELV", "HOBEX-AT"): 61,
    ("ELV", "HOBEX-DE"): 62,
    ("ELV", "HOBEX-NL"): 63,
    ("ELV", "BILLPAY"): 65,
    ("ELV", "B4P"): 66,
    ("PAYPAL", "PAYPAL"): 70,
    ("PSC", "PSC"): 80,
    ("INVOICE", "INVOICE"): 110,
    ("BILLPAY", "INVOICE"): 111,
    ("KLARNA", "INVOICE"): 112,
    ("BILLPAY", "HP"): 121,
    ("KLARNA", "HP"): 122,
    ("SOFORT", "SOFORT"): 140,
    ("ELVSECURE", "ELVSECURE"): 170,
}

# Types whose shopper must go to a page of somebody else's.
REDIRECT_TYPES = frozenset(
    "PAYPAL EPS GIROPAY SOFORT PSC CASH-TICKET QUICK MPASS SAFETYPAY POSTFINANCE ELVSECURE IDEAL ALIPAY "
    "WECHATPAY TWINT OPENBANKING".split()
)
# Types that reserve before they take; all others take at once. The reference does not publish the column.
RESERVING_TYPES = frozenset(
    "CC CB MAESTRO PAYPAL KLARNA BILLPAY INVOICE HP PAYOLUTION POSTFINANCE PB MPASS TWINT".split()
)
NO_CREDIT_TYPES = frozenset("EPS GIROPAY SOFORT PSC CASH-TICKET".split())
PROFILE_TYPES = frozenset(("CC", "ELV", "PAYPAL"))
# Types that may jump from any state to any state.
JUMPING_TYPES = frozenset(("EPS", "PAYPAL", "SOFORT"))

# Codes without a number here are answered without errNo: their numbers are not published.
ERROR_NUMBERS = {
    "OK": 0,
    "DECLINED": 1,
    "BLOCKED": 2,
    "ACCESS_DENIED": 3,
    "MERCHANT_LOCKED": 4,
    "PAYMENT_METHOD_NOT_ACTIVE": 5,
    "OPERATION_NOT_SUPPORTED": 8,
    "PTYPE_MISMATCH": 9,
    "NOT_FOUND": 10,
    "ALREADY_PROCESSED": 11,
    "CACHE_DATA_EXPIRED": 12,
    "INVALID_MDXI": 13,
    "INVALID_PRICE": 14,
    "INVALID_AMOUNT": 14,
    "INVALID_CREDITCARD_NUMBER": 15,
    "INVALID_MAESTRO_NUMBER": 16,
    "INVALID_IBAN": 17,
    "PROFILE_NOT_FOUND": 20,
    "PROFILE_NOT_SUPPORTED": 21,
    "PROFILE_FLEX_NOT_SUPPORTED": 22,
    "PROFILE_COUNT_EXCEEDED": 23,
    "TOKEN_NOT_FOUND": 30,
    "EXTERNAL_ERROR": 100,
}
# Injected declines with these codes are tries that reached the issuer: they leave a failed transaction behind.
TRIED_CODES = frozenset(("DECLINED", "BLOCKED", "EXTERNAL_ERROR", "INTERNAL_ERROR"))
CARD_EXPIRED_TEXT = "Karte abgelaufen (card expired)."

ZERO_DECIMALS = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
THREE_DECIMALS = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
CURRENCIES = (
    ZERO_DECIMALS
    | THREE_DECIMALS
    | frozenset(
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF "
        "CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL "
        "HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT "
        "MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR "
        "SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU "
        "UZS VED VES WST XCD YER ZAR ZMW ZWG".split()
    )
)

LENGTHS = {
    "tid": 32,
    "customerID": 32,
    "customerName": 50,
    "profileID": 12,
    "description": 255,
    "userField": 255,
    "name": 50,
    "street": 50,
    "street2": 50,
    "zip": 50,
    "city": 50,
    "state": 40,
    "email": 64,
    "phone": 20,
    "countryCode": 2,
    "mdxi": 8192,
}

KNOBS: dict[str, Value] = {
    "automatic_clearing": True,
    "profile_mode": "recurring",
    "profile_charge_code": "PROFILE_USED",
    "profile_count_max": 20,
    "active_payment_types": sorted(PAYMENT_TYPES),
    "default_language": "EN",
    "default_confirmation_url": "",
    "default_orderdesc": "",
    "return_append_tid": False,
    "min_amount": 1,
    "paypage_lifetime_s": 3600.0,
    "page_tries_max": 0,
    "token_lifetime_s": 1800.0,
    "push_timeout_s": 15.0,
    "push_max_attempts": 3,
    "push_retry_delay_s": 60.0,
    "status_call_budget": 3,
    "list_default_size": 100,
    "list_max_size": 500,
    "list_default_sort": "MPAYTID",
    "withdraw_allowed": True,
    "settle_delay_s": 2.0,
    "chargeback_delay_s": 2.0,
    **{f"max_length.{name}": limit for name, limit in LENGTHS.items()},
}
KNOB_CHOICES = {
    "profile_mode": frozenset(("recurring", "interactive")),
    "profile_charge_code": frozenset(("PROFILE_USED", "OK")),
    "active_payment_types": PAYMENT_TYPES,
    "default_language": LANGUAGES,
    "list_default_sort": SORT_FIELDS,
}


def error_number(code: str) -> int | None:
    """Return the errNo of a code, None where none is published."""
    if code.endswith("_NOT_ENTERED"):
        return 6
    # The one recorded CURRENCY_NOT_CORRECT came without a number.
    if code.endswith("_NOT_CORRECT") and code != "CURRENCY_NOT_CORRECT":
        return 7
    return ERROR_NUMBERS.get(code)


def decimals(currency: str) -> int:
    """Return how many decimals an amount in this currency has."""
    if currency in ZERO_DECIMALS:
        return 0
    return 3 if currency in THREE_DECIMALS else 2


def brands_of(payment_type: str) -> list[str]:
    """Return the brands of a type; one that has none is its own brand."""
    return BRANDS.get(payment_type, [payment_type])


def language_code(wanted: str, default: str) -> str:
    """Return a language in upper case, or the account's own for one that is unknown."""
    return wanted.upper() if wanted.upper() in LANGUAGES else default
