"""What the hosted pages say and how they look, in English and German."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from gateways.sandbox.mpay24_values import decimals

ENGLISH: dict[str, Any] = {
    "lang": "en",
    "sandbox": "Test page: nothing is charged.",
    "reference": "Reference",
    "how": "How would you like to pay?",
    "types": {"CC": "Credit card", "ELV": "Direct debit", "PAYPAL": "PayPal", "MAESTRO": "Maestro"},
    "card": "Card",
    "number": "Card number",
    "expiry": "Valid until",
    "month_year": "MM/YY",
    "cvc": "Security code",
    "account": "Bank account",
    "optional": "optional",
    "pay": "Pay {amount}",
    "store": "Save",
    "cancel": "Cancel",
    "confirm": "Confirm",
    "refuse": "Refuse",
    "title_pay": "Payment",
    "title_store": "Save a payment method",
    "title_token": "Card details",
    "title_secure": "3-D Secure",
    "text_secure": "Your bank asks you to confirm this payment.",
    "title_wallet": "Confirm your payment",
    "text_wallet": "You are about to pay with {type}.",
    "title_closed": "This page is closed",
    "text_closed": "This payment has been completed or called off. Nothing more can be paid here.",
    "title_expired": "This page has expired",
    "text_expired": "Too much time has passed. Nothing was charged; please go back to the shop and start again.",
    "title_unknown": "There is no such page",
    "text_unknown": "Please check the address.",
    "title_done": "Thank you",
    "text_done": "All done. You can close this page.",
    "title_failed": "The payment failed",
    "text_failed": "Nothing was charged. You can close this page.",
    "title_canceled": "Called off",
    "text_canceled": "Nothing was charged. You can close this page.",
    "failed": "The payment was declined. Please try again or choose another way to pay.",
    "failed_because": "The payment was declined: {reason} Please try again or choose another way to pay.",
    "input_type": "Please choose how to pay.",
    "input_number": "Please check the card number.",
    "input_brand": "This brand of card is not accepted here.",
    "input_expiry": "Please check the date until which the card is valid (MM/YY).",
    "input_cvc": "Please check the security code.",
    "input_iban": "Please check the IBAN.",
}
GERMAN: dict[str, Any] = {
    "lang": "de",
    "sandbox": "Testseite: Es wird nichts abgebucht.",
    "reference": "Referenz",
    "how": "Wie möchten Sie bezahlen?",
    "types": {"CC": "Kreditkarte", "ELV": "Lastschrift", "PAYPAL": "PayPal", "MAESTRO": "Maestro"},
    "card": "Karte",
    "number": "Kartennummer",
    "expiry": "Gültig bis",
    "month_year": "MM/JJ",
    "cvc": "Prüfziffer",
    "account": "Bankkonto",
    "optional": "freiwillig",
    "pay": "{amount} bezahlen",
    "store": "Speichern",
    "cancel": "Abbrechen",
    "confirm": "Bestätigen",
    "refuse": "Ablehnen",
    "title_pay": "Zahlung",
    "title_store": "Zahlungsart speichern",
    "title_token": "Kartendaten",
    "title_secure": "3-D Secure",
    "text_secure": "Ihre Bank bittet Sie, diese Zahlung zu bestätigen.",
    "title_wallet": "Zahlung bestätigen",
    "text_wallet": "Sie bezahlen mit {type}.",
    "title_closed": "Diese Seite ist geschlossen",
    "text_closed": "Die Zahlung ist abgeschlossen oder abgebrochen. Hier kann nichts mehr bezahlt werden.",
    "title_expired": "Diese Seite ist abgelaufen",
    "text_expired": "Es ist zu viel Zeit vergangen. Es wurde nichts abgebucht; bitte beginnen Sie im Shop von vorn.",
    "title_unknown": "Diese Seite gibt es nicht",
    "text_unknown": "Bitte prüfen Sie die Adresse.",
    "title_done": "Vielen Dank",
    "text_done": "Alles erledigt. Sie können diese Seite schließen.",
    "title_failed": "Die Zahlung ist fehlgeschlagen",
    "text_failed": "Es wurde nichts abgebucht. Sie können diese Seite schließen.",
    "title_canceled": "Abgebrochen",
    "text_canceled": "Es wurde nichts abgebucht. Sie können diese Seite schließen.",
    "failed": "Die Zahlung wurde abgelehnt. Bitte versuchen Sie es noch einmal oder zahlen Sie anders.",
    "failed_because": "Die Zahlung wurde abgelehnt: {reason} Bitte versuchen Sie es noch einmal oder anders.",
    "input_type": "Bitte wählen Sie, wie Sie bezahlen möchten.",
    "input_number": "Bitte prüfen Sie die Kartennummer.",
    "input_brand": "Diese Kartenmarke wird hier nicht angenommen.",
    "input_expiry": "Bitte prüfen Sie, bis wann die Karte gültig ist (MM/JJ).",
    "input_cvc": "Bitte prüfen Sie die Prüfziffer.",
    "input_iban": "Bitte prüfen Sie die IBAN.",
}
BLANK: dict[str, Any] = {
    "amount": "",
    "reference": "",
    "error": "",
    "text": "",
    "choices": [],
    "chosen": "",
    "asks_card": False,
    "asks_account": False,
    "asks_confirmation": False,
    "can_cancel": False,
    "pay_label": "",
}
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "pages"), autoescape=True, undefined=StrictUndefined
)
HEADERS = {"Cache-Control": "no-store", "X-Frame-Options": "DENY", "Content-Security-Policy": "frame-ancestors 'none'"}


def words_for(language: str) -> dict[str, Any]:
    """Return the words of a language; all that are not German read English."""
    return GERMAN if language == "DE" else ENGLISH


def shown_amount(amount: int, currency: str, language: str) -> str:
    """Write an amount as people read it."""
    places = decimals(currency)
    whole, part = divmod(amount, 10**places)
    comma = "," if language == "DE" else "."
    number = f"{whole}{comma}{part:0{places}d}" if places else str(whole)
    return f"{number} {currency}"


def render(language: str, title: str, status: int = 200, *, framed: bool = False, **shown: Any) -> HTMLResponse:
    """Write a page; the token page alone may be framed."""
    words = words_for(language)
    filled = {**BLANK, **shown, "words": words, "title": words[f"title_{title}"]}
    html = TEMPLATES.get_template("mpay24.html").render(filled)
    return HTMLResponse(html, status, {"Cache-Control": "no-store"} if framed else HEADERS)


def render_message(language: str, name: str, status: int = 200, *, framed: bool = False) -> HTMLResponse:
    """Write a page that only says something."""
    return render(language, name, status, framed=framed, text=words_for(language)[f"text_{name}"])
