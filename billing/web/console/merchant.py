"""The merchant's own settings: how it appears to customers, and the rules that its runs follow."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.mail import DARK, LIGHT, Accent, BrandError
from billing.models import CatchUp, Role, SurplusPolicy
from billing.money import Money
from billing.services.arranging import brakes_of, change_merchant, go_live, own_brakes
from billing.services.refusing import ConflictError, UnfitError
from billing.services.showing import accents_of
from billing.web.console.desk import Desk, Seated
from billing.web.console.forms import Draft, Field, Form, Option, Values, amount, email, matching, whole
from billing.web.console.gate import Section
from billing.web.pages import check_accent

router = Section("Merchant", "/settings", of_settings=True, needs=Role.ADMIN)

_URL: Final = matching(r"https?://[^\s@]+", "Write a web address like https://www.example.com/help.")
_COLOUR: Final = matching(r"#[0-9a-fA-F]{6}", "Write a colour like #0b5a85.")
_SCHEMES: Final = {"light": LIGHT, "dark": DARK}
_PARTS: Final = ("colour", "ink", "soft")
_PART_LABELS: Final = {"colour": "colour", "ink": "text on it", "soft": "soft tint"}

_SELLER: Final = (
    Field("legal_name", "Legal name", hint="As it stands on invoices."),
    Field("name", "Name", hint="What customers read above mails and pages.", chars_max=100),
    Field("place", "Place", hint="Below mails, like Vienna, Austria.", required=False),
    Field("legal_line", "Register and VAT number", hint="Below mails and pages.", required=False, chars_max=400),
    Field("mail_from", "Mails come from", "email", read=email, chars_max=254),
    Field("reply_to", "Answers go to", "email", required=False, read=email, chars_max=254),
    Field("help_url", "Page with help", required=False, read=_URL, chars_max=500),
    Field("legal_url", "Page with the imprint", required=False, read=_URL, chars_max=500),
    Field("privacy_url", "Page on privacy", required=False, read=_URL, chars_max=500),
)
_BRAND: Final = tuple(
    Field(f"{scheme}_{part}", f"{scheme.capitalize()}: {_PART_LABELS[part]}", read=_COLOUR, required=False, chars_max=7)
    for scheme in _SCHEMES
    for part in _PARTS
)
_RULES: Final = (
    Field(
        "link_days",
        "A pay-link works for",
        "number",
        "After that its page offers a fresh one.",
        read=whole(1, 365),
        affix="days",
        chars_max=3,
    ),
    Field(
        "run_approval",
        "A run waits for a person's word",
        "check",
        "It shows what it would charge, and charges nothing before somebody approves it.",
    ),
    Field(
        "catch_up",
        "When several periods were missed",
        "choice",
        options=(
            Option(CatchUp.EACH, "Bill each", "Every missed period gets its own invoice and charge, oldest first."),
            Option(CatchUp.APPROVAL, "Ask first", "Nothing is billed for the missed periods before a person says so."),
        ),
    ),
    Field(
        "surplus",
        "When a customer paid too much",
        "choice",
        options=(
            Option(SurplusPolicy.ASK, "Ask", "A task is raised, and the money stays until a person decides."),
            Option(SurplusPolicy.REFUND, "Give it back", "It goes back by the way it came, by itself."),
        ),
    ),
)
_LIVE: Final = Form.of(
    Field("reference", "The merchant's key", hint="Typed to confirm: it stands in the address of these pages."),
)
_CHARGES: Final = whole(0, 10_000_000)


def _brakes(code: str) -> tuple[Field, ...]:
    """Return what is asked of each threshold, with what it does; the last is in the merchant's currency."""
    failed = "Refused, not sent or in doubt, which no customer can help. 0 is off."
    declined = "More of them, and the run pauses: cards do not fail all at once by themselves. 0 is off."
    growth = "So much more than the largest recent run may one charge, in number or amount. 0 is off."
    most, count = "Through one account. 0 is off.", whole(1, 1_000_000)
    first = "A run charges so many first, and goes on only if they went well."
    few = "With fewer answers a rate says nothing, and no brake pulls."
    return (
        Field("slice_charges", "First slice", "number", first, read=count, affix="charges"),
        Field("least_charges", "Judged from", "number", few, read=count, affix="charges"),
        Field("declined_percent", "Most declined", "number", declined, read=whole(0, 100), affix="%"),
        Field("failed_percent", "Most failed", "number", failed, read=whole(0, 100), affix="%"),
        Field("growth_percent", "Most growth", "number", growth, read=whole(0, 100_000), affix="%"),
        Field("charges_max", "Most charges in one run", "number", most, read=_CHARGES, affix="charges"),
        Field("amount_minor_max", "Most money in one run", "number", most, read=amount(code), affix=code, chars_max=15),
    )


def _form(code: str) -> Form:
    return Form.of(*_SELLER, *_BRAND, *_RULES, *_brakes(code))


@router.page("/settings", Role.ADMIN)
async def show_settings(desk: Seated) -> Response:
    """Show what can be changed of the merchant."""
    merchant = desk.at.merchant
    return _shown(desk, _form(merchant["currency"]).blank(**_typed(merchant)))


@router.action("/settings", Role.ADMIN)
async def change_settings(desk: Seated) -> Response:
    """Change what was typed otherwise; colours that cannot be read are refused."""
    merchant = desk.at.merchant

    async def effect(session: AsyncSession, values: Values) -> None:
        facts = _facts(values)
        changed = sorted(name for name, value in facts.items() if value != merchant[name])
        await change_merchant(session, desk.merchant_id, facts)
        await desk.note(session, "change_merchant", merchant["reference"], settings=changed)

    draft = await desk.attempt(_coloured(_form(merchant["currency"]).read(desk.typed)), effect)
    if draft.is_wrong:
        return _shown(desk, draft)
    return desk.done("/settings", "Saved. Mails and pages show it from now on, and the next run follows it.")


@router.page("/settings/live", Role.ADMIN)
async def ask_live(desk: Seated) -> Response:
    """Say what changes for a merchant that goes live, and ask for its key."""
    if desk.at.merchant["live"]:
        raise ConflictError(f"{desk.at.merchant['reference']} is live already")
    return desk.show("live.html", draft=_LIVE.blank())


@router.action("/settings/live", Role.ADMIN)
async def become_live(desk: Seated) -> Response:
    """Let the merchant be live, once its key was typed."""
    reference = desk.at.merchant["reference"]

    async def effect(session: AsyncSession, values: Values) -> None:
        if values["reference"] != reference:
            raise UnfitError("reference", f"Write {reference}, the key in the address of these pages.")
        await go_live(session, desk.merchant_id)
        await desk.note(session, "go_live", reference)

    draft = await desk.attempt(_LIVE.read(desk.typed), effect)
    if draft.is_wrong:
        return desk.show("live.html", draft=draft)
    return desk.done("/settings", f"{reference} is live.")


def _shown(desk: Desk, draft: Draft) -> Response:
    groups = (("seller", _SELLER), ("brand", _BRAND), ("rules", _RULES))
    names: dict[str, Any] = {name: tuple(each.name for each in fields) for name, fields in groups}
    brakes = tuple(each.name for each in _brakes(desk.at.merchant["currency"]))
    return desk.show("settings.html", draft=draft, brakes=brakes, **names)


def _typed(merchant: RowMapping) -> dict[str, str]:
    """Return the settings as they stand, written as one types them."""
    plain = (each.name for each in (*_SELLER, *_RULES))
    typed = {name: str(merchant[name]) for name in plain if name != "run_approval"}
    typed |= {name: str(value) for name, value in brakes_of(merchant["brakes"]).items()}
    most = Money(int(typed["amount_minor_max"]), merchant["currency"])
    typed |= {"amount_minor_max": str(most.major), "run_approval": "yes" if merchant["run_approval"] else ""}
    if merchant["accent"]:
        for scheme, accent in zip(_SCHEMES, accents_of(merchant["accent"]), strict=True):
            typed |= {f"{scheme}_{part}": getattr(accent, part) for part in _PARTS}
    return typed


def _coloured(draft: Draft) -> Draft:
    """Return the form with what is wrong with its colours: all or none are given, and every text can be read."""
    if any(each.name in draft.errors for each in _BRAND):
        return draft
    missing = [each.name for each in _BRAND if not draft.values[each.name]]
    if len(missing) == len(_BRAND):
        return draft
    for name in missing:
        draft = draft.wrong(name, "Give all six colours, or none for the look of the house.")
    for scheme in _SCHEMES if not missing else ():
        try:
            check_accent(_accent(draft.values, scheme), scheme)
        except BrandError as error:
            draft = draft.wrong(f"{scheme}_colour", f"{error}.")
    return draft


def _accent(values: Values, scheme: str) -> Accent:
    return Accent(*(values[f"{scheme}_{part}"] for part in _PARTS))


def _facts(values: Values) -> dict[str, Any]:
    """Return the settings as they are kept."""
    facts = {each.name: values[each.name] for each in (*_SELLER, *_RULES)}
    thresholds = {name: values[name] for name in brakes_of(None)}
    thresholds["amount_minor_max"] = values["amount_minor_max"].minor
    colours = [",".join(values[f"{scheme}_{part}"] for part in _PARTS) for scheme in _SCHEMES]
    accent = ";".join(colours) if values["light_colour"] else ""
    return facts | {"accent": accent, "brakes": own_brakes(thresholds)}
