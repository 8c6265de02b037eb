"""What PAYONE's hosted pages say and how they look, in English and German."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

ENGLISH: dict[str, Any] = {
    "lang": "en",
    "sandbox": "Test page: nothing is charged.",
    "reference": "Reference",
    "number": "Card number",
    "expiry": "Valid until",
    "month_year": "MM/YY",
    "cvc": "Security code",
    "holder": "Name on the card",
    "store_card": "Store my card for later payments",
    "stored": "Stored card",
    "pay": "Pay {amount}",
    "cancel": "Cancel",
    "confirm": "Confirm",
    "refuse": "Refuse",
    "title_pay": "Payment",
    "title_form": "Card details",
    "title_secure": "3-D Secure",
    "text_secure": "Your bank asks you to confirm this payment.",
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
    "failed": "The payment was declined. Please try again or use another card.",
    "cardNumber": "Please check the card number.",
    "expiryDate": "Please check the date until which the card is valid (MM/YY).",
    "cvv": "Please check the security code.",
    "cardholderName": "Please enter the name on the card.",
    "session": "These card details could not be used. Please start again.",
}
GERMAN: dict[str, Any] = {
    "lang": "de",
    "sandbox": "Testseite: Es wird nichts abgebucht.",
    "reference": "Referenz",
    "number": "Kartennummer",
    "expiry": "Gültig bis",
    "month_year": "MM/JJ",
    "cvc": "Prüfziffer",
    "holder": "Name auf der Karte",
    "store_card": "Karte für spätere Zahlungen speichern",
    "stored": "Gespeicherte Karte",
    "pay": "{amount} bezahlen",
    "cancel": "Abbrechen",
    "confirm": "Bestätigen",
    "refuse": "Ablehnen",
    "title_pay": "Zahlung",
    "title_form": "Kartendaten",
    "title_secure": "3-D Secure",
    "text_secure": "Ihre Bank bittet Sie, diese Zahlung zu bestätigen.",
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
    "failed": "Die Zahlung wurde abgelehnt. Bitte versuchen Sie es noch einmal oder mit einer anderen Karte.",
    "cardNumber": "Bitte prüfen Sie die Kartennummer.",
    "expiryDate": "Bitte prüfen Sie, bis wann die Karte gültig ist (MM/JJ).",
    "cvv": "Bitte prüfen Sie die Prüfziffer.",
    "cardholderName": "Bitte geben Sie den Namen auf der Karte ein.",
    "session": "Diese Kartendaten konnten nicht verwendet werden. Bitte beginnen Sie von vorn.",
}
BLANK: dict[str, Any] = {
    "amount": "",
    "reference": "",
    "error": "",
    "text": "",
    "asks_card": False,
    "asks_confirmation": False,
    "pay_label": "",
}
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "pages"), autoescape=True, undefined=StrictUndefined
)
UNFRAMED = {"Cache-Control": "no-store", "X-Frame-Options": "DENY", "Content-Security-Policy": "frame-ancestors 'none'"}
# Currencies without cents; all others here have two decimals.
WHOLE_CURRENCIES = frozenset("CLP ISK JPY KRW PYG UGX VND XAF XOF XPF".split())


def words_for(language: str) -> dict[str, Any]:
    """Return the words of a language; all that are not German read English."""
    return GERMAN if language == "DE" else ENGLISH


def shown_amount(amount: int, currency: str, language: str) -> str:
    """Write an amount as people read it."""
    if currency in WHOLE_CURRENCIES:
        return f"{amount} {currency}"
    whole, part = divmod(amount, 100)
    return f"{whole}{',' if language == 'DE' else '.'}{part:02d} {currency}"


def render(language: str, title: str, status: int = 200, **shown: Any) -> HTMLResponse:
    """Write a page that no other page may frame."""
    words = words_for(language)
    filled = {**BLANK, **shown, "words": words, "title": words[f"title_{title}"]}
    return HTMLResponse(TEMPLATES.get_template("payone.html").render(filled), status, UNFRAMED)


def render_message(language: str, name: str, status: int = 200) -> HTMLResponse:
    """Write a page that only says something."""
    return render(language, name, status, text=words_for(language)[f"text_{name}"])


def render_form(language: str, **shown: Any) -> HTMLResponse:
    """Write the card form, which the shop's page frames."""
    words = words_for(language)
    html = TEMPLATES.get_template("payone_form.html").render(words=words, title=words["title_form"], **shown)
    return HTMLResponse(html, 200, {"Cache-Control": "no-store"})
