"""What Computop's pages say, in English and German."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

ENGLISH = {
    "lang": "en",
    "sandbox": "Test page: nothing is charged.",
    "reference": "Reference",
    "number": "Card number",
    "expiry": "Valid until",
    "month_year": "MM/YY",
    "cvc": "Security code",
    "holder": "Name on the card",
    "pay": "Pay {amount}",
    "cancel": "Cancel",
    "confirm": "Confirm",
    "decline": "Decline",
    "back": "Back to the shop",
    "title_card": "Payment by card",
    "title_wallet": "PAYBACK PAY",
    "title_bank": "3-D Secure",
    "title_back": "Thank you",
    "title_unknown": "There is no such page",
    "text_bank": "Your bank asks you to confirm this payment.",
    "text_wallet": "Please confirm this payment.",
    "text_waiting": "Waiting for the confirmation in your app.",
    "text_back": "You are being taken back to the shop.",
    "text_unknown": "Please check the address.",
    "error_declined": "The payment was declined. Please try again or use another card.",
    "error_number": "Please check the card number.",
    "error_expiry": "Please check the date until which the card is valid (MM/YY).",
    "error_cvc": "Please check the security code.",
    "error_holder": "Please enter the name on the card.",
}
GERMAN = {
    "lang": "de",
    "sandbox": "Testseite: Es wird nichts abgebucht.",
    "reference": "Referenz",
    "number": "Kartennummer",
    "expiry": "Gültig bis",
    "month_year": "MM/JJ",
    "cvc": "Prüfziffer",
    "holder": "Name auf der Karte",
    "pay": "{amount} bezahlen",
    "cancel": "Abbrechen",
    "confirm": "Bestätigen",
    "decline": "Ablehnen",
    "back": "Zurück zum Shop",
    "title_card": "Zahlung mit Karte",
    "title_wallet": "PAYBACK PAY",
    "title_bank": "3-D Secure",
    "title_back": "Vielen Dank",
    "title_unknown": "Diese Seite gibt es nicht",
    "text_bank": "Ihre Bank bittet Sie, diese Zahlung zu bestätigen.",
    "text_wallet": "Bitte bestätigen Sie diese Zahlung.",
    "text_waiting": "Warten auf die Bestätigung in Ihrer App.",
    "text_back": "Sie werden zum Shop zurückgeleitet.",
    "text_unknown": "Bitte prüfen Sie die Adresse.",
    "error_declined": "Die Zahlung wurde abgelehnt. Bitte versuchen Sie es noch einmal oder mit einer anderen Karte.",
    "error_number": "Bitte prüfen Sie die Kartennummer.",
    "error_expiry": "Bitte prüfen Sie, bis wann die Karte gültig ist (MM/JJ).",
    "error_cvc": "Bitte prüfen Sie die Prüfziffer.",
    "error_holder": "Bitte geben Sie den Namen auf der Karte ein.",
}
BLANK: dict[str, Any] = {
    "amount": "",
    "reference": "",
    "error": "",
    "lines": [],
    "action": "",
    "fields": [],
}
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "pages"), autoescape=True, undefined=StrictUndefined
)
UNFRAMED = {"Cache-Control": "no-store", "X-Frame-Options": "DENY", "Content-Security-Policy": "frame-ancestors 'none'"}
WHOLE_CURRENCIES = frozenset("CLP ISK JPY KRW PYG UGX VND XAF XOF XPF".split())


def shown_amount(amount: int, currency: str, language: str) -> str:
    """Write an amount as people read it."""
    if currency in WHOLE_CURRENCIES:
        return f"{amount} {currency}"
    whole, part = divmod(abs(amount), 100)
    return f"{'-' if amount < 0 else ''}{whole}{',' if language == 'de' else '.'}{part:02d} {currency}"


def render(kind: str, language: str, status: int = 200, **shown: Any) -> HTMLResponse:
    """Write a page of a kind; all languages that are not German read English."""
    words = GERMAN if language == "de" else ENGLISH
    filled = {**BLANK, "text": kind, **shown, "kind": kind, "words": words}
    filled["text"] = words.get(f"text_{filled['text']}", "")
    filled["error"] = words.get(f"error_{filled['error']}", "")
    return HTMLResponse(TEMPLATES.get_template("computop.html").render(filled), status, UNFRAMED)
