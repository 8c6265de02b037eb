"""What happened to a thing, told for the console: grouped by day, one line of fact and one of reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import DeclineClass
from billing.mail import Cause, find_cause
from billing.models import MessageState, NotificationState
from billing.payments import AttemptState, Channel
from billing.services.recounting import Event, Kind, Of, recount
from billing.services.showing import means_of
from billing.web.console.desk import Desk
from billing.web.console.pages import TONES, sentence, way_of, word_of


@dataclass(frozen=True, slots=True)
class Line:
    """One event: what happened (`fact`, with a link in it to the thing's page), and why (`reason`, with its `code`)."""

    tone: str
    fact: str
    reason: str = ""
    label: str = ""
    path: str = ""
    amount: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """A story as it is shown: days of times with their lines, and the address of the older part."""

    days: Sequence[tuple[str, Sequence[tuple[str, Line]]]]
    older: str = ""
    is_first: bool = True


async def told(desk: Desk, session: AsyncSession, of: Of, row: RowMapping) -> Told:
    """Return the story of a thing, or the older part of it that the address asks for."""
    before = _instant(desk.asked("story_before"))
    story = await recount(session, of, row, before=before)
    there = desk.writer.there
    days = [
        (desk.writer.weekday(day), [(desk.writer.time(event.at), line_of(desk, event)) for event in events])
        for day, events in groupby(story.events, lambda event: there(event.at).date())
    ]
    if story.before is None:
        return Told(days, is_first=before is None)
    url = desk.request.url.include_query_params(story_before=story.before.isoformat())
    return Told(days, f"{url.path}?{url.query}#story", before is None)


def line_of(desk: Desk, event: Event) -> Line:
    """Return one event in words."""
    return _LINES[event.kind](desk, event.row)


def _instant(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


# --- subscriptions and what they owe ----------------------------------------


def _started(desk: Desk, row: RowMapping) -> Line:
    counted = f"Its periods are counted from {desk.writer.day(row['anchor_on'])}."
    return Line("is-event", "Subscription {} started", counted, row["reference"], f"/subscriptions/{row['reference']}")


def _canceled(desk: Desk, row: RowMapping) -> Line:
    ends = f"It ends on {desk.writer.day(row['ended_on'])}." if row["ended_on"] else ""
    return Line("is-quiet", "Subscription {} canceled", ends, row["reference"], f"/subscriptions/{row['reference']}")


def _set_aside(desk: Desk, row: RowMapping) -> Line:
    why = word_of(row["reason"]) + (f", {row['detail']}" if row["detail"] else "")
    return Line("is-pending", f"Not billed in the run of {desk.writer.day(row['on_day'])}", sentence(why))


_BOOKED: Final = {
    "issue": ("is-open", "Invoice {} issued"),
    "void": ("is-quiet", "Invoice {} taken back"),
    "outside": ("is-paid", "Invoice {} booked as paid elsewhere"),
    "taken-back": ("is-failed", "Payment of invoice {} taken back by the bank"),
}


def _booked(desk: Desk, row: RowMapping) -> Line:
    word = row["group_key"].partition(":")[0]
    tone, fact = _BOOKED[word]
    return Line(tone, fact, _issued_for(desk, row) if word == "issue" else "", *_invoice(row), _total(desk, row))


def _issued_for(desk: Desk, row: RowMapping) -> str:
    if row["period_start"] is None:
        return sentence(row["title"])
    return f"{row['title']}, {period_in(desk, row['period_start'], row['period_end'])}."


def _paid(desk: Desk, row: RowMapping) -> Line:
    return Line("is-paid", "Invoice {} paid", "", *_invoice(row), _total(desk, row))


def _invoice(row: RowMapping) -> tuple[str, str]:
    return row["number"], f"/invoices/{row['number']}"


def _total(desk: Desk, row: RowMapping) -> str:
    return desk.writer.money(row["total_minor"], row["currency"])


def _link(_: Desk, row: RowMapping) -> Line:
    what = "Pay-link to invoice {} made" if row["number"] else "Link to renew a profile made"
    return Line("is-event", what, "", row["number"] or "", f"/invoices/{row['number']}", code=f"link_{row['id']}")


def _link_over(_: Desk, row: RowMapping) -> Line:
    return Line("is-event", "Pay-link taken out of use", "It opens nothing any more.", code=f"link_{row['id']}")


# --- collecting -------------------------------------------------------------

CHANNELS: Final[Mapping[str, str]] = {
    Channel.NIGHT: "Charged by the nightly run",
    Channel.DUNNING: "Tried again by dunning",
    Channel.PAY_LINK: "Started by the customer on a pay-link",
    Channel.PORTAL: "Started by the customer in the portal",
    Channel.CONSOLE: "Started in the console",
    Channel.API: "Started through the API",
}
_CAUSES: Final = {
    Cause.EXPIRED: "the card has expired",
    Cause.NOT_NOW: "the bank said not now",
    Cause.CONFIRM: "the bank wants the customer to confirm",
    Cause.UNUSABLE: "the bank takes no more charges to what is stored",
    Cause.BLOCKED: "the bank does not allow it",
}
_DECLINES: Final = {
    "retry_later": "The same profile may work later.",
    "needs_customer": "The customer has to pay themselves.",
    "needs_new_profile": "Needs a new profile, so nothing is tried again by itself.",
    "never": "Never to be tried again.",
}
STANDS: Final[Mapping[str, str]] = {
    AttemptState.CREATED: "waits to be sent",
    AttemptState.SENT: "sent, and its answer is not in yet",
    AttemptState.APPROVED: "approved",
    AttemptState.DECLINED: "declined",
    AttemptState.REFUSED: "refused because of us, not the customer",
    AttemptState.PENDING: "waits for the bank or the customer",
    AttemptState.UNKNOWN: "in doubt",
    AttemptState.NOT_SENT: "never reached the gateway",
    AttemptState.WITHDRAWN: "withdrawn before it was sent",
}


def _attempt(desk: Desk, row: RowMapping) -> Line:
    fact = f"{{}} {STANDS[row['state']]}" + (f": {cause}" if (cause := cause_in(desk, row)) else "")
    path = f"/attempts/{row['key']}"
    return Line(TONES[row["state"]], fact, _attempt_why(desk, row), "Attempt", path, _sum(desk, row), row["key"])


def _attempt_why(desk: Desk, row: RowMapping) -> str:
    profile = means_in(row)
    where = f"{CHANNELS[row['channel']]} at {desk.title_of(row['gateway'])}" + (f", {profile}" if profile else "")
    return " ".join(filter(None, (f"{where}.", heard_in(row), follows_in(row))))


def cause_in(desk: Desk, row: RowMapping) -> str:
    """Return why an attempt was declined, as far as it is known; nothing where it was not."""
    if not row["decline_class"]:
        return ""
    code, on = f"{row['decline_code']} {row['evidence']}", desk.writer.there(row["business_at"]).date()
    return _CAUSES[find_cause(DeclineClass(row["decline_class"]), code, means_of(row), on)]


def heard_in(row: RowMapping) -> str:
    """Return what the gateway said, in its own words and with its own code."""
    code = f" ({row['decline_code']})" if row["decline_code"] else ""
    return sentence(f"{row['evidence'].rstrip('.')}{code}".strip()) if row["evidence"] or code else ""


def follows_in(row: RowMapping) -> str:
    """Return what a decline means for the next try; nothing where there was none."""
    return _DECLINES.get(row["decline_class"] or "", "")


def _sum(desk: Desk, row: RowMapping) -> str:
    return desk.writer.money(row["amount_minor"], row["currency"])


def _opened(desk: Desk, row: RowMapping) -> Line:
    by = "From a pay-link." if row["pay_link_id"] else ""
    return Line("is-event", f"Customer led to the payment page at {desk.title_of(row['gateway'])}", by)


def _consent(_: Desk, row: RowMapping) -> Line:
    return Line("is-event", "Consent given by the customer", f"In the language {row['language']}, word for word.")


def _operation(desk: Desk, row: RowMapping) -> Line:
    kind = word_of(row["kind"]).capitalize()
    why = " ".join(sentence(each) for each in (row["reason"], row["evidence"]) if each)
    fact, path = f"{kind} {STANDS[row['state']]} after an {{}}", f"/attempts/{row['attempt']}"
    return Line(TONES[row["state"]], fact, why, "attempt", path, _sum(desk, row), f"op_{row['id']}")


NEWS: Final = {
    NotificationState.RECEIVED: "It waits to be understood.",
    NotificationState.SETTLED: "It was verified and acted on.",
    NotificationState.FORGED: "It did not come from the gateway, and nothing was believed.",
    NotificationState.OPEN: "A person has to look at it.",
}


def _notification(desk: Desk, row: RowMapping) -> Line:
    tone = "is-failed" if row["state"] == NotificationState.FORGED else "is-event"
    why = NEWS[NotificationState(row["state"])]
    copies = f" It came {row['copies']} times." if row["copies"] > 1 else ""
    said = f" {sentence(row['reason'])}" if row["reason"] else ""
    return Line(
        tone, f"Notification from {desk.title_of(row['gateway'])}", why + said + copies, code=f"not_{row['id']}"
    )


# --- profiles ---------------------------------------------------------------


def _profile(desk: Desk, row: RowMapping) -> Line:
    return Line(
        "is-paid", f"Profile stored: {profile_in(row)}", f"At {desk.title_of(row['gateway'])}.", code=f"pro_{row['id']}"
    )


def _renewed(desk: Desk, row: RowMapping) -> Line:
    return Line(
        "is-paid",
        f"Profile renewed: {profile_in(row)}",
        f"At {desk.title_of(row['gateway'])}.",
        code=f"pro_{row['id']}",
    )


def _verification(desk: Desk, row: RowMapping) -> Line:
    why = f"{_sum(desk, row)} is reserved on the visit, and released."
    return Line("is-event", "Customer asked to renew the profile", why, code=f"ver_{row['id']}")


def _released(desk: Desk, row: RowMapping) -> Line:
    return Line("is-paid", f"{_sum(desk, row)} released again", "The renewal took nothing.", code=f"ver_{row['id']}")


# --- people -----------------------------------------------------------------

MAILS: Final = {
    "declined": "Mail about the decline",
    "fresh_link": "Mail with a fresh link",
    "invoice": "Invoice with pay-link",
    "last_step": "Mail about the last step",
    "receipt": "Receipt",
    "refunded": "Mail about the refund",
    "reminder": "Reminder",
    "renew": "Request to renew the profile",
    "renewed": "Mail about the renewal",
}
_MAILED: Final = {
    MessageState.QUEUED: ("is-pending", "waits to be sent"),
    MessageState.SENT: ("is-event", "mailed"),
    MessageState.FAILED: ("is-failed", "could not be mailed"),
    MessageState.DROPPED: ("is-quiet", "not mailed, since there was no need any more"),
}


def _mail(_: Desk, row: RowMapping) -> Line:
    step = row["step"].partition(" ")[0]
    tone, state = _MAILED[MessageState(row["state"])]
    fact = f"{MAILS.get(step, word_of(step).capitalize())} {state}"
    tries = f" after {row['tries']} tries" if row["tries"] > 1 else ""
    return Line(tone, fact, f"To {row['recipient']}{tries}. {sentence(row['error'])}".strip())


def _task(_: Desk, row: RowMapping) -> Line:
    return Line("is-doubt", "A person was asked", sentence(row["reason"]), code=row["subject"])


def _task_done(_: Desk, row: RowMapping) -> Line:
    return Line("is-event", "What a person was asked is settled", sentence(row["reason"]), code=row["subject"])


_ACTORS: Final = {"key": " (API key)", "command": " (command)", "system": "", "user": ""}


def _done(_: Desk, row: RowMapping) -> Line:
    details = ", ".join(f"{word_of(name)}: {value}" for name, value in row["detail"].items())
    who = f"By {row['actor']}{_ACTORS[row['actor_kind']]}."
    return Line("is-event", word_of(row["verb"]).capitalize(), f"{who} {sentence(details)}".strip())


_LINES: Final[Mapping[Kind, Callable[[Desk, RowMapping], Line]]] = {
    Kind.STARTED: _started,
    Kind.CANCELED: _canceled,
    Kind.SET_ASIDE: _set_aside,
    Kind.BOOKED: _booked,
    Kind.PAID: _paid,
    Kind.ATTEMPT: _attempt,
    Kind.OPENED: _opened,
    Kind.CONSENT: _consent,
    Kind.OPERATION: _operation,
    Kind.NOTIFICATION: _notification,
    Kind.MAIL: _mail,
    Kind.LINK: _link,
    Kind.LINK_OVER: _link_over,
    Kind.PROFILE: _profile,
    Kind.RENEWED: _renewed,
    Kind.VERIFICATION: _verification,
    Kind.RELEASED: _released,
    Kind.TASK: _task,
    Kind.TASK_DONE: _task_done,
    Kind.DONE: _done,
}


# --- words shared with the pages --------------------------------------------


def means_in(row: RowMapping | dict[str, Any]) -> str:
    """Return the stored card or account in a row as people know it: Visa, ending 4242."""
    means = means_of(row)
    if means is None:
        return ""
    name = means.brand or way_of(means.kind)
    return f"{name}, ending {means.last4}" if means.last4 else name


def profile_in(row: RowMapping) -> str:
    """Return the same, or a word for it where a gateway does not say what it has stored."""
    return means_in(row) or "Stored means"


def period_in(desk: Desk, start: Any, end: Any) -> str:
    """Return the days of a period, both of them included."""
    last = end.fromordinal(end.toordinal() - 1)
    return f"{desk.writer.day(start)} to {desk.writer.day(last)}"
